//! Every step met by every fault on its way: a typed answer in time, and in the end nothing is
//! left, and the next one is granted.

use std::time::{Duration, Instant};

use arbiter_lock::{Begun, Client, Error, Guard, NoopLogger, RunState};
use testkit::{Fault, Proxy, Pushes, Server, Traffic, eventually_async, unique_name};

use crate::faults::key;

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

const FAULTS: [Fault; 5] = [
    Fault::LoseReply,
    Fault::DelayReply(ms(700)),
    Fault::CutBefore,
    Fault::CutAfter,
    Fault::Duplicate,
];

/// The words of a script's call after its keys.
fn words(args: &[Vec<u8>]) -> Option<&[Vec<u8>]> {
    let is_script = args.first().is_some_and(|verb| verb.starts_with(b"EVAL"));
    let keys: usize = std::str::from_utf8(args.get(2)?).ok()?.parse().ok()?;
    if is_script {
        args.get(3 + keys..)
    } else {
        None
    }
}

fn begins_with(args: &[Vec<u8>], word: &[u8]) -> bool {
    words(args)
        .and_then(|words| words.first())
        .is_some_and(|first| first == word)
}

fn is_acquire(args: &[Vec<u8>]) -> bool {
    begins_with(args, b"wait")
}

fn is_try(args: &[Vec<u8>]) -> bool {
    begins_with(args, b"try")
}

/// Whether it is a script's call with so many keys, the last of that kind, and so many words.
fn is_call(args: &[Vec<u8>], keys: usize, last_key: &[u8], count: usize) -> bool {
    words(args).is_some_and(|words| words.len() == count && args.len() == 3 + keys + count)
        && args[2 + keys].starts_with(last_key)
}

fn is_end(args: &[Vec<u8>]) -> bool {
    is_call(args, 4, b"arbiter.share", 6)
}

fn is_renewal(args: &[Vec<u8>]) -> bool {
    is_call(args, 2, b"arbiter.share", 3)
}

fn is_downgrade(args: &[Vec<u8>]) -> bool {
    is_call(args, 4, b"arbiter.share", 3)
}

fn is_resize(args: &[Vec<u8>]) -> bool {
    is_call(args, 4, b"arbiter.share", 1)
}

fn is_proclamation(args: &[Vec<u8>]) -> bool {
    is_call(args, 1, b"arbiter:", 3)
}

fn is_begin(args: &[Vec<u8>]) -> bool {
    is_call(args, 2, b"arbiter.run", 3)
}

fn is_finish(args: &[Vec<u8>]) -> bool {
    is_call(args, 1, b"arbiter.run", 3)
}

struct Rig {
    server: Server,
    proxy: Proxy,
    client: Client,
    direct: Client,
    name: String,
}

impl Rig {
    async fn new() -> Self {
        let server = Server::start();
        let proxy = Proxy::before(&server);
        let connect = |url: String| async move {
            let builder = Client::builder().store(&url).logger(NoopLogger);
            builder.command_timeout(ms(300)).connect().await.unwrap()
        };
        let (client, direct) = (connect(proxy.url()).await, connect(server.url()).await);
        let name = unique_name();
        // The server knows the scripts, and both connections stand.
        client
            .lock(&name)
            .acquire()
            .await
            .unwrap()
            .release()
            .await
            .unwrap();
        Self {
            server,
            proxy,
            client,
            direct,
            name,
        }
    }

    /// Nothing holds and nobody waits, and somebody else is granted.
    async fn is_clean(&self, fault: Fault) {
        let lock = self.direct.lock(&self.name).wait_timeout(ms(4_000));
        let guard = lock
            .acquire()
            .await
            .unwrap_or_else(|e| panic!("{fault:?}: {e}"));
        assert_eq!(lock.inspect().await.unwrap().waiting, 0, "{fault:?}");
        guard.release().await.unwrap();
        let lives = |key: &String| self.server.call(&["PTTL", key]).int().unwrap();
        assert!(
            self.server.keys().iter().all(|key| lives(key) != -1),
            "{fault:?}"
        );
    }
}

/// What an acquire came to: a hold, or an answer that says that the store did not serve.
fn held(result: Result<Guard, Error>, fault: Fault) -> Option<Guard> {
    match result {
        Ok(guard) => Some(guard),
        Err(Error::Unavailable(_)) => None,
        Err(other) => panic!("{fault:?}: {other}"),
    }
}

