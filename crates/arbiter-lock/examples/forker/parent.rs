//! The parent: it holds and waits in every form, and checks that no child affects it.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use arbiter_lock::{
    Begun, Client, Error, Event, Guard, GuardAll, Hold, Leadership, Lost, RunGuard, Session,
    block_on,
};
use tokio::runtime::{Builder, Runtime};

use crate::child::{eventually, in_a_child, poll};
use crate::{Acquiring, CHILDREN, LIMIT, ms};

/// The events of the parent's client.
#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) renewed: AtomicUsize,
    pub(crate) failures: AtomicUsize,
}

/// A parent with a hold of each kind, and with threads that are busy with the same client.
pub(crate) struct Parent {
    pub(crate) url: String,
    pub(crate) runtime: Runtime,
    pub(crate) client: Client,
    pub(crate) session: Session,
    pub(crate) counters: Arc<Counters>,
    pub(crate) guard: Guard,
    pub(crate) nested: Guard,
    pub(crate) reader: Guard,
    pub(crate) all: GuardAll,
    pub(crate) leadership: Leadership,
    pub(crate) run: RunGuard,
    /// Pending acquires: on the runtime, without one, and on the runtime again.
    pub(crate) pending: [Acquiring; 3],
    /// A `run` under a hold of its own.
    pub(crate) running: Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>,
    /// Futures that wait for the end of the hold.
    pub(crate) seated: Pin<Box<Lost>>,
    pub(crate) other_seated: Pin<Box<Lost>>,
    /// A future that waits for the end of the client.
    pub(crate) closing: Pin<Box<dyn Future<Output = ()> + Send>>,
    pub(crate) blockers: Vec<Guard>,
    pub(crate) is_over: Arc<AtomicBool>,
    pub(crate) busy: Vec<std::thread::JoinHandle<()>>,
    pub(crate) busy_tasks: Vec<tokio::task::JoinHandle<()>>,
}

pub(crate) async fn connect(url: &str, counters: Arc<Counters>) -> Client {
    let logger = move |event: &Event| match event {
        Event::Renewed { .. } => {
            counters.renewed.fetch_add(1, Ordering::Relaxed);
        }
        Event::Lost { .. } | Event::Disconnected { .. } => {
            counters.failures.fetch_add(1, Ordering::Relaxed);
        }
        _ => {}
    };
    let builder = Client::builder().store(url).logger(logger);
    let builder = builder.default_lease_time(ms(6_000));
    builder.connect().await.unwrap()
}

impl Parent {
    pub(crate) fn start(url: &str) -> Self {
        let runtime = Builder::new_multi_thread();
        let runtime = { runtime }.worker_threads(2).enable_all().build().unwrap();
        let counters = Arc::<Counters>::default();
        let client = runtime.block_on(connect(url, counters.clone()));
        let session = client.session();
        let guards = async {
            let Begun::Run(run) = client.once("o").every(ms(60_000)).begin().await.unwrap() else {
                panic!("the job is due");
            };
            let semaphore = client.semaphore("s", 1);
            let mut blockers = vec![semaphore.acquire().await.unwrap()];
            for name in ["w0", "w1", "w2"] {
                blockers.push(client.lock(name).acquire().await.unwrap());
            }
            (
                client.lock("l").acquire().await.unwrap(),
                session.lock("n").acquire().await.unwrap(),
                client.rw_lock("r").write().await.unwrap(),
                client.lock_all(["a", "b"]).acquire().await.unwrap(),
                client.election("e").campaign("one").await.unwrap(),
                run,
                blockers,
            )
        };
        let (guard, nested, reader, all, leadership, run, blockers) = runtime.block_on(guards);
        let waiting = |name: &str| {
            let lock = client.lock(name);
            async move { lock.acquire().await }
        };
        let mut pending: [Acquiring; 3] = [
            Box::pin(waiting("w0")),
            Box::pin(waiting("w1")),
            Box::pin(waiting("w2")),
        ];
        for n in [0, 2] {
            let lock = client.lock(&format!("w{n}"));
            runtime.block_on(async {
                while lock.inspect().await.unwrap().waiting < 1 {
                    assert!(poll(&mut pending[n]).is_pending());
                    tokio::time::sleep(ms(5)).await;
                }
            });
        }
        let (worker, works) = (client.lock("worker"), Arc::new(AtomicBool::new(false)));
        let started = works.clone();
        let mut running: Pin<Box<dyn Future<Output = _> + Send>> = Box::pin(async move {
            let work = |_: Hold| async move {
                started.store(true, Ordering::Relaxed);
                std::future::pending().await
            };
            worker.run(work).await
        });
        runtime.block_on(async {
            while !works.load(Ordering::Relaxed) {
                assert!(poll(&mut running).is_pending());
                tokio::time::sleep(ms(5)).await;
            }
        });
        assert!(poll(&mut pending[1]).is_pending());
        eventually("waiting", || {
            block_on(client.lock("w1").inspect()).unwrap().waiting == 1
        });
        let mut seated = Box::pin(guard.lost());
        let mut other_seated = Box::pin(guard.lost());
        let mut closing: Pin<Box<dyn Future<Output = ()> + Send>> = Box::pin(client.closing());
        assert!(poll(&mut seated).is_pending() && poll(&mut other_seated).is_pending());
        assert!(poll(&mut closing).is_pending());
        let mut parent = Self {
            url: url.to_owned(),
            runtime,
            session,
            counters,
            guard,
            nested,
            reader,
            all,
            leadership,
            run,
            pending,
            running,
            seated,
            other_seated,
            closing,
            blockers,
            is_over: Arc::default(),
            busy: Vec::new(),
            busy_tasks: Vec::new(),
            client,
        };
        parent.get_busy();
        parent
    }

