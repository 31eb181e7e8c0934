//! The parts of an event, for structured logs.

use std::sync::Arc;

use super::{Event, seconds};

/// The parts of an [`Event`], for structured logs. Those that do not apply are `None`.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct EventFields<'a> {
    /// The kind of the event, in snake case: `renewal_failed`.
    pub kind: &'static str,
    /// The resource.
    pub name: Option<&'a str>,
    /// The fencing token.
    pub fence: Option<u64>,
    /// The owner of the hold.
    pub owner: Option<&'a str>,
    /// How long the request waited, in seconds.
    pub waited: Option<f64>,
    /// How long the hold lasted, in seconds.
    pub held: Option<f64>,
    /// Why a hold was lost, in a word.
    pub reason: Option<&'static str>,
    /// The store's answer.
    pub cause: Option<&'a (dyn std::error::Error + Send + Sync)>,
    /// The store's URL, without secrets.
    pub store: Option<&'a str>,
}

impl Event {
    /// Returns the parts of the event.
    ///
    /// # Examples
    /// ```
    /// use arbiter_lock::{Client, Event};
    ///
    /// let log = |event: &Event| {
    ///     let fields = event.fields();
    ///     println!("{} name={:?} fence={:?}", fields.kind, fields.name, fields.fence);
    /// };
    /// let builder = Client::builder().logger(log);
    /// ```
    #[must_use]
    pub fn fields(&self) -> EventFields<'_> {
        EventFields::of(self)
    }
}

impl<'a> EventFields<'a> {
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
            Event::Detached {
                name,
                fence,
                owner,
                held,
                ..
            } => Self {
                held: Some(seconds(*held)),
                ..Self::of_hold("detached", name, *fence, owner)
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
            Event::StoreFileChanged { store, .. } => Self::of_store("store_file_changed", store),
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
