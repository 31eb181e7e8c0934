//! One suite of claims for every store: the same names, the same words in errors.
//!
//! A store's tests say `testkit::conformance!(Store::memory())` in a module of its own, and the
//! same of `conformance_of_election` and `conformance_of_once`; a claim is an async function of a
//! [`Store`], so that a longer command can run it elsewhere.

mod election;
mod lock;
mod once;
mod stores;

pub use election::*;
pub use lock::*;
pub use once::*;
pub use stores::Store;

/// All claims of the lock, each a test on a store that the expression makes.
#[macro_export]
macro_rules! conformance {
    ($store:expr) => {
        $crate::conformance!(@each $store;
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
            an_operator_asks_or_frees_at_once_by_the_fence,
            a_session_reenters_and_its_last_guard_frees,
            any_text_is_a_name_and_none_is_anothers,
            bad_input_is_refused_in_the_same_words,
            max_hold_ends_a_hold_and_a_shutdown_those_that_are_left,
            run_drops_the_work_when_the_hold_is_lost,
            a_fence_grows_across_clients_that_come_and_go,
        );
    };
    (@each $store:expr; $($claim:ident,)*) => {
        $(
            #[tokio::test]
            async fn $claim() {
                $crate::conformance::$claim(&$store).await;
            }
        )*
    };
}

/// All claims of the election, each a test on a store that the expression makes.
#[macro_export]
macro_rules! conformance_of_election {
    ($store:expr) => {
        $crate::conformance!(@each $store;
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
}

/// All claims of jobs that run once per period, each a test on a store that the expression makes.
#[macro_export]
macro_rules! conformance_of_once {
    ($store:expr) => {
        $crate::conformance!(@each $store;
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
}
