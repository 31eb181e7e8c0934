//! Files of other kinds at the path of the store's file.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arbiter_lock_core::{Acquired, Contender, Limit, Mode};

use super::super::database::Database;
use super::super::liveness::{self, Liveness, Process};
use super::folder;
use crate::store::FailureKind;

fn request(id: &str) -> Contender {
    Contender {
        id: id.into(),
        mode: Mode::Exclusive,
        lease_ms: 30_000,
        channel: "".into(),
        label: "".into(),
    }
}

fn acquire(database: &mut Database, name: &str, id: &str) -> Acquired {
    let step = database.step(name, |resource, now| {
        resource
            .acquire(now, &request(id), None, |_: &str| true)
            .reply
    });
    step.unwrap().0
}

#[test]
fn starting_process_never_seems_dead() {
    let folder = folder();
    std::fs::create_dir(folder.path().join("live")).unwrap();
    let observer = Liveness::begin(folder.path(), &Process::random()).unwrap();
    let is_over = AtomicBool::new(false);
    std::thread::scope(|threads| {
        threads.spawn(|| {
            for _ in 0..1_000 {
                let started = Liveness::begin(folder.path(), &Process::random()).unwrap();
                std::thread::sleep(Duration::from_micros(500));
                drop(started);
            }
            is_over.store(true, Ordering::Relaxed);
        });
        while !is_over.load(Ordering::Relaxed) {
            for process in observer.some_dead() {
                // One that leaves has removed its file before it unlocks it.
                let file = liveness::file(folder.path(), &process);
                assert!(!file.exists(), "it has just started");
            }
        }
    });
}

#[test]
fn file_is_opened_unlocked_only_when_prepared() {
    for change in [
        None,
        Some("UPDATE clock SET boot = 'another'"),
        Some("DELETE FROM clock"),
        Some("PRAGMA user_version = 4"),
    ] {
        let folder = folder();
        let prepared = || Database::open_prepared(folder.path()).map(drop);
        assert!(prepared().is_err(), "it is missing");
        drop(Database::open(folder.path(), || Ok(())).unwrap());
        prepared().unwrap();
        let Some(change) = change else { continue };
        let file = rusqlite::Connection::open(folder.path().join("arbiter.db")).unwrap();
        file.execute_batch(change).unwrap();
        assert!(prepared().is_err(), "{change}");
    }
}

#[test]
fn clock_restarted_while_opening_ends_all_steps() {
    let (folder, name) = (folder(), "n");
    drop(Database::open(folder.path(), || Ok(())).unwrap());
    let mut opened = Database::open_prepared(folder.path()).unwrap();
    let file = rusqlite::Connection::open(folder.path().join("arbiter.db")).unwrap();
    file.execute("UPDATE clock SET start_us = start_us + 1", [])
        .unwrap();
    for _ in 0..2 {
        let step = opened.step(name, |_, _| ());
        assert_eq!(step.unwrap_err().kind, FailureKind::Unsupported);
    }
    let mut opened = Database::open_prepared(folder.path()).unwrap();
    assert!(opened.step(name, |_, _| ()).is_ok());
}

#[test]
fn reboot_frees_holds_and_keeps_fences_rising() {
    let (folder, name) = (folder(), "n");
    let mut database = Database::open(folder.path(), || Ok(())).unwrap();
    let Acquired::Granted { fence, .. } = acquire(&mut database, name, "a") else {
        panic!()
    };
    drop(database);
    // Another boot, and a wall clock that was set back by three years.
    let file = rusqlite::Connection::open(folder.path().join("arbiter.db")).unwrap();
    let ahead = fence + 3 * 365 * 86_400_000_000;
    file.execute("UPDATE names SET last_fence = ?1", [ahead as i64])
        .unwrap();
    file.execute("UPDATE clock SET boot = 'another'", [])
        .unwrap();
    drop(file);
    let mut rebooted = false;
    let mut database = Database::open(folder.path(), || {
        rebooted = true;
        Ok(())
    })
    .unwrap();
    assert!(rebooted);
    let Acquired::Granted { fence: next, .. } = acquire(&mut database, name, "b") else {
        panic!("the hold from before the reboot is still in force")
    };
    assert!(ahead < next, "{ahead} {next}");
}

