//! The children of a process that forks cannot change its holds.
//!
//! `examples/forker/` is that process, and makes the checks.

use testkit::{ChildProcess, SentinelGroup, Server, unique_name};

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
    ($($store:ident $url:expr;)*) => {
        $(mod $store {
            #[test]
            fn no_operation_of_a_child_reaches_the_store() {
                let (_store, url) = $url;
                crate::fork::forks(&url, "operations");
            }

            #[test]
            fn no_blocking_operation_of_a_child_hangs() {
                let (_store, url) = $url;
                crate::fork::forks(&url, "blocking");
            }

            #[test]
            fn child_forked_while_blocked_never_hangs() {
                let (_store, url) = $url;
                crate::fork::forks(&url, "while-blocked");
            }

            #[test]
            fn drops_in_a_child_change_nothing() {
                let (_store, url) = $url;
                crate::fork::forks(&url, "drops");
            }

            #[test]
            fn pending_futures_end_in_a_child() {
                let (_store, url) = $url;
                crate::fork::forks(&url, "waiting");
            }

            #[test]
            fn copied_handles_and_runtimes_are_dropped_without_effect() {
                let (_store, url) = $url;
                crate::fork::forks(&url, "same-runtime");
            }

            #[test]
            fn new_client_works_in_a_child() {
                let (_store, url) = $url;
                crate::fork::forks(&url, "new-client");
            }
        })*
    };
}

fn in_memory() -> ((), String) {
    ((), format!("memory:{}", unique_name()))
}

#[cfg(feature = "embedded")]
fn in_a_folder() -> (testkit::Folder, String) {
    let folder = testkit::Folder::new();
    let url = folder.url();
    (folder, url)
}

fn on_a_server(url: impl FnOnce(&Server) -> String) -> (Server, String) {
    let server = Server::start();
    let url = url(&server);
    (server, url)
}

fn on_a_group() -> (SentinelGroup, String) {
    let group = SentinelGroup::start();
    let url = group.url();
    (group, url)
}

claims! {
    memory crate::fork::in_memory();
    redis_over_tcp crate::fork::on_a_server(testkit::Server::url);
    redis_over_a_socket crate::fork::on_a_server(testkit::Server::unix_url);
    sentinel crate::fork::on_a_group();
}

#[cfg(feature = "embedded")]
claims! { embedded crate::fork::in_a_folder(); }

#[cfg(feature = "embedded")]
#[test]
fn child_is_refused_while_parent_uses_sqlite() {
    let (_folder, url) = in_a_folder();
    forks(&url, "busy-new-client");
}

#[test]
fn child_draws_other_request_ids() {
    forks("memory:", "request-ids");
}

#[cfg(feature = "tls")]
#[test]
fn copied_handles_are_dropped_without_effect_over_tls() {
    let server = Server::builder().tls().start();
    let authority = server.certificate().display().to_string();
    let env = [("SSL_CERT_FILE", authority)];
    forks_with(&env, &server.tls_url(), "same-runtime");
}
