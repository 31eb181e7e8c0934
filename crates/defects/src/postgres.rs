//! Failures of locks in a database: stale writes, lost updates, primaries that were replaced.

use super::Caught::{Lock, Unit};
use super::Defect;

const GUARD: &str = "crates/arbiter-lock/src/store/postgres/sql/guard.sql";
const SWAP: &str = "crates/arbiter-lock/src/store/postgres/sql/swap.sql";

pub(crate) const DEFECTS: &[Defect] = &[
    Defect {
        name: "a guard compares the fence and locks nothing",
        file: GUARD,
        was: "n.fence = guard.fence FOR KEY SHARE;",
        put_back: "n.fence = guard.fence;",
        caught_by: Lock(&["hand_off_waits_for_the_guarded_transaction"]),
    },
    Defect {
        name: "a guard accepts a hold that has expired",
        file: GUARD,
        was: "IF ends * 1000 + 999 < {schema}.now_us() THEN",
        put_back: "IF ends * 1000 + 999 < 0 THEN",
        caught_by: Lock(&["expired_hold_is_not_guarded_any_more"]),
    },
    Defect {
        name: "a change is written over that of another client",
        file: SWAP,
        was: "n.revision = d.expected\n      WHERE d.name <> ALL(ends)",
        put_back: "true\n      WHERE d.name <> ALL(ends)",
        caught_by: Unit(&[
            "swap_at_old_revision_is_refused",
            "interleaved_clients_match_core",
        ]),
    },
    Defect {
        name: "a grant is as durable as the role's settings",
        file: SWAP,
        was: "PERFORM set_config('synchronous_commit', 'on', true);",
        put_back: "NULL;",
        caught_by: Lock(&["grants_are_durable_whatever_the_role_sets"]),
    },
    Defect {
        name: "a release relies on the memory of its client",
        file: "crates/arbiter-lock/src/store/postgres/exchange.rs",
        was: ".filter(|applied| applied.needs_writing)",
        put_back: ".filter(|_| true)",
        caught_by: Lock(&["acquire_dropped_after_any_poll_leaves_nothing"]),
    },
    Defect {
        name: "a primary that was replaced is used again",
        file: "crates/arbiter-lock/src/store/postgres/database.rs",
        was: "if timeline < servers.timeline {",
        put_back: "if timeline < servers.timeline && timeline == 0 {",
        caught_by: Lock(&["returned_old_primary_is_never_used"]),
    },
];
