//! The sweep: names that nothing remembers are forgotten, a few at a time.

use std::time::Duration;

use arbiter_lock_core::Resource;
use serde_json::json;
use tokio::time::{Instant, timeout};

use super::database::Postgres;
use super::rows::SnapshotRows;
use super::session::DatabaseSession;
use super::wire;
use crate::store::{Failure, FailureKind};

/// The pause between two steps of the sweep, unless the last one has found many.
const PAUSE: Duration = Duration::from_secs(1);
/// How many old names make the next step come at once.
const MANY: usize = 32;

/// How far the sweep has come.
#[derive(Default)]
pub(super) struct Sweep {
    behind: String,
    next: Option<Instant>,
}

impl Sweep {
    /// Sweeps the next names, if it is time. A failure is left to the next request.
    pub(super) async fn go_on(&mut self, store: &Postgres, session: &DatabaseSession) {
        let now = Instant::now();
        let next = *self.next.get_or_insert(now + PAUSE);
        if now < next {
            return;
        }
        let limit = store.settings.command_timeout;
        let forgotten = timeout(limit, self.forget(store, session)).await;
        let found_many = matches!(forgotten, Ok(Ok(count)) if MANY <= count);
        let pause = if found_many { PAUSE / 10 } else { PAUSE };
        self.next = Some(Instant::now() + pause);
    }

    pub(super) async fn forget(
        &mut self,
        store: &Postgres,
        session: &DatabaseSession,
    ) -> Result<usize, Failure> {
        let (names, last) = session.old_names(store, &self.behind).await?;
        self.behind = last.unwrap_or_default();
        if names.is_empty() {
            return Ok(0);
        }
        let nothing: [&str; 0] = [];
        let items = names
            .iter()
            .map(|name| json!([name, nothing, nothing, "", 1, true, true]));
        let request = serde_json::Value::Array(items.collect()).to_string();
        let states = session.load(store, &request).await?;
        let mut batch = wire::Changeset::default();
        for (name, state) in names.iter().zip(&states) {
            let (at, loaded) = wire::loaded(state)?;
            let Some(expected) = loaded.revision else {
                continue;
            };
            let mut resource = Resource::new(SnapshotRows::new(loaded, &[], &[]));
            if resource.is_forgotten(at) {
                batch.forget(name, resource.rows(), expected);
            }
        }
        if batch.is_empty() {
            return Ok(names.len());
        }
        match session
            .swap(store, &batch.into_text(), false, false)
            .await?
        {
            super::session::Swapped::Done { .. } => Ok(names.len()),
            super::session::Swapped::Conflict => {
                Err(Failure::before_sending(FailureKind::Loading, "a conflict"))
            }
        }
    }
}
