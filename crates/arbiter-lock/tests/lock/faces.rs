//! What the faces do apart from any store: blocking forms, and answers that never came.

use std::time::Duration;

use arbiter_lock::{Client, Error};

#[test]
fn every_face_has_its_blocking_forms() {
    let client = Client::in_memory();
    let catalogue = client.rw_lock("catalogue");
    let writer = catalogue.blocking_write().unwrap();
    assert!(catalogue.blocking_try_read().unwrap().is_none());
    writer.blocking_downgrade().unwrap();
    let reader = catalogue.blocking_read().unwrap();
    assert!(catalogue.blocking_try_write().unwrap().is_none());
    let sharing = catalogue.blocking_inspect().unwrap().sharing.unwrap();
    assert_eq!(sharing.count, 2);
    writer.blocking_release().unwrap();
    reader.blocking_release().unwrap();

    let licences = client.semaphore("licences", 3);
    let two = licences.blocking_acquire_many(2).unwrap();
    assert!(licences.blocking_try_acquire_many(2).unwrap().is_none());
    let one = licences.blocking_try_acquire().unwrap().unwrap();
    assert_eq!(licences.blocking_resize(4).unwrap(), Some(3));
    let follower = licences.clone().follow_limit();
    let last = follower.blocking_acquire().unwrap();
    assert_eq!(
        licences.blocking_inspect().unwrap().sharing.unwrap().weight,
        4
    );
    for guard in [two, one, last] {
        guard.blocking_release().unwrap();
    }

    let both = client.lock_all(["b", "a"]);
    let guards = both.blocking_acquire().unwrap();
    assert!(both.blocking_try_acquire().unwrap().is_none());
    guards.blocking_release().unwrap();
}

#[tokio::test]
async fn faces_ask_for_what_their_setters_say() {
    let client = Client::in_memory();
    let lease = Duration::from_millis(99);
    let errors = [
        client
            .rw_lock("l")
            .lease_time(lease)
            .read()
            .await
            .unwrap_err(),
        client
            .semaphore("l", 1)
            .lease_time(lease)
            .acquire()
            .await
            .unwrap_err(),
        client
            .lock_all(["l"])
            .lease_time(lease)
            .acquire()
            .await
            .unwrap_err(),
    ];
    for error in errors {
        assert!(matches!(error, Error::Invalid(_)), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_downgrade_with_no_answer_is_believed_to_have_let_others_in() {
    let client = Client::in_memory();
    let catalogue = client.rw_lock("catalogue");
    let writer = catalogue.write().await.unwrap();
    client.testing().go_silent();
    let error = writer.downgrade().await.unwrap_err();
    assert!(error.is_unavailable(), "{error}");
    assert!(writer.is_held() && writer.is_shared());
    client.testing().answer();
    assert!(
        catalogue.try_read().await.unwrap().is_none(),
        "it was never done"
    );
    writer.downgrade().await.unwrap();
    assert!(catalogue.try_read().await.unwrap().is_some());
    writer.release().await.unwrap();

    let writer = catalogue.write().await.unwrap();
    client.testing().go_silent();
    let dropped = tokio::time::timeout(Duration::from_millis(10), writer.downgrade()).await;
    assert!(dropped.is_err() && writer.is_shared());
}
