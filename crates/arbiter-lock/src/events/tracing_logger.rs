//! The logger of `tracing` events, with a field for each part of an event.

use tracing_core::Kind;
use tracing_core::callsite::DefaultCallsite;

use crate::events::event::{Event, Level, Logger};

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
        let (event, fields) = ($event, $event.fields());
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
