//! Nodes of a cluster with malicious answers.

mod fake_node;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use arbiter_lock::{Client, Error, NoopLogger};

use self::fake_node::{
    CUT, FakeNode, PAUSE, SLOT, bulk, channel, confirmed, granted, info, queued, slots, thirds,
    unsubscribed,
};
use crate::acquire_and_release;

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

async fn client(url: &str) -> Client {
    let builder = Client::builder().store(url).logger(NoopLogger);
    builder.connect().await.unwrap()
}

#[tokio::test]
async fn usual_node_grants_and_releases() {
    let node = FakeNode::start(|_, _| None);
    let client = client(&node.url()).await;
    acquire_and_release(&client.lock("l")).await;
    assert_eq!(node.count("SSUBSCRIBE"), 0);
}

#[tokio::test]
async fn circle_of_redirections_is_a_transient_failure() {
    for word in ["MOVED", "ASK"] {
        let node = FakeNode::start(move |port, asked| {
            let to = format!("-{word} {SLOT} 127.0.0.1:{port}\r\n");
            asked.is_script().then_some(to)
        });
        let client = client(&node.url()).await;
        let begun = Instant::now();
        let error = client.lock("l").try_acquire().await.unwrap_err();
        assert!(error.is_unavailable(), "{error}");
        assert!(error.to_string().contains("circle"), "{error}");
        assert!(begun.elapsed() < ms(1_000), "{:?}", begun.elapsed());
        assert!(node.count("EVALSHA") <= 7, "{}", node.count("EVALSHA"));
        let limited = client.lock("l").wait_timeout(ms(2_000));
        let error = limited.acquire().await.unwrap_err();
        assert!(error.is_unavailable(), "{error}");
        assert!(begun.elapsed() < ms(3_500), "{:?}", begun.elapsed());
        // It waits longer from try to try, and so does the end.
        let asked = node.count("EVALSHA") + node.count("CLUSTER");
        assert!(asked < 400, "{asked} requests in {:?}", begun.elapsed());
    }
}

#[tokio::test]
async fn redirection_to_an_unknown_host_is_overcome() {
    let node = FakeNode::start(|_, asked| {
        let to = format!("-MOVED {SLOT} no-such-host.invalid:6379\r\n");
        (asked.is_script() && asked.count == 1).then_some(to)
    });
    let client = client(&node.url()).await;
    let guard = client.lock("l").try_acquire().await.unwrap();
    guard.expect("it is free").release().await.unwrap();
}

#[tokio::test]
async fn node_without_a_host_has_the_dialed_one() {
    for host in ["$0\r\n\r\n", "_\r\n", "$-1\r\n"] {
        let node = FakeNode::start(move |port, asked| {
            if asked.is("CLUSTER SLOTS") {
                return Some(slots(host, port));
            }
            let to = format!("-MOVED {SLOT} :{port}\r\n");
            (asked.is_script() && asked.count == 1).then_some(to)
        });
        let client = client(&node.url()).await;
        acquire_and_release(&client.lock("l")).await;
    }
}

#[tokio::test]
async fn wrong_map_is_corrected_by_redirections() {
    let right = FakeNode::start(|_, _| None);
    let to = right.port;
    let wrong = FakeNode::start(move |_, asked| {
        let to = format!("-MOVED {SLOT} 127.0.0.1:{to}\r\n");
        asked.is_script().then_some(to)
    });
    let client = client(&wrong.url()).await;
    for _ in 0..3 {
        acquire_and_release(&client.lock("l")).await;
    }
    assert!(3 <= right.count("EVALSHA"));
}

