//! The proxy injects exactly the fault that a rule names.

use std::time::Instant;

use testkit::{Fault, Proxy, Pushes, Server, Traffic, eventually};

use crate::wire::{Wire, ms};

fn is(name: &'static str) -> impl Fn(&[Vec<u8>]) -> bool {
    move |args| args[0].eq_ignore_ascii_case(name.as_bytes())
}

fn value(server: &Server) -> Option<i64> {
    server.call(&["GET", "n"]).int()
}

#[test]
fn unmatched_requests_pass_unchanged_and_are_counted() {
    let server = Server::start();
    let proxy = Proxy::before(&server);
    let mut wire = Wire::dial(&proxy);
    for n in 1..=100 {
        assert_eq!(wire.ask("INCR n"), format!(":{n}"));
    }
    let long = "x".repeat(300_000);
    assert_eq!(wire.ask(&format!("SET long {long}")), "+OK");
    assert_eq!(wire.ask("GET long"), long);
    assert_eq!(proxy.count("INCR"), 100);
    assert_eq!(proxy.count("GET"), 1);
}

#[test]
fn pipelined_requests_match_their_replies() {
    let server = Server::start();
    let proxy = Proxy::before(&server);
    let mut wire = Wire::dial_resp3(&proxy);
    let rule = proxy.nth(1, Fault::CutAfter, |args| {
        args.get(2).is_some_and(|a| a == b"5")
    });
    for n in [1, 2, 5, 9] {
        wire.send(&format!("INCRBY n {n}"));
    }
    assert_eq!((wire.line(), wire.line()), (":1".into(), ":3".into()));
    assert!(wire.is_cut());
    assert_eq!(rule.fired(), 1);
    assert!(8 <= value(&server).unwrap());
}

#[test]
fn lost_reply_runs_the_command_and_stays_open() {
    let server = Server::start();
    let proxy = Proxy::before(&server);
    let mut wire = Wire::dial(&proxy);
    let rule = proxy.nth(2, Fault::LoseReply, is("INCR"));
    assert_eq!(wire.ask("INCR n"), ":1");
    wire.send("INCR n");
    assert!(rule.wait_fired(ms(1_000)));
    assert!(eventually(ms(1_000), || value(&server) == Some(2)));
    assert!(wire.is_silent());
    wire.send("INCR n");
    assert!(eventually(ms(1_000), || value(&server) == Some(3)));
    assert!(wire.is_silent());
    assert_eq!(Wire::dial(&proxy).ask("INCR n"), ":4");
}

#[test]
fn delayed_reply_does_not_delay_its_command() {
    let server = Server::start();
    let proxy = Proxy::before(&server);
    let mut wire = Wire::dial(&proxy);
    proxy.nth(1, Fault::DelayReply(ms(200)), is("INCR"));
    let begun = Instant::now();
    wire.send("INCR n");
    assert!(eventually(ms(150), || value(&server) == Some(1)));
    assert_eq!(wire.line(), ":1");
    assert!(ms(200) <= begun.elapsed());
    let begun = Instant::now();
    assert_eq!(wire.ask("INCR n"), ":2");
    assert!(begun.elapsed() < ms(150));
}

#[test]
fn held_request_arrives_after_its_client_left() {
    let server = Server::start();
    let proxy = Proxy::before(&server);
    let rule = proxy.nth(1, Fault::HoldRequest, is("INCR"));
    let mut wire = Wire::dial(&proxy);
    wire.send("INCR n");
    assert!(rule.wait_fired(ms(1_000)));
    drop(wire);
    let mut other = Wire::dial(&proxy);
    assert_eq!(other.ask("SET n 10"), "+OK");
    rule.release();
    assert!(eventually(ms(1_000), || value(&server) == Some(11)));
}

#[test]
fn held_request_dies_with_the_proxy() {
    let server = Server::start();
    let proxy = Proxy::before(&server);
    let rule = proxy.each(Fault::HoldRequest, is("INCR"));
    let mut wire = Wire::dial(&proxy);
    wire.send("INCR n");
    assert!(rule.wait_fired(ms(1_000)));
    drop(proxy);
    assert!(wire.is_cut());
    assert_eq!(value(&server), None);
}

#[test]
fn cut_before_prevents_and_cut_after_allows_execution() {
    let server = Server::start();
    let proxy = Proxy::before(&server);
    proxy.nth(1, Fault::CutBefore, is("INCR"));
    proxy.nth(2, Fault::CutAfter, is("INCR"));
    for expected in [None, Some(1)] {
        let mut wire = Wire::dial(&proxy);
        wire.send("INCR n");
        assert!(wire.is_cut());
        assert_eq!(value(&server), expected);
    }
    assert_eq!(proxy.count("INCR"), 1);
}

#[test]
fn duplicate_runs_twice_and_is_answered_once() {
    let server = Server::start();
    let proxy = Proxy::before(&server);
    let mut wire = Wire::dial(&proxy);
    proxy.each(Fault::Duplicate, is("INCR"));
    assert_eq!(wire.ask("INCR n"), ":1");
    assert_eq!(wire.ask("INCR n"), ":3");
    assert_eq!(wire.ask("PING"), "+PONG");
    assert_eq!(value(&server), Some(4));
}

