//! A session of a server: how it is opened, and the statements on it.
//!
//! No state of the session matters, except that it listens. So a pooler may serve each transaction
//! on another connection.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join3;
use tokio_postgres::Client;
use tokio_postgres::types::Type;

use super::backend::backend_pid;
use super::connecting::{ConnectionWatch, ServerFacts, connect, listen, prepare};
use super::database::Postgres;
use super::failure::{is_conflict, of_commit, without_effect};
use super::url::Endpoint;
use crate::store::{Failure, FailureKind, Source};

/// An open session.
pub(super) struct DatabaseSession {
    client: Client,
    watch: Arc<ConnectionWatch>,
    /// A session of its own that listens, and what its task sees.
    listener: Option<(Client, Arc<ConnectionWatch>)>,
    pub(super) source: Source,
    /// The backend, if it is the server's own.
    pub(super) backend: Option<i32>,
    pub(super) is_listening: bool,
    pub(super) round_trip: Duration,
}

/// What came of a swap.
pub(super) enum Swapped {
    /// The names that were written, and those that a transaction guards.
    Done {
        written: Vec<String>,
        guarded: Vec<String>,
    },
    /// Nothing was written, and a repetition may succeed.
    Conflict,
}

impl DatabaseSession {
    /// Opens a session of the primary within the limit, and makes the tables if they are missing.
    /// With a channel, it listens on it.
    pub(super) async fn open(
        store: &Arc<Postgres>,
        channel: Option<&str>,
        limit: Duration,
    ) -> Result<Self, Failure> {
        let end = Instant::now() + limit;
        let mut last = None;
        let places = &store.url.places;
        for (n, place) in places.iter().enumerate() {
            let left = end.saturating_duration_since(Instant::now());
            let share = left / u32::try_from(places.len() - n).unwrap_or(1);
            let opening = Self::open_at(store, place, channel);
            let opened = tokio::time::timeout(share, opening).await;
            match opened.unwrap_or_else(|_| Err(silent(place))) {
                Ok(session) => return Ok(session),
                // What a host says that was reached is worth more.
                Err(failure) => {
                    let keeps = |kept: &Failure| !kept.is_silence() && failure.is_silence();
                    if !last.as_ref().is_some_and(keeps) {
                        last = Some(failure);
                    }
                }
            }
        }
        Err(last.unwrap_or_else(|| Failure::before_sending(FailureKind::Unreachable, "no host")))
    }

    async fn open_at(
        store: &Arc<Postgres>,
        place: &Endpoint,
        channel: Option<&str>,
    ) -> Result<Self, Failure> {
        let (client, watch) = connect(store, place, None).await?;
        let begun = Instant::now();
        let server = ServerFacts::ask(&client, store).await?;
        let round_trip = begun.elapsed();
        if server.is_standby {
            let detail = format!("{place} is a standby, which is never read");
            return Err(Failure::before_sending(FailureKind::ReadOnly, detail));
        }
        let source = store.source(&server.identity, server.timeline)?;
        prepare(&client, store, server.has_schema).await?;
        let backend = backend_pid(&client)
            .await
            .filter(|pid| *pid == server.backend);
        let mut session = Self {
            client,
            watch,
            listener: None,
            source,
            backend,
            is_listening: false,
            round_trip,
        };
        let Some(channel) = channel else {
            return Ok(session);
        };
        match &store.url.listen {
            Some(place) => {
                let listeners = Some((store.listeners.clone(), source));
                let (listener, watch) = connect(store, place, listeners).await?;
                listen(&listener, channel).await?;
                session.listener = Some((listener, watch));
                session.is_listening = true;
            }
            // A pooler would keep the subscription on a connection of its own.
            None if session.backend.is_some() => {
                session.watch.listen(&store.listeners, source);
                listen(&session.client, channel).await?;
                session.is_listening = true;
            }
            None => {}
        }
        Ok(session)
    }

    /// Returns why the session has ended, if it has.
    pub(super) fn end(&self) -> Option<Failure> {
        let of_listener = self.listener.as_ref();
        let of_listener = of_listener.and_then(|(_, watch)| watch.end());
        self.watch.end().or(of_listener)
    }

    /// Completes once the session has ended.
    pub(super) async fn ended(&self) {
        match &self.listener {
            None => self.watch.ended().await,
            Some((_, listener)) => tokio::select! {
                () = self.watch.ended() => {}
                () = listener.ended() => {}
            },
        }
    }

    /// Returns the failure of a statement. What ended the connection says more than its end.
    fn failure(&self, failure: Failure) -> Failure {
        let end = self.watch.end();
        match end {
            Some(end) if failure.kind == FailureKind::Unreachable => Failure {
                may_have_run: failure.may_have_run,
                ..end
            },
            _ => failure,
        }
    }