#[tokio::test]
async fn garbage_for_a_map_is_an_error() {
    let range = |n: usize| {
        format!(
            "*3\r\n:{0}\r\n:{0}\r\n*2\r\n{1}:{2}\r\n",
            n % 16_384,
            bulk("h"),
            n + 1
        )
    };
    let maps = [
        "*0\r\n".to_owned(),
        "$-1\r\n".to_owned(),
        "+OK\r\n".to_owned(),
        "*2147483647\r\n".to_owned(),
        "*1\r\n".repeat(1 << 12),
        "%9223372036854775808\r\n".to_owned(),
        "|9223372036854775808\r\n".to_owned(),
        "$18446744073709551615\r\n".to_owned(),
        "*18446744073709551615\r\n".to_owned(),
        format!("*20000\r\n{}", (0..20_000).map(range).collect::<String>()),
    ];
    for map in maps {
        let shown = map[..map.len().min(24)].to_owned();
        let node = FakeNode::start(move |_, asked| asked.is("CLUSTER SLOTS").then(|| map.clone()));
        let builder = Client::builder().store(&node.url()).logger(NoopLogger);
        let client = builder.connect_timeout(ms(1_500)).connect_lazy().unwrap();
        let begun = Instant::now();
        let tried = tokio::spawn(async move { client.lock("l").try_acquire().await });
        let error = tried.await.expect("no panic").expect_err(&shown);
        assert!(
            matches!(error, Error::Unavailable(_) | Error::Refused(_)),
            "{shown}: {error}"
        );
        assert!(
            begun.elapsed() < ms(2_500),
            "{shown}: {:?}",
            begun.elapsed()
        );
    }
}

#[tokio::test]
async fn node_that_runs_no_script_ends_a_try() {
    let node = FakeNode::start(|_, asked| {
        let is_silent = asked.is_script() || asked.is("PING");
        is_silent.then(String::new)
    });
    let builder = Client::builder().store(&node.url()).logger(NoopLogger);
    let client = builder.command_timeout(ms(300)).connect().await.unwrap();
    let begun = Instant::now();
    let error = client.lock("l").try_acquire().await.unwrap_err();
    assert!(error.is_unavailable(), "{error}");
    assert!(begun.elapsed() < ms(2_000), "{:?}", begun.elapsed());
    let error = client
        .lock("l")
        .wait_timeout(ms(1_000))
        .acquire()
        .await
        .unwrap_err();
    assert!(error.is_unavailable(), "{error}");
}

#[tokio::test]
async fn denied_cluster_info_is_not_needed() {
    let node = FakeNode::start(|_, asked| {
        let denied = "-NOPERM no right to CLUSTER INFO\r\n".to_owned();
        asked.is("CLUSTER INFO").then_some(denied)
    });
    acquire_and_release(&client(&node.url()).await.lock("l")).await;
}

#[tokio::test]
async fn map_of_a_failed_node_is_not_used() {
    let healthy = FakeNode::start(|_, _| None);
    for state in ["fail", "ok"] {
        // It names itself, or is cut off and has missed an epoch.
        let failed = FakeNode::start(move |port, asked| match asked.is("CLUSTER INFO") {
            true => Some(info(state, 0)),
            false if asked.is_script() => Some("-CLUSTERDOWN The cluster is down\r\n".to_owned()),
            false => asked.is("CLUSTER SLOTS").then(|| match state {
                "fail" => slots(&bulk("127.0.0.1"), port),
                _ => "*0\r\n".to_owned(),
            }),
        });
        let url = format!("{},127.0.0.1:{}", failed.url(), healthy.port);
        let client = client(&url).await;
        acquire_and_release(&client.lock("l")).await;
        assert_eq!(failed.count("EVALSHA"), 0, "{state}");
    }
}

