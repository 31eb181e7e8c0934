//! The number of sentinels at some addresses.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::view::Address;

/// The addresses of each host of the URL. A host that was never resolved is its own address.
pub(super) type Hosts = BTreeMap<Address, BTreeSet<Address>>;

/// Returns the least number of sentinels at the addresses of those hosts.
///
/// Hosts that share an address are one host. A host may have an address of each family for the same
/// sentinel, and may resolve to all sentinels.
pub(super) fn count<'a>(hosts: impl Iterator<Item = &'a BTreeSet<Address>>) -> usize {
    let mut apart: Vec<BTreeSet<&Address>> = Vec::new();
    for host in hosts {
        let mut joined: BTreeSet<&Address> = host.iter().collect();
        apart.retain(|other| {
            let is_apart = other.is_disjoint(&joined);
            if !is_apart {
                joined.extend(other);
            }
            is_apart
        });
        apart.push(joined);
    }
    let all: BTreeSet<&Address> = apart.iter().flatten().copied().collect();
    let families = all.iter().filter_map(|(host, _)| host.parse().ok());
    let (v4, v6): (Vec<IpAddr>, Vec<IpAddr>) = families.partition(IpAddr::is_ipv4);
    apart.len().max(v4.len()).max(v6.len())
}

/// Returns how many sentinels have failed at those addresses, counted as [`count`] does.
///
/// Addresses with one id, or of one host of the URL, are one host. An address without either is a
/// host of its own.
pub(super) fn count_failed<'a>(
    failed: &BTreeSet<Address>,
    hosts: impl Iterator<Item = &'a BTreeSet<Address>>,
    ids: &BTreeMap<Address, String>,
) -> usize {
    let mut by_id: BTreeMap<&str, BTreeSet<Address>> = BTreeMap::new();
    for address in failed {
        if let Some(id) = ids.get(address) {
            by_id.entry(id).or_default().insert(address.clone());
        }
    }
    // One address stands for all that have the same id.
    let first = |address: &Address| {
        let same = ids.get(address).and_then(|id| by_id.get(id.as_str()));
        same.and_then(|same| same.first())
            .unwrap_or(address)
            .clone()
    };
    let of_host = |host: &BTreeSet<Address>| host.intersection(failed).map(first).collect();
    let mut groups: Vec<BTreeSet<Address>> = hosts.map(of_host).collect();
    groups.extend(failed.iter().map(|address| [first(address)].into()));
    groups.retain(|group| !group.is_empty());
    count(groups.iter())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(addresses: &[&str]) -> BTreeSet<Address> {
        addresses.iter().map(|a| ((*a).to_owned(), 1)).collect()
    }

    #[test]
    fn addresses_of_both_families_may_be_one_sentinel() {
        for (hosts, counted) in [
            (&[&["127.0.0.1", "::1"][..]][..], 1),
            (&[&["10.0.0.1", "10.0.0.2", "10.0.0.3"]], 3),
            (&[&["10.0.0.1", "10.0.0.2", "fd::1", "fd::2"]], 2),
            (&[&["10.0.0.1"], &["10.0.0.2"], &["unresolved"]], 3),
            (&[&["10.0.0.1"], &["fd::2"]], 2),
        ] {
            let hosts: Vec<_> = hosts.iter().map(|host| set(host)).collect();
            assert_eq!(count(hosts.iter()), counted, "{hosts:?}");
        }
    }

    #[test]
    fn hosts_with_a_common_address_count_once() {
        for (hosts, counted) in [
            (&[&["10.0.0.1"][..], &["10.0.0.1"]][..], 1),
            (&[&["10.0.0.1"], &["10.0.0.1"], &["10.0.0.2"]], 2),
            (&[&["10.0.0.1", "fd::1"], &["10.0.0.1"], &["fd::1"]], 1),
            (&[&["10.0.0.1"], &["fd::1"], &["10.0.0.1", "fd::1"]], 1),
            (&[&["unresolved"], &["also unresolved"]], 2),
        ] {
            let hosts: Vec<_> = hosts.iter().map(|host| set(host)).collect();
            assert_eq!(count(hosts.iter()), counted, "{hosts:?}");
        }
        let ports = [1, 2].map(|port| BTreeSet::from([("10.0.0.1".to_owned(), port)]));
        assert_eq!(count(ports.iter()), 2);
    }

    #[test]
    fn failures_of_one_sentinel_count_once() {
        let hosts = [set(&["10.0.0.1", "fd::1"]), set(&["10.0.0.2"])];
        let ids = [
            ("10.0.0.3", "c"),
            ("fd::3", "c"),
            ("10.0.0.4", "c"),
            ("fd::4", "d"),
        ];
        let ids = ids.map(|(host, id)| ((host.to_owned(), 1), id.to_owned()));
        let ids = BTreeMap::from(ids);
        for (failed, counted) in [
            (&[][..], 0),
            (&["10.0.0.1", "fd::1"], 1),
            (&["10.0.0.1", "fd::1", "10.0.0.2"], 2),
            (&["10.0.0.3", "fd::3", "10.0.0.4"], 1),
            (&["10.0.0.3", "fd::4"], 2),
            (&["10.0.0.1", "10.0.0.3"], 2),
            (&["10.0.0.8", "10.0.0.9"], 2),
        ] {
            assert_eq!(
                count_failed(&set(failed), hosts.iter(), &ids),
                counted,
                "{failed:?}"
            );
        }
    }
}
