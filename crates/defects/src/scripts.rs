//! Failures of the scripts on a server.

use super::Caught::{Lock, Unit};
use super::Defect;

/// The test that steps the scripts and the core side by side.
const COMPARED: &str = "scripts_match_core_in_every_transition";

pub(crate) const DEFECTS: &[Defect] = &[
    Defect {
        name: "a release deletes the hold of any owner",
        file: "crates/arbiter-lock/src/store/redis/lua/end_alone.lua",
        was: "local is_mine = held[1] == id and held[2]",
        put_back: "local is_mine = held[1] and held[2]",
        caught_by: Unit(&["every_step_is_idempotent", COMPARED]),
    },
    Defect {
        name: "a lock has no TTL",
        file: "crates/arbiter-lock/src/store/redis/lua/alone.lua",
        was: "call('PEXPIRE', lock, ttl)",
        put_back: "",
        caught_by: Unit(&["every_key_always_has_a_ttl"]),
    },
    Defect {
        name: "a queue has no TTL",
        file: "crates/arbiter-lock/src/store/redis/lua/queue.lua",
        was: "  call('ZADD', queue, ...)\n  call('PEXPIRE', queue, 60000)",
        put_back: "  call('ZADD', queue, ...)",
        caught_by: Unit(&["every_key_always_has_a_ttl"]),
    },
    Defect {
        name: "a queue loses its TTL when the record of a skipped waiter replaces its only record",
        file: "crates/arbiter-lock/src/store/redis/lua/queue.lua",
        was: "call('ZADD', queue, text(-tonumber(head[2])), 'p' .. body)",
        put_back: "call('ZREM', queue, head[1])\n      call('ZADD', queue, text(-tonumber(head[2])), 'p' .. body)",
        caught_by: Unit(&["queue_keeps_ttl_when_its_record_changes"]),
    },
    Defect {
        name: "a queue loses its TTL when the liveness cutoff replaces its only record",
        file: "crates/arbiter-lock/src/store/redis/lua/queue.lua",
        was: "call('ZREM', queue, 'f')\n    call('ZADD', queue, text(low), 'f')\n    if not sharing then\n      call('ZREM', queue, 'g')\n    end",
        put_back: "if not sharing then\n      call('ZREM', queue, 'g')\n    end\n    call('ZADD', queue, text(low), 'f')",
        caught_by: Unit(&["queue_keeps_ttl_when_its_record_changes"]),
    },
    Defect {
        name: "a renewal extends the hold of any owner",
        file: "crates/arbiter-lock/src/store/redis/lua/renew.lua",
        was: "elseif held[1] ~= owner or held[2] ~= fence then",
        put_back: "elseif not held[1] then",
        caught_by: Unit(&[COMPARED]),
    },
    Defect {
        name: "a bad name fails the renewals of all",
        file: "crates/arbiter-lock/src/store/redis/lua/renew.lua",
        was: "local held = redis.pcall('HMGET', lock, 'owner', 'fence', 'stopping')",
        put_back: "local held = redis.call('HMGET', lock, 'owner', 'fence', 'stopping')",
        caught_by: Unit(&["batch_of_renewals_survives_a_bad_key"]),
    },
    Defect {
        name: "a free lock is granted past its waiters",
        file: "crates/arbiter-lock/src/store/redis/lua/acquire_free.lua",
        was: "call('EXISTS', lock, queue) == 0",
        put_back: "call('EXISTS', lock) == 0",
        caught_by: Unit(&[COMPARED]),
    },
    Defect {
        name: "a missing right to publish undoes a release",
        file: "crates/arbiter-lock/src/store/redis/lua/end_passed.lua",
        was: "redis.pcall(is_of_slot and 'SPUBLISH' or 'PUBLISH', channel,",
        put_back: "redis.call('PUBLISH', channel,",
        caught_by: Unit(&["release_without_publish_right_still_grants_next"]),
    },
    Defect {
        name: "a release grants a waiter that has stopped polling",
        file: "crates/arbiter-lock/src/store/redis/lua/end_passed.lua",
        was: "local is_live = at and tonumber(now_text) + at <= 2500000 and at < cutoff",
        put_back: "local is_live = at and at < cutoff",
        caught_by: Unit(&[COMPARED]),
    },
    Defect {
        name: "a fence passes through a double's shortest form",
        file: "crates/arbiter-lock/src/store/redis/lua/fence.lua",
        was: "fence = string.format('%.0f', tonumber(before) + 1)",
        put_back: "fence = tostring(tonumber(before) + 1)",
        caught_by: Unit(&[COMPARED]),
    },
    Defect {
        name: "other data under the name is taken for a free lock",
        file: "crates/arbiter-lock/src/store/redis/lua/acquire.lua",
        was: "if not held[1] and call('EXISTS', lock) == 1 then\n    return {'other-data'}\n  end",
        put_back: "",
        caught_by: Unit(&["external_data_is_an_error_and_stays_untouched"]),
    },
    Defect {
        name: "a reader with a short lease shortens all leases",
        file: "crates/arbiter-lock/src/store/redis/lua/keep.lua",
        was: "redis.call('ZREVRANGE', share, 0, 0, 'WITHSCORES')[2]",
        put_back: "redis.call('ZRANGEBYSCORE', share, '(0', '+inf', 'WITHSCORES')[2]",
        caught_by: Unit(&[COMPARED]),
    },
    Defect {
        name: "a slow script writes to a key that has just expired",
        file: "crates/arbiter-lock/src/store/redis/lua/share.lua",
        was: "  keep(share, id, milli)\n  sharing.moved = true",
        put_back: "  call('PEXPIREAT', lock, text(milli))\n  call('PEXPIREAT', share, text(milli))\n  \
                   keep(share, id, milli)",
        caught_by: Unit(&["slow_script_keeps_ttls_and_grants_nothing_early"]),
    },
    Defect {
        name: "one call skips any number of dead waiters",
        file: "crates/arbiter-lock/src/store/redis/lua/queue.lua",
        was: "  for n = 0, 32 do",
        put_back: "  for n = 33, 3200 do",
        caught_by: Unit(&[COMPARED]),
    },
    Defect {
        name: "an acquire behind a holder barges past the waiters",
        file: "crates/arbiter-lock/src/store/redis/lua/acquire_held.lua",
        was: "and (has_ticket or call('ZCOUNT', queue, now_text, '+inf') == 0)",
        put_back: "",
        caught_by: Unit(&[COMPARED]),
    },
    Defect {
        name: "a follow-up of a release at the memory limit is refused",
        file: "crates/arbiter-lock/src/store/redis/lua/end_alone.lua",
        was: "  call('DEL', lock)\n  has_queue",
        put_back: "  call('HSET', lock, 'stopping', 1)\n  call('DEL', lock)\n  has_queue",
        caught_by: Lock(&[
            "sharers_are_renewed_at_the_memory_limit",
            "sharers_release_and_downgrade_at_the_memory_limit",
        ]),
    },
];
