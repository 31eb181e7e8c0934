//! The wall clock of a server follows the test, on every server of this machine.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use testkit::{Flavour, Server, WallClock, flavours};

use crate::wire::ms;

const NOW: i64 = 1_790_000_000_123_456;

fn exists(server: &Server, key: &str) -> bool {
    server.call(&["EXISTS", key]).int() == Some(1)
}

/// Returns whether the clock only steps with reads. Valkey advances its clock by itself between two
/// reads.
fn steps_by_reads(flavour: &Flavour) -> bool {
    flavour.name.starts_with("redis")
}

#[test]
fn frozen_clock_shows_one_time_and_server_serves() {
    for flavour in flavours() {
        let clock = WallClock::new();
        clock.freeze_at(NOW);
        let server = clock
            .rule(Server::builder().binary(&flavour.binary))
            .start();
        let times: Vec<_> = (0..3).map(|_| server.time()).collect();
        assert_eq!(times, [NOW; 3], "{}", flavour.name);
        clock.advance(Duration::from_micros(7));
        assert_eq!(server.time(), NOW + 7, "{}", flavour.name);
    }
}

#[test]
fn stepping_clock_advances_at_each_read_until_frozen() {
    for flavour in flavours().into_iter().filter(steps_by_reads) {
        let clock = WallClock::new();
        clock.step_from(NOW, ms(3));
        let server = clock
            .rule(Server::builder().binary(&flavour.binary))
            .start();
        let (one, other) = (server.time(), server.time());
        assert!(NOW < one && one + 3_000 <= other, "{}", flavour.name);
        clock.freeze_at(NOW);
        let times: Vec<_> = (0..3).map(|_| server.time()).collect();
        assert_eq!(times, [NOW; 3], "{}", flavour.name);
    }
}

#[test]
fn background_threads_do_not_advance_stepping_clock() {
    for flavour in flavours().into_iter().filter(steps_by_reads) {
        let clock = WallClock::new();
        clock.step_from(NOW, Duration::from_micros(1));
        let server = clock
            .rule(Server::builder().binary(&flavour.binary))
            .start();
        // The allocator's thread would run to return freed memory.
        let fill = "for n = 1, 20000 do redis.call('SET', n, string.rep('x', 2000)) end";
        server.call(&["EVAL", fill, "0"]);
        server.call(&["FLUSHALL"]);
        let before = server.time();
        std::thread::sleep(ms(300));
        let steps = server.time() - before;
        assert!(steps < 1_000, "{}: {steps}", flavour.name);
    }
}

#[test]
fn key_ttls_follow_the_clock() {
    for flavour in flavours() {
        let clock = WallClock::new();
        clock.freeze_at(NOW);
        let server = clock
            .rule(Server::builder().binary(&flavour.binary))
            .start();
        server.call(&["SET", "a", "", "PX", "1000"]);
        std::thread::sleep(ms(20));
        assert_eq!(server.call(&["PTTL", "a"]).int(), Some(1_000));
        clock.advance(ms(999));
        assert!(exists(&server, "a"), "{}", flavour.name);
        clock.advance(ms(2));
        assert!(!exists(&server, "a"), "{}", flavour.name);
    }
}

#[test]
fn running_clock_keeps_its_set_offset() {
    for flavour in flavours() {
        let clock = WallClock::new();
        let server = clock
            .rule(Server::builder().binary(&flavour.binary))
            .start();
        for ahead in [0, 3_600_000_000, -3_600_000_000] {
            clock.run_ahead_on(&server, ahead);
        }
    }
}

/// Returns how many microseconds the server's clock is ahead of the real one. It takes the quickest
/// of some replies, since a slow one shows an earlier time.
fn ahead(server: &Server) -> i64 {
    let real = || {
        let real = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        i64::try_from(real.as_micros()).unwrap()
    };
    let replies = (0..20).map(|_| {
        let (sent, shown, received) = (real(), server.time(), real());
        (received - sent, shown - (sent + received) / 2)
    });
    replies.min().unwrap().1
}

#[test]
fn drifting_clock_gains_or_loses_and_keeps_it() {
    let server = |clock: &WallClock| clock.rule(Server::builder()).start();
    for rate in [20_000, -20_000] {
        let clock = WallClock::new();
        let server = server(&clock);
        clock.run_ahead(5_000_000);
        let begun = Instant::now();
        clock.drift(rate);
        std::thread::sleep(ms(500));
        let gained = ahead(&server) - 5_000_000;
        let most = i64::try_from(begun.elapsed().as_millis()).unwrap() * 20;
        let gained_by_rate = gained * rate.signum();
        assert!(
            (8_000..=most + 5_000).contains(&gained_by_rate),
            "{rate}: {gained}"
        );
        clock.drift(0);
        std::thread::sleep(ms(200));
        let kept = (ahead(&server) - 5_000_000) * rate.signum();
        assert!((8_000..=most + 10_000).contains(&kept), "{rate}: {kept}");
    }
}
