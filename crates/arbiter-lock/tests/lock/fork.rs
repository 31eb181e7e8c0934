//! The children of a process that forks cannot change its holds.
//!
//! `examples/forker/` is that process, and makes the checks.

use testkit::ChildProcess;

/// Runs a scenario of the example on a store.
fn forks(url: &str, scenario: &str) {
    forks_with(&[], url, scenario);
}

fn forks_with(env: &[(&str, String)], url: &str, scenario: &str) {
    let mut forker = ChildProcess::example_in(env, "forker", &[url, scenario]);
    assert!(forker.wait(), "{scenario} on {url}");
}

/// Defines the same tests for each store.
macro_rules! claims {
    ($($name:ident $store:expr;)*) => {
        $(mod $name {
            use testkit::conformance::Store;

            #[test]
            fn no_operation_of_a_child_reaches_the_store() {
                crate::fork::forks($store.url(), "operations");
            }

            #[test]
            fn no_blocking_operation_of_a_child_hangs() {
                crate::fork::forks($store.url(), "blocking");
            }

            #[test]
            fn child_forked_while_blocked_never_hangs() {
                crate::fork::forks($store.url(), "while-blocked");
            }

            #[test]
            fn drops_in_a_child_change_nothing() {
                crate::fork::forks($store.url(), "drops");
            }

            #[test]
            fn pending_futures_end_in_a_child() {
                crate::fork::forks($store.url(), "waiting");
            }

            #[test]
            fn copied_handles_and_runtimes_are_dropped_without_effect() {
                crate::fork::forks($store.url(), "same-runtime");
            }

            #[test]
            fn new_client_works_in_a_child() {
                crate::fork::forks($store.url(), "new-client");
            }
        })*
    };
}

claims! {
    memory Store::memory();
    redis_over_tcp Store::redis();
    redis_over_a_socket Store::redis_over_a_socket();
    sentinel Store::own_sentinel();
    cluster Store::own_cluster();
}

#[cfg(feature = "embedded")]
claims! { embedded Store::embedded(); }

#[cfg(feature = "embedded")]
#[test]
fn child_is_refused_while_parent_uses_sqlite() {
    let store = testkit::conformance::Store::embedded();
    forks(store.url(), "busy-new-client");
}

#[test]
fn child_draws_other_request_ids() {
    forks("memory:", "request-ids");
}

#[cfg(feature = "tls")]
#[test]
fn copied_handles_are_dropped_without_effect_over_tls() {
    let server = testkit::Server::builder().tls().start();
    let authority = server.certificate().display().to_string();
    let env = [("SSL_CERT_FILE", authority)];
    forks_with(&env, &server.tls_url(), "same-runtime");
}
