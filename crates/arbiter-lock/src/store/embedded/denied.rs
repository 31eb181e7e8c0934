//! What other users have made and this process may not use: it goes on without, and says so once.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use super::failure;
use crate::event::{Event, Logger};
use crate::store::Failure;

pub(super) struct Denied {
    folder: PathBuf,
    logger: Arc<dyn Logger>,
    first: OnceLock<Failure>,
    is_reported: AtomicBool,
}

impl Denied {
    pub(super) fn new(folder: &Path, logger: Arc<dyn Logger>) -> Self {
        Self {
            folder: folder.to_owned(),
            logger,
            first: OnceLock::new(),
            is_reported: AtomicBool::new(false),
        }
    }

    /// Notes what is denied. The first is enough.
    pub(super) fn note(&self, path: &Path, error: &io::Error) {
        self.first
            .get_or_init(|| failure::within(error, path, &self.folder));
    }

    /// Reports what was noted, once. Not inside the gate: a logger may take its time.
    pub(super) fn report(&self) {
        if let Some(cause) = self.first.get()
            && !self.is_reported.swap(true, Ordering::Relaxed)
        {
            let store = &format!("file://{}", self.folder.display());
            self.logger.log(&Event::NoticedLate { store, cause });
        }
    }
}
