//! A process that forks while it holds. Usage: `forker URL SCENARIO`.
//!
//! It succeeds if everything of the parent is inert in the children, and the parent is not
//! affected.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use arbiter_lock::{
    Begun, Client, Error, Event, Guard, GuardAll, Hold, Leadership, Lost, LostReason, NoopLogger,
    RunGuard, Session,
};
use fork::Fork;
use tokio::runtime::{Builder, Runtime};

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// Longer than a busy machine needs; without a limit a child that hangs would not be noticed.
const LIMIT: Duration = ms(30_000);

/// How many children are forked while other threads are busy: each finds other mutexes locked.
const CHILDREN: usize = 20;

fn main() {
    let mut args = std::env::args().skip(1);
    let (url, scenario) = (args.next().unwrap(), args.next().unwrap());
    match scenario.as_str() {
        "operations" => Parent::start(&url).survives(operations),
        "blocking" => Parent::start(&url).survives(blocking),
        "drops" => Parent::start(&url).survives(drops),
        "waiting" => Parent::start(&url).survives(waiting),
        "same-runtime" => same_runtime(&url),
        "new-client" => new_client(&url),
        "busy-new-client" => busy_new_client(&url),
        "request-ids" => request_ids(&url),
        other => panic!("no scenario {other}"),
    }
}

type Acquiring = Pin<Box<dyn Future<Output = Result<Guard, Error>> + Send>>;

/// What the client of the parent reported.
#[derive(Default)]
struct Counters {
    renewed: AtomicUsize,
    failures: AtomicUsize,
}

/// A parent with a hold of each kind, and with threads that are busy with the same client.
struct Parent {
    url: String,
    runtime: Runtime,
    client: Client,
    session: Session,
    counters: Arc<Counters>,
    guard: Guard,
    nested: Guard,
    reader: Guard,
    all: GuardAll,
    leadership: Leadership,
    run: RunGuard,
    /// Acquires that wait: on the runtime, without one, and on the runtime again.
    pending: [Acquiring; 3],
    /// It works under a hold of its own.
    running: Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>,
    /// They wait for the end of the hold.
    seated: Pin<Box<Lost>>,
    other_seated: Pin<Box<Lost>>,
    /// It waits for the end of the client.
    closing: Pin<Box<dyn Future<Output = ()> + Send>>,
    blockers: Vec<Guard>,
    is_over: Arc<AtomicBool>,
    busy: Vec<std::thread::JoinHandle<()>>,
    busy_tasks: Vec<tokio::task::JoinHandle<()>>,
}