#[tokio::test]
async fn an_acquire_met_by_any_fault_is_granted_in_the_end_or_leaves_nothing() {
    for fault in FAULTS {
        let rig = Rig::new().await;
        let rule = rig.proxy.nth(1, fault, is_acquire);
        let begun = Instant::now();
        let lock = rig.client.lock(&rig.name).wait_timeout(ms(3_000));
        let guard = held(lock.acquire().await, fault).expect("the store serves within the wait");
        assert!(
            begun.elapsed() < ms(3_500) && rule.fired() == 1,
            "{fault:?}"
        );
        assert!(guard.is_held());
        guard.release().await.unwrap();
        rig.is_clean(fault).await;
    }
}

#[tokio::test]
async fn a_try_met_by_any_fault_answers_within_a_command_and_leaves_nothing() {
    for fault in FAULTS {
        let rig = Rig::new().await;
        let rule = rig.proxy.nth(1, fault, is_try);
        let begun = Instant::now();
        let tried = rig.client.lock(&rig.name).try_acquire().await;
        assert!(
            begun.elapsed() < ms(1_000) && rule.fired() == 1,
            "{fault:?}: {:?}",
            begun.elapsed()
        );
        let guard = held(tried.map(|guard| guard.expect("nobody else has it")), fault);
        assert_eq!(guard.is_some(), fault == Fault::Duplicate, "{fault:?}");
        drop(guard);
        rig.is_clean(fault).await;
    }
}

#[tokio::test]
async fn a_release_met_by_any_fault_frees_and_is_never_reported_as_a_loss() {
    for fault in FAULTS {
        let rig = Rig::new().await;
        let guard = rig.client.lock(&rig.name).acquire().await.unwrap();
        let rule = rig.proxy.nth(1, fault, is_end);
        let released = guard.release().await;
        assert!(rule.fired() == 1, "{fault:?}");
        assert!(
            matches!(released, Ok(()) | Err(Error::Unavailable(_))),
            "{fault:?}: {released:?}"
        );
        let key = format!("arbiter:{}", rig.name);
        let is_free = eventually_async(ms(2_000), || {
            rig.server.call(&["EXISTS", &key]).int() == Some(0)
        })
        .await;
        assert!(is_free, "{fault:?}");
        rig.is_clean(fault).await;
    }
}

#[tokio::test]
async fn a_renewal_met_by_any_fault_is_tried_again_and_the_hold_goes_on() {
    let mut each = tokio::task::JoinSet::new();
    for fault in FAULTS {
        each.spawn(async move {
            let rig = Rig::new().await;
            let lock = rig.client.lock(&rig.name).lease_time(ms(4_800));
            let guard = lock.acquire().await.unwrap();
            let rule = rig.proxy.nth(1, fault, is_renewal);
            tokio::time::sleep(ms(5_000)).await;
            assert!(guard.is_held() && rule.fired() == 1, "{fault:?}: {guard:?}");
            guard.release().await.unwrap();
            rig.is_clean(fault).await;
        });
    }
    each.join_all().await;
}

#[tokio::test]
async fn a_waiter_whose_look_meets_any_fault_keeps_its_place_and_is_granted() {
    for fault in FAULTS {
        let rig = Rig::new().await;
        let holder = rig.direct.lock(&rig.name).acquire().await.unwrap();
        let rule = rig.proxy.nth(2, fault, is_acquire);
        let first = tokio::spawn({
            let lock = rig.client.lock(&rig.name);
            async move { lock.acquire().await.unwrap() }
        });
        let queued = eventually_async(ms(2_000), || rule.met() == 1).await;
        tokio::time::sleep(ms(50)).await;
        let second = tokio::spawn({
            let lock = rig.direct.lock(&rig.name);
            async move { lock.acquire().await.unwrap() }
        });
        assert!(
            queued && eventually_async(ms(3_000), || rule.fired() == 1).await,
            "{fault:?}"
        );
        tokio::time::sleep(ms(1_600)).await;
        assert!(!first.is_finished() && !second.is_finished());
        holder.release().await.unwrap();
        let guard = tokio::time::timeout(ms(2_000), first)
            .await
            .expect("first come, first served")
            .unwrap();
        assert!(!second.is_finished(), "{fault:?}");
        guard.release().await.unwrap();
        second.await.unwrap().release().await.unwrap();
        rig.is_clean(fault).await;
    }
}

#[tokio::test]
async fn an_acquire_that_was_held_back_until_its_client_gave_up_leaves_nothing() {
    let rig = Rig::new().await;
    let rule = rig.proxy.nth(1, Fault::HoldRequest, is_acquire);
    let lock = rig.client.lock(&rig.name).wait_timeout(ms(150));
    assert!(lock.acquire().await.unwrap_err().is_unavailable());
    tokio::time::sleep(ms(300)).await;
    rule.release();
    let key = format!("arbiter:{}", rig.name);
    let begun = Instant::now();
    while begun.elapsed() < ms(600) {
        assert_eq!(
            rig.server.call(&["EXISTS", &key]).int(),
            Some(0),
            "a zombie holds"
        );
        tokio::time::sleep(ms(10)).await;
    }
    rig.is_clean(Fault::HoldRequest).await;
}

