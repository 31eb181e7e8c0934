//! Failures of clients of Sentinel groups: a single answer trusted, an old master kept.

use super::Caught::{Lock, Unit};
use super::Defect;

const REPLICAS: &str = "crates/arbiter-lock/src/store/redis/connection/replicas.rs";
const VIEW: &str = "crates/arbiter-lock/src/store/redis/sentinel/view.rs";
const CONNECTION: &str = "crates/arbiter-lock/src/store/redis/connection.rs";

pub(crate) const DEFECTS: &[Defect] = &[
    Defect {
        name: "a single sentinel decides which server is the master",
        file: VIEW,
        was: "self.known() < 2 * self.heard_since(since)",
        put_back: "0 < self.heard_since(since)",
        caught_by: Unit(&["majority_of_the_known_has_to_answer"]),
    },
    Defect {
        name: "the most votes decide, in any epoch",
        file: VIEW,
        was: "max_by_key(|master| (master.epoch, votes(master)));",
        put_back: "max_by_key(|master| votes(master));",
        caught_by: Unit(&["highest_epoch_wins_from_any_sentinel"]),
    },
    Defect {
        name: "a client returns to the master of an earlier epoch",
        file: VIEW,
        was: "Some(_) => self.known() <= heard.len(),",
        put_back: "Some(_) => true,",
        caught_by: Unit(&["lower_epoch_counts_only_if_all_report_one"]),
    },
    Defect {
        name: "a hold that the new master lacks lasts until its next renewal is due",
        file: "crates/arbiter-lock/src/keeper/task.rs",
        was: "shared.table().renew_all(shared.clock.now()),",
        put_back: "{}",
        caught_by: Lock(&["unreplicated_hold_is_lost_at_once"]),
    },
    Defect {
        name: "a client that is cut off with the old master renews there forever",
        file: CONNECTION,
        was: "false => Box::pin(self.0.check_replicas(up, limit)).await?,",
        put_back: "false => limit,",
        caught_by: Lock(&["client_cut_off_with_old_master_loses_holds"]),
    },
    Defect {
        name: "a master is trusted although a replica that it does not see may be promoted",
        file: REPLICAS,
        was: "is_without_lag && known.is_subset(&self.connected)",
        put_back: "!known.is_empty()",
        caught_by: Lock(&["master_without_a_replica_needs_the_sentinels"]),
    },
];
