//! Checks of what a server reports.

use super::*;
use crate::store::diagnosis::CheckStatus;

fn facts(info: &[(&str, &str)], config: &[(&str, &str)]) -> Facts {
    let map = |pairs: &[(&str, &str)]| {
        let pairs = pairs
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        pairs.collect::<HashMap<_, _>>()
    };
    Facts {
        info: map(info),
        config: map(config),
        may_scan: true,
        ..Facts::default()
    }
}

fn status(facts: &Facts, name: &str, lease: u64, watched: &Watched) -> CheckStatus {
    let checks = facts.checks(Duration::from_secs(lease), watched);
    checks
        .iter()
        .find(|check| check.name == name)
        .unwrap()
        .status
}

const SENTINELS: Watched = Watched::BySentinels {
    down_after: Some(Duration::from_secs(5)),
    heard: 3,
    known: 3,
};

#[test]
fn evicting_policy_is_a_failure_at_a_limit() {
    for (policy, limit, expected) in [
        ("noeviction", "1000", CheckStatus::Ok),
        ("volatile-lru", "0", CheckStatus::Warning),
        ("volatile-ttl", "1000", CheckStatus::Failure),
        ("allkeys-lru", "1000", CheckStatus::Failure),
    ] {
        let info = [("maxmemory_policy", policy), ("maxmemory", limit)];
        assert_eq!(
            status(&facts(&info, &[]), "memory", 30, &Watched::Not),
            expected
        );
    }
}

#[test]
fn plain_url_of_a_group_is_a_warning() {
    let alone = facts(&[("connected_slaves", "0")], &[]);
    assert_eq!(status(&alone, "mode", 30, &Watched::Not), CheckStatus::Ok);
    let group = facts(&[("connected_slaves", "1")], &[]);
    assert_eq!(
        status(&group, "mode", 30, &Watched::Not),
        CheckStatus::Warning
    );
    assert_eq!(status(&group, "mode", 30, &SENTINELS), CheckStatus::Ok);
}

#[test]
fn lease_has_to_outlast_the_failover() {
    let node = facts(&[], &[("cluster-node-timeout", "15000")]);
    for (lease, expected) in [(30, CheckStatus::Ok), (10, CheckStatus::Warning)] {
        assert_eq!(
            status(&node, "failover", lease, &Watched::ByCluster),
            expected
        );
    }
    for (lease, expected) in [(30, CheckStatus::Ok), (9, CheckStatus::Warning)] {
        assert_eq!(status(&node, "failover", lease, &SENTINELS), expected);
    }
}

#[test]
fn writes_without_replicas_are_warned_of() {
    let replicas = ("connected_slaves", "2");
    let good = ("min_slaves_good_slaves", "2");
    for (info, lag, expected) in [
        (&[replicas][..], "1", CheckStatus::Warning),
        (&[replicas, good], "1", CheckStatus::Ok),
        (&[replicas, good], "10", CheckStatus::Warning),
        (&[("connected_slaves", "0")], "1", CheckStatus::Warning),
    ] {
        let facts = facts(info, &[("min-replicas-max-lag", lag)]);
        assert_eq!(status(&facts, "replication", 30, &SENTINELS), expected);
    }
}

#[test]
fn stepping_clock_is_a_failure() {
    for (rate, ahead, expected) in [
        (0.01, 0.2, CheckStatus::Ok),
        (0.0, -3.0, CheckStatus::Warning),
        (0.5, 0.0, CheckStatus::Failure),
        (-0.5, 0.0, CheckStatus::Failure),
    ] {
        let facts = Facts {
            rate,
            ahead,
            ..facts(&[], &[])
        };
        assert_eq!(status(&facts, "clock", 30, &Watched::Not), expected);
    }
}

#[test]
fn facts_that_are_denied_are_not_known() {
    let denied = facts(&[], &[]);
    for name in ["memory", "persistence", "replication", "rights"] {
        assert_eq!(status(&denied, name, 30, &SENTINELS), CheckStatus::Warning);
    }
    for check in denied.checks(Duration::from_secs(30), &SENTINELS) {
        let says = |text: &str| check.message.contains(text);
        assert!(!says("snapshots") && !says("accepts writes"), "{check:?}");
    }
    // What INFO denies may be in the configuration.
    let config = [("maxmemory-policy", "noeviction"), ("appendonly", "yes")];
    let asked = facts(&[], &config);
    for name in ["memory", "persistence"] {
        assert_eq!(status(&asked, name, 30, &Watched::Not), CheckStatus::Ok);
    }
}
