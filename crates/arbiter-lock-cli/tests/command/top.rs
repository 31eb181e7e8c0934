//! `arbiter top`, on a terminal of its own.

use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use arbiter_lock::Client;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use testkit::{Folder, Postgres, Proxy, Server, eventually, unique_name};

use crate::cluster;
use crate::helpers::{arbiter, bare, eventually_held, fresh_file, ms, output, signal, wait_for};
use crate::pty::Pty;

/// Starts the view, which reads often.
fn top(server: &Server, words: &[&str]) -> Pty {
    let words = [&["top", "--interval", "200ms"], words].concat();
    Pty::start(&server.url(), &words)
}

/// A command that is killed at the end of a test.
struct Running(Child);

impl Running {
    fn start(server: &Server, words: &[&str]) -> Self {
        let mut command = arbiter(server, words);
        Self(command.stderr(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts a holder of the lock `name`.
fn holder(server: &Server, name: &str) -> Running {
    let words = ["run", "--lease", "5s", name, "--", "sleep", "60"];
    let holder = Running::start(server, &words);
    assert!(eventually_held(server, &format!("arbiter:{name}")));
    holder
}

fn fence(server: &Server, name: &str) -> u64 {
    let (_, json, _) = output(arbiter(server, &["status", "--json", name]));
    let status: serde_json::Value = serde_json::from_str(&json).unwrap();
    status["holder"]["fence"].as_u64().unwrap()
}

#[test]
fn locks_and_waiters_are_shown_live() {
    let server = Server::start();
    let mut top = top(&server, &[]);
    top.shows("no lock is held or waited for");
    let _holder = holder(&server, "alpha");
    top.shows("> alpha");
    top.shows("1 lock, 1 held, 0 waited for by 0");
    let waiter = Running::start(&server, &["run", "alpha", "--", "true"]);
    top.shows("1 waited for by 1");
    drop(waiter);
    server.call(&["HSET", "arbiter:theirs", "owner", "a Go client"]);
    top.shows("owner a Go client");
    assert!(top.screen().contains("external"), "{}", top.screen());
    top.types("q");
    top.ends_restored(Some(0), None);
}

#[test]
fn filter_narrows_and_selection_stays() {
    let server = Server::start();
    let _holders = ["alpha", "beta", "gamma"].map(|name| holder(&server, name));
    let mut top = top(&server, &["--sort", "name"]);
    top.shows("> alpha");
    top.types("jj");
    top.shows("> gamma");
    top.types("/ET");
    top.shows("/ET_");
    top.lacks("gamma");
    top.shows("> beta");
    top.types("\x1b");
    top.shows("alpha");
    let waiter = Running::start(&server, &["run", "alpha", "--", "true"]);
    top.shows("1 waited for by 1");
    top.types("\x1b[H\x1b[Bs");
    top.shows("by waiting");
    top.shows("> beta");
    drop(waiter);
    top.types("\x1b");
    top.ends_restored(Some(0), None);
}

#[test]
fn details_show_what_status_shows() {
    let server = Server::start();
    let _holder = holder(&server, "alpha");
    let _waiter = Running::start(&server, &["run", "--label", "next", "alpha", "--", "true"]);
    let mut top = top(&server, &[]);
    top.shows("1 waited for by 1");
    top.types("\r");
    top.shows("alpha: held by arbiter (pid ");
    top.shows(&format!("fence {}, owner ", fence(&server, "alpha")));
    top.shows("waiting: 1");
    top.shows("1. arbiter (pid ");
    top.shows("next");
    top.types("\x1b");
    top.shows("NAME");
    top.types("?");
    top.shows("Keys of the list");
    top.types("x");
    top.lacks("Keys of the list");
    top.types("\x03");
    top.ends_restored(Some(0), None);
}

#[test]
fn declined_break_ends_nothing_and_confirmed_does() {
    for key in ["y", "!"] {
        let server = Server::start();
        let _holder = holder(&server, "alpha");
        let ran = fresh_file();
        let path = ran.to_str().unwrap();
        let _waiter = Running::start(&server, &["run", "alpha", "--", "touch", path]);
        let mut top = top(&server, &[]);
        top.shows("1 waited for by 1");
        let fence = fence(&server, "alpha");
        top.types("b");
        top.shows("Break the hold of 'alpha'?");
        top.shows("holder: arbiter (pid ");
        top.shows(&format!("fence: {fence}"));
        top.types("n");
        top.shows("nothing was broken");
        std::thread::sleep(ms(500));
        assert_eq!(self::fence(&server, "alpha"), fence);
        top.types("b");
        top.shows("Break the hold of 'alpha'?");
        top.types(key);
        top.shows("is notified at its next renewal");
        wait_for(&ran);
        std::fs::remove_file(&ran).unwrap();
        top.shows("no lock is held or waited for");
        top.types("q");
        top.ends_restored(Some(0), None);
    }
}

#[tokio::test]
async fn changed_hold_is_not_broken() {
    let server = Server::start();
    let client = Client::connect(&server.url()).await.unwrap();
    for key in ["y", "!"] {
        let name = unique_name();
        let first = client.lock(&name).acquire().await.unwrap();
        let mut top = top(&server, &[&name]);
        top.shows("> test");
        top.types("b");
        top.shows(&format!("fence: {}", first.fence()));
        let fence = first.fence();
        first.release().await.unwrap();
        let second = client.lock(&name).acquire().await.unwrap();
        top.types(key);
        top.shows("nothing was broken");
        top.shows(&format!("not held with fence {fence}"));
        top.shows(&second.fence().to_string());
        tokio::time::sleep(ms(300)).await;
        assert_eq!(self::fence(&server, &name), second.fence());
        second.release().await.unwrap();
    }
}

#[test]
fn external_hold_is_broken_by_its_owner() {
    let server = Server::start();
    server.call(&["HSET", "arbiter:ext", "owner", "first"]);
    let mut top = top(&server, &[]);
    top.shows("owner first");
    top.types("b");
    top.shows("fence: none, external owner first");
    server.call(&["HSET", "arbiter:ext", "owner", "second"]);
    top.types("y");
    top.shows("nothing was broken");
    top.shows("owner second");
    top.lacks("owner first");
    top.types("b");
    top.shows("fence: none, external owner second");
    top.types("y");
    top.shows("its holder is not notified");
    assert!(server.keys().iter().all(|key| key != "arbiter:ext"));
}

#[test]
fn every_end_restores_the_terminal() {
    let server = Server::start();
    for key in ["q", "\x1b", "\x03"] {
        let mut top = top(&server, &[]);
        top.shows("no lock is held");
        assert!(top.is_full_screen() && !top.is_restored());
        top.types(key);
        top.ends_restored(Some(0), None);
    }
    for (name, number) in [("TERM", 15), ("INT", 2), ("HUP", 1), ("QUIT", 3)] {
        let mut top = top(&server, &[]);
        top.shows("no lock is held");
        signal(&top.child, name);
        top.ends_restored(None, Some(number));
    }
}

#[test]
fn closed_terminal_ends_the_view() {
    let server = Server::start();
    for (hup, status) in [
        ("--default-signal=HUP", (None, Some(1))),
        ("--ignore-signal=HUP", (Some(71), None)),
    ] {
        let mut top = Pty::with_hup(&server.url(), hup);
        top.shows("no lock is held");
        top.close();
        let ended = top.end();
        assert_eq!((ended.code(), ended.signal()), status, "{hup}");
    }
}

#[test]
fn ctrl_z_restores_and_fg_shows_again() {
    let server = Server::start();
    let _holder = holder(&server, "alpha");
    let mut shell = Pty::shell(&server);
    shell.shows("ready> ");
    let line = format!("{} top --interval 200ms\n", env!("CARGO_BIN_EXE_arbiter"));
    shell.types(&line);
    shell.shows("> alpha");
    assert!(shell.is_full_screen());
    for stop in ["\x1a", "kill"] {
        match stop {
            "kill" => {
                let bash = shell.child.id();
                let children = format!("/proc/{bash}/task/{bash}/children");
                let top = std::fs::read_to_string(children).unwrap();
                let top = Pid::from_raw(top.trim().parse().unwrap());
                kill(top, Signal::SIGTSTP).unwrap();
            }
            keys => shell.types(keys),
        }
        shell.shows("Stopped");
        assert!(!shell.is_full_screen());
        shell.types("bg\n");
        shell.types("echo still-$((40+2))\n");
        shell.shows("still-42");
        shell.types("clear; fg\n");
        shell.shows("> alpha");
        assert!(shell.is_full_screen());
    }
    shell.types("q");
    shell.shows("ready> ");
    shell.types("clear; stty -a | grep -o ' icanon'; echo status-$?\n");
    shell.shows(" icanon");
    shell.shows("status-0");
    shell.types("exit\n");
    shell.end();
}

#[test]
fn ctrl_z_without_a_shell_goes_on() {
    let server = Server::start();
    let mut top = top(&server, &[]);
    top.shows("no lock is held");
    top.types("\x1a");
    top.shows("no shell would continue it");
    top.types("q");
    top.ends_restored(Some(0), None);
}

#[test]
fn view_outlasts_a_restart_of_the_store() {
    let mut server = Server::start();
    server.call(&["HSET", "arbiter:old", "owner", "x"]);
    let mut top = top(&server, &[]);
    top.shows("> old");
    server.kill();
    top.shows("NOT CURRENT: read ");
    top.shows("trying again");
    assert!(top.screen().contains("> old"), "{}", top.screen());
    server.restart();
    server.call(&["HSET", "arbiter:new", "owner", "x"]);
    top.shows("> new");
    top.lacks("NOT CURRENT");
    top.lacks("trying again");
    top.types("q");
    top.ends_restored(Some(0), None);
}

#[test]
fn keys_work_while_the_store_is_silent() {
    let server = Server::start();
    server.call(&["HSET", "arbiter:a", "owner", "x"]);
    let proxy = Proxy::before(&server);
    let mut top = Pty::start(&proxy.url(), &["top", "--interval", "200ms"]);
    top.shows("> a");
    server.stop();
    top.shows("trying again");
    top.types("?");
    top.shows("Keys of the list");
    top.types("x/zz");
    top.shows("no lock matches the filter");
    top.types("\x1b");
    top.shows("> a");
    top.types("b");
    top.shows("Break the hold of 'a'?");
    top.types("y");
    top.shows("breaking the hold of 'a'");
    let begun = Instant::now();
    top.types("q");
    top.ends_restored(Some(0), None);
    assert!(begun.elapsed() < Duration::from_secs(5));
    top.shows("arbiter: the break of a was not confirmed; see: arbiter status a");
    server.cont();
}

#[test]
fn slow_store_is_listed_all_the_same() {
    let server = Server::start();
    let script = "for i = 1, 60 do redis.call('HSET', 'arbiter:n' .. i, 'owner', 'x') end";
    server.call(&["EVAL", script, "0"]);
    let proxy = Proxy::before(&server);
    // A page of names takes longer than a tick of the view.
    proxy.set_delay(ms(100));
    let top = Pty::start(&proxy.url(), &["top"]);
    top.shows("60 locks, 60 held");
}

#[test]
fn without_a_terminal_the_list_is_printed() {
    let server = Server::start();
    server.call(&["HSET", "arbiter:theirs", "owner", "x"]);
    let list = output(arbiter(&server, &["list", "--sort", "name"]));
    assert!(list.1.contains("theirs"), "{list:?}");
    let words = ["top", "--sort", "name"];
    assert_eq!(output(arbiter(&server, &words)), list);
    let dumb = [&[env!("CARGO_BIN_EXE_arbiter")], &words[..]].concat();
    let mut top = Pty::run(&server.url(), "dumb", &dumb);
    assert!(top.end().success());
    top.shows(list.1.lines().last().unwrap());
    assert!(!top.is_full_screen());
    let (status, _, stderr) = output(bare(&["top", "--interval", "99ms"]));
    assert!(
        status == 64 && stderr.contains("from 100ms to 1d"),
        "{stderr}"
    );
}

#[test]
fn every_store_is_shown_and_broken_on() {
    let (folder, cluster, database) = (Folder::new(), cluster::shared(), Postgres::start());
    for url in [folder.url(), cluster.url(), database.url()] {
        let name = unique_name();
        let mut holder = bare(&["run", &name, "--", "sleep", "60"]);
        let holder = holder.env("ARBITER_STORE", &url).stderr(Stdio::null());
        let mut holder = Running(holder.spawn().unwrap());
        let is_held = || {
            let mut check = bare(&["status", "--check", &name]);
            check.env("ARBITER_STORE", &url);
            output(check).0 == 75
        };
        assert!(eventually(ms(20_000), is_held), "{url}");
        let mut top = Pty::start(&url, &["top", "--interval", "200ms", &name]);
        top.shows("1 lock, 1 held");
        top.types("\r");
        top.shows(&format!("{name}: held by arbiter"));
        top.types("b");
        top.shows("fence: ");
        top.types("!");
        top.shows("is notified at its next renewal");
        top.shows(&format!("{name}: free"));
        assert_eq!(holder.0.wait().unwrap().code(), Some(79));
        top.types("q");
        top.ends_restored(Some(0), None);
    }
}

#[test]
fn read_rights_suffice_to_watch() {
    let server = Server::start();
    let _holder = holder(&server, "alpha");
    let page = include_str!("../../../../docs/redis.md");
    let rule = page.split("ACL SETUSER watcher on >secret").nth(1).unwrap();
    let rule = rule.split("```").next().unwrap().replace('\\', " ");
    let mut command = vec!["ACL", "SETUSER", "watcher", "on", ">secret"];
    command.extend(rule.split_whitespace());
    assert_eq!(server.call(&command).text().as_deref(), Some("OK"));
    let url = server.url().replace("://", "://watcher:secret@");
    let mut top = Pty::start(&url, &["top", "--interval", "200ms"]);
    top.shows("> alpha");
    assert!(!top.screen().contains("secret"), "{}", top.screen());
    top.types("\r");
    top.shows("alpha: held by");
    let fence = fence(&server, "alpha");
    top.types("b");
    top.shows("Break the hold of 'alpha'?");
    top.types("y");
    top.shows("the break failed: ");
    top.shows("denies access");
    assert_eq!(self::fence(&server, "alpha"), fence);
    top.types("q");
    top.ends_restored(Some(0), None);
}

#[test]
fn many_hostile_names_and_sizes_are_shown() {
    let server = Server::start();
    let script = "for i = 1, 2000 do redis.call('HSET', 'arbiter:n' .. i, 'owner', 'x') end";
    server.call(&["EVAL", script, "0"]);
    let hostile = "arbiter:中文\u{202e}名字\x1b[2J\n";
    server.call(&["HSET", hostile, "owner", "\u{202e}\x1b[31m"]);
    let mut top = top(&server, &["--sort", "name"]);
    top.shows("2001 locks, 2001 held");
    top.shows("the first 1000 are kept");
    for n in 0..300_u16 {
        top.resize(1 + n % 50, 1 + n * 7 % 160);
    }
    top.resize(24, 80);
    top.types("\x1b[H");
    top.shows("> n1 ");
    top.types("/中文\r");
    top.shows("1 match '中文'");
    top.types("\r");
    top.shows(r"中文\u{202e}名字\u{1b}[2J\n: held by");
    top.shows(r"\u{202e}\u{1b}[31m), without end");
    assert!(eventually(ms(5_000), || top.screen().lines().count() == 24));
    top.types("q");
    top.ends_restored(Some(0), None);
}
