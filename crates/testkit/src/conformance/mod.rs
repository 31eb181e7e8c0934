//! One suite of claims for every store: the same names, the same words in errors.
//!
//! A store's tests say `testkit::conformance!(Store::memory())` in a module of its own, and
//! `testkit::conformance!(rw_lock: Store::memory())` in one below it, for each face; a claim is an
//! async function of a [`Store`], so that a longer command can run it elsewhere.

pub mod election;
mod hands;
pub mod lock;
pub mod once;
pub mod rw_lock;
pub mod semaphore;
pub mod several;
mod stores;
mod ways;

pub use stores::Store;

/// All claims of the lock, or of another face, each a test on a store that the expression makes.
#[macro_export]
macro_rules! conformance {
    (rw_lock: $store:expr) => {
        $crate::conformance!(@each rw_lock $store;
            readers_overlap_and_writers_exclude,
            a_reader_behind_a_waiting_writer_waits,
            a_writer_gets_its_turn_among_readers_that_come_and_go,
            every_reader_has_a_lease_of_its_own,
            a_downgrade_lets_readers_in_and_no_writer,
            a_downgrade_of_a_lost_hold_says_so,
            a_limit_and_readers_do_not_mix,
            a_session_shares_what_it_holds_and_never_upgrades,
            a_guard_of_a_session_is_no_reader_while_another_writes,
            a_session_that_waits_to_read_and_to_write_has_a_request_for_each,
            a_contended_writer_learns_whether_its_client_reads,
            those_who_look_see_the_readers,
            the_last_reader_to_expire_frees_a_writer_at_once,
            an_expired_writer_frees_readers_at_once,
        );
    };
    (semaphore: $store:expr) => {
        $crate::conformance!(@each semaphore $store;
            permits_never_exceed_the_limit,
            a_large_request_at_the_head_is_not_overtaken,
            another_limit_is_refused_with_both_numbers,
            more_than_there_is_is_refused_with_both_numbers,
            no_permits_are_invalid,
            a_larger_limit_lets_waiters_in,
            a_smaller_limit_refuses_who_waits_for_more_and_waits_for_who_holds_more,
            a_follower_takes_the_limit_in_force,
            a_dropped_permit_comes_back,
            the_permits_of_the_dead_come_back_exactly_once,
            the_permit_of_a_dead_one_comes_back_beside_those_that_are_renewed,
            those_who_look_see_limit_and_holders,
            an_expired_permit_is_handed_on_at_once,
            each_expired_permit_is_handed_on_at_once,
            the_last_permit_needed_is_handed_on_at_once,
            an_expired_permit_passes_a_waiter_that_left,
        );
    };
    (several: $store:expr) => {
        $crate::conformance!(@each several $store;
            names_are_taken_once_each_in_the_order_of_their_bytes,
            opposite_orders_never_deadlock,
            what_was_taken_is_given_back_when_the_time_for_all_is_over,
            a_dropped_wait_gives_back_what_was_taken,
            a_loss_while_others_are_waited_for_ends_the_wait,
            a_try_takes_all_or_none,
            the_first_loss_is_told_and_the_others_are_released,
            the_work_is_dropped_when_one_of_them_is_lost,
            bad_names_are_refused_before_anything_is_taken,
        );
    };
    (election: $store:expr) => {
        $crate::conformance!(@each election $store;
            a_follower_leads_when_the_leader_resigns_or_is_dropped,
            a_follower_leads_when_the_leaders_lease_lapses_and_the_leader_is_told,
            leader_and_value_are_seen_and_a_vacancy_too,
            an_observer_is_told_of_each_leader_value_and_vacancy,
            a_stale_leader_cannot_proclaim,
            lead_drops_the_work_when_the_leadership_is_lost_and_only_then_it_ends,
            a_holder_of_the_lock_is_a_leader_without_a_value,
            a_try_to_lead_is_none_while_somebody_leads,
            a_value_that_is_too_long_is_refused,
        );
    };
    (once: $store:expr) => {
        $crate::conformance!(@each once $store;
            a_job_runs_once_per_period_among_many_clients_at_once,
            a_job_that_waits_for_another_is_skipped_when_that_has_run,
            a_skip_says_who_ran_it_when_and_when_it_is_due,
            a_job_that_is_running_is_skipped_and_says_who_runs_it,
            a_crashed_run_counts_unless_it_is_to_be_repeated,
            a_failed_run_counts_unless_it_is_to_be_repeated,
            a_pause_counts_from_the_end_of_a_run,
            an_end_is_recorded_even_after_the_hold_is_lost,
            an_end_that_comes_late_spares_a_later_run,
            a_run_drops_the_work_when_the_hold_is_lost_and_records_it,
            a_job_without_a_rule_is_refused,
        );
    };
    (with_permits: $store:expr) => {
        $crate::conformance!(@by_any_way $store.with_permits());
    };
    ($store:expr) => {
        $crate::conformance!(@by_any_way $store);
        $crate::conformance!(@each lock $store;
            an_operator_asks_or_frees_at_once_by_the_fence,
            a_session_reenters_and_its_last_guard_frees,
            run_drops_the_work_when_the_hold_is_lost,
        );
    };
    (@by_any_way $store:expr) => {
        $crate::conformance!(@each lock $store;
            one_holder_at_a_time_in_order_of_arrival_with_rising_fences,
            tasks_of_two_clients_never_overlap_and_lose_no_update,
            a_release_hands_over_to_the_next_in_order_and_the_grant_is_claimed,
            a_hold_outlives_its_lease_while_it_is_renewed,
            without_the_watchdog_a_hold_ends_with_its_lease_and_the_holder_is_told,
            a_lapse_wakes_the_next,
            a_refresh_prolongs_a_hold,
            a_wait_that_is_over_tells_who_holds_and_leaves_the_queue,
            a_try_that_is_busy_leaves_nothing_and_never_barges,
            a_dropped_guard_frees_and_a_dropped_wait_leaves_the_queue,
            those_who_look_see_holder_and_waiters_in_order,
            any_text_is_a_name_and_none_is_anothers,
            bad_input_is_refused_in_the_same_words,
            max_hold_ends_a_hold_and_a_shutdown_those_that_are_left,
            a_fence_grows_across_clients_that_come_and_go,
        );
    };
    (@each $face:ident $store:expr; $($claim:ident,)*) => {
        $(
            #[tokio::test]
            async fn $claim() {
                $crate::conformance::$face::$claim(&$store).await;
            }
        )*
    };
}
