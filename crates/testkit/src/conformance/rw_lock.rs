//! Conformance tests of the read-write lock.
#![expect(missing_docs, reason = "the name is the claim")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use arbiter_lock::{Error, HeldBy, LostReason, RefusedKind};

use super::Store;
use super::helpers::{expiry, free, ms, queued, refusal, soon, soon_after, spawn};

pub async fn readers_overlap_and_writers_exclude(store: &Store) {
    let (a, b) = (store.client().await, store.client().await);
    let first = a.rw_lock("l").read().await.expect("a read");
    let second = b.rw_lock("l").read().await.expect("a read");
    assert!(first.is_held() && second.is_held() && first.is_shared());
    for client in [&a, &b] {
        let writing = client.rw_lock("l").try_write().await;
        assert!(writing.expect("a try").is_none());
        let locking = client.lock("l").try_acquire().await;
        assert!(locking.expect("a try").is_none());
    }
    let last_read = first.fence().max(second.fence());
    free(first).await;
    let writing = b.rw_lock("l").try_write().await;
    assert!(writing.expect("a try").is_none(), "one reads yet");
    free(second).await;
    let writer = a.rw_lock("l").write().await.expect("a write");
    assert!(last_read < writer.fence() && !writer.is_shared());
    for client in [&a, &b] {
        let reading = client.rw_lock("l").try_read().await;
        assert!(reading.expect("a try").is_none());
        let writing = client.rw_lock("l").try_write().await;
        assert!(writing.expect("a try").is_none());
    }
    let write = writer.fence();
    free(writer).await;
    let reader = b.rw_lock("l").try_read().await.expect("a try");
    let reader = reader.expect("it is free");
    assert!(write < reader.fence());
    free(reader).await;
}

pub async fn reader_queues_behind_a_waiting_writer(store: &Store) {
    let (a, b) = (store.client().await, store.client().await);
    let first = a.rw_lock("l").read().await.expect("a read");
    let lock = b.rw_lock("l");
    let writer = spawn(async move { lock.write().await });
    queued(&a, "l", 1).await;
    let reading = a.rw_lock("l").try_read().await.expect("a try");
    assert!(reading.is_none(), "a try barges");
    let lock = a.rw_lock("l");
    let reader = spawn(async move { lock.read().await });
    queued(&a, "l", 2).await;
    free(first).await;
    let writer = soon(writer).await;
    tokio::time::sleep(ms(50)).await;
    assert!(!reader.is_finished());
    free(writer).await;
    free(soon(reader).await).await;
}

pub async fn writer_is_not_starved_by_readers(store: &Store) {
    let clients = [store.client().await, store.client().await];
    let over = Arc::new(AtomicBool::new(false));
    let reading = Arc::new(AtomicUsize::new(0));
    let mut readers = Vec::new();
    for n in 0..6 {
        let lock = clients[n % 2].rw_lock("l");
        let (over, reading) = (over.clone(), reading.clone());
        readers.push(tokio::spawn(async move {
            while !over.load(Ordering::SeqCst) {
                let guard = lock.read().await.expect("a read");
                reading.fetch_add(1, Ordering::SeqCst);
                tokio::time::sleep(ms(20)).await;
                reading.fetch_sub(1, Ordering::SeqCst);
                free(guard).await;
            }
        }));
    }
    for _ in 0..5 {
        tokio::time::sleep(ms(50)).await;
        let lock = clients[0].rw_lock("l").wait_timeout(ms(2_000));
        let writer = lock.write().await.expect("its turn");
        assert_eq!(reading.load(Ordering::SeqCst), 0, "one reads");
        free(writer).await;
    }
    over.store(true, Ordering::SeqCst);
    for reader in readers {
        reader.await.expect("a reader");
    }
}

pub async fn every_reader_has_its_own_lease(store: &Store) {
    let (a, b) = (store.client().await, store.client().await);
    let renewed = a.rw_lock("l").lease_time(ms(900)).read().await;
    let renewed = renewed.expect("a read");
    let lock = b.rw_lock("l").lease_time(ms(400)).watchdog(false);
    let short = lock.read().await.expect("a read");
    let long = a.rw_lock("l").read().await.expect("a read");
    assert_eq!(short.lost().await, LostReason::Expired);
    tokio::time::sleep(ms(1_000)).await;
    assert!(renewed.is_held() && long.is_held());
    let status = a.lock("l").inspect().await.expect("a status");
    assert_eq!(status.sharing.expect("readers").count, 2, "one is dead");
    free(long).await;
    let writing = b.rw_lock("l").try_write().await.expect("a try");
    assert!(writing.is_none(), "one is renewed");
    free(renewed).await;
    let writer = b.rw_lock("l").try_write().await.expect("a try");
    free(writer.expect("it has no reader")).await;
}

