//! Access to a Sentinel group: TLS, and the rights of its users.

use std::sync::{Arc, Mutex};

use arbiter_lock::{Client, Error, RefusedKind};
#[cfg(feature = "tls")]
use arbiter_lock::{NoopLogger, Tls};
#[cfg(feature = "tls")]
use testkit::unique_name;
use testkit::{SentinelGroup, Server};

use crate::acquire_and_release;
use crate::auth::refusals;
#[cfg(feature = "tls")]
use crate::sentinel::{Ports, mapped};

#[cfg(feature = "tls")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sentinels_and_servers_are_reached_over_tls() {
    let group = SentinelGroup::builder();
    let group = group.server(Server::builder().tls()).start();
    let members = || group.servers.iter().chain(&group.sentinels);
    let tls_port = |server: &Server| {
        let url = server.tls_url();
        url.rsplit(':').next().unwrap().parse::<u16>().unwrap()
    };
    let ports: Ports = members().map(|s| (s.port(), tls_port(s))).collect();
    let authorities = |of: &mut dyn Iterator<Item = &Server>| {
        let pem = of.map(|s| std::fs::read(s.certificate()).unwrap());
        pem.collect::<Vec<_>>().concat()
    };
    let url = group.url_of(&[0]).replace("redis+", "rediss+");
    let url = url.replace(
        &group.sentinels[0].port().to_string(),
        &tls_port(&group.sentinels[0]).to_string(),
    );
    let connect = |pem: Vec<u8>| {
        let builder = Client::builder().store(&url).logger(NoopLogger);
        let builder = builder.map_address(mapped(ports.clone()));
        builder.tls(Tls::new().ca_pem(&pem)).connect()
    };
    let all = authorities(&mut members());
    let client = connect(all).await.unwrap();
    let lock = client
        .lock(&unique_name())
        .lease_time(std::time::Duration::from_secs(9));
    let guard = lock.acquire().await.unwrap();
    group.fail_over();
    // The first may fail with the connection to the old master.
    let _ = guard.refresh().await;
    guard.refresh().await.unwrap();
    guard.release().await.unwrap();
    for untrusted in [&group.servers, &group.sentinels] {
        let error = connect(authorities(&mut untrusted.iter())).await;
        assert!(error.is_err(), "{error:?}");
    }
}

/// Returns the documented rights of the user of sentinels, and of the one of servers.
fn documented() -> [Vec<String>; 2] {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/redis.md");
    let page = std::fs::read_to_string(path).unwrap();
    let rules = page.split("ACL SETUSER arbiter on >secret").skip(1);
    let mut rules = rules.map(|rule| {
        let rule = rule.split("```").next().unwrap().replace('\\', " ");
        rule.split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    });
    let (sentinels, mut servers) = (rules.next().unwrap(), rules.next().unwrap());
    servers.push("+info".to_owned());
    [sentinels, servers]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_documented_right_on_a_group_is_needed() {
    let group = SentinelGroup::builder().min_replicas().start();
    let [of_sentinels, of_servers] = documented();
    let members = || group.servers.iter().chain(&group.sentinels);
    let set = |of: &[Server], rights: &[String]| {
        let mut command = vec!["ACL", "SETUSER", "arbiter", "reset", "on", ">secret"];
        command.extend(rights.iter().map(String::as_str));
        for server in of {
            let answer = server.call(&command).text();
            assert_eq!(answer.as_deref(), Some("OK"), "{command:?}");
        }
    };
    let url = group.url().replace("://", "://arbiter:secret@");
    let url = format!("{url}?sentinel_username=arbiter&sentinel_password=secret");
    // A name that is not watched is asked for, too.
    let tour = async || {
        let told = Arc::new(Mutex::new(Vec::new()));
        let log = told.clone();
        let logger = move |event: &arbiter_lock::Event| log.lock().unwrap().push(event.to_string());
        let wrong = Client::connect(&url.replace("/main", "/mian")).await;
        let Err(Error::Refused(wrong)) = wrong else {
            panic!("{wrong:?}");
        };
        let client = Client::builder().store(&url).logger(logger).connect().await;
        if let Ok(client) = client {
            acquire_and_release(&client.lock("l")).await;
        }
        let events = told.lock().unwrap().concat();
        (wrong.kind, wrong.to_string(), events)
    };
    set(&group.servers, &of_servers);
    set(&group.sentinels, &of_sentinels);
    let (kind, names, events) = tour().await;
    assert_eq!(kind, RefusedKind::WrongUrl);
    assert!(
        names.contains("only main") && !events.contains("min-replicas"),
        "{events}"
    );
    let refused: Vec<_> = members().flat_map(refusals).collect();
    assert_eq!(refused, [""; 0]);
    let spared = of_sentinels
        .iter()
        .filter(|word| word.starts_with(['+', '&']));
    for spared in spared {
        let rest: Vec<_> = of_sentinels
            .iter()
            .filter(|w| *w != spared)
            .cloned()
            .collect();
        set(&group.sentinels, &rest);
        tour().await;
        let refused: Vec<_> = group.sentinels.iter().flat_map(refusals).collect();
        let right = &spared[1..];
        let is_missed = refused
            .iter()
            .any(|refused| right.starts_with(refused.as_str()));
        assert!(is_missed, "{spared} is of no use: {refused:?}");
        group
            .sentinels
            .iter()
            .for_each(|s| drop(s.call(&["ACL", "LOG", "RESET"])));
    }
    set(&group.sentinels, &of_sentinels);
    let rest: Vec<_> = of_servers
        .iter()
        .filter(|w| *w != "+info")
        .cloned()
        .collect();
    set(&group.servers, &rest);
    let (_, _, events) = tour().await;
    assert!(events.contains("min-replicas"), "{events}");
}
