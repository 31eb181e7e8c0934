//! The file that contains the store's URL. While a client uses the store, only the login may change.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::{FutureExt as _, ready};

use super::credentials::{ChangingLogin, Credentials};
use super::settings::LoginSource;
use crate::events::event::{Event, EventQueue, Level};

/// A file with the URL of a store that is in use.
pub(crate) struct StoreFile {
    path: PathBuf,
    /// The store without secrets.
    store: String,
    events: EventQueue,
    is_reported: AtomicBool,
}

impl StoreFile {
    pub(crate) fn new(path: &Path, store: String, events: EventQueue) -> Arc<Self> {
        Arc::new(Self {
            path: path.to_owned(),
            store,
            events,
            is_reported: AtomicBool::new(false),
        })
    }

    /// Returns the login in the file, read again at each dial. `parse` returns the store without
    /// secrets and the login of a URL. The last login counts while the file has none of this store.
    pub(crate) fn login(
        self: &Arc<Self>,
        known: Credentials,
        parse: impl Fn(&str) -> Option<(String, Credentials)> + Send + Sync + 'static,
    ) -> LoginSource {
        let (file, known) = (self.clone(), Mutex::new(known));
        LoginSource::Changing(ChangingLogin::new(Arc::new(move || {
            let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
            // A pipe in its place would block.
            let path = Some(&file.path).filter(|path| path.is_file());
            let found = path.and_then(|path| std::fs::read_to_string(path).ok());
            match found.and_then(|url| parse(url.trim())) {
                Some((store, login)) if store == file.store => *known = login,
                Some(_) => file.report(),
                None => {}
            }
            ready(Ok(known.clone())).boxed()
        })))
    }

    /// Reports once that the file names another store.
    fn report(&self) {
        if !self.is_reported.swap(true, Ordering::Relaxed) {
            self.events.emit(Level::Warn, || Event::StoreFileChanged {
                store: self.store.as_str().into(),
                path: self.path.display().to_string().into(),
            });
        }
    }
}
