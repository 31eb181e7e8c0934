//! The metrics of one scrape, and their text.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::time::Duration;

use arbiter_lock::{Listed, Printable};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use crate::commands::kind::Kind;

/// The locks that one scrape has read.
#[derive(Default)]
pub(super) struct Survey {
    /// The names that were read: a list may return one twice.
    seen: HashSet<String>,
    held: [u64; Kind::ALL.len()],
    waited_for: u64,
    waiters: u64,
    oldest_hold: Option<Duration>,
    oldest_wait: Option<Duration>,
    /// The locks with their own metrics.
    named: Vec<Named>,
    /// How many locks may have their own metrics.
    most_named: usize,
}

/// The metrics of one lock.
struct Named {
    name: String,
    is_held: bool,
    held: Option<Duration>,
    waiters: u64,
    oldest_wait: Option<Duration>,
}

impl Survey {
    /// Makes a survey in which up to `most_named` locks have their own metrics.
    pub(super) fn new(most_named: usize) -> Self {
        Self {
            most_named,
            ..Self::default()
        }
    }

    /// Adds a lock of the list.
    pub(super) fn add(&mut self, Listed { name, status, .. }: Listed) {
        if self.seen.contains(&name) {
            return;
        }
        if let Some(kind) = Kind::of(&status) {
            self.held[kind as usize] += 1;
        }
        // The oldest sharer has held for longest. `holder` is the hold that ends last.
        let sharers = status.sharing.iter().flat_map(|sharing| &sharing.holders);
        let holders = status.holder.iter().chain(sharers.map(|s| &s.holder));
        let held = holders.filter_map(|holder| holder.held).max();
        let oldest_wait = status.waiters.iter().map(|waiter| waiter.waited).max();
        self.waited_for += u64::from(0 < status.waiting);
        self.waiters += status.waiting;
        self.oldest_hold = self.oldest_hold.max(held);
        self.oldest_wait = self.oldest_wait.max(oldest_wait);
        if self.named.len() < self.most_named {
            self.named.push(Named {
                name: name.clone(),
                is_held: status.is_held(),
                held,
                waiters: status.waiting,
                oldest_wait,
            });
        }
        self.seen.insert(name);
    }

    /// Adds the metrics of the survey.
    fn register(&self, metrics: &mut Metrics) {
        let held = metrics.by_kind("locks_held", "Number of locks that are held");
        for kind in Kind::ALL {
            let label = KindLabel { kind: kind.name() };
            held.get_or_create(&label)
                .set(self.held[kind as usize] as f64);
        }
        let totals = [
            (
                "locks_waited_for",
                "Number of locks with waiters",
                self.waited_for,
            ),
            ("waiters", "Number of waiters", self.waiters),
        ];
        for (name, help, count) in totals {
            metrics.gauge(name, help).set(count as f64);
        }
        let ages = [
            ("oldest_hold", "Age of the oldest hold", self.oldest_hold),
            ("oldest_wait", "Age of the longest wait", self.oldest_wait),
        ];
        for (name, help, age) in ages {
            metrics.seconds(name, help, age.unwrap_or_default());
        }
        if 0 < self.most_named {
            self.register_names(metrics);
        }
    }

    fn register_names(&self, metrics: &mut Metrics) {
        let omitted = self.seen.len() - self.named.len();
        let help = "Number of locks without metrics of their own";
        metrics.gauge("names_omitted", help).set(omitted as f64);
        let held = metrics.by_name("lock_held", "Whether the lock is held");
        let age = metrics.by_name("lock_held_seconds", "Age of the lock's oldest hold");
        let waiters = metrics.by_name("lock_waiters", "Number of waiters of the lock");
        let wait = metrics.by_name("lock_wait_seconds", "Age of the lock's longest wait");
        for named in &self.named {
            let label = NameLabel {
                name: label_of(&named.name),
            };
            let seconds = |time: Option<Duration>| time.unwrap_or_default().as_secs_f64();
            held.get_or_create(&label)
                .set(f64::from(u8::from(named.is_held)));
            age.get_or_create(&label).set(seconds(named.held));
            waiters.get_or_create(&label).set(named.waiters as f64);
            wait.get_or_create(&label).set(seconds(named.oldest_wait));
        }
    }
}

/// Returns the label of a name. No two names have the same.
fn label_of(name: &str) -> String {
    Printable(&name.replace('\\', r"\\")).to_string()
}

/// Returns the text of a scrape that took `duration`, in the OpenMetrics format. Without a survey,
/// the store could not be read.
pub(super) fn text(survey: Option<&Survey>, duration: Duration, failures: u64) -> String {
    let mut metrics = Metrics(Registry::with_prefix("arbiter_store"));
    let is_up = f64::from(u8::from(survey.is_some()));
    metrics
        .gauge("up", "Whether the store could be read")
        .set(is_up);
    metrics.seconds("scrape", "Time to read the store", duration);
    let help = "Number of scrapes for which the store could not be read";
    let failed: prometheus_client::metrics::counter::Counter = Default::default();
    failed.inc_by(failures);
    metrics.0.register("scrape_failures", help, failed);
    if let Some(survey) = survey {
        survey.register(&mut metrics);
    }
    let mut text = String::new();
    if encode(&mut text, &metrics.0).is_err() {
        // Writing to a string does not fail.
        let _ = write!(text, "# EOF");
    }
    text
}

type Value = Gauge<f64, std::sync::atomic::AtomicU64>;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabel {
    kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct NameLabel {
    name: String,
}

struct Metrics(Registry);

impl Metrics {
    fn gauge(&mut self, name: &str, help: &str) -> Value {
        let gauge = Value::default();
        self.0.register(name, help, gauge.clone());
        gauge
    }

    fn seconds(&mut self, name: &str, help: &str, time: Duration) {
        let gauge = Value::default();
        gauge.set(time.as_secs_f64());
        self.0.register_with_unit(name, help, Unit::Seconds, gauge);
    }

    fn by_kind(&mut self, name: &str, help: &str) -> Family<KindLabel, Value> {
        let family = Family::default();
        self.0.register(name, help, family.clone());
        family
    }

    fn by_name(&mut self, name: &str, help: &str) -> Family<NameLabel, Value> {
        let family = Family::default();
        self.0.register(name, help, family.clone());
        family
    }
}
