//! The embedded store only: its folder and its files, which others lock, move and remove.

use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use arbiter_lock::{Client, Error, LostReason};
use testkit::{Folder, eventually};

use crate::embedded::client;

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

#[tokio::test]
async fn held_file_lock_ends_waits_and_notifies_holder() {
    let folder = Folder::new();
    let client = client(&folder).await;
    let guard = client.lock("held").lease_time(ms(1_200));
    let guard = guard.acquire().await.unwrap();
    let file_lock = std::fs::File::open(folder.path().join("store/gate")).unwrap();
    rustix::fs::flock(file_lock.as_fd(), rustix::fs::FlockOperation::LockExclusive).unwrap();
    let begun = Instant::now();
    let error = client.lock("l").wait_timeout(ms(300)).acquire().await;
    assert!(error.unwrap_err().is_unavailable());
    assert!(begun.elapsed() < ms(600), "{:?}", begun.elapsed());
    let error = client.lock("l").try_acquire().await.unwrap_err();
    let words = format!("process {} keeps", std::process::id());
    assert!(error.to_string().contains(&words), "{error}");
    assert_eq!(guard.lost().await, LostReason::Unreachable);
    assert!(begun.elapsed() < ms(2_500));
    drop(file_lock);
    let taken = client.lock("l").wait_timeout(ms(3_000)).acquire().await;
    taken.unwrap().release().await.unwrap();
    let again = client.lock("held").wait_timeout(ms(3_000)).acquire().await;
    drop(again.unwrap());
}

#[tokio::test]
async fn folder_removed_while_used_is_an_outage() {
    let folder = Folder::new();
    let before = client(&folder).await;
    std::fs::remove_dir_all(folder.path().join("store")).unwrap();
    let after = client(&folder).await;
    let guard = after.lock("l").acquire().await.unwrap();
    let error = before.lock("l").try_acquire().await.unwrap_err();
    assert!(error.is_unavailable(), "{error}");
    assert!(
        error.to_string().contains("removed while in use"),
        "{error}"
    );
    guard.release().await.unwrap();
}

/// Asserts that another process holds now, and that an earlier user of the store does not.
async fn assert_refused_after_move(before: &Client, after: &Client) {
    let guard = after.lock("l").acquire().await.unwrap();
    let error = before.lock("l").try_acquire().await.unwrap_err();
    assert!(error.to_string().contains("while in use"), "{error}");
    guard.release().await.unwrap();
}

#[tokio::test]
async fn folder_moved_while_used_is_an_outage() {
    let folder = Folder::new();
    let before = client(&folder).await;
    let store = folder.path().join("store");
    std::fs::rename(&store, folder.path().join("elsewhere")).unwrap();
    assert_refused_after_move(&before, &client(&folder).await).await;
}

#[tokio::test]
async fn folder_removed_during_file_lock_wait_is_refused() {
    let folder = Folder::new();
    let before = client(&folder).await;
    let file_lock = std::fs::File::open(folder.path().join("store/gate")).unwrap();
    std::fs::remove_dir_all(folder.path().join("store")).unwrap();
    let after = client(&folder).await;
    let guard = after.lock("l").acquire().await.unwrap();
    rustix::fs::flock(file_lock.as_fd(), rustix::fs::FlockOperation::LockExclusive).unwrap();
    let second = tokio::spawn({
        let lock = before.lock("l");
        async move { lock.try_acquire().await }
    });
    tokio::time::sleep(ms(100)).await;
    drop(file_lock);
    let error = second.await.unwrap().unwrap_err();
    assert!(error.to_string().contains("while in use"), "{error}");
    guard.release().await.unwrap();
}

#[tokio::test]
async fn moved_file_is_not_recreated_while_used() {
    let folder = Folder::new();
    let before = client(&folder).await;
    let store = folder.path().join("store");
    for file in ["arbiter.db", "arbiter.db-wal", "arbiter.db-shm"] {
        std::fs::rename(store.join(file), folder.path().join(file)).unwrap();
    }
    let error = before.lock("l").try_acquire().await.unwrap_err();
    assert!(error.to_string().contains("while in use"), "{error}");
    let error = Client::connect(&folder.url()).await.unwrap_err();
    assert!(error.to_string().contains("end it first"), "{error}");
    drop(before);
    for _ in 0..200 {
        if let Ok(after) = Client::connect(&folder.url()).await {
            drop(after.lock("l").acquire().await.unwrap());
            return;
        }
        tokio::time::sleep(ms(10)).await;
    }
    panic!("it is unused, and is not created again");
}

