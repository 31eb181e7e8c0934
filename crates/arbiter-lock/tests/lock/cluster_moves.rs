//! Clusters whose slots move while names in them are held and waited for.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use arbiter_lock::{Client, Error, Event, Guard, Lock};
use testkit::{Cluster, Fault, Proxy, Server, eventually_async, soak_time, unique_name};
use tokio::task::JoinHandle;

use crate::conformance::valkey_binary;
use crate::cost::{cost_of, counts, these};
use crate::sentinel::{mapped, proxies};
use crate::{acquire_and_release, in_line};

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// A lease that ends within a move, unless it is renewed.
const LEASE: Duration = ms(1_000);
/// How long a slot is in transit.
const TRANSIT: Duration = ms(3_500);

/// Returns a cluster that the tests of this file share: each moves slots of its own.
pub(crate) fn cluster() -> Arc<Cluster> {
    static SHARED: Mutex<Weak<Cluster>> = Mutex::new(Weak::new());
    shared(&SHARED, &testkit::server_binary())
}

/// Returns a cluster of the newest Valkey, or else of the default server.
fn valkey_cluster() -> Arc<Cluster> {
    static SHARED: Mutex<Weak<Cluster>> = Mutex::new(Weak::new());
    shared(&SHARED, &valkey_binary())
}

fn shared(shared: &Mutex<Weak<Cluster>>, binary: &Path) -> Arc<Cluster> {
    let mut shared = shared.lock().unwrap_or_else(PoisonError::into_inner);
    shared.upgrade().unwrap_or_else(|| {
        let server = Server::builder().binary(binary);
        let cluster = Arc::new(Cluster::builder().server(server).start());
        *shared = Arc::downgrade(&cluster);
        cluster
    })
}

/// The failed renewals and the losses of a client.
#[derive(Clone, Default)]
struct Faults(Arc<Mutex<Vec<String>>>);

impl Faults {
    fn log(&self) -> impl Fn(&Event) + Send + Sync + use<> {
        let faults = self.0.clone();
        move |event| {
            if matches!(event, Event::RenewalFailed { .. } | Event::Lost { .. }) {
                faults.lock().unwrap().push(event.to_string());
            }
        }
    }

    fn assert_none(&self) {
        let faults = self.0.lock().unwrap();
        assert!(faults.is_empty(), "{faults:?}");
    }
}

async fn client(cluster: &Cluster) -> (Client, Faults) {
    let faults = Faults::default();
    let builder = Client::builder().store(&cluster.url()).logger(faults.log());
    (builder.connect().await.unwrap(), faults)
}

fn key(name: &str) -> String {
    format!("arbiter:{name}")
}

/// Returns another name in the slot of that one.
fn neighbor(name: &str) -> String {
    format!("{{{}}}{}", key(name), unique_name())
}

/// The move of a slot from a node to the next one.
#[derive(Clone, Copy)]
struct Move {
    slot: u16,
    from: usize,
    to: usize,
}

impl Move {
    /// Returns the move of the slot of a name.
    fn of(cluster: &Cluster, name: &str) -> Self {
        let from = cluster.master_of(&key(name));
        let (slot, to) = (cluster.slot(&key(name)), (from + 1) % 3);
        Self { slot, from, to }
    }

    /// Returns the keys of the slot at a node.
    fn keys(self, cluster: &Cluster, node: usize) -> Vec<String> {
        let list = ["CLUSTER", "GETKEYSINSLOT", &self.slot.to_string(), "100"];
        cluster.nodes[node].call(&list).texts()
    }

    fn begin(self, cluster: &Cluster) {
        cluster.begin_move(self.slot, self.from, self.to);
    }

    /// Moves only the key of a lock.
    fn move_key(self, cluster: &Cluster, name: &str) {
        let (port, key) = (cluster.nodes[self.to].port().to_string(), key(name));
        let migrate = ["MIGRATE", "127.0.0.1", &port, &key, "0", "3000"];
        let moved = cluster.nodes[self.from].call(&migrate);
        assert_eq!(moved.text().as_deref(), Some("OK"));
    }

