//! Servers are found, started, stopped, and ended on drop.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use testkit::{Reply, Server, eventually, eventually_async, flavours};
use tokio::net::TcpSocket;

use crate::wire::ms;

#[test]
fn every_server_starts_serves_and_cleans_up() {
    let flavours = flavours();
    assert!(!flavours.is_empty());
    for flavour in flavours {
        let server = Server::builder().binary(&flavour.binary).start();
        assert_eq!(
            server.call(&["SET", "a", "b"]),
            Reply::Simple("OK".into()),
            "{}",
            flavour.name
        );
        assert_eq!(server.keys(), ["a"]);
        let (folder, pid) = (server.folder().to_owned(), server.pid());
        assert!(folder.join("server.sock").exists());
        drop(server);
        assert!(!folder.exists() && !is_alive(pid));
    }
}

fn is_alive(pid: u32) -> bool {
    std::path::Path::new(&format!("/proc/{pid}")).exists()
}

#[test]
fn killed_process_leaves_no_server() {
    const CHILD: &str = "ARBITER_TEST_STARTS_A_SERVER";
    if std::env::var_os(CHILD).is_some() {
        let server = Server::start();
        println!("pid {}", server.pid());
        let own = rustix::process::getpid();
        rustix::process::kill_process(own, rustix::process::Signal::KILL).unwrap();
    }
    let mut child = std::process::Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "--nocapture"]);
    child.arg("servers::killed_process_leaves_no_server");
    let output = child.env(CHILD, "1").output().unwrap();
    assert_eq!(output.status.code(), None, "it is killed");
    let text = String::from_utf8(output.stdout).unwrap();
    let pid = text.lines().find_map(|line| line.split_once("pid "));
    let pid: u32 = pid.unwrap().1.parse().unwrap();
    let ended = || !is_alive(pid) || is_zombie(pid);
    assert!(eventually(ms(5_000), ended));
}

/// Returns whether a process has ended and its new parent has not yet asked for it.
fn is_zombie(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
    stat.is_ok_and(|stat| stat.contains(") Z "))
}

#[test]
fn concurrent_servers_are_separate() {
    let servers: Vec<Server> = std::thread::scope(|threads| {
        let starts: Vec<_> = (0..6).map(|_| threads.spawn(Server::start)).collect();
        starts
            .into_iter()
            .map(|start| start.join().unwrap())
            .collect()
    });
    for server in &servers {
        let info = server.call(&["INFO", "server"]).text().unwrap();
        assert!(info.contains(&format!("process_id:{}\r", server.pid())));
    }
}

#[test]
fn failed_start_reports_the_reason_at_once() {
    let begun = Instant::now();
    let start = || Server::builder().arg("--no-such-option").arg("1").start();
    let panic = std::panic::catch_unwind(start).unwrap_err();
    let text = panic.downcast_ref::<String>().unwrap();
    assert!(text.contains("no-such-option"), "{text}");
    assert!(begun.elapsed() < Duration::from_secs(5));
}

#[test]
fn restarted_server_is_empty_on_its_port() {
    let mut server = Server::start();
    let port = server.port();
    server.call(&["SET", "a", "b"]);
    server.stop();
    let stat = || std::fs::read_to_string(format!("/proc/{}/stat", server.pid())).unwrap();
    assert!(eventually(ms(1_000), || stat().contains(") T ")));
    server.cont();
    assert_eq!(server.keys(), ["a"]);
    server.restart();
    assert_eq!(server.port(), port);
    assert!(server.keys().is_empty());
    server.kill();
    assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_err());
}

#[test]
fn port_of_a_killed_server_stays_reserved() {
    let mut server = Server::start();
    server.kill();
    let address = ([127, 0, 0, 1], server.port()).into();
    let taken = TcpSocket::new_v4().unwrap().bind(address).unwrap_err();
    assert_eq!(taken.kind(), ErrorKind::AddrInUse);
}

#[test]
fn replies_of_every_kind_are_read() {
    let server = Server::start();
    assert_eq!(server.call(&["GET", "none"]), Reply::Bulk(None));
    assert_eq!(server.call(&["INCR", "n"]), Reply::Int(1));
    assert!(matches!(server.call(&["NONSENSE"]), Reply::Error(text) if text.starts_with("ERR")));
    let nested = server.call(&[
        "EVAL",
        "return {1, {'two', false}, redis.status_reply('3')}",
        "0",
    ]);
    let two = vec![Reply::Bulk(Some(b"two".to_vec())), Reply::Bulk(None)];
    let all = [Reply::Int(1), Reply::Array(two), Reply::Simple("3".into())];
    assert_eq!(nested, Reply::Array(all.into()));
}

#[test]
fn eventually_gives_up_at_its_limit() {
    let begun = Instant::now();
    assert!(!eventually(ms(50), || false));
    assert!(begun.elapsed() < ms(500));
}

#[tokio::test(start_paused = true)]
async fn eventually_async_follows_paused_time() {
    let begun = Instant::now();
    assert!(!eventually_async(Duration::from_secs(600), || false).await);
    assert!(begun.elapsed() < Duration::from_secs(60));
    let mut looks = 0;
    let third = || {
        looks += 1;
        looks == 3
    };
    assert!(eventually_async(ms(100), third).await);
}
