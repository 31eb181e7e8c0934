//! Failures of the client: the validity of holds, and pending releases.

use super::Caught::{Lock, Unit};
use super::Defect;

const WAITING: &str = "crates/arbiter-lock/src/waiting/mod.rs";
const ATTEMPT: &str = "crates/arbiter-lock/src/waiting/attempt.rs";
const AGE: &str = "crates/arbiter-lock/src/waiting/age.rs";
const EVENT_QUEUE: &str = "crates/arbiter-lock/src/events/event/queue.rs";
const STATE: &str = "crates/arbiter-lock/src/holds/hold/state.rs";
const GUARD: &str = "crates/arbiter-lock/src/holds/guard.rs";
const OPERATOR: &str = "crates/arbiter-lock/src/primitives/lock/operator.rs";
const SESSION: &str = "crates/arbiter-lock/src/sessions/state.rs";
const OPTIONS: &str = "crates/arbiter-lock/src/primitives/options.rs";
const KEEPER: &str = "crates/arbiter-lock/src/keeper/mod.rs";
const KEEPER_TASK: &str = "crates/arbiter-lock/src/keeper/task.rs";
const PROCESS: &str = "crates/arbiter-lock/src/system/process.rs";
const LEAK_IN_CHILD: &str = "crates/arbiter-lock/src/system/process/leak_in_child.rs";
const RNG: &str = "crates/arbiter-lock/src/system/rng.rs";
const KEEPER_TABLE: &str = "crates/arbiter-lock/src/keeper/table.rs";
const LEASE: &str = "crates/arbiter-lock-core/src/lease.rs";
const FINISH: &str = "crates/arbiter-lock/src/keeper/finish.rs";