pub async fn downgrade_admits_readers_and_no_writer(store: &Store) {
    let (a, b) = (store.client().await, store.client().await);
    let lock = a.rw_lock("l").lease_time(ms(1_200));
    let downgraded = lock.write().await.expect("a write");
    let lock = b.rw_lock("l");
    let reader = spawn(async move { lock.read().await });
    queued(&a, "l", 1).await;
    let lock = b.rw_lock("l");
    let writer = spawn(async move { lock.write().await });
    queued(&a, "l", 2).await;
    let fence = downgraded.fence();
    downgraded.downgrade().await.expect("a downgrade");
    downgraded.downgrade().await.expect("a reader is one");
    assert!(downgraded.is_shared() && downgraded.fence() == fence);
    let reader = soon(reader).await;
    reader.downgrade().await.expect("a reader is one");
    tokio::time::sleep(ms(1_800)).await;
    assert!(downgraded.is_held(), "it is renewed");
    assert!(!writer.is_finished());
    free(downgraded).await;
    free(reader).await;
    free(soon(writer).await).await;
}

pub async fn downgrade_of_a_lost_hold_fails(store: &Store) {
    let client = store.client().await;
    let writer = client.rw_lock("l").write().await.expect("a write");
    let broken = client.lock("l").break_now(writer.fence()).await;
    assert!(broken.expect("an answer"));
    let error = writer.downgrade().await.expect_err("it was lost");
    assert!(error.is_lost() && !writer.is_held(), "{error}");
}

pub async fn limit_and_readers_do_not_mix(store: &Store) {
    let (a, b) = (store.client().await, store.client().await);
    let reader = a.rw_lock("l").read().await.expect("a read");
    let error = b.semaphore("l", 2).acquire().await.expect_err("no limit");
    let words = error.to_string();
    assert!(
        words.contains("a limit of 2") && words.contains("no limit (as by readers) is in force"),
        "{words}"
    );
    let expected = RefusedKind::LimitDiffers {
        asked: Some(2),
        in_force: None,
    };
    assert_eq!(refusal(error), expected);
    free(reader).await;
    let expected = RefusedKind::LimitDiffers {
        asked: None,
        in_force: Some(2),
    };
    let permit = b.semaphore("l", 2).acquire().await.expect("a permit");
    let error = a.rw_lock("l").try_read().await.expect_err("a limit");
    assert!(
        !error.to_string().contains("follow"),
        "no reader can: {error}"
    );
    assert_eq!(refusal(error), expected);
    free(permit).await;
    let writer = a.rw_lock("l").write().await.expect("a write");
    let semaphore = b.semaphore("l", 2);
    let waiter = spawn(async move { semaphore.acquire().await });
    queued(&a, "l", 1).await;
    let error = writer
        .downgrade()
        .await
        .expect_err("one waits with a limit");
    assert_eq!(refusal(error), expected);
    assert!(writer.is_held() && !writer.is_shared());
    free(writer).await;
    free(soon(waiter).await).await;
}

pub async fn session_shares_its_hold_and_never_upgrades(store: &Store) {
    let client = store.client().await;
    let session = client.session();
    let lock = session.rw_lock("l");
    let writer = lock.write().await.expect("a write");
    for nested in [lock.write().await, lock.read().await] {
        let nested = nested.expect("a nested hold");
        assert!(nested.fence() == writer.fence() && !nested.is_shared());
        free(nested).await;
    }
    let nested = lock.read().await.expect("a nested hold");
    writer.downgrade().await.expect("a downgrade");
    assert!(nested.is_shared());
    free(nested).await;
    assert_no_upgrade(lock.write().await.expect_err("a reader"));
    free(writer).await;

    let reader = lock.read().await.expect("a read");
    let nested = lock.read().await.expect("a nested read");
    assert_eq!(nested.fence(), reader.fence());
    assert_no_upgrade(lock.write().await.expect_err("a reader"));
    assert_no_upgrade(lock.try_write().await.expect_err("a reader"));
    assert_no_upgrade(session.lock("l").acquire().await.expect_err("a reader"));
    let status = client.lock("l").inspect().await.expect("a status");
    assert_eq!(status.waiting, 0, "it was refused before it queued");
    free(reader).await;
    assert!(nested.is_held(), "the last of them frees");
    free(nested).await;
    free(lock.try_write().await.expect("a try").expect("it is free")).await;
}

pub async fn session_guard_is_no_reader_while_another_writes(store: &Store) {
    let (client, other) = (store.client().await, store.client().await);
    let session = client.session();
    let first = session.rw_lock("l").write().await.expect("a write");
    let second = session.lock("l").acquire().await.expect("a nested write");
    let reader = session.rw_lock("l").read().await.expect("a nested read");
    for guard in [&first, &second, &reader] {
        let error = guard.downgrade().await.expect_err("another writes");
        let words = error.to_string();
        assert!(words.contains("another guard of the session"), "{words}");
        assert!(guard.is_held() && !guard.is_shared());
    }
    let tried = other.rw_lock("l").try_read().await.expect("a try");
    assert!(tried.is_none());
    free(first).await;
    let still = reader.downgrade().await;
    still.expect_err("one still writes");
    second.downgrade().await.expect("no other writes");
    let tried = other.rw_lock("l").try_read().await.expect("a try");
    assert!(second.is_shared() && reader.is_shared());
    for guard in [tried.expect("it reads"), second, reader] {
        free(guard).await;
    }
}

