//! Failures of clients of clusters: an old master kept, a new one noticed late, a dead node that
//! delays others.

use super::Caught::{Lock, Unit};
use super::Defect;

const CLUSTER: &str = "crates/arbiter-lock/src/store/redis/cluster.rs";
const QUERY: &str = "crates/arbiter-lock/src/store/redis/cluster/query.rs";
const NODES: &str = "crates/arbiter-lock/src/store/redis/nodes.rs";

pub(crate) const DEFECTS: &[Defect] = &[
    Defect {
        name: "a grant of a master that was replaced counts",
        file: "crates/arbiter-lock/src/store/redis/connection/messages.rs",
        was: "if self.route.node().is_none_or(|of| of.is(node)) {",
        put_back: "if self.route.node().is_none_or(|of| node.is_none() || !of.is(Some(\"\"))) {",
        caught_by: Lock(&["grant_of_another_node_is_ignored"]),
    },
    Defect {
        name: "a renewal that extends nothing writes nothing, and counts as acknowledged",
        file: "crates/arbiter-lock/src/store/redis/lua/renew.lua",
        was: "  redis.call('PEXPIRE', lock, left)\n",
        put_back: "  if redis.call('PTTL', lock) < tonumber(left) then redis.call('PEXPIRE', lock, left) end\n",
        caught_by: Unit(&["repeated_acquires_and_renewals_write"]),
    },
    Defect {
        name: "connections to a master that was replaced stay open",
        file: CLUSTER,
        was: "retire_all(&retired);",
        put_back: "drop(retired);",
        caught_by: Lock(&["graceful_failover_keeps_holds_and_queue_order"]),
    },
    Defect {
        name: "a node that hangs delays every query for the slot map",
        file: QUERY,
        was: "Some(_) if is_last && self.unanswered.is_subset(&self.slow) => break,\n                None if is_last => Duration::MAX,",
        put_back: "_ if is_last => Duration::MAX,",
        caught_by: Lock(&["paused_master_is_replaced_and_grants_nothing"]),
    },
    Defect {
        name: "a node that does not know of a move yet is asked for the slot map",
        file: CLUSTER,
        was: "state.named = Some(master);",
        put_back: "drop(master);",
        caught_by: Lock(&["redirection_outweighs_a_node_that_lags"]),
    },
    Defect {
        name: "the slot map of a node that is cut off counts",
        file: QUERY,
        was: "(true, epoch) <= self.rank()",
        put_back: "epoch <= self.epoch",
        caught_by: Lock(&["map_of_a_cut_off_node_is_ignored"]),
    },
    Defect {
        name: "a try fails on a dead node whose slots another one has",
        file: NODES,
        was: "refreshed.is_ok() && master.is_some_and",
        put_back: "refreshed.is_err() && master.is_some_and",
        caught_by: Lock(&["stale_map_with_one_node_left_is_renewed"]),
    },
    Defect {
        name: "renewals to one server that does not answer delay those to others",
        file: "crates/arbiter-lock/src/keeper/table.rs",
        was: "self.calls.get(&server).copied().unwrap_or_default()\n    }",
        put_back: "self.calls.values().sum::<usize>() + usize::from(server == u64::MAX)\n    }",
        caught_by: Unit(&["unanswered_calls_delay_no_other_server"]),
    },
    Defect {
        name: "a message counted as an answer is forgotten by the next one",
        file: "crates/arbiter-lock/src/store/redis/connection/messages.rs",
        was: "self.state.fetch_max(IGNORED, Ordering::AcqRel);",
        put_back: "self.state.store(IGNORED, Ordering::Release);",
        caught_by: Lock(&["message_counted_as_answer_mixes_nothing_up"]),
    },
    Defect {
        name: "a lower epoch that a single node reports counts",
        file: QUERY,
        was: "let enough = MOST_ANSWERS.min(known.len() / 2 + 1);",
        put_back: "let enough = MOST_ANSWERS.min(known.len() / 99);",
        caught_by: Lock(&["single_node_that_lags_is_ignored"]),
    },
    Defect {
        name: "a grant to a later poll counts without acknowledgement",
        file: "crates/arbiter-lock/src/waiting/mod.rs",
        was: "Next::Granted(validity) if needed.is_needed() =>",
        put_back: "Next::Granted(validity) if self.attempt.options.acknowledgement.is_needed() =>",
        caught_by: Lock(&["grant_to_a_later_poll_is_acknowledged"]),
    },
];
