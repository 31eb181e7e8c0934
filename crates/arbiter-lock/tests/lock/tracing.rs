//! Events and spans of `tracing`, as a subscriber sees them.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::thread::ThreadId;
use std::time::Duration;

use arbiter_lock::{Client, Event, Logger, LostReason, TracingLogger, block_on};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Dispatch, Metadata, Subscriber};

use crate::cancellation::poll_times;

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// The fields of an event or a span, as text.
type Fields = BTreeMap<&'static str, String>;

/// Keeps everything that a client reports.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    events: Vec<Fields>,
    spans: Vec<Span>,
    /// The spans that are entered.
    entered: Vec<u64>,
    /// The threads that called the subscriber.
    threads: Vec<ThreadId>,
    panics: bool,
}

struct Span {
    name: &'static str,
    parent: Option<u64>,
    fields: Fields,
    handles: usize,
}

struct Visitor<'a>(&'a mut Fields);

impl Visit for Visitor<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name(), value.to_owned());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.0.insert(field.name(), format!("{value:.3} s"));
    }
}

impl Kept {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Notes a call, and panics if it should.
    fn called(&self) -> MutexGuard<'_, State> {
        let mut state = self.state();
        state.threads.push(std::thread::current().id());
        assert!(!state.panics, "on purpose");
        state
    }

    /// Returns the fields of the last span named `lock`, and whether it is closed.
    fn last_span(&self) -> (Fields, bool) {
        let state = self.state();
        let last = state.spans.iter().rfind(|span| span.name == "lock");
        let last = last.expect("a span");
        (last.fields.clone(), last.handles == 0)
    }

    /// Asserts that the last span is closed, with that outcome.
    #[track_caller]
    fn ended(&self, outcome: &str) -> Fields {
        let (fields, is_closed) = self.last_span();
        assert!(is_closed, "{outcome}: {fields:?}");
        assert_eq!(fields["outcome"], outcome, "{fields:?}");
        fields
    }
}

impl Subscriber for Kept {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "arbiter_lock" || metadata.name() == "caller"
    }

    fn new_span(&self, attributes: &Attributes<'_>) -> Id {
        let mut state = self.called();
        let mut fields = Fields::new();
        attributes.record(&mut Visitor(&mut fields));
        let parent = state.entered.last().copied();
        state.spans.push(Span {
            name: attributes.metadata().name(),
            parent: parent.filter(|_| attributes.is_contextual()),
            fields,
            handles: 1,
        });
        Id::from_u64(state.spans.len() as u64)
    }

    fn record(&self, id: &Id, values: &Record<'_>) {
        let mut state = self.called();
        let span = &mut state.spans[id.into_u64() as usize - 1];
        values.record(&mut Visitor(&mut span.fields));
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        let mut fields = Fields::new();
        event.record(&mut Visitor(&mut fields));
        self.called().events.push(fields);
    }

    fn enter(&self, id: &Id) {
        self.state().entered.push(id.into_u64());
    }

    fn exit(&self, _: &Id) {
        self.state().entered.pop();
    }

    fn clone_span(&self, id: &Id) -> Id {
        self.state().spans[id.into_u64() as usize - 1].handles += 1;
        id.clone()
    }

    fn try_close(&self, id: Id) -> bool {
        let mut state = self.called();
        let span = &mut state.spans[id.into_u64() as usize - 1];
        span.handles -= 1;
        span.handles == 0
    }
}

/// Keeps the callsites enabled while other tests of this process subscribe and end.
///
/// While there is a single subscriber, `tracing` asks that of the thread at hand, and may disable a
/// callsite for all threads.
fn keep_callsites_enabled() {
    static ALWAYS: OnceLock<[Dispatch; 2]> = OnceLock::new();
    ALWAYS.get_or_init(|| [(); 2].map(|()| Dispatch::new(Kept::default())));
}

/// Subscribes on this thread, until the guard is dropped.
fn subscribe() -> (Kept, tracing::subscriber::DefaultGuard) {
    keep_callsites_enabled();
    let kept = Kept::default();
    let guard = tracing::subscriber::set_default(kept.clone());
    (kept, guard)
}

#[tokio::test(start_paused = true)]
async fn events_have_fields_to_filter_by() {
    keep_callsites_enabled();
    let kept = Kept::default();
    let dispatch = Dispatch::new(kept.clone());
    let logger = move |event: &Event| {
        tracing::dispatcher::with_default(&dispatch, || TracingLogger.log(event));
    };
    let builder = Client::builder().store("memory:").logger(logger);
    let client = builder.connect().await.unwrap();
    let other = client.lock("b").acquire().await.unwrap();
    let guard = client.lock("a").acquire().await.unwrap();
    let (fence, owner) = (guard.fence().to_string(), guard.owner().to_owned());
    let limited = client.lock("a").wait_timeout(ms(1_500));
    assert!(limited.acquire().await.is_err());
    guard.release().await.unwrap();
    let revoked = client.lock("a").max_hold(ms(500)).acquire().await.unwrap();
    assert_eq!(revoked.lost().await, LostReason::MaxHold);
    drop((revoked, other));
    client.testing().deliver_events();
    let events = kept.state().events.clone();
    let of_a = events.iter().filter(|fields| fields["name"] == "a");
    let of_a: Vec<&Fields> = of_a.collect();
    let kinds: Vec<&str> = of_a.iter().map(|fields| &*fields["event"]).collect();
    assert_eq!(
        kinds,
        ["acquired", "waiting", "released", "acquired", "lost"]
    );
    let released = of_a[2];
    assert_eq!(released["fence"], fence);
    assert_eq!(released["owner"], owner);
    assert_eq!(released["held"], "1.500 s");
    assert!(released["message"].contains("released 'a' with fence"));
    assert_eq!(of_a[0]["waited"], "0.000 s");
    assert_eq!(of_a[4]["reason"], "max_hold");
    assert_eq!(of_a[4]["held"], "0.500 s");
}

