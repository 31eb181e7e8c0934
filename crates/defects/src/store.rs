//! Failures of the access to a store: connections, names, secrets, dead processes.

use super::Caught::{Lock, Unit};
use super::Defect;

const FAILURE: &str = "crates/arbiter-lock/src/store/redis/failure.rs";
const PROBE: &str = "crates/arbiter-lock/src/store/redis/lua/probe.lua";
const DIAL: &str = "crates/arbiter-lock/src/store/tcp.rs";
const CONNECTION: &str = "crates/arbiter-lock/src/store/redis/connection.rs";
const DIALING: &str = "crates/arbiter-lock/src/store/redis/connection/dialing.rs";
const SILENCE: &str = "crates/arbiter-lock/src/store/redis/connection/silence.rs";
const KEY_PREFIX: &str = "crates/arbiter-lock/src/store/key_prefix.rs";
const EMBEDDED_HANDLE: &str = "crates/arbiter-lock/src/store/embedded/handle.rs";
const KEYS: &str = "crates/arbiter-lock/src/store/redis/keys.rs";
const TARGET: &str = "crates/arbiter-lock/src/store/redis/target.rs";
const OPTIONS: &str = "crates/arbiter-lock/src/store/redis/options.rs";
const POST: &str = "crates/arbiter-lock/src/store/embedded/post.rs";
const REAPER: &str = "crates/arbiter-lock/src/store/embedded/reaper.rs";
const APART: &str = "crates/arbiter-lock/src/store/blocking_thread.rs";
const REGISTRY: &str = "crates/arbiter-lock/src/store/registry.rs";