fn assert_no_upgrade(error: Error) {
    assert!(matches!(error, Error::Invalid(_)), "{error}");
    let words = error.to_string();
    assert!(words.contains("would wait for each other"), "{words}");
}

pub async fn session_queues_separately_to_read_and_write(store: &Store) {
    let client = store.client().await;
    let other = client.lock("l").acquire().await.expect("the lock");
    let session = client.session();
    let lock = session.rw_lock("l");
    let writer = spawn(async move { lock.write().await });
    queued(&client, "l", 1).await;
    let lock = session.rw_lock("l");
    let reader = spawn(async move { lock.read().await });
    queued(&client, "l", 2).await;
    free(other).await;
    let (writer, reader) = (soon(writer).await, soon(reader).await);
    assert_eq!(writer.fence(), reader.fence(), "it reads while it writes");
    assert!(!reader.is_shared());
    free(writer).await;
    free(reader).await;

    let other = client.lock("l").acquire().await.expect("the lock");
    let lock = session.rw_lock("l");
    let reader = spawn(async move { lock.read().await });
    queued(&client, "l", 1).await;
    let lock = session.rw_lock("l");
    let writer = tokio::spawn(async move { lock.write().await });
    queued(&client, "l", 2).await;
    free(other).await;
    let reader = soon(reader).await;
    assert!(reader.is_shared());
    assert_no_upgrade(writer.await.expect("a task").expect_err("a reader"));
    free(reader).await;
}

pub async fn contended_writer_learns_whether_its_client_reads(store: &Store) {
    let (client, other) = (store.client().await, store.client().await);
    let held_by = |error: &Error| match error {
        Error::Contended(contended) => contended.held_by,
        error => panic!("{error}"),
    };
    let lock = || client.rw_lock("l").wait_timeout(ms(800));
    let theirs = other.rw_lock("l").read().await.expect("a read");
    let error = lock().write().await.expect_err("another reads");
    let words = error.to_string();
    assert!(
        words.starts_with("lock 'l' is held by shared holders, the longest by "),
        "{words}"
    );
    assert_eq!(held_by(&error), HeldBy::Other);
    let mine = lock().read().await.expect("a read");
    let error = lock().write().await.expect_err("it waits for itself");
    assert_eq!(held_by(&error), HeldBy::ThisClient);
    assert!(error.to_string().contains("a session"), "{error}");
    free(mine).await;
    free(theirs).await;
}

pub async fn last_expiring_reader_grants_a_writer_at_once(store: &Store) {
    let (a, b) = (store.client().await, store.client().await);
    let released = a.rw_lock("l").read().await.expect("a read");
    let dying = a.rw_lock("l").lease_time(ms(400)).watchdog(false);
    let dead = dying.read().await.expect("a read");
    let expires = expiry(ms(400));
    let lock = b.rw_lock("l");
    let writer = spawn(async move { lock.write().await });
    queued(&a, "l", 1).await;
    free(released).await;
    free(soon_after(expires, writer).await).await;
    assert!(!dead.is_held());
}

pub async fn expired_writer_grants_readers_at_once(store: &Store) {
    let (a, b) = (store.client().await, store.client().await);
    let dying = a.rw_lock("l").lease_time(ms(500)).watchdog(false);
    let dead = dying.write().await.expect("a write");
    let expires = expiry(ms(500));
    let mut readers = Vec::new();
    for n in 1..=3 {
        let lock = b.rw_lock("l");
        readers.push(spawn(async move { lock.read().await }));
        queued(&a, "l", n).await;
    }
    for reader in readers {
        free(soon_after(expires, reader).await).await;
    }
    assert!(!dead.is_held());
}

pub async fn inspect_shows_the_readers(store: &Store) {
    let client = store.client().await;
    let free_of_all = client.rw_lock("l").inspect().await.expect("a status");
    assert!(free_of_all.sharing.is_none() && free_of_all.value.is_none());
    let lock = client.rw_lock("l").label("one");
    let one = lock.lease_time(ms(20_000)).read().await.expect("a read");
    let two = client.rw_lock("l").label("two").read().await;
    let two = two.expect("a read");
    let status = client.rw_lock("l").inspect().await.expect("a status");
    let sharing = status.sharing.expect("readers");
    assert_eq!((sharing.limit, sharing.weight, sharing.count), (None, 2, 2));
    let holders: Vec<_> = sharing
        .holders
        .iter()
        .map(|sharer| &sharer.holder)
        .collect();
    assert_eq!(holders[0].owner, two.owner(), "the longest first");
    assert_eq!(holders[1].owner, one.owner());
    assert_eq!(holders[1].fence, Some(one.fence()));
    assert_eq!(holders[1].label.note.as_deref(), Some("one"));
    let holder = status.holder.expect("a holder");
    assert!(holder.is_shared() && !holders[0].is_shared());
    assert_eq!(holder.label.note.as_deref(), Some("two"));
    free(one).await;
    free(two).await;
}