    fn move_keys(self, cluster: &Cluster) {
        cluster.move_keys(self.slot, self.from, self.to);
    }

    /// Moves the rest of the keys, and finishes.
    fn finish(self, cluster: &Cluster) {
        self.move_keys(cluster);
        cluster.finish_move(self.slot, self.from, self.to);
    }
}

/// Queues that many waiters in order, one task for each.
async fn queue(lock: &Lock, count: u64) -> Vec<JoinHandle<Result<Guard, Error>>> {
    let mut waiters = Vec::new();
    for place in 1..=count {
        let waiter = lock.clone();
        waiters.push(tokio::spawn(async move { waiter.acquire().await }));
        while lock.inspect().await.unwrap().waiting < place {
            tokio::time::sleep(ms(5)).await;
        }
    }
    waiters
}

/// What has moved while a slot is in transit.
#[derive(Clone, Copy, PartialEq)]
enum Stage {
    Nothing,
    Lock,
    All,
}

/// Holds a name while its slot is in transit, at that stage, for longer than the lease.
async fn hold_in_transit(waiters: u64, stage: Stage) {
    let (cluster, name) = (cluster(), unique_name());
    let (client, faults) = client(&cluster).await;
    let lock = client.lock(&name).lease_time(LEASE);
    let guard = lock.acquire().await.unwrap();
    let waiting = queue(&lock, waiters).await;
    let slot_move = Move::of(&cluster, &name);
    slot_move.begin(&cluster);
    match stage {
        Stage::Nothing => {}
        Stage::Lock => slot_move.move_key(&cluster, &name),
        Stage::All => slot_move.move_keys(&cluster),
    }
    let node = if stage == Stage::Nothing {
        slot_move.from
    } else {
        slot_move.to
    };
    assert!(slot_move.keys(&cluster, node).contains(&key(&name)));
    // The target knows no script.
    cluster.nodes[slot_move.to].call(&["SCRIPT", "FLUSH"]);
    let other = client.lock(&neighbor(&name)).wait_timeout(ms(20_000));
    let begun = Instant::now();
    let entering = tokio::spawn(async move { other.acquire().await });
    while begun.elapsed() < TRANSIT {
        guard.refresh().await.unwrap();
        tokio::time::sleep(LEASE / 2).await;
        tokio::time::sleep(LEASE).await;
        assert!(guard.is_held());
    }
    assert!(!entering.is_finished(), "no name is granted meanwhile");
    slot_move.finish(&cluster);
    let finished = Instant::now();
    entering.await.unwrap().unwrap().release().await.unwrap();
    assert!(finished.elapsed() < ms(1_500), "{:?}", finished.elapsed());
    faults.assert_none();
    let mut fence = guard.fence();
    guard.release().await.unwrap();
    for waiter in waiting {
        let next = waiter.await.unwrap().unwrap();
        assert!(fence < next.fence());
        fence = next.fence();
        next.release().await.unwrap();
    }
    acquire_and_release(&lock).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hold_survives_a_begun_move() {
    hold_in_transit(0, Stage::Nothing).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hold_with_waiters_survives_a_begun_move() {
    hold_in_transit(2, Stage::Nothing).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hold_whose_key_moved_first_survives() {
    hold_in_transit(2, Stage::Lock).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hold_whose_keys_all_moved_survives() {
    hold_in_transit(2, Stage::All).await;
}

/// Returns the keys of a slot at all nodes that last longer than a moment after a release.
fn lasting_keys(cluster: &Cluster, slot_move: Move) -> Vec<String> {
    let nodes = 0..cluster.nodes.len();
    let mut keys: Vec<_> = nodes
        .flat_map(|node| slot_move.keys(cluster, node))
        .collect();
    // The last fence outlives its lock.
    keys.retain(|key| !key.starts_with("arbiter.last"));
    keys
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn release_during_a_move_is_finished_after_it() {
    let (cluster, name) = (cluster(), unique_name());
    let (client, _) = client(&cluster).await;
    let lock = client.lock(&name).lease_time(ms(30_000));
    let guard = lock.acquire().await.unwrap();
    let waiter = queue(&lock, 1).await.remove(0);
    let slot_move = Move::of(&cluster, &name);
    slot_move.begin(&cluster);
    let error = guard.release().await.unwrap_err();
    assert!(error.is_unavailable(), "{error}");
    tokio::time::sleep(ms(1_000)).await;
    assert!(!waiter.is_finished());
    slot_move.finish(&cluster);
    let finished = Instant::now();
    let next = waiter.await.unwrap().unwrap();
    assert!(finished.elapsed() < ms(1_500), "{:?}", finished.elapsed());
    next.release().await.unwrap();
    let is_clean = || lasting_keys(&cluster, slot_move).is_empty();
    assert!(
        eventually_async(ms(1_000), is_clean).await,
        "{:?}",
        lasting_keys(&cluster, slot_move)
    );
    assert_eq!(client.health().unconfirmed_releases, 0);
}

/// Moves the slot of a name to the next node, step by step or at once.
fn move_slot(cluster: &Cluster, name: &str, is_atomic: bool) -> Move {
    let slot_move = Move::of(cluster, name);
    let Move { slot, from, to } = slot_move;
    match is_atomic && cluster.supports_atomic_moves() {
        true => cluster.move_atomically(slot, from, to),
        false => cluster.move_slot(slot, from, to),
    }
    slot_move
}

/// Returns how many clients are subscribed to channels of a slot at a node.
fn subscribers(cluster: &Cluster, node: usize, slot: u16) -> usize {
    let channels = cluster.nodes[node]
        .call(&["PUBSUB", "SHARDCHANNELS"])
        .texts();
    let channels = channels
        .iter()
        .filter(|channel| cluster.slot(channel) == slot);
    channels.count()
}

/// Hands a lock to and fro between two tasks, that many times.
async fn hand_to_and_fro(lock: &Lock, times: u32) -> Duration {
    let begun = Instant::now();
    let player = || {
        let lock = lock.clone();
        tokio::spawn(async move {
            for _ in 0..times / 2 {
                let guard = lock.acquire().await.unwrap();
                tokio::time::sleep(ms(2)).await;
                guard.release().await.unwrap();
            }
        })
    };
    let (one, other) = (player(), player());
    one.await.unwrap();
    other.await.unwrap();
    begun.elapsed()
}

/// Moves the slot of a name with waiters, and hands it off.
async fn hand_off_after_move(cluster: Arc<Cluster>, is_atomic: bool) {
    let (name, count) = (unique_name(), 10);
    let (client, faults) = client(&cluster).await;
    let lock = client.lock(&name).lease_time(LEASE);
    let guard = lock.acquire().await.unwrap();
    let waiters = queue(&lock, count).await;
    let Move { slot, from, to } = move_slot(&cluster, &name, is_atomic);
    let moved = Instant::now();
    let are_there = || subscribers(&cluster, to, slot) == 1;
    assert!(
        eventually_async(ms(500), are_there).await,
        "they are not subscribed there"
    );
    assert_eq!(subscribers(&cluster, from, slot), 0);
    // Every waiter has polled at the new node.
    tokio::time::sleep(ms(100)).await;
    let mut fence = guard.fence();
    guard.release().await.unwrap();
    for waiter in waiters {
        let next = waiter.await.unwrap().unwrap();
        assert!(fence < next.fence(), "the order is kept");
        fence = next.fence();
        next.release().await.unwrap();
    }
    assert!(moved.elapsed() < ms(900), "{:?}", moved.elapsed());
    let took = hand_to_and_fro(&lock, 20).await;
    assert!(took < ms(1_000), "{took:?}");
    faults.assert_none();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiters_are_notified_after_a_move() {
    hand_off_after_move(cluster(), false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiters_are_notified_after_an_atomic_move() {
    hand_off_after_move(valkey_cluster(), true).await;
}

/// A name that tasks hold in turn, and what they have seen of it.
#[derive(Default)]
struct Turns {
    is_held: AtomicBool,
    last_fence: AtomicU64,
    count: AtomicU64,
}

impl Turns {
    /// Takes one turn.
    async fn take(&self, lock: &Lock) {
        let guard = lock.acquire().await.unwrap();
        assert!(
            !self.is_held.swap(true, Ordering::SeqCst),
            "two hold {lock:?}"
        );
        let before = self.last_fence.swap(guard.fence(), Ordering::SeqCst);
        assert!(before < guard.fence());
        tokio::time::sleep(ms(1)).await;
        self.is_held.store(false, Ordering::SeqCst);
        self.count.fetch_add(1, Ordering::Relaxed);
        guard.release().await.unwrap();
    }
}

/// Moves slots to and fro for that long, while 64 tasks share connections, and at least so often.
async fn move_under_load(cluster: Arc<Cluster>, is_atomic: bool, time: Duration, moves: u32) {
    let (client, faults) = client(&cluster).await;
    let first = unique_name();
    let from = cluster.master_of(&key(&first));
    // Names of the slot that moves first, and names of other slots of the same node.
    let near = (0..16).map(|_| neighbor(&first));
    let far = (0..15).map(|_| cluster.name_on(from, "arbiter:"));
    let names: Vec<String> = std::iter::once(first.clone())
        .chain(near)
        .chain(far)
        .collect();
    let is_over = Arc::new(AtomicBool::new(false));
    let mut tasks = Vec::new();
    let mut all_turns = Vec::new();
    for name in &names {
        let turns = Arc::<Turns>::default();
        let lock = client
            .lock(name)
            .lease_time(ms(5_000))
            .wait_timeout(ms(20_000));
        for _ in 0..2 {
            let (lock, turns, is_over) = (lock.clone(), turns.clone(), is_over.clone());
            tasks.push(tokio::spawn(async move {
                while !is_over.load(Ordering::Relaxed) {
                    turns.take(&lock).await;
                }
            }));
        }
        all_turns.push(turns);
    }
    let end = Instant::now() + time;
    let moving = cluster.clone();
    let mover = tokio::task::spawn_blocking(move || {
        let mut moved = 0;
        while Instant::now() < end || moved < moves {
            let name = &names[[0, 17, 20, 25][moved as usize % 4]];
            move_slot(&moving, name, is_atomic);
            moved += 1;
        }
        moved
    });
    let moved = mover.await.unwrap();
    is_over.store(true, Ordering::Relaxed);
    for task in tasks {
        task.await.unwrap();
    }
    faults.assert_none();
    let counts: Vec<_> = all_turns
        .iter()
        .map(|t| t.count.load(Ordering::Relaxed))
        .collect();
    println!("{moved} moves, {counts:?}");
    assert!(counts.iter().all(|count| 5 < *count), "{counts:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn moves_under_load_mix_no_answers_up() {
    move_under_load(cluster(), false, soak_time(ms(5_000)), 8).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn atomic_moves_under_load_mix_no_answers_up() {
    move_under_load(valkey_cluster(), true, soak_time(ms(5_000)), 8).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shared_holds_outlive_a_short_move() {
    let (cluster, name) = (cluster(), unique_name());
    let (client, faults) = client(&cluster).await;
    let lock = client.rw_lock(&name).lease_time(ms(3_000));
    let reader = lock.read().await.unwrap();
    let permits = client.semaphore(&neighbor(&name), 2).lease_time(ms(3_000));
    let permit = permits.acquire().await.unwrap();
    let slot_move = Move::of(&cluster, &name);
    slot_move.begin(&cluster);
    // Its keys are together.
    reader.refresh().await.unwrap();
    slot_move.move_key(&cluster, &name);
    let error = reader.refresh().await.unwrap_err();
    assert!(error.is_unavailable(), "{error}");
    tokio::time::sleep(ms(1_300)).await;
    slot_move.finish(&cluster);
    tokio::time::sleep(ms(3_000)).await;
    assert!(reader.is_held() && permit.is_held());
    assert!(
        !faults.0.lock().unwrap().is_empty(),
        "they were not renewed meanwhile"
    );
    reader.release().await.unwrap();
    permit.release().await.unwrap();
    lock.write().await.unwrap().release().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refused_downgrade_leaves_the_writer_alone() {
    let (cluster, name) = (cluster(), unique_name());
    let (client, faults) = client(&cluster).await;
    let lock = client.rw_lock(&name).lease_time(LEASE);
    let writer = lock.write().await.unwrap();
    let slot_move = Move::of(&cluster, &name);
    slot_move.begin(&cluster);
    let error = writer.downgrade().await.unwrap_err();
    assert!(error.is_unavailable(), "{error}");
    assert!(!writer.is_shared(), "it was not sent");
    tokio::time::sleep(TRANSIT / 2).await;
    assert!(writer.is_held());
    slot_move.finish(&cluster);
    writer.downgrade().await.unwrap();
    let reader = lock.read().await.unwrap();
    tokio::time::sleep(2 * LEASE).await;
    assert!(writer.is_held() && reader.is_held());
    writer.release().await.unwrap();
    reader.release().await.unwrap();
    faults.assert_none();
}

/// Starts proxies in front of the nodes, and connects a client through them.
async fn client_behind_proxies(cluster: &Cluster) -> (Client, Faults, Vec<Proxy>) {
    let (proxies, ports) = proxies(&cluster.nodes);
    let faults = Faults::default();
    let builder = Client::builder().store(&cluster.url()).logger(faults.log());
    let builder = builder.command_timeout(ms(500)).map_address(mapped(ports));
    (builder.connect().await.unwrap(), faults, proxies)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unanswered_downgrade_is_renewed_with_its_companion() {
    let (cluster, name) = (cluster(), unique_name());
    let (client, _, proxies) = client_behind_proxies(&cluster).await;
    // The script is known to the node.
    let other = client.rw_lock(&neighbor(&name)).write().await.unwrap();
    other.downgrade().await.unwrap();
    other.release().await.unwrap();
    let lock = client.rw_lock(&name).lease_time(LEASE);
    let writer = lock.write().await.unwrap();
    let node = cluster.master_of(&key(&name));
    // Only the downgrade has this argument: the fence.
    let fence = writer.fence().to_string().into_bytes();
    let is_downgrade =
        move |args: &[Vec<u8>]| args[0].starts_with(b"EVAL") && args.get(8) == Some(&fence);
    let rule = proxies[node].nth(1, Fault::CutAfter, is_downgrade);
    let error = writer.downgrade().await.unwrap_err();
    assert!(error.is_unavailable(), "{error}");
    assert_eq!(rule.fired(), 1);
    assert!(writer.is_shared(), "it may have been");
    tokio::time::sleep(2 * LEASE).await;
    assert!(writer.is_held());
    // It ran, and the hold is not alone.
    let reader = lock.try_read().await.unwrap().expect("readers may enter");
    reader.release().await.unwrap();
    writer.release().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn renewal_overtaken_by_a_downgrade_loses_nothing() {
    let (cluster, name) = (cluster(), unique_name());
    let (client, faults, proxies) = client_behind_proxies(&cluster).await;
    let lock = client.rw_lock(&name).lease_time(ms(3_000));
    let writer = lock.write().await.unwrap();
    let node = cluster.master_of(&key(&name));
    let lock_key = key(&name).into_bytes();
    // The keeper has a connection of its own, so that the downgrade overtakes its renewal.
    let is_renewal =
        move |args: &[Vec<u8>]| args.get(3) == Some(&lock_key) && args.get(4) == Some(&lock_key);
    let rule = proxies[node].nth(1, Fault::HoldRequest, is_renewal);
    let has_fired = || 0 < rule.fired();
    assert!(eventually_async(ms(3_000), has_fired).await, "no renewal");
    writer.downgrade().await.unwrap();
    rule.release();
    tokio::time::sleep(ms(4_000)).await;
    assert!(writer.is_held());
    writer.release().await.unwrap();
    assert!(
        !faults
            .0
            .lock()
            .unwrap()
            .iter()
            .any(|fault| fault.contains("lost"))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_of_many_slots_are_listed_and_renewed() {
    let cluster = Cluster::start();
    let (client, faults) = client(&cluster).await;
    let prefix = unique_name();
    let mut held = Vec::new();
    for n in 0..64 {
        let lock = client.lock(&format!("{prefix}-{n}")).lease_time(ms(3_000));
        held.push(lock.acquire().await.unwrap());
    }
    // A name that is only waited for.
    let waited_for = client
        .lock(&format!("{prefix}-queue"))
        .lease_time(ms(30_000));
    let guard = waited_for.acquire().await.unwrap();
    let _waiting = in_line(&waited_for, 1, || waited_for.acquire()).await;
    for (n, guard) in held.iter().enumerate().take(12) {
        if n % 4 == 0 {
            move_slot(&cluster, guard.name(), false);
        }
    }
    let node = cluster.master_of(&key(waited_for.name().unwrap()));
    cluster.nodes[node].call(&["DEL", &key(waited_for.name().unwrap())]);
    let began = calls(&cluster, "evalsha");
    tokio::time::sleep(ms(3_500)).await;
    // Once a second, all together.
    let renewed = calls(&cluster, "evalsha") - began;
    assert!((3 * 64..=5 * 64).contains(&renewed), "{renewed} calls");
    let mut list = client.list(&format!("{prefix}-*"));
    let mut names = Vec::new();
    while let Some(listed) = list.next().await.unwrap() {
        names.push(listed.name.to_string());
    }
    names.sort();
    let mut expected: Vec<_> = held.iter().map(|guard| guard.name().to_owned()).collect();
    expected.push(format!("{prefix}-queue"));
    expected.sort();
    assert_eq!(names, expected);
    for guard in held {
        let status = client.lock(guard.name()).inspect().await.unwrap();
        assert!(status.is_held());
        guard.release().await.unwrap();
    }
    drop(guard);
    faults.assert_none();
}

/// Returns how often the nodes have executed a command.
fn calls(cluster: &Cluster, command: &str) -> u64 {
    let nodes = cluster.nodes.iter();
    nodes
        .map(|node| counts(node).get(command).copied().unwrap_or_default())
        .sum()
}

/// Returns how many messages other than pings a node has received from others.
fn messages(node: &Server) -> u64 {
    let info = node.call(&["CLUSTER", "INFO"]).text().unwrap();
    let count = |line: &str| {
        let (kind, count) = line
            .strip_prefix("cluster_stats_messages_")?
            .split_once("_received:")?;
        let is_ping = matches!(kind, "ping" | "pong" | "meet");
        count.trim().parse::<u64>().ok().filter(|_| !is_ping)
    };
    info.lines().filter_map(count).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hand_offs_send_other_nodes_nothing() {
    let (cluster, name) = (Cluster::start(), unique_name());
    let (client, _) = client(&cluster).await;
    let node = cluster.master_of(&key(&name));
    let others = || {
        (0..3)
            .filter(|other| *other != node)
            .map(|other| messages(&cluster.nodes[other]))
            .sum::<u64>()
    };
    let before = others();
    hand_to_and_fro(&client.lock(&name), 1_000).await;
    let sent = others() - before;
    assert!(sent <= 2 * 5, "{sent} messages");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn free_acquire_is_one_call_without_a_subscription() {
    let (cluster, name) = (Cluster::start(), unique_name());
    let (client, _) = client(&cluster).await;
    let server = &cluster.nodes[cluster.master_of(&key(&name))];
    let warm = client.lock(&neighbor(&name));
    acquire_and_release(&warm).await;
    for name in [name.clone(), neighbor(&name)] {
        let lock = client.lock(&name);
        let (guard, mut acquire) = cost_of(server, lock.acquire()).await;
        guard.unwrap().release().await.unwrap();
        acquire.remove("pexpireat");
        let expected = ["evalsha", "exists", "hset", "pexpire", "set", "time"];
        assert_eq!(acquire, these(&expected.map(|command| (command, 1))));
    }
    assert_eq!(calls(&cluster, "ssubscribe"), 0);
}
