//! The proxy: every fault is the one that it is named after, and nothing else breaks.

use std::time::Instant;

use testkit::{Fault, Proxy, Pushes, Server, Traffic, eventually};

use crate::rig::{Wire, ms};

fn is(name: &'static str) -> impl Fn(&[Vec<u8>]) -> bool {
    move |args| args[0].eq_ignore_ascii_case(name.as_bytes())
}

fn value(server: &Server) -> Option<i64> {
    server.call(&["GET", "n"]).int()
}

#[test]
fn what_no_rule_meets_passes_as_it_is_and_is_counted() {
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
fn pipelined_requests_meet_their_own_replies() {
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
fn a_lost_reply_is_of_a_command_that_ran_on_a_connection_that_stays_open() {
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
fn a_delayed_reply_is_late_by_that_much_and_its_command_is_not() {
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
fn a_held_request_arrives_after_its_client_has_gone() {
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
fn a_held_request_dies_with_the_proxy() {
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
fn a_cut_before_is_of_a_command_that_never_ran_and_a_cut_after_of_one_that_did() {
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
fn a_duplicate_runs_twice_and_is_answered_once() {
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
fn messages_are_lost_or_late_while_replies_and_subscriptions_arrive() {
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

    // The confirmations did not put the replies out of step.
    proxy.nth(1, Fault::LoseReply, is("INCR"));
    assert_eq!(wire.ask("PING"), "+PONG");
    wire.send("INCR n");
    assert!(wire.is_silent());
}

#[test]
fn a_subscription_without_the_right_is_answered_by_its_error() {
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
fn a_silent_network_loses_everything_and_only_new_connections_come_back() {
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
fn a_stalled_network_delivers_late_what_was_sent() {
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
fn refused_means_new_connections_and_cut_means_old_ones() {
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
fn it_leads_new_connections_to_another_server_and_leaves_those_that_stand() {
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
fn a_delay_keeps_order_and_any_number_under_way() {
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
