//! The slot map of a cluster: which master has each slot.

use std::collections::{BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::ops::RangeInclusive;
use std::sync::Arc;

use redis::Value;

use super::super::introduction::text;
use super::super::keys::SLOTS;
use super::super::target::Address;

/// The master of each slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SlotMap {
    masters: Vec<Option<Arc<Address>>>,
    /// The id of each master, if it is known.
    ids: HashMap<Address, String>,
    /// How many replicas each id has, if the nodes name them.
    replicas: Option<HashMap<String, u32>>,
}

impl SlotMap {
    /// Parses the reply to `CLUSTER SLOTS`; `None` if it is no such reply.
    ///
    /// A node without a host has the host that answered. A range that is invalid is left out: its
    /// slots have no known master. No slot is listed twice.
    pub(super) fn parse(reply: &Value, answered_by: &str) -> Option<Self> {
        let Value::Array(ranges) = reply else {
            return None;
        };
        let mut map = Self {
            masters: vec![None; usize::from(SLOTS)],
            ids: HashMap::new(),
            replicas: None,
        };
        let mut left = SLOTS;
        for range in ranges {
            if let Some((slots, master, id)) = parse_range(range, answered_by) {
                left = left.checked_sub(u16::try_from(slots.len()).ok()?)?;
                map.ids.extend(id.map(|id| (master.clone(), id)));
                map.set(slots, master);
            }
        }
        Some(map)
    }

    fn set(&mut self, slots: RangeInclusive<u16>, master: Address) {
        let master = Arc::new(master);
        for slot in slots {
            if let Some(owner) = self.masters.get_mut(usize::from(slot)) {
                *owner = Some(master.clone());
            }
        }
    }

    /// Sets the master of one slot.
    pub(super) fn set_master(&mut self, slot: u16, master: Address) {
        self.set(slot..=slot, master);
    }

    /// Returns the master of a slot.
    pub(super) fn master(&self, slot: u16) -> Option<&Arc<Address>> {
        self.masters.get(usize::from(slot))?.as_ref()
    }

    /// Returns all masters that have slots, in order.
    pub(super) fn masters(&self) -> BTreeSet<Address> {
        let mut owners = Vec::from_iter(self.masters.iter().flatten());
        owners.dedup_by(|one, other| Arc::ptr_eq(one, other));
        owners.into_iter().map(|owner| (**owner).clone()).collect()
    }

    /// Counts the replicas in the reply to `CLUSTER NODES`, which names those too that have failed.
    pub(super) fn count_replicas(&mut self, nodes: &str) {
        let mut replicas = HashMap::new();
        for node in nodes.lines() {
            let mut words = node.split(' ').skip(2);
            if let (Some(flags), Some(master)) = (words.next(), words.next())
                && flags.split(',').any(|flag| flag == "slave")
            {
                *replicas.entry(master.to_owned()).or_default() += 1;
            }
        }
        self.replicas = Some(replicas);
    }

    /// Returns how many replicas the master of a slot has, if that is known.
    pub(super) fn replicas(&self, slot: u16) -> Option<u32> {
        let id = self.ids.get(&**self.master(slot)?)?;
        let replicas = self.replicas.as_ref()?.get(id);
        Some(replicas.copied().unwrap_or_default())
    }

    /// Returns whether that master has that id.
    pub(super) fn has_id(&self, master: &Address, id: &str) -> bool {
        self.ids.get(master).is_some_and(|known| known == id)
    }

    /// Returns a slot of that master.
    pub(super) fn slot_of(&self, master: &Address) -> Option<u16> {
        (0..SLOTS).find(|slot| self.master(*slot).is_some_and(|known| **known == *master))
    }
}

/// Returns a number of the node at that address.
pub(crate) fn number_of(address: &Address) -> u64 {
    let mut hasher = DefaultHasher::new();
    address.hash(&mut hasher);
    hasher.finish()
}

/// Parses a range: its slots, the master and its id.
fn parse_range(
    range: &Value,
    answered_by: &str,
) -> Option<(RangeInclusive<u16>, Address, Option<String>)> {
    let Value::Array(parts) = range else {
        return None;
    };
    let [first, last, master, ..] = parts.as_slice() else {
        return None;
    };
    let slot = |value: &Value| {
        let slot = text(value)?.parse::<u16>().ok()?;
        (slot < SLOTS).then_some(slot)
    };
    let Value::Array(master) = master else {
        return None;
    };
    let [host, port, rest @ ..] = master.as_slice() else {
        return None;
    };
    let host = match host {
        Value::Nil => String::new(),
        host => text(host)?,
    };
    let port = text(port)?.parse::<u16>().ok().filter(|port| 0 < *port)?;
    let slots = slot(first)?..=slot(last)?;
    let master = announced(&host, port, answered_by)?;
    Some((slots, master, rest.first().and_then(text)))
}

/// Returns an announced address. Without a host it has the host that answered.
fn announced(host: &str, port: u16, answered_by: &str) -> Option<Address> {
    match host {
        // The node has no host name, and its cluster announces nothing else.
        "?" => None,
        "" => Some((answered_by.to_owned(), port)),
        host => Some((host.to_owned(), port)),
    }
}

/// A redirection to another node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Redirection {
    /// The slot belongs to that node.
    Moved(u16, Address),
    /// The key may be at that node, since its slot is moving there.
    Ask(Address),
}