#[tokio::test(start_paused = true)]
async fn span_is_a_child_of_the_callers() {
    use tracing::Instrument as _;

    let (kept, _subscribed) = subscribe();
    let client = Client::in_memory();
    let first = client.lock("a").acquire().await.unwrap();
    let caller = tracing::info_span!("caller");
    let id = caller.id().unwrap().into_u64();
    let lock = client.lock("a");
    let acquiring = async move { lock.acquire().await.unwrap() };
    let acquiring = tokio::spawn(acquiring.instrument(caller));
    tokio::time::sleep(ms(300)).await;
    first.release().await.unwrap();
    let guard = acquiring.await.unwrap();
    let (fields, is_closed) = kept.last_span();
    assert!(!is_closed);
    assert_eq!(fields["name"], "a");
    assert_eq!(fields["primitive"], "lock");
    assert_eq!(fields["fence"], guard.fence().to_string());
    assert_eq!(fields["owner"], guard.owner());
    assert_eq!(fields["waited"], "0.300 s");
    let parent = kept.state().spans.last().unwrap().parent;
    assert_eq!(parent, Some(id));
    tokio::time::sleep(ms(200)).await;
    guard.release().await.unwrap();
    assert_eq!(kept.ended("released")["held"], "0.200 s");
}

#[tokio::test(start_paused = true)]
async fn span_ends_with_each_outcome() {
    let (kept, _subscribed) = subscribe();
    let client = Client::in_memory();
    let guard = client.rw_lock("l").read().await.unwrap();
    assert_eq!(kept.last_span().0["primitive"], "rw_read");
    assert!(client.lock("l").try_acquire().await.unwrap().is_none());
    assert!(kept.ended("contended").contains_key("waited"));
    drop(guard);
    let first = &kept.state().spans[0];
    assert_eq!((first.handles, &*first.fields["outcome"]), (0, "released"));
}

#[tokio::test(start_paused = true)]
async fn lost_hold_ends_its_span_on_drop() {
    let (kept, _subscribed) = subscribe();
    let client = Client::in_memory();
    let guard = client.lock("l").max_hold(ms(70)).acquire().await.unwrap();
    guard.lost().await;
    tokio::time::sleep(ms(1_000)).await;
    assert!(!kept.last_span().1, "the keeper closes no span");
    drop(guard);
    let fields = kept.ended("lost");
    assert_eq!(
        (&*fields["reason"], &*fields["held"]),
        ("max_hold", "0.070 s")
    );
    let guard = client.lock("l").max_hold(ms(70)).acquire().await.unwrap();
    guard.lost().await;
    assert!(guard.release().await.unwrap_err().is_lost());
    assert_eq!(kept.ended("lost")["reason"], "max_hold");
}

#[tokio::test(start_paused = true)]
async fn dropped_acquire_ends_its_span() {
    let (kept, _subscribed) = subscribe();
    let client = Client::in_memory();
    let _held = client.lock("l").acquire().await.unwrap();
    for times in 1..9 {
        let lock = client.lock("l");
        assert!(poll_times(times, lock.acquire()).await.is_none());
        kept.ended("dropped");
    }
    client.shutdown(Duration::ZERO).await;
    assert!(client.lock("m").acquire().await.is_err());
    kept.ended("closed");
}

#[tokio::test(start_paused = true)]
async fn panicking_subscriber_loses_no_hold() {
    let (kept, _subscribed) = subscribe();
    let client = Client::in_memory();
    let lock = client.lock("l");
    for panics_from in 0..4 {
        kept.state().panics = panics_from == 0;
        let guard = lock.acquire().await.unwrap();
        kept.state().panics = panics_from <= 1;
        assert!(guard.is_held());
        if panics_from == 3 {
            kept.state().panics = true;
            drop(guard);
        } else {
            kept.state().panics |= panics_from == 2;
            guard.release().await.unwrap();
        }
        assert!(!lock.inspect().await.unwrap().is_held());
    }
    kept.state().panics = false;
}

#[test]
fn span_is_used_on_the_callers_thread() {
    let (kept, _subscribed) = subscribe();
    let client = Client::in_memory();
    let lock = client.lock("l");
    let guard = block_on(lock.acquire()).unwrap();
    assert!(block_on(lock.try_acquire()).unwrap().is_none());
    kept.ended("contended");
    block_on(guard.release()).unwrap();
    let limited = client.lock("l").max_hold(ms(50));
    let guard = block_on(limited.acquire()).unwrap();
    assert_eq!(block_on(guard.lost()), LostReason::MaxHold);
    drop(guard);
    kept.ended("lost");
    let leadership = block_on(client.election("e").campaign("me")).unwrap();
    block_on(leadership.resign()).unwrap();
    let here = std::thread::current().id();
    assert!(kept.state().threads.iter().all(|thread| *thread == here));
}