pub(crate) const DEFECTS: &[Defect] = &[
    Defect {
        name: "a deadline counts from the receipt of the grant",
        file: WAITING,
        was: "Ok(Next::Granted(Validity {\n                    fence,\n                    base: sent,",
        put_back: "Ok(Next::Granted(Validity {\n                    fence,\n                    base: sent.max(self.attempt.clock.now()),",
        caught_by: Lock(&["validity_counts_from_the_request_not_the_reply"]),
    },
    Defect {
        name: "a grant counts however long it was on its way",
        file: "crates/arbiter-lock/src/waiting/claim.rs",
        was: "if !self.attempt.is_valid(grant) {\n            return Ok(None);\n        }",
        put_back: "",
        caught_by: Lock(&["stopped_head_delays_next_at_most_three_seconds"]),
    },
    Defect {
        name: "a wait begins again with every poll",
        file: WAITING,
        was: "self.ticket = Some(ticket);",
        put_back: "self.ticket = Some(ticket);\n                self.end = self.end.map(|end| end + Duration::from_millis(500));",
        caught_by: Lock(&["timed_out_wait_names_holder_and_leaves_queue"]),
    },
    Defect {
        name: "a wait without limit hangs on a silent store",
        file: WAITING,
        was: "if self.end.is_none() && self.attempt.inner.store_timeout <= length {",
        put_back: "if self.end.is_none() && Duration::MAX <= length {",
        caught_by: Lock(&["silent_store_ends_unlimited_wait_after_30_seconds"]),
    },
    Defect {
        name: "a waiter forgets its ticket, and loses its place with the server's memory",
        file: WAITING,
        was: "ticket: self.ticket,\n        };\n        let limit",
        put_back: "ticket: None,\n        };\n        let limit",
        caught_by: Lock(&["waiters_keep_order_after_a_lost_queue"]),
    },
    Defect {
        name: "a hold forgets that an acquire of it is unanswered, and leaves no tombstone",
        file: ATTEMPT,
        was: "session: self.origin.session,\n            tombstone: 0 < self.unanswered,",
        put_back: "session: self.origin.session,\n            tombstone: false,",
        caught_by: Lock(&["random_faults_break_no_promise"]),
    },
    Defect {
        name: "a provisional TTL counts as a full lease",
        file: ATTEMPT,
        was: "            granted,\n            validity,",
        put_back: "            granted,\n            Validity { ttl: self.options.lease, ..validity },",
        caught_by: Lock(&[
            "grant_is_claimed_without_the_watchdog",
            "release_grants_the_next_and_it_is_claimed",
        ]),
    },
    Defect {
        name: "an acquire that is dropped unanswered is forgotten, and granted without a client",
        file: ATTEMPT,
        was: "if self.is_known || 0 < self.unanswered {",
        put_back: "if self.is_known {",
        caught_by: Lock(&["acquire_dropped_after_any_poll_leaves_nothing"]),
    },
    Defect {
        name: "a waiter that is dropped stays in the queue",
        file: ATTEMPT,
        was: "if self.is_known || 0 < self.unanswered {",
        put_back: "if 0 < self.unanswered {",
        caught_by: Lock(&["waiting_acquire_dropped_anytime_leaves_the_queue"]),
    },
    Defect {
        name: "a timed-out attempt is granted later, and not ended",
        file: ATTEMPT,
        was: "contender: self.contender.clone(),\n                tombstone: 0 < self.unanswered,",
        put_back: "contender: self.contender.clone(),\n                tombstone: self.unanswered == usize::MAX,",
        caught_by: Lock(&["acquire_delayed_past_its_wait_leaves_nothing"]),
    },
    Defect {
        name: "a dropped waiter stays registered",
        file: ATTEMPT,
        was: "self.handle.registry().remove(&self.contender.id);\n        if",
        put_back: "if",
        caught_by: Unit(&["ended_request_is_unregistered"]),
    },
    Defect {
        name: "a push is dated by the worst of the answers",
        file: AGE,
        was: "dated <= sent || now < dated",
        put_back: "sent <= dated || now < dated",
        caught_by: Unit(&["latest_date_counts_up_to_the_receipt"]),
    },
    Defect {
        name: "a push is dated later than its receipt",
        file: AGE,
        was: "base: made.max(self.first_sent).min(now),",
        put_back: "base: made.max(self.first_sent),",
        caught_by: Unit(&["latest_date_counts_up_to_the_receipt"]),
    },
    Defect {
        name: "a push is dated as if the server's clock ran as the local one",
        file: AGE,
        was: "const LOCAL_OF_51: i128 = 50;",
        put_back: "const LOCAL_OF_51: i128 = 51;",
        caught_by: Lock(&["cut_off_waiter_returns_no_expired_grant"]),
    },
    Defect {
        name: "a push is dated by an answer from before the server's clock was set forward",
        file: AGE,
        was: "dated <= sent || now < dated",
        put_back: "dated <= sent",
        caught_by: Unit(&["clock_set_forward_refutes_older_replies"]),
    },
    Defect {
        name: "a grant is not claimed, and expires",
        file: STATE,
        was: "let claim_due = (validity.ttl < options.lease).then(|| validity.ttl / 10);",
        put_back: "let claim_due = (validity.ttl < options.lease && validity.ttl.is_zero()).then(|| validity.ttl / 10);",
        caught_by: Lock(&["release_grants_the_next_and_it_is_claimed"]),
    },
    Defect {
        name: "a holder waits until the store reports the end of its lease",
        file: STATE,
        was: "(self.lease.end() <= now).then_some(reason)",
        put_back: "(self.lease.end() <= now && self.latest_end.is_zero()).then_some(reason)",
        caught_by: Lock(&["holder_stopped_past_its_lease_changes_nothing"]),
    },
    Defect {
        name: "an answer revives a hold that was given up",
        file: STATE,
        was: "if self.over().is_some() {\n            return; // lost is final\n        }\n        let renew_after = self.options.renew_after();\n        let ttl = ttl.min(self.options.lease);\n        if let Some(mut state) = self.local() {",
        put_back: "let renew_after = self.options.renew_after();\n        let ttl = ttl.min(self.options.lease);\n        if let Some(mut state) = self.local() {\n            state.over = None;",
        caught_by: Lock(&["late_reply_does_not_revive_a_lost_hold"]),
    },
    Defect {
        name: "the watchdog renews a worker that hangs forever",
        file: STATE,
        was: ".map_or(Duration::MAX, |d| begun.saturating_add(d));",
        put_back: ".map_or(Duration::MAX, |_| Duration::MAX);",
        caught_by: Lock(&["max_hold_ends_a_renewed_hold"]),
    },
    Defect {
        name: "a release whose answer is lost is not finished",
        file: GUARD,
        was: "let Envelope::<Ended> { reply, again, .. } = loop {",
        put_back: "self.is_ended = true;\n        let Envelope::<Ended> { reply, again, .. } = loop {",
        caught_by: Lock(&["release_dropped_after_any_poll_still_frees"]),
    },
    Defect {
        name: "a loss that a release detects is not reported",
        file: KEEPER,
        was: "if self.remove(hold) {\n            self.shared.report_end(hold);",
        put_back: "if self.remove(hold) && hold.is_shared() {\n            self.shared.report_end(hold);",
        caught_by: Lock(&["each_hold_logs_one_release_or_loss"]),
    },
    Defect {
        name: "the renewal of a released hold is reported",
        file: KEEPER_TASK,
        was: "if hold.over().is_some() {\n            return;",
        put_back: "if hold.over().is_some() && hold.is_shared() {\n            return;",
        caught_by: Lock(&["renewal_logs_nothing_after_the_release"]),
    },
    Defect {
        name: "a break grants only as many waiters as one step",
        file: OPERATOR,
        was: "if again {",
        put_back: "if again && reply == Broken::NotHeld {",
        caught_by: Lock(&["large_hand_offs_continue_beyond_one_step"]),
    },
    Defect {
        name: "a dropped guard frees nothing",
        file: GUARD,
        was: "if !self.is_ended && self.inner.check_process().is_ok() {",
        put_back: "if self.is_ended {",
        caught_by: Lock(&["dropped_guard_frees_and_dropped_wait_leaves"]),
    },
    Defect {
        name: "a nested acquire inherits another lease than it asked for",
        file: SESSION,
        was: "    if same {\n",
        put_back: "    if same || !same {\n",
        caught_by: Lock(&["session_refuses_other_settings_and_restarts_after_loss"]),
    },
    Defect {
        name: "an empty lease is sent",
        file: OPTIONS,
        was: "if *lease < Self::SHORTEST_LEASE || Self::LONGEST_LEASE < *lease {",
        put_back: "if *lease < Self::SHORTEST_LEASE && Self::LONGEST_LEASE < *lease {",
        caught_by: Lock(&["bad_input_is_refused_with_its_range"]),
    },
    Defect {
        name: "renewals run where the work blocks them",
        file: KEEPER,
        was: "Ok(runtime) if self.shared.clock.is_runtime() && !is_blocking() => {",
        put_back: "Ok(runtime) => {",
        caught_by: Lock(&["blocked_executor_does_not_lose_the_lock"]),
    },
    Defect {
        name: "a renewal counts from the receipt of its answer",
        file: KEEPER_TASK,
        was: "hold.confirm(sent, Duration::from_millis(ttl_ms));",
        put_back: "hold.confirm(sent.max(now), Duration::from_millis(ttl_ms));",
        caught_by: Lock(&["validity_counts_from_the_request_not_the_reply"]),
    },
    Defect {
        name: "a renewal that is refused is sent again at once",
        file: KEEPER_TASK,
        was: "if hold.fail(sent, now + pause, &failure) {",
        put_back: "if hold.fail(sent, now, &failure) {",
        caught_by: Lock(&["refused_renewal_is_retried_without_a_rush"]),
    },
    Defect {
        name: "a hold is given up at the first renewal that fails",
        file: KEEPER_TASK,
        was: "if hold.fail(sent, now + pause, &failure) {",
        put_back: "hold.give_up(LostReason::Unreachable);\n                if hold.fail(sent, now + pause, &failure) {",
        caught_by: Lock(&["renewal_under_any_fault_keeps_the_hold"]),
    },
    Defect {
        name: "a short lease leaves the renewals of others no time",
        file: KEEPER_TASK,
        was: ".renew(renewals.collect(), needed, Duration::MAX)",
        put_back: ".renew(renewals.collect(), needed, holds.iter().map(|(hold, _)| hold.validity_end().saturating_sub(sent) / 3).min().unwrap_or_default())",
        caught_by: Lock(&["short_leases_do_not_delay_a_long_one"]),
    },
    Defect {
        name: "one call that renews is under way at a time",
        file: KEEPER_TABLE,
        was: "pub(super) const MOST_CALLS: usize = 32;",
        put_back: "pub(super) const MOST_CALLS: usize = 1;",
        caught_by: Lock(&["four_thousand_short_holds_survive_high_latency"]),
    },
    Defect {
        name: "a renewal without an answer is not repeated before it has failed",
        file: LEASE,
        was: "self.postpone(sent.saturating_add(pause.max(SHORTEST_PAUSE)));",
        put_back: "self.postpone(sent.saturating_add(pause.max(SHORTEST_PAUSE) * 1_000));",
        caught_by: Unit(&["unanswered_renewal_is_repeated_a_few_times"]),
    },
    Defect {
        name: "a lease above half a minute is given up after a fast server has ended it",
        file: LEASE,
        was: "(ttl / 50 + ROUNDING).max(ROUNDING * 2)",
        put_back: "(ttl / 50).clamp(ROUNDING * 2, ROUNDING * 500)",
        caught_by: Lock(&["holds_end_before_a_fast_store_ends_them"]),
    },
    Defect {
        name: "a hold counts for the TTL of a server whose clock was set back",
        file: STATE,
        was: "let ttl = ttl.min(self.options.lease);",
        put_back: "",
        caught_by: Lock(&["clock_set_back_extends_no_validity"]),
    },
    Defect {
        name: "an end is sent once, and its failure is forgotten",
        file: FINISH,
        was: "Err(_) => tokio::time::sleep(backoff.next(rng::draw())).await,",
        put_back: "Err(_) => return drop(backoff.next(rng::draw())),",
        caught_by: Lock(&["silent_server_ends_waits_and_is_found_again"]),
    },
    Defect {
        name: "the pending releases of a dropped runtime wake no sleeping task",
        file: FINISH,
        was: "if is_left {",
        put_back: "if is_left && self.release.is_some() {",
        caught_by: Unit(&["sleeping_task_takes_over_pending_releases"]),
    },
    Defect {
        name: "a session whose guards are released at once reports a loss",
        file: GUARD,
        was: "let over = state.over();\n        match (Arc::into_inner(self.grip), over)",
        put_back: "match (Arc::into_inner(self.grip), state.over())",
        caught_by: Unit(&["session_guard_checks_the_hold_before_releasing"]),
    },
    Defect {
        name: "a logger is called on the keeper's thread, and its work delays the renewals",
        file: EVENT_QUEUE,
        was: "let event = event();",
        put_back: "let event = event();\n        shared.logger.log(&event);",
        caught_by: Lock(&["blocked_logger_costs_no_hold_grant_or_loss"]),
    },
    Defect {
        name: "a waker of a loss is called while the keeper's table is locked",
        file: STATE,
        was: "            Some(_) => Next::Lost,\n            None => local.next(now),",
        put_back: "            Some(_) => { drop(local); self.over(); Next::Lost }\n            None => local.next(now),",
        caught_by: Lock(&["loss_waker_may_use_client_and_panic"]),
    },
    Defect {
        name: "sessions that wait for each other hang",
        file: WAITING,
        was: "Err(Error::deadlock(names.collect()))",
        put_back: "drop(Error::deadlock(names.collect()));\n                Ok(())",
        caught_by: Lock(&["waiting_cycle_of_sessions_is_an_error"]),
    },
    Defect {
        name: "a cycle of waits is an error although a task is about to release",
        file: WAITING,
        was: "CONFIRMED_AFTER <= now.saturating_sub(*since)",
        put_back: "now.saturating_sub(*since) <= CONFIRMED_AFTER",
        caught_by: Lock(&["release_within_a_poll_is_no_deadlock"]),
    },
    Defect {
        name: "a forked process uses and releases the holds of its parent",
        file: PROCESS,
        was: "!self.0.clone().detected_fork()",
        put_back: "!self.0.clone().detected_fork() || true",
        caught_by: Lock(&["no_operation_of_a_child_reaches_the_store"]),
    },
    Defect {
        name: "a drop in a forked process removes the parent's sockets from its epoll instance",
        file: LEAK_IN_CHILD,
        was: "if value.is_some() && !self.process.is_current() {",
        put_back: "if value.is_none() {",
        caught_by: Lock(&["copied_handles_and_runtimes_are_dropped_without_effect"]),
    },
    Defect {
        name: "a forked process draws the request ids of its parent",
        file: RNG,
        was: "if !SEEDED_IN.with_borrow(is_seeded) {",
        put_back: "if SEEDED_IN.with_borrow(Option::is_none) {",
        caught_by: Lock(&["child_draws_other_request_ids"]),
    },
    Defect {
        name: "a release whose answer was lost is reported as a loss",
        file: GUARD,
        was: "reply == Ended::Released || may_have_ended",
        put_back: "reply == Ended::Released",
        caught_by: Lock(&["release_whose_connection_is_cut_is_confirmed"]),
    },
    Defect {
        name: "a lock is granted before the keeper has a connection",
        file: "crates/arbiter-lock/src/engine.rs",
        was: "probed.and(connected)?;",
        put_back: "drop(connected);\n        probed?;",
        caught_by: Lock(&["nothing_is_held_without_the_keepers_connection"]),
    },
    Defect {
        name: "a renewal that is refused is reported as silence",
        file: STATE,
        was: "Some(failure) if failure.is_silence() => LostReason::Unreachable,",
        put_back: "Some(failure) if failure.is_silence() || failure.is_transient() => {\n                LostReason::Unreachable\n            }",
        caught_by: Lock(&["refused_renewal_reports_the_servers_error"]),
    },
];
