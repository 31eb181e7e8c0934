//! Failures of clients of clusters whose slots move, or whose nodes lie.

use super::Caught::{Lock, Unit};
use super::Defect;

const CALLS: &str = "crates/arbiter-lock/src/store/redis/connection/calls.rs";

pub(crate) const DEFECTS: &[Defect] = &[
    Defect {
        name: "a redirection is not found in the failure that explains it",
        file: "crates/arbiter-lock/src/store/redis/cluster/map.rs",
        was: "address.trim_end_matches(':').rsplit_once(':')?;",
        put_back: "address.rsplit_once(':')?;",
        caught_by: Unit(&["redirection_is_found_in_its_failure"]),
    },
    Defect {
        name: "a script that a node does not know is sent again without ASKING",
        file: CALLS,
        was: "send(&by_source, left).await",
        put_back: "self.send(up, is_alone, left, |to| one(to, &by_source, false)).await",
        caught_by: Lock(&["hold_whose_key_moved_first_survives"]),
    },
    Defect {
        name: "a subscription that has ended before its confirmation is read counts",
        file: CALLS,
        was: "if channels.ended == ended {",
        put_back: "if ended <= channels.ended {",
        caught_by: Lock(&["subscription_that_ends_at_once_is_made_again"]),
    },
    Defect {
        name: "a message that a slot has left is taken for an answer",
        file: "crates/arbiter-lock/src/store/redis/frames.rs",
        was: "bytes[shown - 1] = b'E';",
        put_back: "bytes[shown - 1] = b'e';",
        caught_by: Lock(&["flood_of_ended_subscriptions_mixes_nothing_up"]),
    },
    Defect {
        name: "a renewal of an exclusive hold fails as long as its slot moves",
        file: "crates/arbiter-lock/src/store/redis/script.rs",
        was: "false => [keys.lock.as_str(), keys.lock.as_str()],",
        put_back: "false => [keys.lock.as_str(), keys.share.as_str()],",
        caught_by: Lock(&["hold_survives_a_begun_move"]),
    },
    Defect {
        name: "a downgrade loses the hold whose renewal it overtakes",
        file: "crates/arbiter-lock/src/holds/hold/state.rs",
        was: "renewal.may_share || !self.is_shared()",
        put_back: "renewal.may_share || self.fence == renewal.fence",
        caught_by: Lock(&["renewal_overtaken_by_a_downgrade_loses_nothing"]),
    },
    Defect {
        name: "a waiter whose slot has left waits for its next poll",
        file: "crates/arbiter-lock/src/store/redis/connection/messages.rs",
        was: "registry.poll_again(|waiting| waiting == channel);",
        put_back: "registry.poll_again(|waiting| waiting.is_empty());",
        caught_by: Lock(&["unsubscribed_waiter_polls_again_in_any_state"]),
    },
    Defect {
        name: "the map of a node that is cut off is used",
        file: "crates/arbiter-lock/src/store/redis/cluster/query.rs",
        was: "state.trim() == \"ok\"",
        put_back: "!state.trim().is_empty()",
        caught_by: Lock(&["map_of_a_failed_node_is_not_used"]),
    },
];
