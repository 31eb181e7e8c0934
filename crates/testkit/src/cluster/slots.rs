//! Which nodes serve the slots, as a node lists them.

use std::collections::BTreeSet;

use crate::resp::Reply;

/// How many slots a cluster has.
pub(super) const SLOTS: usize = 16_384;

/// A node's list of the slots and of the ports that serve them.
#[derive(Debug)]
pub(super) struct SlotMap {
    /// Sorted by slot.
    ranges: Vec<SlotRange>,
    /// Every port in the list: those of masters and of replicas.
    pub(super) ports: BTreeSet<u16>,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct SlotRange {
    first: u16,
    last: u16,
    master: u16,
}

impl SlotMap {
    /// Reads the reply to `CLUSTER SLOTS`. Returns nothing if it is another one.
    pub(super) fn read(reply: &Reply) -> Option<Self> {
        let (mut ranges, mut ports) = (Vec::new(), BTreeSet::new());
        for range in items(reply)? {
            let [first, last, nodes @ ..] = items(range)? else {
                return None;
            };
            let of_range: Vec<u16> = nodes
                .iter()
                .map(|node| number(items(node)?.get(1)?))
                .collect::<Option<_>>()?;
            ranges.push(SlotRange {
                first: number(first)?,
                last: number(last)?,
                master: *of_range.first()?,
            });
            ports.extend(of_range);
        }
        ranges.sort();
        Some(Self { ranges, ports })
    }

    /// Returns the port of the master that serves a slot.
    pub(super) fn master(&self, slot: u16) -> Option<u16> {
        let serves = |range: &&SlotRange| (range.first..=range.last).contains(&slot);
        self.ranges.iter().find(serves).map(|range| range.master)
    }

    /// Returns the ports of all masters that serve a slot.
    pub(super) fn masters(&self) -> BTreeSet<u16> {
        self.ranges.iter().map(|range| range.master).collect()
    }

    /// Returns whether both lists name the same master for every slot.
    pub(super) fn agrees(&self, other: &Self) -> bool {
        self.ranges == other.ranges
    }
}

fn items(reply: &Reply) -> Option<&[Reply]> {
    match reply {
        Reply::Array(items) => Some(items),
        _ => None,
    }
}

fn number(reply: &Reply) -> Option<u16> {
    reply.int()?.try_into().ok()
}