#[tokio::test]
async fn externally_locked_file_delays_no_wait_limit() {
    let folder = Folder::new();
    let client = client(&folder).await;
    let file = rusqlite::Connection::open(folder.path().join("store/arbiter.db")).unwrap();
    file.execute_batch("BEGIN IMMEDIATE").unwrap();
    let waits: Vec<_> = (0..30)
        .map(|_| {
            let lock = client.lock("l").wait_timeout(ms(300));
            tokio::spawn(async move {
                let begun = Instant::now();
                let error = lock.acquire().await.unwrap_err();
                assert!(error.is_unavailable(), "{error}");
                begun.elapsed()
            })
        })
        .collect();
    for wait in waits {
        let took = wait.await.unwrap();
        assert!(took < ms(900), "{took:?}");
    }
    file.execute_batch("COMMIT").unwrap();
    let taken = client.lock("l").wait_timeout(ms(3_000)).acquire().await;
    drop(taken.unwrap());
}

#[tokio::test]
async fn steps_go_on_while_many_names_are_forgotten() {
    const NAMES: u32 = 60_000;
    let folder = Folder::new();
    let clients = [client(&folder).await, client(&folder).await];
    let mut file = rusqlite::Connection::open(folder.path().join("store/arbiter.db")).unwrap();
    let all = file.transaction().unwrap();
    for n in 0..NAMES {
        let sql = "INSERT INTO names (name, waiting, passed_over, notes, queue_until, last_fence,
                                      fence_until) VALUES (?1, 0, 0, 0, 0, 1, 0)";
        let mut put = all.prepare_cached(sql).unwrap();
        put.execute([format!("name-{n}")]).unwrap();
    }
    all.commit().unwrap();
    let count = || -> u32 {
        let count = "SELECT count(*) FROM names";
        file.query_row(count, [], |row| row.get(0)).unwrap()
    };
    let (begun, mut worst) = (Instant::now(), Duration::ZERO);
    while 100 < count() && begun.elapsed() < ms(60_000) {
        for client in &clients {
            for _ in 0..64 {
                let one = Instant::now();
                let guard = client.lock("l").acquire().await.unwrap();
                guard.release().await.unwrap();
                worst = worst.max(one.elapsed());
            }
        }
    }
    assert!(count() <= 100, "{} names are left", count());
    assert!(worst < ms(800), "{worst:?}");
}

#[tokio::test]
async fn unusable_folder_error_has_the_reason() {
    let folder = Folder::new();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let url = |path: &str| format!("file://{path}");
    for (url, words) in [
        (url(file.to_str().unwrap()), "is not a folder"),
        (url(&format!("{}/below", file.display())), "Not a directory"),
        (url("/proc/arbiter"), "/proc/arbiter: "),
        (
            "file:relative".to_owned(),
            "such as file:///var/lib/arbiter",
        ),
    ] {
        let error = Client::connect(&url).await.unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
        assert!(!matches!(error, Error::Contended(_)));
    }
}

#[tokio::test]
async fn children_inherit_no_descriptor_of_the_store() {
    let folder = Folder::new();
    let client = client(&folder).await;
    let guard = client.lock("l").acquire().await.unwrap();
    let output = std::process::Command::new("sh")
        .args(["-c", "ls -l /proc/self/fd /proc/$$/fd"])
        .output()
        .unwrap();
    let fds = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(fds.contains("->") && !fds.contains("store"), "{fds}");
    guard.release().await.unwrap();
}

#[tokio::test]
async fn ended_client_leaves_no_file_or_thread() {
    let folder = Folder::new();
    let mut fence = 0;
    for _ in 0..3 {
        let client = client(&folder).await;
        let guard = client.lock("l").acquire().await.unwrap();
        assert!(fence < guard.fence());
        fence = guard.fence();
        drop((guard, client));
    }
    let live = folder.path().join("store/live");
    assert!(eventually(ms(2_000), || {
        std::fs::read_dir(&live).unwrap().count() == 0
    }));
    let threads = || std::fs::read_dir("/proc/self/task").unwrap().count();
    let before = threads();
    drop(client(&folder).await);
    assert!(eventually(ms(2_000), || threads() <= before + 1));
}