    /// Reads the states of names.
    pub(super) async fn load(&self, store: &Postgres, batch: &str) -> Result<Vec<String>, Failure> {
        let rows = self
            .client
            .query_typed(&store.statements.load, &[(&batch, Type::TEXT)])
            .await
            .map_err(|e| self.failure(without_effect(&e)))?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }

    /// Writes what has changed, in one transaction.
    pub(super) async fn swap(
        &self,
        store: &Postgres,
        batch: &str,
        durable: bool,
    ) -> Result<Swapped, Failure> {
        self.watch.trust();
        let values = [(&batch as _, Type::TEXT), (&durable as _, Type::BOOL)];
        // The first poll of each sends it, in this order.
        let (begun, swapped, committed) = join3(
            self.client.batch_execute(
                "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; \
                 SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = '1s'; \
                 SET LOCAL idle_in_transaction_session_timeout = '5s'",
            ),
            self.client.query_typed(&store.statements.swap, &values),
            self.client.batch_execute("COMMIT"),
        )
        .await;
        let rows = match (begun, swapped) {
            (Err(e), _) | (Ok(()), Err(e)) if is_conflict(&e) => return Ok(Swapped::Conflict),
            // A connection that ends may have carried the commit.
            (Ok(()), Err(e)) if e.as_db_error().is_none() => {
                return Err(self.failure(of_commit(&e)));
            }
            (Err(e), _) | (Ok(()), Err(e)) => return Err(self.failure(without_effect(&e))),
            (Ok(()), Ok(rows)) => rows,
        };
        match committed {
            Err(e) if is_conflict(&e) => return Ok(Swapped::Conflict),
            Err(e) => return Err(self.failure(of_commit(&e))),
            Ok(()) if self.watch.is_doubtful() => {
                let detail = "the commit was not replicated: its wait was canceled";
                return Err(Failure::unknown(FailureKind::NoReplicas, detail));
            }
            Ok(()) => {}
        }
        let row = rows.first();
        let names = |column: usize| {
            let names = row.and_then(|row| row.try_get::<_, Vec<String>>(column).ok());
            let malformed = || Failure::unknown(FailureKind::Malformed, "a swap without names");
            names.ok_or_else(malformed)
        };
        Ok(Swapped::Done {
            written: names(0)?,
            guarded: names(1)?,
        })
    }

    /// Returns some of the names behind that one that begin with a prefix, in order.
    pub(super) async fn names(
        &self,
        store: &Postgres,
        behind: &str,
        prefix: &str,
        at_most: usize,
    ) -> Result<Vec<String>, Failure> {
        let at_most = i64::try_from(at_most).unwrap_or(i64::MAX);
        let values = [
            (&behind as _, Type::TEXT),
            (&prefix as _, Type::TEXT),
            (&at_most as _, Type::INT8),
        ];
        let rows = self.client.query_typed(&store.statements.names, &values);
        let rows = rows.await.map_err(|e| self.failure(without_effect(&e)))?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }

    /// Returns some old names behind that one, and the last name that was looked at.
    pub(super) async fn old_names(
        &self,
        store: &Postgres,
        behind: &str,
    ) -> Result<(Vec<String>, Option<String>), Failure> {
        let statements = &store.statements;
        let values = [(&behind as _, Type::TEXT)];
        let (rows, forgotten) = tokio::join!(
            self.client.query_typed(&statements.old_names, &values),
            self.client.query_typed(&statements.forget_runs, &[]),
        );
        let failed = |e: &tokio_postgres::Error| self.failure(without_effect(e));
        forgotten.map_err(|e| failed(&e))?;
        let rows = rows.map_err(|e| failed(&e))?;
        Ok(rows
            .first()
            .map(|row| (row.get(0), row.get(1)))
            .unwrap_or_default())
    }

    /// Ends a session that did not answer, so that it keeps no locks.
    pub(super) async fn terminate(&self, backend: i32) {
        let statement = "SELECT pg_terminate_backend($1)";
        // It may have ended, or be one of another server.
        let _ = self
            .client
            .query_typed(statement, &[(&backend, Type::INT4)])
            .await;
    }

    /// Returns the values of settings and the like, as text.
    pub(super) async fn ask(&self, statement: &str) -> Result<Vec<Option<String>>, Failure> {
        let rows = self.client.query_typed(statement, &[]).await;
        let rows = rows.map_err(|e| self.failure(without_effect(&e)))?;
        let values = rows.first().map(|row| (0..row.len()).map(|n| row.get(n)));
        Ok(values.into_iter().flatten().collect())
    }
}

fn silent(place: &Endpoint) -> Failure {
    Failure::before_sending(FailureKind::Silent, format!("{place} does not answer"))
}