pub(crate) const DEFECTS: &[Defect] = &[
    Defect {
        name: "cleaning up keeps the rows of the expired holds, but not their totals",
        file: "crates/arbiter-lock/src/store/embedded/database.rs",
        was: "            } else {\n                // Checking it has ended its expired holds.\n                \
              resource.into_rows().save()?;\n            }",
        put_back: "            }",
        caught_by: Unit(&["expired_holds_do_not_block_after_tidying"]),
    },
    Defect {
        name: "a connection repeats a step that got no answer",
        file: "crates/arbiter-lock/src/store/redis/connection/calls.rs",
        was: "match send(call.by_hash(), limit).await {",
        put_back: "match send(call.by_hash(), limit / 4).await {\n            Err(failure) if failure.may_have_run => send(call.by_hash(), limit / 2).await,",
        caught_by: Lock(&["release_under_any_fault_frees_without_a_loss"]),
    },
    Defect {
        name: "a server whose scripts were flushed fails",
        file: "crates/arbiter-lock/src/store/redis/connection/calls.rs",
        was: "Err(failure) if failure.detail.starts_with(\"NOSCRIPT\") => {",
        put_back: "Err(failure) if failure.detail.starts_with(\"NO SCRIPT\") => {",
        caught_by: Lock(&["cut_connections_and_flushed_scripts_are_survived"]),
    },
    Defect {
        name: "a right that a script lacks is taken for a failure that passes",
        file: FAILURE,
        was: "detail.contains(\"The user executing the script\") || ",
        put_back: "",
        caught_by: Lock(&["every_documented_right_is_needed"]),
    },
    Defect {
        name: "a missing right is detected in the middle of a script",
        file: PROBE,
        was: "call('PEXPIREAT', key, 1)\n",
        put_back: "",
        caught_by: Lock(&["every_documented_right_is_needed"]),
    },
    Defect {
        name: "an error of the server is taken for an answer",
        file: "crates/arbiter-lock/src/store/redis/connection/calls.rs",
        was: "return connection.send_packed_command(cmd).await?.extract_error();",
        put_back: "return connection.send_packed_command(cmd).await;",
        caught_by: Lock(&["failing_server_is_unavailable_until_it_recovers"]),
    },
    Defect {
        name: "a silent connection is kept forever",
        file: SILENCE,
        was: "if !up.is_in_doubt.swap(true, Ordering::Relaxed) {",
        put_back: "if up.is_in_doubt.load(Ordering::Relaxed) {",
        caught_by: Lock(&["silent_open_connection_is_replaced"]),
    },
    Defect {
        name: "callers that give up soon never find a silent connection",
        file: SILENCE,
        was: "if !self.is_over && shortest <= self.sent.elapsed() {",
        put_back: "if self.is_over && shortest <= self.sent.elapsed() {",
        caught_by: Lock(&["dropped_requests_find_a_silent_connection"]),
    },
    Defect {
        name: "a connection whose answers are slow is replaced without being asked",
        file: SILENCE,
        was: "            tokio::spawn(UnlessForked::new(check));",
        put_back: "            self.lose(&up.messages, &silence());\n            tokio::spawn(UnlessForked::new(check));",
        caught_by: Lock(&["slow_replies_replace_no_connection"]),
    },
    Defect {
        name: "no client subscribes, and every hand-off waits for a poll",
        file: DIALING,
        was: "Some(channel) => subscriber.subscribe(&**channel).await,",
        put_back: "Some(channel) if channel.is_empty() => subscriber.subscribe(&**channel).await,\n                Some(_) => Ok(()),",
        caught_by: Lock(&["release_grants_the_next_and_it_is_claimed"]),
    },
    Defect {
        name: "a message wakes no waiter, and the next poll finds the grant",
        file: REGISTRY,
        was: "        drop(arrived);\n        self.bell.notify_one();",
        put_back: "        drop(arrived);",
        caught_by: Lock(&["grant_arrives_without_waiting_for_a_poll"]),
    },
    Defect {
        name: "an empty hash tag sends the keys of a name to different slots",
        file: KEYS,
        was: "(0 < close).then(|| &rest[..close])",
        put_back: "Some(&rest[..close])",
        caught_by: Unit(&["slot_follows_the_cluster_specification"]),
    },
    Defect {
        name: "a name looks like another's companion",
        file: KEY_PREFIX,
        was: "(!key.contains(RESERVED)).then_some(name)",
        put_back: "Some(name)",
        caught_by: Unit(&["reserved_keys_are_refused_for_every_prefix"]),
    },
    Defect {
        name: "a key beside a lock's key lies in another slot",
        file: KEYS,
        was: "&[0; DIGITS]);",
        put_back: "&[]);",
        caught_by: Unit(&["companions_share_the_slot_of_their_lock"]),
    },
    Defect {
        name: "the locks of a folder do not keep to their prefix",
        file: EMBEDDED_HANDLE,
        was: "let key = self.store.key_prefix.key(name.as_str());",
        put_back: "let key = name.as_str().to_owned();",
        caught_by: Lock(&["prefixes_keep_names_and_lists_apart"]),
    },
    Defect {
        name: "a store shows its password",
        file: TARGET,
        was: "place => f.write_str(&place.url(\"\"))?,",
        put_back: "place => write!(f, \"{}{}\", place.url(\"\"), self.password.as_deref().unwrap_or_default())?,",
        caught_by: Unit(&["url_is_shown_without_its_credentials"]),
    },
    Defect {
        name: "an unknown option in a URL is ignored",
        file: OPTIONS,
        was: "Some((_, Meaning::Holds)) => Ok(()),",
        put_back: "Some((_, Meaning::Holds)) | None => Ok(()),",
        caught_by: Unit(&["invalid_url_error_hides_the_password"]),
    },
    Defect {
        name: "the requests of a dead process remain until their leases end",
        file: REAPER,
        was: "            for (key, owner) in left {\n                self.end(&key, &owner).await?;\n            }",
        put_back: "            if !left.is_empty() {\n                break;\n            }",
        caught_by: Lock(&["killed_holder_frees_long_before_its_lease"]),
    },
    Defect {
        name: "a message to a process whose socket is full is lost",
        file: POST,
        was: "if !try_send(&self.sender, &message, &wake) {",
        put_back: "if !try_send(&self.sender, &message, &wake) && message.is_empty() {",
        caught_by: Unit(&["burst_of_grants_reaches_a_slow_process"]),
    },
    Defect {
        name: "a server that has become a replica is kept forever",
        file: CONNECTION,
        was: "Err(failure) if is_over || up.is_left_behind(failure, &self.0.route) =>",
        put_back: "Err(failure) if is_over && !up.is_left_behind(failure, &self.0.route) =>",
        caught_by: Lock(&["demoted_server_is_left_for_the_new_master"]),
    },
    Defect {
        name: "a program that ends waits for a silent name server",
        file: APART,
        was: "std::thread::Builder::new()\n        .name(\"arbiter-blocking\".into())\n        .spawn(work)?;",
        put_back: "tokio::task::spawn_blocking(work);",
        caught_by: Unit(&["ending_runtime_does_not_wait_for_blocking_work"]),
    },
    Defect {
        name: "a silent address blocks the others of its host",
        file: DIAL,
        was: "tokio::time::timeout(HEAD_START, dialing.next())",
        put_back: "tokio::time::timeout(HEAD_START.saturating_mul(100), dialing.next())",
        caught_by: Unit(&["addresses_are_dialed_in_order_past_failures"]),
    },
    Defect {
        name: "a waiter whose socket denies access is taken for one that does not listen",
        file: POST,
        was: "io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound => false,",
        put_back: "io::ErrorKind::ConnectionRefused\n                | io::ErrorKind::NotFound\n                | io::ErrorKind::PermissionDenied => false,",
        caught_by: Lock(&["inaccessible_waiter_is_not_skipped"]),
    },
    Defect {
        name: "a process whose liveness file denies access is taken for dead after a reboot",
        file: "crates/arbiter-lock/src/store/embedded/liveness.rs",
        was: "Err(e) => return Err(failure::within(&e, path, folder)),",
        put_back: "Err(_) => continue,",
        caught_by: Lock(&["inaccessible_process_keeps_its_files"]),
    },
    Defect {
        name: "the umask of the first user decides which users may use the store",
        file: "crates/arbiter-lock/src/store/embedded/rights.rs",
        was: "file.metadata().ok().filter(is_own) else {",
        put_back: "file.metadata().ok().filter(|_| false) else {",
        caught_by: Lock(&["member_may_follow_root_with_another_umask"]),
    },
    Defect {
        name: "a forked process relies on its parent's locks on the file",
        file: "crates/arbiter-lock/src/store/embedded/connections.rs",
        was: "close_copies()?;",
        put_back: "let _ = close_copies;",
        caught_by: Lock(&["new_client_works_in_a_child"]),
    },
    Defect {
        name: "a Sentinel or a node of a cluster is taken for a single server",
        file: "crates/arbiter-lock/src/store/redis/introduction.rs",
        was: "match field(hello, \"mode\").as_deref() {",
        put_back: "match field(hello, \"mode of old\").as_deref() {",
        caught_by: Lock(&["sentinel_or_cluster_node_error_names_the_url"]),
    },
    Defect {
        name: "a command that is missing within a script is waited for",
        file: "crates/arbiter-lock/src/store/redis/failure.rs",
        was: "    \"unknown redis command\",\n",
        put_back: "    \"unknown redis option\",\n",
        caught_by: Lock(&["missing_command_ends_the_wait_at_once"]),
    },
];