    /// Starts threads and tasks that use the client without a pause.
    pub(crate) fn get_busy(&mut self) {
        for n in 0..2 {
            let (client, is_over) = (self.client.clone(), self.is_over.clone());
            self.busy.push(std::thread::spawn(move || {
                let lock = client.lock(&format!("busy thread {n}"));
                while !is_over.load(Ordering::Relaxed) {
                    block_on(block_on(lock.acquire()).unwrap().release()).unwrap();
                }
            }));
            let (client, is_over) = (self.client.clone(), self.is_over.clone());
            let hold = self.guard.hold().clone();
            self.busy_tasks.push(self.runtime.spawn(async move {
                let lock = client.lock(&format!("busy task {n}"));
                while !is_over.load(Ordering::Relaxed) {
                    drop(lock.acquire().await.unwrap());
                    let lost = tokio::time::timeout(Duration::ZERO, hold.lost()).await;
                    assert!(lost.is_err() && hold.is_held());
                }
            }));
        }
    }

    /// Forks children that run `child`, then checks that the parent is not affected.
    pub(crate) fn survives(self, child: fn(&mut Option<Self>)) {
        let mut parent = Some(self);
        for _ in 0..CHILDREN {
            in_a_child(|| child(&mut parent));
            std::thread::sleep(ms(3));
        }
        parent.unwrap().goes_on();
    }

    /// Ends the busy threads and tasks.
    pub(crate) fn rests(mut self) -> Self {
        self.is_over.store(true, Ordering::Relaxed);
        for thread in std::mem::take(&mut self.busy) {
            thread.join().unwrap();
        }
        for task in std::mem::take(&mut self.busy_tasks) {
            self.runtime.block_on(task).unwrap();
        }
        self
    }

    pub(crate) fn goes_on(self) {
        let mut parent = self.rests();
        let renewed = parent.counters.renewed.load(Ordering::Relaxed);
        eventually("renewed", || {
            renewed + 5 < parent.counters.renewed.load(Ordering::Relaxed)
        });
        let runtime = parent.runtime;
        runtime.block_on(async {
            pushes_arrive(&parent.url, &parent.client).await;
            parent.guard.refresh().await.unwrap();
            parent.reader.downgrade().await.unwrap();
            parent.leadership.proclaim("two").await.unwrap();
            assert_eq!(parent.counters.failures.load(Ordering::Relaxed), 0);
            parent.blockers.clear();
            drop(parent.running);
            for pending in parent.pending {
                pending.await.unwrap().release().await.unwrap();
            }
            parent.run.finish(Ok("")).await.unwrap();
            parent.leadership.resign().await.unwrap();
            parent.all.release().await.unwrap();
            parent.reader.release().await.unwrap();
            parent.nested.release().await.unwrap();
            parent.guard.release().await.unwrap();
            let status = parent.client.lock("l").inspect().await.unwrap();
            assert!(!status.is_held());
            assert_eq!(parent.client.shutdown(LIMIT).await, 0);
        });
    }
}

/// Checks that waiters are granted by messages: their polls are a second apart.
pub(crate) async fn pushes_arrive(url: &str, client: &Client) {
    let other = connect(url, Arc::default()).await;
    let mut took = Vec::new();
    // A busy machine may be late once.
    for _ in 0..3 {
        took.push(five_grants(&other, client).await);
        if took.last() < Some(&ms(800)) {
            return;
        }
    }
    panic!("five grants took {took:?}");
}

/// Returns how long five waiters wait after the release of the other client's hold, in all.
pub(crate) async fn five_grants(other: &Client, client: &Client) -> Duration {
    let mut all = Duration::ZERO;
    for _ in 0..5 {
        let held = other.lock("pushed").acquire().await.unwrap();
        let waiter = client.lock("pushed");
        let waiting = tokio::spawn(async move {
            let guard = waiter.acquire().await.unwrap();
            (Instant::now(), guard)
        });
        while other.lock("pushed").inspect().await.unwrap().waiting < 1 {
            tokio::time::sleep(ms(2)).await;
        }
        let begun = Instant::now();
        held.release().await.unwrap();
        let (granted, guard) = waiting.await.unwrap();
        all += granted - begun;
        guard.release().await.unwrap();
    }
    all
}