#[tokio::test]
async fn lost_and_late_messages_cost_a_look_and_no_more() {
    for pushes in [Pushes::Lost, Pushes::Late(ms(2_600))] {
        let rig = Rig::new().await;
        let holder = rig.direct.lock(&rig.name).acquire().await.unwrap();
        rig.proxy.set_pushes(pushes);
        let waiter = tokio::spawn({
            let lock = rig.client.lock(&rig.name);
            async move { lock.acquire().await.unwrap() }
        });
        tokio::time::sleep(ms(300)).await;
        holder.release().await.unwrap();
        let guard = tokio::time::timeout(ms(1_600), waiter)
            .await
            .expect("its look finds the grant")
            .unwrap();
        tokio::time::sleep(ms(2_700)).await;
        assert!(guard.is_held());
        guard.release().await.unwrap();
        rig.is_clean(Fault::LoseReply).await;
    }
}

#[tokio::test]
async fn a_wait_that_ends_during_a_look_is_contended() {
    let rig = Rig::new().await;
    let key = key(&rig.name);
    // One of another library announces nothing, and is looked at again and again.
    rig.server.call(&["HSET", &key, "owner", "foreign"]);
    rig.server.call(&["PEXPIRE", &key, "60000"]);
    let lock = rig.client.lock(&rig.name).wait_timeout(ms(600));
    let waiting = tokio::spawn(async move { lock.acquire().await });
    tokio::time::sleep(ms(530)).await;
    let rule = rig.proxy.each(Fault::DelayReply(ms(2_000)), is_acquire);
    let error = waiting.await.unwrap().unwrap_err();
    assert!(error.is_contended(), "{error}, {} looks", rule.fired());
}

#[tokio::test]
async fn a_lease_shorter_than_the_way_to_the_server_is_an_answer_and_no_endless_loop() {
    let rig = Rig::new().await;
    rig.proxy.each(Fault::DelayReply(ms(150)), is_acquire);
    let lock = rig.client.lock(&rig.name).lease_time(ms(100));
    let error = tokio::time::timeout(ms(10_000), lock.acquire())
        .await
        .expect("an end")
        .unwrap_err();
    assert!(
        error.is_unavailable() && error.to_string().contains("too short"),
        "{error}"
    );
}

#[tokio::test]
async fn a_connection_that_stays_open_and_says_nothing_is_replaced() {
    let rig = Rig::new().await;
    let guard = rig
        .client
        .lock(&rig.name)
        .lease_time(ms(6_000))
        .acquire()
        .await
        .unwrap();
    rig.proxy.set_traffic(Traffic::Silent);
    let lock = rig.client.lock("other").wait_timeout(ms(1_500));
    assert!(lock.acquire().await.unwrap_err().is_unavailable());
    // Whatever was open stays silent for ever; only a new connection helps.
    rig.proxy.set_traffic(Traffic::Flowing);
    let lock = lock.wait_timeout(ms(3_000));
    lock.acquire().await.unwrap().release().await.unwrap();
    tokio::time::sleep(ms(4_000)).await;
    assert!(guard.is_held(), "the keeper's connection was replaced too");
    guard.release().await.unwrap();
}

