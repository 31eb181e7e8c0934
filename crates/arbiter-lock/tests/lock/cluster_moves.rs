//! Clusters whose slots move while names in them are held and waited for.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use arbiter_lock::{Client, Error, Event, Guard, Lock};
use testkit::{Cluster, Server, Shared, companion_kind, eventually_async, soak_time, unique_name};
use tokio::task::JoinHandle;

use crate::acquire_and_release;
use crate::conformance::valkey_binary;

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// A lease that ends within a move, unless it is renewed.
pub(crate) const LEASE: Duration = ms(1_000);
/// How long a slot is in transit.
pub(crate) const TRANSIT: Duration = ms(3_500);

/// Returns a cluster that the tests of this file share: each moves slots of its own.
pub(crate) fn cluster() -> Arc<Cluster> {
    static SHARED: Shared<Cluster> = Shared::new();
    SHARED.get_or_start(Cluster::start_shared)
}

/// Returns a cluster of the newest Valkey, or else of the default server.
fn valkey_cluster() -> Arc<Cluster> {
    static SHARED: Shared<Cluster> = Shared::new();
    SHARED.get_or_start(|| {
        let server = Server::builder().binary(&valkey_binary());
        let timeout = ms(15_000);
        Cluster::builder()
            .server(server)
            .node_timeout(timeout)
            .start()
    })
}

/// The failed renewals and the losses of a client.
#[derive(Clone, Default)]
pub(crate) struct Faults(pub(crate) Arc<Mutex<Vec<String>>>);

impl Faults {
    pub(crate) fn log(&self) -> impl Fn(&Event) + Send + Sync + use<> {
        let faults = self.0.clone();
        move |event| {
            if matches!(event, Event::RenewalFailed { .. } | Event::Lost { .. }) {
                faults.lock().unwrap().push(event.to_string());
            }
        }
    }

    pub(crate) fn assert_none(&self) {
        let faults = self.0.lock().unwrap();
        assert!(faults.is_empty(), "{faults:?}");
    }
}

pub(crate) async fn client(cluster: &Cluster) -> (Client, Faults) {
    let faults = Faults::default();
    let builder = Client::builder().store(&cluster.url()).logger(faults.log());
    (builder.connect().await.unwrap(), faults)
}

pub(crate) fn key(name: &str) -> String {
    format!("arbiter:{name}")
}

/// Returns another name in the slot of that one.
pub(crate) fn neighbor(name: &str) -> String {
    format!("{{{}}}{}", key(name), unique_name())
}

/// The move of a slot from a node to the next one.
#[derive(Clone, Copy)]
pub(crate) struct Move {
    slot: u16,
    from: usize,
    to: usize,
}

impl Move {
    /// Returns the move of the slot of a name.
    pub(crate) fn of(cluster: &Cluster, name: &str) -> Self {
        let from = cluster.master_of(&key(name));
        let (slot, to) = (cluster.slot(&key(name)), (from + 1) % 3);
        Self { slot, from, to }
    }

    /// Returns the keys of the slot at a node.
    fn keys(self, cluster: &Cluster, node: usize) -> Vec<String> {
        let list = ["CLUSTER", "GETKEYSINSLOT", &self.slot.to_string(), "100"];
        cluster.nodes[node].call(&list).texts()
    }

    pub(crate) fn begin(self, cluster: &Cluster) {
        cluster.begin_move(self.slot, self.from, self.to);
    }

    /// Moves only the key of a lock.
    pub(crate) fn move_key(self, cluster: &Cluster, name: &str) {
        let (port, key) = (cluster.nodes[self.to].port().to_string(), key(name));
        let migrate = ["MIGRATE", "127.0.0.1", &port, &key, "0", "3000"];
        let moved = cluster.nodes[self.from].call(&migrate);
        assert_eq!(moved.text().as_deref(), Some("OK"));
    }

    fn move_keys(self, cluster: &Cluster) {
        cluster.move_keys(self.slot, self.from, self.to);
    }

    /// Moves the rest of the keys, and finishes.
    pub(crate) fn finish(self, cluster: &Cluster) {
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

/// The keys that have moved while a slot is in transit.
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
    assert!(finished.elapsed() < ms(4_000), "{:?}", finished.elapsed());
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
    keys.retain(|key| companion_kind(key) != Some("last"));
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
    assert!(finished.elapsed() < ms(4_000), "{:?}", finished.elapsed());
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
pub(crate) fn move_slot(cluster: &Cluster, name: &str, is_atomic: bool) -> Move {
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
pub(crate) async fn hand_to_and_fro(lock: &Lock, times: u32) -> Duration {
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
        eventually_async(ms(900), are_there).await,
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
    // Polls alone would take a second for each.
    assert!(moved.elapsed() < ms(4_000), "{:?}", moved.elapsed());
    let took = hand_to_and_fro(&lock, 20).await;
    assert!(took < ms(5_000), "{took:?}");
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

/// Releases a lock as soon as its slot has moved, before its waiter may know of that.
async fn release_right_after_a_move(cluster: Arc<Cluster>, is_atomic: bool) {
    let (name, (client, faults)) = (unique_name(), client(&cluster).await);
    let lock = client.lock(&name);
    let mut took = Vec::new();
    for _ in 0..6 {
        let guard = lock.acquire().await.unwrap();
        let waiter = queue(&lock, 1).await.remove(0);
        move_slot(&cluster, &name, is_atomic);
        let moved = Instant::now();
        guard.release().await.unwrap();
        let next = waiter.await.unwrap().unwrap();
        took.push(moved.elapsed());
        next.release().await.unwrap();
    }
    // A waiter that is not woken polls after a second. Most are woken, even on busy cores.
    took.sort();
    assert!(took[3] < ms(500), "{took:?}");
    faults.assert_none();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn release_right_after_a_move_is_noticed() {
    release_right_after_a_move(cluster(), false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn release_right_after_an_atomic_move_is_noticed() {
    release_right_after_a_move(valkey_cluster(), true).await;
}

/// A name that tasks hold in turn, and the turns that they have seen.
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
        // While the slot moves, it may not be confirmed in time: the keeper continues.
        if let Err(error) = guard.release().await {
            assert!(error.is_unavailable(), "{error}");
        }
    }
}

/// Moves slots to and fro for that long, while 64 tasks share connections, and at least that often.
async fn move_under_load(cluster: Arc<Cluster>, is_atomic: bool, time: Duration, moves: usize) {
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
    let (end, mut moved) = (Instant::now() + time, 0);
    // The tasks run on other threads.
    while Instant::now() < end || moved < moves {
        let name = &names[[0, 17, 20, 25][moved % 4]];
        move_slot(&cluster, name, is_atomic);
        moved += 1;
    }
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