impl Redirection {
    /// Parses the error of a node: `MOVED 3999 10.0.0.1:6379`, or `ASK` likewise. An explanation may
    /// follow after a colon.
    pub(crate) fn parse(error: &str, answered_by: &str) -> Option<Self> {
        let mut words = error.split([' ', '\r', '\n']);
        let (word, slot, address) = (words.next()?, words.next()?, words.next()?);
        let (host, port) = address.trim_end_matches(':').rsplit_once(':')?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let port = port.parse().ok().filter(|port| 0 < *port)?;
        let address = announced(host, port, answered_by)?;
        let slot = slot.parse().ok().filter(|slot| *slot < SLOTS)?;
        match word {
            "MOVED" => Some(Self::Moved(slot, address)),
            "ASK" => Some(Self::Ask(address)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bulk(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    fn range(first: i64, last: i64, host: Value, port: i64) -> Value {
        let master = Value::Array(vec![host, Value::Int(port), bulk("id")]);
        let replica = Value::Array(vec![bulk("replica"), Value::Int(1), bulk("id")]);
        Value::Array(vec![Value::Int(first), Value::Int(last), master, replica])
    }

    fn address(host: &str, port: u16) -> Address {
        (host.to_owned(), port)
    }

    #[test]
    fn every_slot_has_its_master() {
        let reply = Value::Array(vec![
            range(0, 5_000, bulk("a"), 7_000),
            range(5_001, 16_383, bulk("::1"), 7_001),
        ]);
        let mut map = SlotMap::parse(&reply, "asked").unwrap();
        assert_eq!(
            map.master(5_000).map(|known| &**known),
            Some(&address("a", 7_000))
        );
        assert_eq!(
            map.master(5_001).map(|known| &**known),
            Some(&address("::1", 7_001))
        );
        assert_eq!(map.master(16_384), None);
        map.set_master(5_000, address("b", 1));
        assert_eq!(
            map.master(5_000).map(|known| &**known),
            Some(&address("b", 1))
        );
        assert_eq!(map.slot_of(&address("::1", 7_001)), Some(5_001));
        assert_eq!(map.masters().len(), 3);
        map.set_master(5_000, address("a", 7_000));
        assert_eq!(map.masters().len(), 2);
    }

    #[test]
    fn failed_replicas_count_too() {
        let reply = Value::Array(vec![range(0, 9, bulk("a"), 7_000)]);
        let mut map = SlotMap::parse(&reply, "asked").unwrap();
        assert_eq!(map.replicas(0), None);
        map.count_replicas(
            "id a:7000@17000 myself,master - 0 0 1 connected 0-9\n\
             r1 b:7000@17000 slave id 0 0 1 connected\n\
             r2 c:7000@17000 slave,fail id 0 0 1 disconnected\n\
             r3 d:7000@17000 slave other 0 0 1 connected\n",
        );
        assert_eq!((map.replicas(0), map.replicas(10)), (Some(2), None));
        map.count_replicas("");
        assert_eq!(map.replicas(0), Some(0));
    }

    #[test]
    fn node_without_host_has_the_answering_one() {
        let reply = Value::Array(vec![
            range(0, 1, bulk(""), 7_000),
            range(2, 3, Value::Nil, 7_001),
            range(4, 5, bulk("?"), 7_001),
        ]);
        let map = SlotMap::parse(&reply, "asked").unwrap();
        let masters = [0, 2, 4].map(|slot| map.master(slot).map(|master| (**master).clone()));
        let asked = |port| Some(address("asked", port));
        assert_eq!(masters, [asked(7_000), asked(7_001), None]);
    }

    #[test]
    fn invalid_ranges_are_left_out() {
        let reply = Value::Array(vec![
            range(-1, 5, bulk("a"), 7_000),
            range(6, 16_384, bulk("a"), 7_000),
            range(7, 8, bulk("a"), 0),
            range(9, 10, bulk("a"), 65_536),
            range(12, 11, bulk("a"), 7_000),
            range(13, 13, Value::Int(3), 7_000),
            Value::Array(vec![Value::Int(14)]),
            Value::Nil,
        ]);
        let map = SlotMap::parse(&reply, "asked").unwrap();
        let known = (0..SLOTS).filter(|slot| map.master(*slot).is_some());
        assert_eq!(known.collect::<Vec<_>>(), [13]);
        assert_eq!(SlotMap::parse(&Value::Okay, "asked"), None);
    }

    #[test]
    fn no_slot_is_listed_twice() {
        for (last, next) in [(16_383, 16_383), (5_000, 5_000), (16_383, 0)] {
            let ranges = vec![
                range(0, last, bulk("a"), 1),
                range(next, 16_383, bulk("b"), 1),
            ];
            assert_eq!(SlotMap::parse(&Value::Array(ranges), "asked"), None);
        }
    }

    #[test]
    fn redirections_name_slot_and_node() {
        let parse = |error: &str| Redirection::parse(error, "asked");
        for (host, expected) in [
            ("10.0.0.1", "10.0.0.1"),
            ("::1", "::1"),
            ("[::1]", "::1"),
            ("", "asked"),
        ] {
            let moved = parse(&format!("MOVED 3999 {host}:6381"));
            let expected = address(expected, 6_381);
            assert_eq!(moved, Some(Redirection::Moved(3_999, expected.clone())));
            let ask = parse(&format!("ASK 3999 {host}:6381"));
            assert_eq!(ask, Some(Redirection::Ask(expected)));
        }
        for other in [
            "MOVED",
            "MOVED 1",
            "MOVED x a:1",
            "MOVED 16384 a:1",
            "MOVED 1 a",
            "MOVED 1 a:0",
            "MOVED 1 a:65536",
            "MOVED 1 ?:6379",
            "TRYAGAIN Multiple keys request",
            "",
        ] {
            assert_eq!(parse(other), None, "{other}");
        }
    }
}