async fn connect(url: &str, counters: Arc<Counters>) -> Client {
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
    fn start(url: &str) -> Self {
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
            client.lock("w1").blocking_inspect().unwrap().waiting == 1
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
    fn get_busy(&mut self) {
        for n in 0..2 {
            let (client, is_over) = (self.client.clone(), self.is_over.clone());
            self.busy.push(std::thread::spawn(move || {
                let lock = client.lock(&format!("busy thread {n}"));
                while !is_over.load(Ordering::Relaxed) {
                    lock.blocking_acquire().unwrap().blocking_release().unwrap();
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
    fn survives(self, child: fn(&mut Option<Self>)) {
        let mut parent = Some(self);
        for _ in 0..CHILDREN {
            in_a_child(|| child(&mut parent));
            std::thread::sleep(ms(3));
        }
        parent.unwrap().goes_on();
    }

    /// Ends the busy threads and tasks.
    fn rests(mut self) -> Self {
        self.is_over.store(true, Ordering::Relaxed);
        for thread in std::mem::take(&mut self.busy) {
            thread.join().unwrap();
        }
        for task in std::mem::take(&mut self.busy_tasks) {
            self.runtime.block_on(task).unwrap();
        }
        self
    }

    fn goes_on(self) {
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
async fn pushes_arrive(url: &str, client: &Client) {
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
async fn five_grants(other: &Client, client: &Client) -> Duration {
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

/// Runs a function in a child, and waits until it has succeeded.
fn in_a_child(child: impl FnOnce()) {
    let status = status_of_a_child(|| {
        child();
        0
    });
    assert_eq!(status, 0, "the child failed");
}

/// Runs a function in a child, and returns its exit status.
fn status_of_a_child(child: impl FnOnce() -> i32) -> i32 {
    let pid = match fork::fork().unwrap() {
        Fork::Parent(pid) => pid,
        Fork::Child => {
            let done = catch_unwind(AssertUnwindSafe(child));
            std::process::exit(done.unwrap_or(1));
        }
    };
    let begun = Instant::now();
    loop {
        if let Some(status) = fork::waitpid_nohang(pid).unwrap() {
            assert_eq!(status & 0x7f, 0, "a signal has ended the child");
            return status >> 8;
        }
        if LIMIT < begun.elapsed() {
            let pid = rustix::process::Pid::from_raw(pid).unwrap();
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            panic!("the child hangs");
        }
        std::thread::sleep(ms(1));
    }
}

fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < LIMIT, "not {what}");
        std::thread::sleep(ms(5));
    }
}

fn poll<T>(future: &mut Pin<Box<impl Future<Output = T> + ?Sized>>) -> Poll<T> {
    future
        .as_mut()
        .poll(&mut Context::from_waker(Waker::noop()))
}

#[track_caller]
fn is_forked<T>(result: Result<T, Error>) {
    match result {
        Err(Error::Forked) => {}
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it did it"),
    }
}

fn is_inert(hold: &Hold) {
    assert!(!hold.is_held());
    assert_eq!(hold.remaining(), Duration::ZERO);
    assert!(hold.is_shared());
    assert_eq!(
        poll(&mut Box::pin(hold.lost())),
        Poll::Ready(LostReason::Forked)
    );
    assert!(format!("{hold:?}").contains("Forked"));
}

/// Every async form, on a runtime of the child's own.
fn operations(parent: &mut Option<Parent>) {
    let parent = parent.as_mut().unwrap();
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        every_operation(parent).await;
        let holds = [&parent.guard, &parent.nested, &parent.reader];
        holds.into_iter().for_each(|guard| is_inert(guard));
        is_inert(&parent.leadership);
        is_inert(&parent.run);
        assert!(!parent.all.is_held());
        assert_eq!(parent.all.lost().await.reason, LostReason::Forked);
        parent.client.closing().await;
        assert_eq!(parent.client.shutdown(LIMIT).await, 0);
    });
    // Without a runtime too.
    is_forked(poll_once(parent.client.lock("x").acquire()));
    is_forked(poll_once(parent.guard.refresh()));
}

fn poll_once<T>(future: impl Future<Output = T>) -> T {
    match poll(&mut Box::pin(future)) {
        Poll::Ready(done) => done,
        Poll::Pending => panic!("it waits"),
    }
}

async fn every_operation(parent: &Parent) {
    let client = &parent.client;
    let lock = client.lock("x");
    let nothing = |_: Hold| async {};
    is_forked(lock.acquire().await);
    is_forked(lock.try_acquire().await);
    is_forked(lock.clone().wait_timeout(ms(100)).acquire().await);
    is_forked(lock.inspect().await);
    is_forked(lock.run(nothing).await);
    is_forked(lock.ask_to_stop(1).await);
    is_forked(client.lock("l").break_now(parent.guard.fence()).await);
    is_forked(parent.guard.refresh().await);
    is_forked(parent.reader.downgrade().await);
    is_forked(parent.session.lock("n").acquire().await);
    is_forked(parent.session.lock("x").try_acquire().await);
    is_forked(client.rw_lock("x").read().await);
    is_forked(client.semaphore("s", 1).acquire().await);
    is_forked(client.semaphore("s", 1).resize(2).await);
    is_forked(client.lock_all(["x", "y"]).acquire().await);
    is_forked(client.election("e").campaign("child").await);
    is_forked(client.election("e").leader().await);
    is_forked(client.election("e").observe().next().await);
    is_forked(client.election("e").lead("child", nothing).await);
    is_forked(parent.leadership.proclaim("child").await);
    is_forked(client.once("x").every(ms(1_000)).begin().await);
    is_forked(client.once("o").last_run().await);
}

/// Every blocking form: the thread that would serve it is missing.
fn blocking(parent: &mut Option<Parent>) {
    let parent = parent.as_mut().unwrap();
    let client = &parent.client;
    let lock = client.lock("x");
    is_forked(lock.blocking_acquire());
    is_forked(lock.blocking_try_acquire());
    is_forked(lock.blocking_inspect());
    is_forked(parent.guard.blocking_refresh());
    is_forked(parent.reader.blocking_downgrade());
    is_forked(parent.session.lock("n").blocking_acquire());
    is_forked(client.rw_lock("x").blocking_read());
    is_forked(client.semaphore("s", 1).blocking_acquire());
    is_forked(client.semaphore("s", 1).blocking_resize(2));
    is_forked(client.lock_all(["x", "y"]).blocking_acquire());
    is_forked(client.election("e").blocking_campaign("child"));
    is_forked(client.election("e").blocking_leader());
    is_forked(parent.leadership.blocking_proclaim("child"));
    is_forked(client.once("x").every(ms(1_000)).blocking_begin());
}

/// Everything is released or dropped.
fn drops(parent: &mut Option<Parent>) {
    let parent = parent.take().unwrap();
    let mut seated = parent.seated;
    assert_eq!(poll(&mut seated), Poll::Ready(LostReason::Forked));
    is_forked(poll_once(parent.guard.release()));
    is_forked(parent.reader.blocking_release());
    is_forked(parent.all.blocking_release());
    is_forked(parent.leadership.blocking_resign());
    is_forked(parent.run.blocking_finish(Ok("")));
    drop((seated, parent.other_seated, parent.nested, parent.blockers));
    drop((parent.pending, parent.running, parent.closing));
    drop(parent.session);
    drop((parent.client, parent.counters));
    // Its threads are missing: tokio would wait for them.
    std::mem::forget((parent.runtime, parent.busy));
}

/// What waits ends with an error when it is polled, and nothing happens when it is dropped.
fn waiting(parent: &mut Option<Parent>) {
    let parent = parent.as_mut().unwrap();
    let [on_the_runtime, without, to_be_dropped] = &mut parent.pending;
    let Poll::Ready(done) = poll(on_the_runtime) else {
        panic!("it waits");
    };
    is_forked(done);
    let Poll::Ready(done) = poll(without) else {
        panic!("it waits");
    };
    is_forked(done);
    *to_be_dropped = Box::pin(std::future::pending());
    let Poll::Ready(Err(Error::Lost(loss))) = poll(&mut parent.running) else {
        panic!("it works on");
    };
    assert_eq!(loss.reason, LostReason::Forked);
    assert!(poll(&mut parent.closing).is_ready());
}

/// A new client in a child contends with the parent.
fn new_client(url: &str) {
    // SQLite cannot be opened in a child while a thread of the parent is inside it.
    let parent = Parent::start(url).rests();
    let is_shared = !url.starts_with("memory:");
    in_a_child(|| {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let client = connect(url, Arc::default()).await;
            let tried = client.lock("l").try_acquire().await.unwrap();
            assert_eq!(tried.is_none(), is_shared, "the parent holds it");
            let lock = client.lock("child");
            let guard = lock.acquire().await.unwrap();
            let holder = lock.inspect().await.unwrap().holder.unwrap();
            assert_eq!(holder.label.pid, Some(std::process::id()));
            assert!(lock.blocking_try_acquire().unwrap().is_none());
            guard.refresh().await.unwrap();
            guard.release().await.unwrap();
            if let Some(folder) = url.strip_prefix("file://") {
                locks_its_file(folder);
            }
        });
        // What is the parent's stays inert beside it.
        is_forked(parent.guard.blocking_refresh());
    });
    if let Some(folder) = url.strip_prefix("file://") {
        locks_its_file(folder);
    }
    parent.goes_on();
}

/// A child that is forked while threads of the parent use SQLite can open the file, or is refused.
fn busy_new_client(url: &str) {
    const REFUSED: i32 = 3;
    let parent = Parent::start(url);
    let mut refused = 0;
    for _ in 0..500 {
        let status = status_of_a_child(|| {
            let runtime = Builder::new_current_thread().enable_all().build().unwrap();
            let connecting = Client::builder().store(url).logger(NoopLogger).connect();
            match runtime.block_on(connecting) {
                Ok(client) => {
                    let lock = client.lock("l");
                    let tried = runtime.block_on(lock.try_acquire());
                    assert!(tried.unwrap().is_none(), "the parent holds it");
                    0
                }
                Err(Error::Refused(refused)) if refused.to_string().contains("at the fork") => {
                    REFUSED
                }
                Err(error) => panic!("{error}"),
            }
        });
        assert!([0, REFUSED].contains(&status), "the child failed");
        refused += usize::from(status == REFUSED);
        if 5 <= refused {
            return parent.goes_on();
        }
    }
    panic!("threads that are always busy were busy at {refused} forks");
}

/// Checks that this process has locked its file: SQLite may only believe so.
fn locks_its_file(folder: &str) {
    let file = std::fs::metadata(format!("{folder}/arbiter.db")).unwrap();
    let (pid, inode) = (std::process::id().to_string(), file.ino().to_string());
    let locks = std::fs::read_to_string("/proc/locks").unwrap();
    let is_ours = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let at = words.iter().position(|word| *word == "POSIX");
        at.is_some_and(|at| words[at + 3] == pid && words[at + 4].ends_with(&format!(":{inode}")))
    };
    assert!(
        locks.lines().any(is_ours),
        "none of {pid} on {inode}: {locks}"
    );
}

/// Checks that children draw other request ids, even if the parent had drawn nothing.
fn request_ids(url: &str) {
    let _: u64 = rand::random();
    draws_differ(url);
    draws_differ(url);
}

fn draws_differ(url: &str) {
    let draw = || {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let client = connect(url, Arc::default()).await;
            let lock = client.lock(&format!("of {}", std::process::id()));
            let mut drawn = Vec::new();
            for _ in 0..4 {
                let guard = lock.acquire().await.unwrap();
                drawn.push(guard.owner().to_owned());
                guard.release().await.unwrap();
            }
            drawn
        })
    };
    let (mut read, mut write) = std::io::pipe().unwrap();
    in_a_child(|| write.write_all(draw().join(" ").as_bytes()).unwrap());
    drop(write);
    let mut theirs = String::new();
    read.read_to_string(&mut theirs).unwrap();
    let own = draw();
    assert_eq!(theirs.split(' ').count(), own.len());
    assert!(
        own.iter().all(|id| !theirs.contains(id)),
        "{own:?} {theirs}"
    );
}

/// Children that were forked inside the runtime of their parent, which has one thread.
fn same_runtime(url: &str) {
    let mut runtime = Some(Builder::new_current_thread().enable_all().build().unwrap());
    let counters = Arc::<Counters>::default();
    let parent = runtime.as_ref().unwrap().block_on(async {
        let client = connect(url, counters.clone()).await;
        let guard = client.lock("l").acquire().await.unwrap();
        let waiter = client.lock("l");
        let mut pending = Box::pin(async move { waiter.acquire().await });
        while client.lock("l").inspect().await.unwrap().waiting < 1 {
            assert!(poll(&mut pending).is_pending());
            tokio::task::yield_now().await;
        }
        in_a_child(|| {
            is_forked(poll_once(guard.refresh()));
            is_forked(poll_once(client.lock("x").acquire()));
            let Poll::Ready(done) = poll(&mut pending) else {
                panic!("it waits");
            };
            is_forked(done);
        });
        // The last handles of the client go here, and its connection with them.
        let mut parent = Some((pending, guard, client));
        in_a_child(|| drop(parent.take()));
        parent
    });
    let mut parent = parent;
    in_a_child(|| drop(parent.take()));
    in_a_child(|| drop(runtime.take()));
    in_a_child(|| {
        drop(runtime.take());
        drop(parent.take());
    });
    let (mut pending, guard, client) = parent.unwrap();
    runtime.unwrap().block_on(async {
        let renewed = counters.renewed.load(Ordering::Relaxed);
        let begun = Instant::now();
        while counters.renewed.load(Ordering::Relaxed) < renewed + 2 {
            assert!(begun.elapsed() < LIMIT, "not renewed");
            tokio::time::sleep(ms(5)).await;
        }
        pushes_arrive(url, &client).await;
        assert_eq!(counters.failures.load(Ordering::Relaxed), 0);
        guard.release().await.unwrap();
        pending.as_mut().await.unwrap().release().await.unwrap();
    });
}
