//! The logger of `tracing` events, with a field for each part of an event.

use std::sync::Arc;

use tracing_core::Kind;
use tracing_core::callsite::DefaultCallsite;

use crate::events::event::{Event, Level, Logger, seconds};

/// The default [`Logger`]: events of the `tracing` crate, target `arbiter_lock`.
///
/// Each event has the field `event`, its kind in snake case, and the fields that apply: `name`,
/// `fence`, `owner`, `waited`, `held`, `reason`, `cause` and `store`. `waited` and `held` are in
/// seconds, as floating-point numbers. So a subscriber can filter by the name of a lock.
///
/// Events are recorded on the client's own thread, by the global subscriber: the caller's span and
/// a thread-local subscriber do not apply. Events of [`Level::Debug`] are made only if a subscriber
/// may want them.
#[derive(Clone, Copy, Debug, Default)]
pub struct TracingLogger;

/// Makes an event of that level.
macro_rules! log {
    ($level:expr, $event:expr) => {{
        let (event, fields) = ($event, Fields::of($event));
        tracing::event!(
            target: "arbiter_lock",
            $level,
            event = fields.kind,
            name = fields.name,
            fence = fields.fence,
            owner = fields.owner,
            waited = fields.waited,
            held = fields.held,
            reason = fields.reason,
            cause = fields.cause.map(tracing::field::display),
            store = fields.store,
            "{event}"
        );
    }};
}

impl Logger for TracingLogger {
    fn log(&self, event: &Event) {
        match event.level() {
            Level::Debug => log!(tracing::Level::DEBUG, event),
            Level::Info => log!(tracing::Level::INFO, event),
            Level::Warn => log!(tracing::Level::WARN, event),
            Level::Error => log!(tracing::Level::ERROR, event),
        }
    }

    fn enabled(&self, level: Level) -> bool {
        // The other levels are rare, and may go to the crate `log`, which has no callsites. The
        // interest is cached, so no subscriber is called here.
        level != Level::Debug || !DEBUG.interest().is_never()
    }
}

/// The fields of an event.
#[derive(Default)]
struct Fields<'a> {
    kind: &'static str,
    name: Option<&'a str>,
    fence: Option<u64>,
    owner: Option<&'a str>,
    waited: Option<f64>,
    held: Option<f64>,
    reason: Option<&'static str>,
    cause: Option<&'a (dyn std::error::Error + Send + Sync)>,
    store: Option<&'a str>,
}

impl<'a> Fields<'a> {
    fn of(event: &'a Event) -> Self {
        match event {
            Event::Acquired {
                name,
                fence,
                owner,
                waited,
            } => Self {
                waited: Some(seconds(*waited)),
                ..Self::of_hold("acquired", name, *fence, owner)
            },
            Event::Waiting(contended) => Self {
                waited: Some(seconds(contended.waited)),
                ..Self::of_name("waiting", &contended.name)
            },
            Event::WaitsForOwnClient { name } => Self::of_name("waits_for_own_client", name),
            Event::Released {
                name,
                fence,
                owner,
                held,
            } => Self {
                held: Some(seconds(*held)),
                ..Self::of_hold("released", name, *fence, owner)
            },
            Event::Renewed { name, fence, owner } => Self::of_hold("renewed", name, *fence, owner),
            Event::RenewalFailed {
                name,
                fence,
                owner,
                cause,
            } => Self {
                cause: Some(&**cause),
                ..Self::of_hold("renewal_failed", name, *fence, owner)
            },
            Event::Lost {
                name,
                fence,
                owner,
                held,
                reason,
                cause,
            } => Self {
                held: Some(seconds(*held)),
                reason: Some(reason.word()),
                cause: cause.as_deref(),
                ..Self::of_hold("lost", name, *fence, owner)
            },
            Event::LeftBehind { name, cause } => Self {
                cause: Some(&**cause),
                ..Self::of_name("left_behind", name)
            },
            Event::EndNotRecorded { name, fence, cause } => Self {
                fence: Some(*fence),
                cause: Some(&**cause),
                ..Self::of_name("end_not_recorded", name)
            },
            Event::NotServed {
                name, store, cause, ..
            } => Self {
                name: Some(name),
                cause: Some(&**cause),
                ..Self::of_store("not_served", store)
            },
            Event::Disconnected { store, cause } => Self::of_outage("disconnected", store, cause),
            Event::SentinelsOutOfReach { store, cause } => {
                Self::of_outage("sentinels_out_of_reach", store, cause)
            }
            Event::NoticedLate { store, cause } => Self::of_outage("noticed_late", store, cause),
            Event::Reconnected { store } => Self::of_store("reconnected", store),
            Event::MasterReplaced { store, .. } => Self::of_store("master_replaced", store),
            Event::UnprotectedMaster { store } => Self::of_store("unprotected_master", store),
            Event::StoreNotNamed { store } => Self::of_store("store_not_named", store),
            Event::RenewalsLate { .. } => Self::of_kind("renewals_late"),
            Event::EventsDropped { .. } => Self::of_kind("events_dropped"),
        }
    }

    fn of_hold(kind: &'static str, name: &'a str, fence: u64, owner: &'a str) -> Self {
        Self {
            fence: Some(fence),
            owner: Some(owner),
            ..Self::of_name(kind, name)
        }
    }

    fn of_name(kind: &'static str, name: &'a str) -> Self {
        Self {
            name: Some(name),
            ..Self::of_kind(kind)
        }
    }

    fn of_outage(
        kind: &'static str,
        store: &'a str,
        cause: &'a Arc<dyn std::error::Error + Send + Sync>,
    ) -> Self {
        Self {
            cause: Some(&**cause),
            ..Self::of_store(kind, store)
        }
    }

    fn of_store(kind: &'static str, store: &'a str) -> Self {
        Self {
            store: Some(store),
            ..Self::of_kind(kind)
        }
    }

    fn of_kind(kind: &'static str) -> Self {
        Self {
            kind,
            ..Self::default()
        }
    }
}

/// The callsite of all events of [`Level::Debug`].
static DEBUG: DefaultCallsite = DefaultCallsite::new(&METADATA);

static METADATA: tracing::Metadata<'static> = tracing_core::metadata! {
    name: "arbiter_lock debug",
    target: "arbiter_lock",
    level: tracing::Level::DEBUG,
    fields: &[],
    callsite: &DEBUG,
    kind: Kind::HINT,
};

#[cfg(test)]
mod tests {
    use super::*;

    /// Wants all events.
    struct Subscriber;

    impl tracing::Subscriber for Subscriber {
        fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
            true
        }

        fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
            tracing::span::Id::from_u64(1)
        }

        fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
        fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
        fn event(&self, _: &tracing::Event) {}
        fn enter(&self, _: &tracing::span::Id) {}
        fn exit(&self, _: &tracing::span::Id) {}
    }

    #[test]
    fn tracing_logger_enables_levels_of_the_subscriber() {
        let wanted =
            tracing::subscriber::with_default(Subscriber, || TracingLogger.enabled(Level::Debug));
        assert!(wanted);
        tracing_core::callsite::rebuild_interest_cache();
        assert!(!TracingLogger.enabled(Level::Debug));
        for level in [Level::Info, Level::Warn, Level::Error] {
            assert!(TracingLogger.enabled(level));
        }
    }
}
