//! Files of other users that this process may not use: it continues without them, and reports it
//! once.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use super::failure;
use crate::events::event::{Event, EventQueue, Level};
use crate::store::Failure;

pub(super) struct Denied {
    folder: PathBuf,
    events: EventQueue,
    first: OnceLock<Failure>,
    is_reported: AtomicBool,
}

impl Denied {
    pub(super) fn new(folder: &Path, events: EventQueue) -> Self {
        Self {
            folder: folder.to_owned(),
            events,
            first: OnceLock::new(),
            is_reported: AtomicBool::new(false),
        }
    }

    /// Notes a denied access. Only the first is kept.
    pub(super) fn note(&self, path: &Path, error: &io::Error) {
        self.first
            .get_or_init(|| failure::within(error, path, &self.folder));
    }

    /// Reports the noted access, once.
    pub(super) fn report(&self) {
        if let Some(cause) = self.first.get()
            && !self.is_reported.swap(true, Ordering::Relaxed)
        {
            self.events.emit(Level::Warn, || Event::NoticedLate {
                store: format!("file://{}", self.folder.display()).into(),
                cause: Arc::new(cause.clone()),
            });
        }
    }
}
