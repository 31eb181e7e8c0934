//! Failures of the rules.

use super::Caught::Core;
use super::Defect;

const STEPS: &str = "crates/arbiter-lock-core/src/resource/steps.rs";
const HAND_OVER: &str = "crates/arbiter-lock-core/src/resource/hand_over.rs";
const QUEUE: &str = "crates/arbiter-lock-core/src/resource/queue.rs";
const HOLDS: &str = "crates/arbiter-lock-core/src/resource/holds.rs";
const FENCE: &str = "crates/arbiter-lock-core/src/resource/fence.rs";
const SHARING: &str = "crates/arbiter-lock-core/src/resource/sharing.rs";
const LEASE: &str = "crates/arbiter-lock-core/src/lease.rs";

pub(crate) const DEFECTS: &[Defect] = &[
    Defect {
        name: "a renewal names its owner only, and prolongs another hold of the same request",
        file: STEPS,
        was: "match found.filter(|hold| hold.fence == Some(fence)) {\n            None => Renewed",
        put_back: "match found {\n            None => Renewed",
        caught_by: Core(&["a_renewal_has_to_name_owner_and_fence_and_creates_nothing"]),
    },
    Defect {
        name: "an abandoned acquire leaves no tombstone, and is granted when it arrives late",
        file: STEPS,
        was: "if tombstone {\n            self.bury(id, now);\n        }",
        put_back: "let _ = tombstone;",
        caught_by: Core(&["an_acquire_that_meets_a_tombstone_leaves_nothing"]),
    },
    Defect {
        name: "an acquire heeds no tombstone",
        file: STEPS,
        was: "if self.is_buried(id) {\n            let handed = self.hand_over(now, None, reach);\n            return Answer::only(Acquired::Ended).after(handed.granted);\n        }",
        put_back: "",
        caught_by: Core(&["an_acquire_that_meets_a_tombstone_leaves_nothing"]),
    },
    Defect {
        name: "a try barges past those who wait",
        file: STEPS,
        was: "!again && !waits && self.root().waiting == 0 && self.admits(contender.mode)",
        put_back: "!again && !waits && self.admits(contender.mode)",
        caught_by: Core(&["a_try_to_read_does_not_barge_past_a_writer_that_waits"]),
    },
    Defect {
        name: "a release wakes nobody",
        file: STEPS,
        was: "(false, false) => Ended::NotYours,\n        };\n        let Handed { granted, again, .. } = self.hand_over(now, None, reach);",
        put_back: "(false, false) => Ended::NotYours,\n        };\n        let Handed { granted, again, .. } = Handed::default();\n        let _ = reach;",
        caught_by: Core(&["a_release_hands_over_to_the_first_in_order_for_a_first_life"]),
    },
    Defect {
        name: "a lapse hands over to nobody: who looks next is only queued",
        file: STEPS,
        was: "let handed = self.hand_over(now, Some(&caller), reach);\n        self.acquired",
        put_back: "let handed = Handed::default();\n        let _ = (reach, caller);\n        self.acquired",
        caught_by: Core(&["stopped_waiters_cost_one_first_life_together_and_not_one_each"]),
    },
    Defect {
        name: "a waiter that gave up stays queued",
        file: STEPS,
        was: "let waited = self.leave(id);",
        put_back: "let waited = self.has_place(id);",
        caught_by: Core(&["a_waiter_that_leaves_hands_over_for_the_others_when_the_lock_is_free"]),
    },
    Defect {
        name: "an end by a foreign owner's name ends a foreign hold",
        file: STEPS,
        was: "let hold = self.hold_of(id).filter(|hold| hold.fence.is_some());",
        put_back: "let hold = self.hold_of(id);",
        caught_by: Core(&["a_foreign_holder_is_waited_for_and_nothing_of_ours_ends_it"]),
    },
    Defect {
        name: "a holder that was asked to stop is renewed all the same",
        file: STEPS,
        was: "Some(hold) if hold.stopping => Renewed::Stopping {",
        put_back: "Some(hold) if hold.stopping && hold.weight == u32::MAX => Renewed::Stopping {",
        caught_by: Core(&["a_break_at_once_hands_over_and_an_asked_holder_is_prolonged_no_more"]),
    },
    Defect {
        name: "who listens is taken for alive",
        file: HAND_OVER,
        was: "if !self.is_live(&waiter, now) && !is_caller {",
        put_back: "if !self.is_live(&waiter, now) && !is_caller && !reach(&waiter.contender.channel) {",
        caught_by: Core(&["a_waiter_that_has_not_looked_for_two_and_a_half_seconds"]),
    },
    Defect {
        name: "one that nobody can reach is granted",
        file: HAND_OVER,
        was: "} else if !is_caller && !reach(&waiter.contender.channel) {\n            Head::PassedOver(waiter)\n        } else {",
        put_back: "} else {",
        caught_by: Core(&["a_deaf_waiter_is_passed_over_until_it_looks"]),
    },
    Defect {
        name: "a grant by push lives a full lease before anybody has claimed it",
        file: HAND_OVER,
        was: "let life_ms = if has_queued {\n            first_life_ms(contender.lease_ms)",
        put_back: "let life_ms = if has_queued {\n            contender.lease_ms",
        caught_by: Core(&["a_release_hands_over_to_the_first_in_order_for_a_first_life"]),
    },
    Defect {
        name: "a large request at the head is overtaken by small ones for ever",
        file: HAND_OVER,
        was: "} else if !self.admits(waiter.contender.mode) {\n            Head::Stays",
        put_back: "} else if !self.admits(waiter.contender.mode) {\n            Head::PassedOver(waiter)",
        caught_by: Core(&["a_large_request_at_the_head_is_not_overtaken_by_small_ones"]),
    },
    Defect {
        name: "only one of many readers is woken",
        file: HAND_OVER,
        was: "Head::Granted(waiter) => self.grant_head(now, waiter, caller, &mut handed),",
        put_back: "Head::Granted(waiter) => {\n                    self.grant_head(now, waiter, caller, &mut handed);\n                    return handed;\n                }",
        caught_by: Core(&["a_reader_behind_a_waiting_writer_waits_so_that_neither_starves"]),
    },
    Defect {
        name: "a grant keeps its place in the queue",
        file: QUEUE,
        was: ".or(carried.filter(|_| !consumed))",
        put_back: ".or(carried.filter(|_| !consumed || consumed))",
        caught_by: Core(&["a_grant_consumes_the_place"]),
    },
    Defect {
        name: "dead waiters at the head cost one claim window each",
        file: QUEUE,
        was: "root.floor = root.floor.max(root.latest_grant.take());",
        put_back: "root.latest_grant = None;",
        caught_by: Core(&["stopped_waiters_cost_one_first_life_together_and_not_one_each"]),
    },
    Defect {
        name: "a dead sharer costs the living their turn, since a later grant was ended",
        file: QUEUE,
        was: "} else if self.root().latest_grant == hold.since {",
        put_back: "} else if self.root().latest_grant < None {",
        caught_by: Core(&[
            "who_has_looked_since_the_grant_that_lapses_keeps_its_turn_whatever_was_granted_later",
        ]),
    },
    Defect {
        name: "a dead sharer costs the living their turn, since a later grant stands",
        file: QUEUE,
        was: "lapsed.iter().filter_map(|hold| hold.since).max()",
        put_back: "root.latest_grant",
        caught_by: Core(&[
            "who_has_looked_since_the_grant_that_lapses_keeps_its_turn_whatever_was_granted_later",
        ]),
    },
    Defect {
        name: "tickets follow a clock that steps back, and newcomers barge",
        file: QUEUE,
        was: "now.as_micros().max(last.map_or(0, |w| w.ticket) + 1)",
        put_back: "last.map_or(now.as_micros(), |_| now.as_micros())",
        caught_by: Core(&["tickets_rise_above_everyone_who_waits_when_the_clock_steps_back"]),
    },
    Defect {
        name: "a fence is the clock alone",
        file: FENCE,
        was: "now.as_micros().max(last + 1)",
        put_back: "last.min(0).max(now.as_micros())",
        caught_by: Core(&["fences_rise_across_lapse_release_loss_and_steps_back_of_the_clock"]),
    },
    Defect {
        name: "the last fence is forgotten a second after it",
        file: FENCE,
        was: "const MEMORY: u64 = 61;",
        put_back: "const MEMORY: u64 = 1;",
        caught_by: Core(&["the_last_fence_is_remembered_for_a_minute"]),
    },
    Defect {
        name: "a fence ahead of the clock is forgotten before the clock has caught up",
        file: FENCE,
        was: "(fence / 1_000_000 + MEMORY) * 1_000",
        put_back: "(now.as_micros() / 1_000_000 + MEMORY) * 1_000",
        caught_by: Core(&[
            "a_fence_ahead_of_the_clock_is_remembered_until_the_clock_has_caught_up",
        ]),
    },
    Defect {
        name: "a repeated acquire shortens a life",
        file: HOLDS,
        was: ".map_or(life_ms, |left| left.max(life_ms))",
        put_back: ".map_or(life_ms, |_| life_ms)",
        caught_by: Core(&["a_claim_makes_a_first_life_full_and_never_shortens_a_life"]),
    },
    Defect {
        name: "permits are counted without the weight that is asked for",
        file: HOLDS,
        was: "held.weight + u64::from(weight.get()) <= limit.get().into()",
        put_back: "held.weight + u64::from(weight.get()) / 64 < limit.get().into()",
        caught_by: Core(&["a_permit_is_counted_with_its_weight_and_given_back_once"]),
    },
    Defect {
        name: "a writer comes in among readers",
        file: HOLDS,
        was: "            _ => false,\n        }\n    }",
        put_back: "            (None, Some(_), Mode::Exclusive) => true,\n            _ => false,\n        }\n    }",
        caught_by: Core(&["readers_overlap_and_a_writer_waits_for_the_last"]),
    },
    Defect {
        name: "a crashed reader lives on by the renewals of the others",
        file: HOLDS,
        was: "lapsed.iter().for_each(|hold| self.drop_hold(hold));",
        put_back: "let longest = self.rows.last_to_lapse(1).pop();\n        if longest.is_some_and(|hold| hold.stands(now)) {\n            return Vec::new();\n        }\n        lapsed.iter().for_each(|hold| self.drop_hold(hold));",
        caught_by: Core(&["every_reader_has_a_lease_of_its_own"]),
    },
    Defect {
        name: "permits are given back twice",
        file: HOLDS,
        was: "sharing.weight -= u64::from(hold.weight);",
        put_back: "sharing.weight = sharing.weight.saturating_sub(2 * u64::from(hold.weight));",
        caught_by: Core(&["a_permit_is_counted_with_its_weight_and_given_back_once"]),
    },
    Defect {
        name: "an operator breaks another hold than the one that was seen",
        file: HOLDS,
        was: "Some(hold).filter(|hold| hold.fence == Some(fence)).cloned()",
        put_back: "Some(hold).filter(|hold| hold.fence.is_some() || fence == 0).cloned()",
        caught_by: Core(&["a_break_at_once_hands_over_and_an_asked_holder_is_prolonged_no_more"]),
    },
    Defect {
        name: "a writer steps down from a hold of another fence",
        file: SHARING,
        was: "let Some(mut hold) = found.filter(|hold| hold.fence == Some(fence)) else {",
        put_back: "let Some(mut hold) = found.filter(|hold| hold.fence.is_some() || fence == 0) else {",
        caught_by: Core(&["nobody_steps_down_from_a_hold_that_is_not_theirs"]),
    },
    Defect {
        name: "a late answer to a renewal moves the deadline back",
        file: LEASE,
        was: "self.deadline = self.deadline.max(sent.saturating_add(life));",
        put_back: "self.deadline = sent.saturating_add(life);",
        caught_by: Core(&["a_deadline_counts_from_the_sending_and_never_moves_back"]),
    },
    Defect {
        name: "a holder is told at the end of its lease and no sooner",
        file: LEASE,
        was: "self.deadline.saturating_sub(self.margin)",
        put_back: "self.deadline.max(self.margin)",
        caught_by: Core(&["a_hold_is_lost_its_margin_before_the_deadline_and_not_before"]),
    },
    Defect {
        name: "the watchdog ends with the first renewal that fails",
        file: LEASE,
        was: "self.renewal = self.renewal.map(|_| again);",
        put_back: "self.renewal = self.renewal.filter(|_| again.is_zero());",
        caught_by: Core(&["a_failed_renewal_is_tried_again_and_ends_nothing_before_the_deadline"]),
    },
    Defect {
        name: "a waiter awaits the longest of the shared holds, not the first to expire",
        file: HOLDS,
        was: "self.rows.nth_to_expire(nth),",
        put_back: "self.rows.last_to_lapse(1).pop().map(|hold| hold.end()),",
        caught_by: Core(&["first_waiters_await_the_first_expiry"]),
    },
];