#[test]
fn push_faults_affect_neither_replies_nor_subscriptions() {
    let server = Server::start();
    let proxy = Proxy::before(&server);
    let mut wire = Wire::dial_resp3(&proxy);
    wire.send("SUBSCRIBE one two");
    let confirmed: Vec<_> = (0..8).map(|_| wire.line()).collect();
    assert_eq!(
        confirmed.join(" "),
        ">3 subscribe one :1 >3 subscribe two :2"
    );

    proxy.set_pushes(Pushes::Lost);
    server.call(&["PUBLISH", "one", "lost"]);
    assert_eq!(wire.ask("PING"), "+PONG");
    assert!(wire.is_silent());

    proxy.set_pushes(Pushes::Late(ms(150)));
    let begun = Instant::now();
    server.call(&["PUBLISH", "two", "late"]);
    assert_eq!(wire.ask("PING"), "+PONG");
    let message: Vec<_> = (0..4).map(|_| wire.line()).collect();
    assert_eq!(message.join(" "), ">3 message two late");
    assert!(ms(150) <= begun.elapsed());

    // The confirmations did not shift the replies.
    proxy.nth(1, Fault::LoseReply, is("INCR"));
    assert_eq!(wire.ask("PING"), "+PONG");
    wire.send("INCR n");
    assert!(wire.is_silent());
}

#[test]
fn unauthorized_subscription_gets_its_error() {
    let server = Server::start();
    server.call(&["ACL", "SETUSER", "default", "resetchannels"]);
    let proxy = Proxy::before(&server);
    let mut wire = Wire::dial_resp3(&proxy);
    assert!(wire.ask("SUBSCRIBE one two").starts_with("-NOPERM"));
    proxy.nth(1, Fault::CutAfter, is("INCR"));
    assert_eq!(wire.ask("PING"), "+PONG");
    wire.send("INCR n");
    assert!(wire.is_cut());
}

#[test]
fn only_new_connections_recover_from_silence() {
    let server = Server::start();
    let proxy = Proxy::before(&server);
    let mut old = Wire::dial(&proxy);
    assert_eq!(old.ask("INCR n"), ":1");
    proxy.set_traffic(Traffic::Silent);
    old.send("INCR n");
    let mut young = Wire::dial(&proxy);
    young.send("INCR n");
    assert!(old.is_silent() && young.is_silent());
    proxy.set_traffic(Traffic::Flowing);
    old.send("INCR n");
    assert!(old.is_silent() && young.is_silent());
    assert_eq!(value(&server), Some(1));
    assert_eq!(Wire::dial(&proxy).ask("INCR n"), ":2");
}

#[test]
fn stalled_network_delivers_late() {
    let server = Server::start();
    let proxy = Proxy::before(&server);
    let mut wire = Wire::dial(&proxy);
    proxy.set_traffic(Traffic::Stalled);
    wire.send("INCR n");
    assert!(wire.is_silent());
    assert_eq!(value(&server), None);
    proxy.set_traffic(Traffic::Flowing);
    assert_eq!(wire.line(), ":1");
}

#[test]
fn refusing_affects_new_and_cutting_old_connections() {
    let server = Server::start();
    let proxy = Proxy::before(&server);
    let mut old = Wire::dial(&proxy);
    assert_eq!(old.ask("PING"), "+PONG");
    proxy.set_traffic(Traffic::Refused);
    assert!(Wire::dial(&proxy).is_cut());
    assert_eq!(old.ask("PING"), "+PONG");
    proxy.set_traffic(Traffic::Flowing);
    proxy.cut_all();
    assert!(old.is_cut());
    assert_eq!(Wire::dial(&proxy).ask("PING"), "+PONG");
    assert!(eventually(ms(1_000), || proxy.connections() == 0));
}

#[test]
fn redirect_affects_only_new_connections() {
    let servers = [Server::start(), Server::start()];
    let proxy = Proxy::before(&servers[0]);
    let mut wire = Wire::dial(&proxy);
    assert_eq!(wire.ask("PING"), "+PONG");
    proxy.lead_to(&servers[1]);
    assert_eq!(Wire::dial(&proxy).ask("SET n 2"), "+OK");
    assert_eq!(wire.ask("SET n 1"), "+OK");
    assert_eq!(servers.each_ref().map(value), [Some(1), Some(2)]);
}

#[test]
fn delay_keeps_order_and_allows_pipelining() {
    let server = Server::start();
    let proxy = Proxy::before(&server);
    let mut wire = Wire::dial(&proxy);
    proxy.set_delay(ms(50));
    let begun = Instant::now();
    for _ in 0..50 {
        wire.send("INCR n");
    }
    for n in 1..=50 {
        assert_eq!(wire.line(), format!(":{n}"));
    }
    let took = begun.elapsed();
    assert!(ms(100) <= took && took < ms(2_500), "{took:?}");
    proxy.set_delay(ms(0));
    let begun = Instant::now();
    assert_eq!(wire.ask("INCR n"), ":51");
    assert!(begun.elapsed() < ms(90));
}

#[test]
fn delayed_requests_outlive_their_client() {
    let server = Server::start();
    let proxy = Proxy::before(&server);
    let mut wire = Wire::dial(&proxy);
    proxy.set_delay(ms(100));
    wire.send("INCR n");
    assert_eq!(value(&server), None);
    drop(wire);
    assert!(eventually(ms(2_000), || value(&server) == Some(1)));
}