/// Two of three nodes are slow, and the third one has missed an epoch.
#[tokio::test]
async fn single_node_that_lags_is_ignored() {
    let ports = Arc::<Mutex<Vec<u16>>>::default();
    let lags = Arc::new(AtomicBool::new(false));
    let nodes: Vec<FakeNode> = (0..3)
        .map(|n| {
            let (ports, lags) = (ports.clone(), lags.clone());
            FakeNode::start(move |port, asked| {
                let lags = lags.load(Ordering::SeqCst);
                match asked.words[0].as_str() {
                    "CLUSTER" if lags && 0 < n => Some(String::new()),
                    "CLUSTER" if asked.is("CLUSTER INFO") => {
                        Some(info("ok", if lags { 4 } else { 5 }))
                    }
                    "CLUSTER" if lags => Some(slots(&bulk("127.0.0.1"), port)),
                    "CLUSTER" => Some(thirds(&ports.lock().unwrap())),
                    // Its connection is lost, so that the map is queried.
                    "EVALSHA" if lags && asked.count % 3 == 0 => Some(CUT.to_owned()),
                    _ => None,
                }
            })
        })
        .collect();
    *ports.lock().unwrap() = nodes.iter().map(|node| node.port).collect();
    let client = client(&nodes[0].url()).await;
    acquire_and_release(&client.lock("l")).await;
    lags.store(true, Ordering::SeqCst);
    let begun = Instant::now();
    while begun.elapsed() < ms(2_000) {
        let lock = client.lock("l").wait_timeout(ms(500));
        let _ = lock.acquire().await;
    }
    assert_eq!(nodes[0].count("EVALSHA"), 0);
}

#[tokio::test]
async fn message_counted_as_answer_mixes_nothing_up() {
    let node = FakeNode::start(|_, asked| {
        if !asked.is_script() || asked.argument(0) != "try x" {
            return None;
        }
        let message = format!(">3\r\n{}{}:0\r\n", bulk("punsubscribe"), bulk("x"));
        Some(match asked.words[3].as_str() {
            "arbiter:free" => format!("{PAUSE}{message}{}", granted()),
            _ => bulk("busy 1 0 0 o 5 1 30000 l"),
        })
    });
    let client = client(&node.url()).await;
    acquire_and_release(&client.lock("l")).await;
    let (free, held) = (client.lock("free"), client.lock("held"));
    let (free, held) = tokio::join!(free.try_acquire(), held.try_acquire());
    assert!(free.is_err(), "{free:?}");
    assert!(held.is_err(), "the answer to another request: {held:?}");
}

/// The grant is not that of the call that replicas have to acknowledge.
#[tokio::test]
async fn grant_to_a_later_poll_is_acknowledged() {
    let polls = AtomicUsize::new(0);
    let node = FakeNode::start(move |_, asked| {
        if asked.is("WAIT") {
            return Some(":0\r\n".to_owned());
        }
        if !asked.is_script() {
            return None;
        }
        if asked.words[2] == "2" {
            return Some(format!("*1\r\n{}", bulk("renewed 30000")));
        }
        let is_poll = asked.argument(0).starts_with("wait");
        let is_first = is_poll && polls.fetch_add(1, Ordering::SeqCst) == 0;
        is_first.then(queued)
    });
    let client = client(&node.url()).await;
    let lock = client.lock("l").replicas(1).wait_timeout(ms(700));
    let error = lock.acquire().await.unwrap_err();
    assert!(error.to_string().contains("0 of 1 acknowledged"), "{error}");
}

#[tokio::test]
async fn unasked_answer_is_no_grant() {
    for unasked in [confirmed("other"), "+OK\r\n".to_owned()] {
        let node = FakeNode::start(move |_, asked| {
            let answer = || format!("{unasked}{}", queued());
            (asked.is_script() && asked.argument(0).starts_with("wait x")).then(answer)
        });
        let client = client(&node.url()).await;
        let lock = client.lock("l").wait_timeout(ms(700));
        let (one, other) = tokio::join!(lock.acquire(), lock.acquire());
        assert!(one.is_err() && other.is_err(), "{one:?}, {other:?}");
    }
}

#[tokio::test]
async fn subscription_that_ends_at_once_is_made_again() {
    let node = FakeNode::start(|_, asked| match asked.words[0].as_str() {
        "SSUBSCRIBE" if asked.count < 4 => {
            let channel = &asked.words[1];
            Some(confirmed(channel) + &unsubscribed(channel))
        }
        _ => (asked.is_script() && asked.argument(0).starts_with("wait")).then(queued),
    });
    let client = client(&node.url()).await;
    let lock = client.lock("l").wait_timeout(ms(600));
    let error = lock.acquire().await.unwrap_err();
    assert!(error.is_contended(), "{error}");
    assert_eq!(node.count("SSUBSCRIBE"), 4, "before the next poll is due");
}

