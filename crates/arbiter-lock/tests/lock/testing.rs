//! The testing tools: their effects, and their panics if they have none.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use arbiter_lock::{Client, FaultInjection, LostReason, Testing};

type Act = fn(&Testing);

/// Returns the message of the panic that this ends with.
fn panic_of(act: impl FnOnce()) -> String {
    let panic = catch_unwind(AssertUnwindSafe(act)).expect_err("it did it in silence");
    match panic.downcast::<String>() {
        Ok(formatted) => *formatted,
        Err(constant) => (*constant.downcast::<&str>().unwrap()).to_owned(),
    }
}

#[test]
fn faults_of_other_stores_panic() {
    let client = Client::connect_lazy("redis://127.0.0.1:6379").unwrap();
    let testing = client.testing();
    let acts: [(&str, Act); 8] = [
        ("expire", |testing| assert!(testing.expire("l"))),
        ("inject_faults", |testing| {
            testing.inject_faults(FaultInjection::default());
        }),
        ("stop_faults", Testing::stop_faults),
        ("drift", |testing| testing.drift(1)),
        ("stall", |testing| testing.stall(Duration::ZERO)),
        ("counters", |testing| drop(testing.counters())),
        ("go_silent", Testing::go_silent),
        ("answer", Testing::answer),
    ];
    for (name, act) in acts {
        let message = panic_of(|| act(&testing));
        let failed = format!("{name} failed: this client uses redis://127.0.0.1:6379");
        assert!(message.starts_with(&failed), "{message}");
        assert!(message.contains("Client::in_memory"), "{message}");
    }
    testing.lose("l", LostReason::Taken);
}

#[test]
fn expire_of_a_bad_name_panics() {
    let client = Client::in_memory();
    let message = panic_of(|| assert!(client.testing().expire("")));
    assert!(message.starts_with("expire failed: "), "{message}");
}

#[test]
fn stall_outside_a_runtime_panics() {
    let client = Client::in_memory();
    let message = panic_of(|| client.testing().stall(Duration::ZERO));
    assert!(message.contains("no tokio runtime"), "{message}");
}

#[tokio::test(start_paused = true)]
async fn expire_returns_whether_there_was_a_hold() {
    let client = Client::in_memory();
    let testing = client.testing();
    assert!(!testing.expire("l"));
    let guard = client.lock("l").acquire().await.unwrap();
    assert!(testing.expire("l"));
    assert!(!testing.expire("l"));
    assert_eq!(guard.lost().await, LostReason::Deleted);
    let reader = client.rw_lock("r").read().await.unwrap();
    assert!(testing.expire("r"));
    drop(reader);
}
