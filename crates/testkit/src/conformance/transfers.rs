//! Conformance tests of detached holds.
#![expect(missing_docs, reason = "the name is the claim")]

use arbiter_lock::{Asked, Error, LostReason, Token};

use super::Store;
use super::helpers::{comes_free, expiry, free, ms, queued, soon, soon_after, spawn};

fn is_used(adopted: Result<arbiter_lock::Guard, Error>) -> bool {
    matches!(adopted, Err(Error::Lost(loss)) if loss.reason == LostReason::TokenUsed)
}

pub async fn adopted_hold_keeps_fence_and_excludes(store: &Store) {
    let (a, b) = (store.client().await, store.client().await);
    let guard = a.lock("l").label("first").acquire().await.expect("a hold");
    let (fence, hold) = (guard.fence(), guard.hold().clone());
    let lock = b.lock("l");
    let waiter = spawn(async move { lock.acquire().await });
    queued(&a, "l", 1).await;
    let token = guard.into_token().await.expect("a token");
    assert_eq!(hold.lost().await, LostReason::Released);
    let status = b.lock("l").inspect().await.expect("a status");
    let holder = status.holder.expect("a holder");
    assert!(holder.is_detached() && holder.fence == Some(fence));
    assert_eq!(holder.label.note.as_deref(), Some("first"));
    assert_eq!(
        (holder.owner.as_str(), token.fence()),
        (token.owner(), fence)
    );

    let token: Token = token.to_string().parse().expect("a token");
    let short = b.lock("l").lease_time(ms(400)).label("second");
    let adopted = short.adopt(&token).await.expect("a hold");
    assert_eq!(adopted.fence(), fence);
    tokio::time::sleep(ms(600)).await;
    assert!(adopted.is_held() && !waiter.is_finished(), "it is renewed");
    let status = b.lock("l").inspect().await.expect("a status");
    let holder = status.holder.expect("a holder");
    assert!(!holder.is_detached() && holder.label.note.as_deref() == Some("second"));
    assert_eq!(adopted.owner(), holder.owner);
    free(adopted).await;
    free(soon(waiter).await).await;
}

pub async fn one_of_two_copies_is_adopted(store: &Store) {
    let (a, b) = (store.client().await, store.client().await);
    for _ in 0..5 {
        let guard = a.lock("l").acquire().await.expect("a hold");
        let token = guard.into_token().await.expect("a token");
        let (one, other) = tokio::join!(a.adopt(&token), b.adopt(&token));
        let (winner, loser) = match one {
            Ok(guard) => (guard, other),
            one => (other.expect("one wins"), one),
        };
        assert!(is_used(loser));
        assert!(winner.is_held() && winner.fence() == token.fence());
        assert!(is_used(b.adopt(&token).await), "it is held");
        free(winner).await;
        assert!(is_used(b.adopt(&token).await), "it is free");
    }
}

pub async fn detached_hold_outlives_its_client_for_a_lease(store: &Store) {
    let (a, b) = (store.client().await, store.client().await);
    let time = ms(1_500);
    let guard = a.lock("l").acquire().await.expect("a hold");
    let token = guard.into_token_for(time).await.expect("a token");
    let expiry = expiry(time);
    assert_eq!(a.shutdown(ms(500)).await, 0);
    drop(a);
    let lock = b.lock("l");
    let waiter = spawn(async move { lock.acquire().await });
    queued(&b, "l", 1).await;
    free(soon_after(expiry, waiter).await).await;
    assert!(is_used(b.adopt(&token).await));
}

pub async fn detached_hold_ends_when_it_is_broken(store: &Store) {
    let (a, b) = (store.client().await, store.client().await);
    for at_once in [false, true] {
        let guard = a.lock("l").acquire().await.expect("a hold");
        let token = guard.into_token().await.expect("a token");
        let lock = b.lock("l");
        let waiter = spawn(async move { lock.acquire().await });
        queued(&b, "l", 1).await;
        if at_once {
            assert!(
                b.lock("l")
                    .break_now(token.fence())
                    .await
                    .expect("an answer")
            );
        } else {
            let asked = b.lock("l").ask_to_stop(token.fence()).await;
            assert_eq!(asked.expect("an answer"), Asked::Ended);
        }
        free(soon(waiter).await).await;
        assert!(is_used(b.adopt(&token).await));
    }
}

pub async fn adopted_permits_and_readers_keep_their_share(store: &Store) {
    let (a, b) = (store.client().await, store.client().await);
    let guard = a.semaphore("s", 3).acquire_many(2).await.expect("permits");
    let token = guard.into_token().await.expect("a token");
    let third = b.semaphore("s", 3).acquire().await.expect("a permit");
    let adopted = b.adopt(&token).await.expect("a hold");
    assert!(adopted.is_shared());
    let full = b.semaphore("s", 3).try_acquire().await.expect("a try");
    assert!(full.is_none(), "two and one are held");
    free(adopted).await;
    free(b.semaphore("s", 3).acquire_many(2).await.expect("permits")).await;
    free(third).await;

    let writer = a.rw_lock("r").write().await.expect("a writer");
    writer.downgrade().await.expect("a reader");
    let token = writer.into_token().await.expect("a token");
    let reader = b.rw_lock("r").read().await.expect("a reader");
    let adopted = b.adopt(&token).await.expect("a hold");
    assert!(adopted.is_shared() && adopted.fence() == token.fence());
    free(reader).await;
    let writer = b.rw_lock("r").try_write().await.expect("a try");
    assert!(writer.is_none(), "the adopted reader reads");
    free(adopted).await;
    comes_free(&b, "r").await;
}

pub async fn lost_or_shared_guards_give_no_token(store: &Store) {
    let client = store.client().await;
    let guard = client.lock("l").acquire().await.expect("a hold");
    assert!(
        client
            .lock("l")
            .break_now(guard.fence())
            .await
            .expect("an answer")
    );
    let error = guard.into_token().await.expect_err("it was broken");
    assert!(error.is_lost(), "{error}");
    comes_free(&client, "l").await;

    let guard = client.lock("l").acquire().await.expect("a hold");
    let asked = client.lock("l").ask_to_stop(guard.fence()).await;
    assert!(matches!(asked.expect("an answer"), Asked::Notified { .. }));
    let error = guard.into_token().await.expect_err("it was asked to stop");
    assert!(error.is_lost(), "{error}");
    comes_free(&client, "l").await;

    let session = client.session();
    let outer = session.lock("l").acquire().await.expect("the lock");
    let inner = session.lock("l").acquire().await.expect("the lock");
    let error = inner.into_token().await.expect_err("there are two guards");
    assert!(matches!(error, Error::Invalid(_)), "{error}");
    assert!(outer.is_held());
    let token = outer.into_token().await.expect("a token");
    let other = client.lock("other").adopt(&token).await;
    assert!(matches!(
        other.expect_err("another name"),
        Error::Invalid(_)
    ));
    free(client.adopt(&token).await.expect("a hold")).await;
    comes_free(&client, "l").await;
}
