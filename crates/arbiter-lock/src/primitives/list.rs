//! The list of the locks of a store.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arbiter_lock_core::{Name, Request};
use futures_util::future::join_all;

use crate::engine::Engine;
use crate::errors::error::Error;
use crate::status::Status;
use crate::store::{Envelope, Failure, FailureKind, Page, Pattern, StoreHandle};

/// How many names are inspected at once: more would delay the server's other clients.
const AT_ONCE: usize = 8;

/// How often a list begins again before that is an error.
const MOST_RESTARTS: u32 = 8;

/// The locks of a store that are held or waited for: see [`Client::list`](crate::Client::list).
pub struct List {
    inner: Arc<Engine>,
    pattern: Pattern,
    /// The cursor of the next page; `None` after the last one.
    next: Option<String>,
    ready: VecDeque<Listed>,
    /// How often it began again.
    restarts: u32,
}

/// A lock that is held or waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Listed {
    /// Its name.
    pub name: String,
    /// Its holders and waiters.
    pub status: Status,
}

impl List {
    pub(crate) fn new(inner: Arc<Engine>, pattern: &str) -> Self {
        Self {
            inner,
            pattern: Pattern::new(pattern),
            next: Some(String::new()),
            ready: VecDeque::new(),
            restarts: 0,
        }
    }

    /// Returns the next lock, or `None` after the last.
    ///
    /// The order is that of the store: of the names on a single machine, of none on a server.
    ///
    /// If the connection to a server is replaced, the list begins again, since the next page cannot
    /// be found on another server. So the names that were returned before are returned again.
    ///
    /// # Errors
    /// [`Error::Unavailable`], [`Error::Refused`]: a server has to allow `SCAN`. A list that has
    /// begun again 8 times fails at the next time, as unavailable. After an error it may be called
    /// again.
    ///
    /// # Cancel safety
    /// If the future is dropped, no lock is missed.
    pub async fn next(&mut self) -> Result<Option<Listed>, Error> {
        loop {
            if let Some(listed) = self.ready.pop_front() {
                return Ok(Some(listed));
            }
            let Some(cursor) = self.next.clone() else {
                return Ok(None);
            };
            let (inner, pattern) = (self.inner.clone(), self.pattern.clone());
            let reading = move || async move {
                let page = read(&inner.handle(), &cursor, &pattern).await;
                page.map_err(|failure| Error::of_store("", &inner.store.to_string(), failure))
            };
            let ListedPage {
                locks,
                next,
                is_restart,
            } = self.inner.run(reading).await??;
            (self.ready, self.next) = (locks.into(), next);
            if is_restart {
                self.count_restart()?;
            }
        }
    }

    /// Returns an error if the list has begun again too often. Its next call begins again, too.
    fn count_restart(&mut self) -> Result<(), Error> {
        self.restarts += 1;
        if self.restarts <= MOST_RESTARTS {
            return Ok(());
        }
        self.restarts = 0;
        let detail = "the list is incomplete: its connection was replaced too often; list again";
        let failure = Failure::before_sending(FailureKind::Unreachable, detail);
        Err(Error::of_store("", &self.inner.store.to_string(), failure))
    }
}

/// A page of names that were inspected.
struct ListedPage {
    locks: Vec<Listed>,
    /// The cursor of the next page, unless this is the last.
    next: Option<String>,
    is_restart: bool,
}

/// Reads a page of names and inspects them.
async fn read(
    handle: &StoreHandle,
    cursor: &str,
    pattern: &Pattern,
) -> Result<ListedPage, Failure> {
    let page = handle.names(cursor, pattern, Duration::MAX).await?;
    let Page {
        mut names,
        next,
        free_only,
        is_restart,
    } = page;
    names.retain(|name| pattern.matches(name.as_str()));
    let mut locks = Vec::new();
    for names in names.chunks(AT_ONCE) {
        let inspected = names.iter().map(|name| inspect(handle, name));
        for (name, status) in names.iter().zip(join_all(inspected).await) {
            let Some(status) = status? else { continue };
            let is_new = !(free_only && status.is_held());
            if is_new && (status.is_held() || 0 < status.waiting) {
                locks.push(Listed {
                    name: name.as_str().to_owned(),
                    status,
                });
            }
        }
    }
    Ok(ListedPage {
        locks,
        next,
        is_restart,
    })
}

/// Returns the status of a name; `None` if it cannot be seen.
async fn inspect(handle: &StoreHandle, name: &Name) -> Result<Option<Status>, Failure> {
    match handle.send(name, &Request::Inspect, Duration::MAX).await {
        Ok(Envelope { reply, at, .. }) => Ok(Some(Status::new(&reply, at))),
        // A key of another program, or one whose slot is being moved.
        Err(failure) if matches!(failure.kind, FailureKind::WrongType | FailureKind::Moving) => {
            Ok(None)
        }
        Err(failure) => Err(failure),
    }
}

impl fmt::Debug for List {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("List").finish_non_exhaustive()
    }
}
