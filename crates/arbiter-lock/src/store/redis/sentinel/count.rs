//! The number of sentinels at some addresses.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::super::target::Address;

/// The addresses of each host of the URL. A host that was never resolved is its own address.
pub(super) type Hosts = BTreeMap<Address, BTreeSet<Address>>;

/// Returns the least number of sentinels at the addresses of those hosts.
///
/// Hosts that share an address are one host. A host may have an address of each family for the same
/// sentinel, and may resolve to all sentinels.
pub(super) fn count<'a>(hosts: impl Iterator<Item = BTreeSet<&'a Address>>) -> usize {
    let mut apart: Vec<BTreeSet<&Address>> = Vec::new();
    for mut joined in hosts {
        apart.retain(|other| {
            let is_apart = other.is_disjoint(&joined);
            if !is_apart {
                joined.extend(other);
            }
            is_apart
        });
        apart.push(joined);
    }
    // Each address is in one set.
    let all = apart.iter().flatten();
    let families = all.filter_map(|(host, _)| host.parse().ok());
    let (v4, v6): (Vec<IpAddr>, Vec<IpAddr>) = families.partition(IpAddr::is_ipv4);
    apart.len().max(v4.len()).max(v6.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all_of(host: &BTreeSet<Address>) -> BTreeSet<&Address> {
        host.iter().collect()
    }

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
            assert_eq!(count(hosts.iter().map(all_of)), counted, "{hosts:?}");
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
            assert_eq!(count(hosts.iter().map(all_of)), counted, "{hosts:?}");
        }
        let ports = [1, 2].map(|port| BTreeSet::from([("10.0.0.1".to_owned(), port)]));
        assert_eq!(count(ports.iter().map(all_of)), 2);
    }
}