#[tokio::test]
async fn permits_met_by_any_fault_on_their_way_in_or_out_are_all_there_in_the_end() {
    at_once(|fault| async move {
        for meets in [is_acquire, is_end] {
            let rig = Rig::new().await;
            let near = rig.direct.semaphore(&rig.name, 3);
            let one = near.acquire().await.unwrap();
            let rule = rig.proxy.nth(1, fault, meets);
            let far = rig.client.semaphore(&rig.name, 3).wait_timeout(ms(3_000));
            let two = far.acquire_many(2).await.unwrap();
            assert!(near.try_acquire().await.unwrap().is_none(), "{fault:?}");
            let released = two.release().await;
            assert!(
                matches!(released, Ok(()) | Err(Error::Unavailable(_))),
                "{fault:?}: {released:?}"
            );
            assert_eq!(rule.fired(), 1, "{fault:?}");
            let two = near.clone().wait_timeout(ms(4_000)).acquire_many(2).await;
            let two = two.unwrap_or_else(|e| panic!("{fault:?}: {e}"));
            tokio::time::sleep(ms(800)).await;
            assert!(near.try_acquire().await.unwrap().is_none(), "{fault:?}");
            let sharing = near.inspect().await.unwrap().sharing.unwrap();
            assert_eq!((sharing.weight, sharing.count), (3, 2), "{fault:?}");
            two.release().await.unwrap();
            one.release().await.unwrap();
            rig.is_clean(fault).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_downgrade_met_by_any_fault_excludes_no_less_than_its_holder_believes() {
    at_once(|fault| async move {
        let rig = Rig::new().await;
        let lock = rig.client.rw_lock(&rig.name).lease_time(ms(2_400));
        let guard = lock.write().await.unwrap();
        let rule = rig.proxy.nth(1, fault, is_downgrade);
        let stepped = guard.downgrade().await;
        assert_eq!(rule.fired(), 1, "{fault:?}");
        assert!(
            matches!(stepped, Ok(()) | Err(Error::Unavailable(_))),
            "{fault:?}: {stepped:?}"
        );
        let near = rig.direct.rw_lock(&rig.name);
        if !guard.is_shared() {
            tokio::time::sleep(ms(800)).await;
            let reader = near.try_read().await.unwrap();
            assert!(reader.is_none() || guard.is_shared(), "{fault:?}");
        }
        repeated(fault, || guard.downgrade()).await;
        assert!(guard.is_shared());
        let reader = near.try_read().await.unwrap().expect("it is shared");
        assert!(near.try_write().await.unwrap().is_none(), "{fault:?}");
        tokio::time::sleep(ms(2_600)).await;
        assert!(guard.is_held() && reader.is_held(), "{fault:?}");
        let status = near.inspect().await.unwrap();
        assert_eq!(status.sharing.unwrap().weight, 2, "{fault:?}");
        guard.release().await.unwrap();
        assert!(near.try_write().await.unwrap().is_none(), "{fault:?}");
        reader.release().await.unwrap();
        rig.is_clean(fault).await;
    })
    .await;
}

#[tokio::test]
async fn a_resize_met_by_any_fault_happens_wholly_or_can_be_repeated() {
    at_once(|fault| async move {
        let rig = Rig::new().await;
        let far = rig.client.semaphore(&rig.name, 1).follow_limit();
        let first = far.acquire().await.unwrap();
        let waiting = tokio::spawn({
            let near = rig.direct.semaphore(&rig.name, 1).follow_limit();
            async move { near.acquire().await.unwrap() }
        });
        tokio::time::sleep(ms(50)).await;
        let rule = rig.proxy.nth(1, fault, is_resize);
        let resized = far.resize(2).await;
        assert_eq!(rule.fired(), 1, "{fault:?}");
        if resized.is_err() {
            repeated(fault, || far.resize(2)).await;
        }
        let second = tokio::time::timeout(ms(1_500), waiting).await;
        let second = second.expect("there are two").unwrap();
        assert!(far.try_acquire().await.unwrap().is_none(), "{fault:?}");
        first.release().await.unwrap();
        second.release().await.unwrap();
        rig.is_clean(fault).await;
    })
    .await;
}

/// Each fault on a server of its own.
async fn at_once<F: Future<Output = ()> + Send + 'static>(meet: impl Fn(Fault) -> F) {
    let all: Vec<_> = FAULTS.map(|fault| tokio::spawn(meet(fault))).into();
    for one in all {
        one.await.unwrap();
    }
}

/// Repeats what the store did not serve: a connection is replaced once it has been silent twice.
async fn repeated<T, F: Future<Output = Result<T, Error>>>(fault: Fault, step: impl Fn() -> F) {
    let mut last = step().await;
    for _ in 0..3 {
        match last {
            Ok(_) => return,
            Err(Error::Unavailable(_)) => last = step().await,
            Err(other) => panic!("{fault:?}: {other}"),
        }
    }
    assert!(last.is_ok(), "{fault:?}: {:?}", last.err());
}

#[tokio::test]
async fn a_proclamation_met_by_any_fault_is_seen_in_the_end() {
    for fault in FAULTS {
        let rig = Rig::new().await;
        let election = rig.client.election(&rig.name);
        let rules = [1, 2].map(|n| rig.proxy.nth(n, fault, is_proclamation));
        let leadership = election.campaign("first").await;
        let leadership = leadership.unwrap_or_else(|e| panic!("{fault:?}: {e}"));
        let seen = rig.direct.election(&rig.name);
        let value = async || seen.leader().await.unwrap().and_then(|leader| leader.value);
        assert_eq!(value().await.as_deref(), Some("first"), "{fault:?}");
        leadership.proclaim("second").await.unwrap();
        assert_eq!(value().await.as_deref(), Some("second"), "{fault:?}");
        assert!(rules.iter().all(|rule| rule.fired() == 1), "{fault:?}");
        leadership.resign().await.unwrap();
        rig.is_clean(fault).await;
    }
}

#[tokio::test]
async fn a_run_whose_begin_and_end_meet_any_fault_is_recorded_once() {
    for fault in FAULTS {
        let rig = Rig::new().await;
        let job = rig.client.once(&rig.name).every(ms(3_600_000));
        let rules = [
            rig.proxy.nth(1, fault, is_begin),
            rig.proxy.nth(1, fault, is_finish),
        ];
        let run = match job.begin().await {
            Ok(Begun::Run(run)) => run,
            other => panic!("{fault:?}: {other:?}"),
        };
        let fence = run.fence();
        run.finish(Ok("7 rows")).await.unwrap();
        assert!(rules.iter().all(|rule| rule.fired() == 1), "{fault:?}");
        let last = rig.direct.once(&rig.name).last_run().await.unwrap();
        let last = last.unwrap();
        assert_eq!(last.fence, fence, "{fault:?}");
        assert!(
            matches!(&last.state, RunState::EndedWell { note, .. } if note == "7 rows"),
            "{fault:?}: {last}"
        );
        rig.is_clean(fault).await;
    }
}

#[tokio::test]
async fn a_downgrade_or_resize_met_by_any_fault_is_done_when_it_is_repeated() {
    for fault in FAULTS {
        let rig = Rig::new().await;
        let writer = rig.client.rw_lock(&rig.name).write().await.unwrap();
        let rule = rig.proxy.nth(1, fault, is_downgrade);
        if let Err(error) = writer.downgrade().await {
            assert!(error.is_unavailable() && writer.is_held(), "{error}");
            let again = eventually(async || writer.downgrade().await.is_ok()).await;
            assert!(again, "{fault:?}");
        }
        let reader = rig.direct.rw_lock(&rig.name).try_read().await.unwrap();
        assert!(reader.is_some() && writer.is_shared() && rule.fired() == 1);
        drop(reader);
        writer.release().await.unwrap();
        rig.is_clean(fault).await;

        let permits = rig.direct.semaphore(&rig.name, 1);
        let permit = permits.acquire().await.unwrap();
        let rule = rig.proxy.nth(1, fault, is_resize);
        let resized = rig.client.semaphore(&rig.name, 2);
        if let Err(error) = resized.resize(2).await {
            assert!(error.is_unavailable(), "{error}");
            let again = eventually(async || resized.resize(2).await.is_ok()).await;
            assert!(again, "{fault:?}");
        }
        assert_eq!(rule.fired(), 1, "{fault:?}");
        drop(resized.try_acquire().await.unwrap().expect("another"));
        permit.release().await.unwrap();
        rig.is_clean(fault).await;
    }
}

#[tokio::test]
async fn a_server_that_goes_away_between_the_names_ends_the_wait_in_time_and_leaves_none() {
    for traffic in [Traffic::Silent, Traffic::Refused] {
        let rig = Rig::new().await;
        let names = ["a", "b", "c"].map(|suffix| format!("{}{suffix}", rig.name));
        let held = rig.direct.lock(&names[1]).acquire().await.unwrap();
        let all = rig.client.lock_all(&names).wait_timeout(ms(1_500));
        let begun = Instant::now();
        let waiting = tokio::spawn(async move { all.acquire().await });
        let queued = eventually(async || {
            let status = rig.direct.lock(&names[1]).inspect().await;
            status.unwrap().waiting == 1
        });
        assert!(queued.await);
        rig.proxy.set_traffic(traffic);
        if traffic == Traffic::Refused {
            rig.proxy.cut_all();
        }
        let error = waiting.await.unwrap().unwrap_err();
        let waited = begun.elapsed();
        assert!(error.is_unavailable(), "{traffic:?}: {error}");
        assert!(waited <= ms(1_550) + ms(200), "{traffic:?}: {waited:?}");
        rig.proxy.set_traffic(Traffic::Flowing);
        held.release().await.unwrap();
        for name in &names {
            let lock = rig.direct.lock(name).wait_timeout(ms(8_000));
            let guard = lock.acquire().await;
            drop(guard.unwrap_or_else(|e| panic!("{traffic:?}: {e}")));
        }
    }
}

/// Whether it becomes true within five seconds.
async fn eventually(is_true: impl AsyncFn() -> bool) -> bool {
    let trying = async {
        while !is_true().await {
            tokio::time::sleep(ms(20)).await;
        }
    };
    tokio::time::timeout(ms(5_000), trying).await.is_ok()
}