#[tokio::test]
async fn flood_of_ended_subscriptions_mixes_nothing_up() {
    let node = FakeNode::start(|_, asked| {
        let flood = |channel: &str| unsubscribed(channel).repeat(50);
        match asked.words[0].as_str() {
            "SSUBSCRIBE" => {
                let channel = &asked.words[1];
                Some(flood(channel) + &confirmed(channel) + &flood("other"))
            }
            _ if !asked.is_script() => None,
            _ if !asked.argument(0).starts_with("wait") => None,
            _ if asked.argument(0) == "wait x" && asked.count % 3 != 0 => {
                Some(flood(channel(asked)) + &queued() + &flood("other"))
            }
            _ => Some(flood(channel(asked)) + &granted()),
        }
    });
    let client = client(&node.url()).await;
    let locks = (0..32).map(|n| client.lock(&format!("l{n}")).wait_timeout(ms(5_000)));
    let turns = locks.map(|lock| async move { acquire_and_release(&lock).await });
    futures_util::future::join_all(turns).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn new_connection_subscribes_before_it_polls() {
    for _ in 0..20 {
        let order = Arc::<Mutex<Vec<String>>>::default();
        let (is_cut, seen) = (AtomicBool::new(false), order.clone());
        let node = FakeNode::start(move |_, asked| {
            let is_poll = asked.is_script() && asked.argument(0).starts_with("wait");
            if is_poll || asked.is("SSUBSCRIBE") {
                seen.lock().unwrap().push(asked.words[0].clone());
            }
            // The rights are checked first.
            let is_third = is_poll && asked.count == 3 && !is_cut.swap(true, Ordering::SeqCst);
            is_third
                .then(|| CUT.to_owned())
                .or_else(|| is_poll.then(queued))
        });
        let client = client(&node.url()).await;
        let lock = client.lock("l").wait_timeout(ms(300));
        assert!(lock.acquire().await.unwrap_err().is_contended());
        let order = order.lock().unwrap().join(" ");
        let once = "SSUBSCRIBE EVALSHA";
        assert!(
            order.starts_with(&format!("EVALSHA {once} {once}")),
            "{order}"
        );
    }
}

#[tokio::test]
async fn unsubscribed_waiter_polls_again_in_any_state() {
    type Answer = fn(&str) -> String;
    let states: [(Answer, usize); 5] = [
        // While it polls, and when it is idle.
        (|channel| unsubscribed(channel) + &queued(), 2),
        (
            |channel| format!("{}{PAUSE}{}", unsubscribed(channel), queued()),
            2,
        ),
        (|channel| queued() + &unsubscribed(channel), 2),
        (
            |channel| format!("{}{PAUSE}{}", queued(), unsubscribed(channel)),
            2,
        ),
        // Another slot has left.
        (
            |_| queued() + &unsubscribed("arbiter:#arbiter.wake.other/000000"),
            1,
        ),
    ];
    for (n, (answer, subscriptions)) in states.into_iter().enumerate() {
        let polls = Arc::new(AtomicUsize::new(0));
        let counted = polls.clone();
        let node = FakeNode::start(move |_, asked| {
            let is_poll = asked.is_script() && asked.argument(0).starts_with("wait");
            let is_second = is_poll && counted.fetch_add(1, Ordering::SeqCst) == 1;
            is_poll.then(|| {
                if is_second {
                    answer(channel(asked))
                } else {
                    queued()
                }
            })
        });
        let client = client(&node.url()).await;
        let lock = client.lock("l").wait_timeout(ms(600));
        let error = lock.acquire().await.unwrap_err();
        assert!(error.is_contended(), "{n}: {error}");
        assert_eq!(node.count("SSUBSCRIBE"), subscriptions, "{n}");
        assert_eq!(polls.load(Ordering::SeqCst), 1 + subscriptions, "{n}");
    }
}
