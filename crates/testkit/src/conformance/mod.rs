//! One conformance suite for every store: the same tests, and the same error messages.
//!
//! A store's tests call `testkit::conformance!(Store::memory())` in a module, and
//! `testkit::conformance!(rw_lock: Store::memory())` in a submodule for each primitive. Each test
//! is an async function of a [`Store`], so that other programs can run it too.

pub mod election;
mod exclusive;
mod helpers;
pub mod list;
pub mod lock;
pub mod once;
pub mod prefixes;
pub mod rw_lock;
pub mod semaphore;
pub mod several;
mod stores;
pub mod transfers;

pub use stores::Store;

/// Defines the tests of the lock, or of another primitive, each on a store that the expression
/// creates.
#[macro_export]
macro_rules! conformance {
    (rw_lock: $store:expr) => {
        $crate::conformance!(@each rw_lock $store;
            readers_overlap_and_writers_exclude,
            reader_queues_behind_a_waiting_writer,
            writer_is_not_starved_by_readers,
            every_reader_has_its_own_lease,
            downgrade_admits_readers_and_no_writer,
            downgrade_of_a_lost_hold_fails,
            limit_and_readers_do_not_mix,
            session_shares_its_hold_and_never_upgrades,
            session_guard_is_no_reader_while_another_writes,
            session_queues_separately_to_read_and_write,
            contended_writer_learns_whether_its_client_reads,
            inspect_shows_the_readers,
            last_expiring_reader_grants_a_writer_at_once,
            expired_writer_grants_readers_at_once,
        );
    };
    (semaphore: $store:expr) => {
        $crate::conformance!(@each semaphore $store;
            permits_never_exceed_the_limit,
            large_request_at_head_is_not_overtaken,
            different_limit_is_refused_with_both_numbers,
            weight_above_limit_is_refused_with_both_numbers,
            zero_permits_are_invalid,
            larger_limit_admits_waiters,
            smaller_limit_refuses_larger_waiters,
            follower_takes_the_limit_in_force,
            dropped_permit_is_returned,
            permits_of_dead_holders_return_exactly_once,
            dead_permit_returns_beside_renewed_ones,
            inspect_shows_limit_and_holders,
            expired_permit_is_granted_at_once,
            each_expired_permit_is_granted_at_once,
            last_needed_permit_is_granted_at_once,
            expired_permit_skips_a_departed_waiter,
        );
    };
    (several: $store:expr) => {
        $crate::conformance!(@each several $store;
            names_are_acquired_once_in_byte_order,
            opposite_orders_never_deadlock,
            timeout_releases_every_acquired_name,
            dropped_wait_releases_acquired_names,
            loss_during_the_wait_ends_it,
            try_takes_all_or_none,
            first_loss_is_reported_and_others_are_released,
            one_lost_name_drops_the_work,
            bad_names_are_refused_before_acquiring,
        );
    };
    (prefixes: $store:expr) => {
        $crate::conformance!(@each prefixes $store;
            prefixes_keep_names_and_lists_apart,
            lock_is_prefix_and_name_together,
            reserved_names_are_refused_under_every_prefix,
        );
    };
    (transfers: $store:expr) => {
        $crate::conformance!(@each transfers $store;
            adopted_hold_keeps_fence_and_excludes,
            one_of_two_copies_is_adopted,
            detached_hold_outlives_its_client_for_a_lease,
            detached_hold_ends_when_it_is_broken,
            adopted_permits_and_readers_keep_their_share,
            lost_or_shared_guards_give_no_token,
        );
    };
    (election: $store:expr) => {
        $crate::conformance!(@each election $store;
            candidate_leads_after_leader_resigns_or_drops,
            candidate_leads_after_the_leaders_lease_expires,
            leader_value_and_vacancy_are_visible,
            observer_sees_each_leader_value_and_vacancy,
            stale_leader_cannot_proclaim,
            lead_drops_the_work_on_lost_leadership,
            lock_holder_is_a_leader_without_value,
            try_campaign_is_none_while_another_leads,
            too_long_value_is_refused,
        );
    };
    (once: $store:expr) => {
        $crate::conformance!(@each once $store;
            job_runs_once_per_period_among_many_clients,
            waiting_job_is_skipped_once_another_has_run,
            skip_reports_last_run_and_next_due_time,
            running_job_is_skipped_and_names_its_runner,
            crashed_run_counts_unless_repeated,
            failed_run_counts_unless_repeated,
            forced_run_is_recorded_and_skips_nothing,
            reset_job_is_due,
            late_run_does_not_delay_the_next,
            pause_counts_from_the_end_of_a_run,
            end_is_recorded_after_a_lost_hold,
            late_end_does_not_overwrite_a_later_run,
            lost_hold_drops_the_work_and_records_it,
            job_without_a_rule_is_refused,
        );
    };
    (with_permits: $store:expr) => {
        $crate::conformance!(@exclusive $store.with_permits());
    };
    ($store:expr) => {
        $crate::conformance!(@exclusive $store);
        $crate::conformance!(@each lock $store;
            operator_asks_or_breaks_by_fence,
            release_says_whether_the_hold_was_taken,
            session_reenters_and_last_guard_frees,
            run_drops_the_work_on_a_lost_hold,
        );
        $crate::conformance!(@each list $store;
            list_shows_what_is_held_or_waited_for,
            list_of_many_pages_misses_none,
        );
    };
    (@exclusive $store:expr) => {
        $crate::conformance!(@each lock $store;
            waiters_are_granted_in_order_with_rising_fences,
            tasks_never_overlap_and_lose_no_update,
            release_grants_the_next_and_it_is_claimed,
            renewed_hold_outlives_its_lease,
            hold_without_watchdog_ends_with_its_lease,
            expiry_wakes_the_next_waiter,
            refresh_extends_a_hold,
            timed_out_wait_names_holder_and_leaves_queue,
            busy_try_leaves_nothing_and_never_overtakes,
            dropped_guard_frees_and_dropped_wait_leaves,
            inspect_shows_holder_and_waiters_in_order,
            any_text_is_a_distinct_name,
            bad_input_is_refused_in_the_same_words,
            max_hold_and_shutdown_end_holds,
            fences_rise_across_clients,
        );
    };
    (@each $primitive:ident $store:expr; $($claim:ident,)*) => {
        $(
            #[tokio::test]
            async fn $claim() {
                $crate::conformance::$primitive::$claim(&$store).await;
            }
        )*
    };
}