#[test]
fn unusable_file_is_refused_and_left_unchanged() {
    for (break_it, kind, words) in [
        (
            Box::new(|path: &std::path::Path| std::fs::write(path, "x".repeat(4096)).unwrap())
                as Box<dyn Fn(&std::path::Path)>,
            FailureKind::Damaged,
            "move the file away",
        ),
        (
            Box::new(|path: &std::path::Path| {
                drop(Database::open(path.parent().unwrap(), || Ok(())).unwrap());
                let file = rusqlite::Connection::open(path).unwrap();
                file.pragma_update(None, "user_version", 4).unwrap();
            }),
            FailureKind::Unsupported,
            "another version of arbiter (format 4, this one supports 3)",
        ),
        (
            Box::new(|path: &std::path::Path| {
                let file = rusqlite::Connection::open(path).unwrap();
                file.pragma_update(None, "application_id", 77).unwrap();
            }),
            FailureKind::WrongType,
            "belongs to another program",
        ),
        (
            Box::new(|path: &std::path::Path| {
                let file = rusqlite::Connection::open(path).unwrap();
                file.execute_batch("CREATE TABLE theirs (x)").unwrap();
            }),
            FailureKind::WrongType,
            "belongs to another program",
        ),
    ] {
        let folder = folder();
        let path = folder.path().join("arbiter.db");
        break_it(&path);
        let before = std::fs::read(&path).unwrap();
        let failure = Database::open(folder.path(), || Ok(())).err().unwrap();
        assert_eq!(failure.kind, kind, "{failure}");
        assert!(failure.to_string().contains(words), "{failure}");
        assert!(std::fs::read(&path).unwrap() == before, "it was written to");
    }
}

#[test]
fn unused_names_leave_no_rows_or_pages() {
    let folder = folder();
    let mut database = Database::open(folder.path(), || Ok(())).unwrap();
    for n in 0..20_000 {
        let name = &format!("n{n}");
        acquire(&mut database, name, "a");
        let ended = database.step(name, |resource, now| {
            drop(resource.end(now, "a", false, |_: &str| true));
        });
        ended.unwrap();
    }
    let file = rusqlite::Connection::open(folder.path().join("arbiter.db")).unwrap();
    let names = || -> i64 {
        file.query_row("SELECT count(*) FROM names", [], |row| row.get(0))
            .unwrap()
    };
    while database.forget_some().is_some() {}
    assert_eq!(names(), 20_000, "a minute has not passed");
    // Two minutes later, by the store's clock.
    file.execute("UPDATE clock SET start_us = start_us + 120000000", [])
        .unwrap();
    let mut database = Database::open(folder.path(), || Ok(())).unwrap();
    let pages = || -> i64 {
        file.pragma_query_value(None, "page_count", |row| row.get(0))
            .unwrap()
    };
    let before = pages();
    while database.forget_some().is_some() {}
    while database.shrink() {}
    assert_eq!(names(), 0);
    assert!(pages() * 2 < before, "{} of {before} pages", pages());
    database.checkpoint();
}

#[test]
fn expired_holds_do_not_block_after_tidying() {
    let (folder, name) = (folder(), "n");
    let mut database = Database::open(folder.path(), || Ok(())).unwrap();
    let permit = Contender {
        mode: Mode::Shared {
            weight: NonZeroU32::MIN,
            limit: Limit::Stated(NonZeroU32::MIN),
        },
        lease_ms: 100,
        ..request("dead")
    };
    let shared = database.step(name, |resource, now| {
        resource.acquire(now, &permit, None, |_: &str| true).reply
    });
    assert!(matches!(shared.unwrap().0, Acquired::Granted { .. }));
    std::thread::sleep(Duration::from_millis(150));
    while database.forget_some().is_some() {}
    let next = acquire(&mut database, name, "next");
    assert!(matches!(next, Acquired::Granted { .. }), "{next:?}");
}
