//! A session of a server: how it is opened, and the statements on it.
//!
//! No state of the session matters, except that it listens. So a pooler may serve each transaction
//! on another connection.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::{join, join3};
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Error, Row, Statement};

use super::backend::backend_pid;
use super::connecting::{
    Access, Backend, ConnectionWatch, Parameter, ServerFacts, connect, in_transaction, listen,
    prepare, settle,
};
use super::database::Postgres;
use super::failure::{is_conflict, is_cut, of_commit, without_effect};
use super::listeners::Listeners;
use super::url::Endpoint;
use crate::store::{Failure, FailureKind, Source};

/// An open session.
pub(super) struct DatabaseSession {
    connection: OpenConnection,
    /// A session of its own that listens.
    listener: Option<OpenConnection>,
    pub(super) source: Source,
    /// The timeline of its server.
    pub(super) timeline: u32,
    /// The backend, if it is the server's own.
    pub(super) backend: Option<Backend>,
    /// None behind a pooler, which may serve the next statement on another connection.
    prepared: Option<Prepared>,
    pub(super) is_listening: bool,
    pub(super) round_trip: Duration,
}

/// The statements of every request.
struct Prepared {
    load: Statement,
    swap: Statement,
}

impl Prepared {
    async fn new(client: &Client, store: &Postgres) -> Result<Self, Failure> {
        let statements = &store.statements;
        let (load, swap) = join(
            client.prepare(&statements.load),
            client.prepare(&statements.swap),
        )
        .await;
        let failed = |e: &Error| without_effect(e);
        Ok(Self {
            load: load.map_err(|e| failed(&e))?,
            swap: swap.map_err(|e| failed(&e))?,
        })
    }
}

/// A connection, which is closed on drop: after the answers, once it is part of a session.
struct OpenConnection {
    client: Client,
    watch: Arc<ConnectionWatch>,
    is_opening: bool,
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        if self.is_opening {
            self.watch.abandon();
        }
    }
}

impl OpenConnection {
    async fn open(
        store: &Arc<Postgres>,
        place: &Endpoint,
        listeners: Option<(Arc<Listeners>, Source)>,
    ) -> Result<Self, Failure> {
        let (client, watch) = connect(store, place, listeners).await?;
        Ok(Self {
            client,
            watch,
            is_opening: true,
        })
    }

    /// Returns the backend that runs statements, unless a pooler is in front of it.
    async fn own(&self, backend: Backend) -> Option<Backend> {
        let named = backend_pid(&self.client).await;
        Some(backend).filter(|backend| named == Some(backend.process))
    }
}

/// A primary that was reached.
struct Primary {
    connection: OpenConnection,
    server: ServerFacts,
    source: Source,
    round_trip: Duration,
}

impl Primary {
    async fn reach(store: &Arc<Postgres>, place: &Endpoint) -> Result<Self, Failure> {
        let connection = OpenConnection::open(store, place, None).await?;
        let begun = Instant::now();
        let server = ServerFacts::ask(&connection.client).await?;
        let round_trip = begun.elapsed();
        if server.is_standby {
            let detail = format!("{place} is a standby, which is never read");
            return Err(Failure::before_sending(FailureKind::ReadOnly, detail));
        }
        Ok(Self {
            connection,
            source: store.source(&server.identity, server.timeline)?,
            server,
            round_trip,
        })
    }
}

/// How long a locked read waits for other transactions, and they for this client.
const LOCKED_LIMITS: &str = "; SET LOCAL lock_timeout = '200ms'; \
     SET LOCAL idle_in_transaction_session_timeout = '1s'";

/// How long the other hosts may take to answer, once a primary was found.
const OTHERS_LIMIT: Duration = Duration::from_millis(300);

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
    /// With a channel, it listens on it. Ends earlier sessions that do not answer.
    pub(super) async fn open(
        store: &Arc<Postgres>,
        channel: Option<&str>,
        silent: &mut Vec<Backend>,
        limit: Duration,
    ) -> Result<Self, Failure> {
        let end = Instant::now() + limit;
        let (mut last, mut found): (_, Option<Primary>) = (None, None);
        let places = &store.url.places;
        // All of them, since a primary that was replaced may serve again.
        for (n, place) in places.iter().enumerate() {
            let left = end.saturating_duration_since(Instant::now());
            let share = left / u32::try_from(places.len() - n).unwrap_or(1);
            let share = if found.is_some() {
                share.min(OTHERS_LIMIT)
            } else {
                share
            };
            let reached = tokio::time::timeout(share, Primary::reach(store, place)).await;
            match reached.unwrap_or_else(|_| Err(silent_at(place))) {
                Ok(primary) => {
                    let timeline = |of: &Primary| of.server.timeline;
                    if found.as_ref().map(timeline) < Some(timeline(&primary)) {
                        found = Some(primary);
                    }
                }
                // What a host says that was reached is worth more.
                Err(failure) => {
                    let keeps = |kept: &Failure| !kept.is_silence() && failure.is_silence();
                    if !last.as_ref().is_some_and(keeps) {
                        last = Some(failure);
                    }
                }
            }
        }
        let none = || Failure::before_sending(FailureKind::Unreachable, "no host");
        let Some(primary) = found else {
            return Err(last.unwrap_or_else(none));
        };
        let left = end.saturating_duration_since(Instant::now());
        let opening = Self::of_primary(store, primary, channel, silent);
        let opened = tokio::time::timeout(left, opening).await;
        opened.unwrap_or_else(|_| {
            let detail = format!("no session within {limit:?}");
            Err(Failure::before_sending(FailureKind::Silent, detail))
        })
    }

    async fn of_primary(
        store: &Arc<Postgres>,
        primary: Primary,
        channel: Option<&str>,
        silent: &mut Vec<Backend>,
    ) -> Result<Self, Failure> {
        let Primary {
            connection,
            server,
            source,
            round_trip,
        } = primary;
        let client = &connection.client;
        let backend = connection.own(server.backend).await;
        if backend.is_some() {
            settle(client).await?;
        }
        // Otherwise they would keep locks.
        for backend in silent.drain(..) {
            backend.terminate(client).await;
        }
        prepare(client, store).await?;
        let prepared = match &backend {
            Some(_) => Some(Prepared::new(client, store).await?),
            None => None,
        };
        let mut session = Self {
            prepared,
            connection,
            listener: None,
            source,
            timeline: server.timeline,
            backend,
            is_listening: false,
            round_trip,
        };
        if let Some(channel) = channel {
            session.listen(store, channel).await?;
        }
        session.connection.is_opening = false;
        Ok(session)
    }

    async fn listen(&mut self, store: &Arc<Postgres>, channel: &str) -> Result<(), Failure> {
        match &store.url.listen {
            Some(place) => {
                let listeners = Some((store.listeners.clone(), self.source));
                let mut listener = OpenConnection::open(store, place, listeners).await?;
                let server = ServerFacts::ask(&listener.client).await?;
                if listener.own(server.backend).await.is_none() {
                    let detail = format!(
                        "listen={place} is a pooler, which keeps no subscription: name the server"
                    );
                    return Err(Failure::before_sending(FailureKind::WrongUrl, detail));
                }
                settle(&listener.client).await?;
                listen(&listener.client, channel).await?;
                listener.is_opening = false;
                self.listener = Some(listener);
            }
            // A pooler would keep the subscription on a connection of its own.
            None if self.backend.is_some() => {
                self.connection.watch.listen(&store.listeners, self.source);
                listen(&self.connection.client, channel).await?;
            }
            None => return Ok(()),
        }
        self.is_listening = true;
        Ok(())
    }

    /// Closes its connections, even if answers are missing.
    pub(super) fn abandon(&self) {
        let listener = self.listener.as_ref();
        for connection in listener.into_iter().chain([&self.connection]) {
            connection.watch.abandon();
        }
    }

    /// Returns why the session has ended, if it has.
    pub(super) fn end(&self) -> Option<Failure> {
        let of_listener = self.listener.as_ref();
        let of_listener = of_listener.and_then(|listener| listener.watch.end());
        self.connection.watch.end().or(of_listener)
    }

    /// Completes once the session has ended.
    pub(super) async fn ended(&self) {
        let of_requests = self.connection.watch.ended();
        match &self.listener {
            None => of_requests.await,
            Some(listener) => tokio::select! {
                () = of_requests => {}
                () = listener.watch.ended() => {}
            },
        }
    }

    /// Returns the failure of a statement. What ended the connection says more than its end.
    fn failure(&self, failure: Failure) -> Failure {
        let end = self.connection.watch.end();
        match end {
            Some(end) if failure.kind == FailureKind::Unreachable => Failure {
                may_have_run: failure.may_have_run,
                ..end
            },
            _ => failure,
        }
    }

    /// Runs a statement that may run twice.
    async fn query(
        &self,
        access: Access,
        statement: &str,
        values: &[Parameter<'_>],
    ) -> Result<Vec<Row>, Failure> {
        let client = &self.connection.client;
        let rows = match self.backend {
            Some(_) => client.query_typed(statement, values).await,
            // A pooler's connections have the settings of the role.
            None => in_transaction(client, access, statement, values).await,
        };
        rows.map_err(|e| self.failure(without_effect(&e)))
    }

    /// Reads the states of names.
    pub(super) async fn load(&self, store: &Postgres, batch: &str) -> Result<Vec<String>, Failure> {
        if let Some(prepared) = &self.prepared {
            let values: [&(dyn ToSql + Sync); 1] = [&batch];
            let rows = self.connection.client.query(&prepared.load, &values).await;
            let rows = rows.map_err(|e| self.failure(without_effect(&e)))?;
            return Ok(rows.iter().map(|row| row.get(0)).collect());
        }
        let values: [Parameter<'_>; 1] = [(&batch, Type::TEXT)];
        let rows = self.query(Access::Read, &store.statements.load, &values);
        Ok(rows.await?.iter().map(|row| row.get(0)).collect())
    }

    /// Reads the states of names in a transaction that stays open, and locks some of them before.
    /// Returns none if another transaction locks them for long.
    ///
    /// If this client stops then, the server ends the session.
    pub(super) async fn load_locked(
        &self,
        store: &Postgres,
        batch: &str,
        names: &[&str],
    ) -> Result<Option<Vec<String>>, Failure> {
        let client = &self.connection.client;
        let begin = Access::Write.begin() + LOCKED_LIMITS;
        let locked: [Parameter<'_>; 1] = [(&names, Type::TEXT_ARRAY)];
        let values: [Parameter<'_>; 1] = [(&batch, Type::TEXT)];
        let (begun, locked, rows) = join3(
            client.batch_execute(&begin),
            client.query_typed(&store.statements.lock, &locked),
            client.query_typed(&store.statements.load, &values),
        )
        .await;
        match begun.and(locked).and(rows) {
            Ok(rows) => Ok(Some(rows.iter().map(|row| row.get(0)).collect())),
            Err(e) => {
                self.roll_back().await;
                match is_conflict(&e) {
                    true => Ok(None),
                    false => Err(self.failure(without_effect(&e))),
                }
            }
        }
    }

    /// Ends the transaction of a locked read.
    pub(super) async fn roll_back(&self) {
        // Without a transaction, this does nothing.
        let _ = self.connection.client.batch_execute("ROLLBACK").await;
    }

    /// Writes what has changed, in one transaction, which a locked read has begun.
    pub(super) async fn swap(
        &self,
        store: &Postgres,
        batch: &str,
        durable: bool,
        is_begun: bool,
    ) -> Result<Swapped, Failure> {
        let OpenConnection { client, watch, .. } = &self.connection;
        watch.trust();
        if let Some(prepared) = self.prepared.as_ref().filter(|_| !is_begun) {
            // The statement is the transaction.
            return match client.query(&prepared.swap, &[&batch, &durable]).await {
                Ok(rows) => self.swapped(&rows),
                Err(e) if is_conflict(&e) => Ok(Swapped::Conflict),
                Err(e) => Err(self.failure(of_commit(&e))),
            };
        }
        let values: [Parameter<'_>; 2] = [(&batch, Type::TEXT), (&durable, Type::BOOL)];
        let begin = match is_begun {
            true => "SET LOCAL lock_timeout = '1s'".to_owned(),
            false => Access::Write.begin(),
        };
        // The first poll of each sends it, in this order.
        let (begun, swapped, committed) = join3(
            client.batch_execute(&begin),
            client.query_typed(&store.statements.swap, &values),
            client.batch_execute("COMMIT"),
        )
        .await;
        let unknown = |e: &Error| {
            let may_have_run = true;
            Err(self.failure(Failure {
                may_have_run,
                ..of_commit(e)
            }))
        };
        let rows = match (begun, swapped) {
            (Ok(()), Ok(rows)) => rows,
            // Without the transaction, the statement has committed.
            (Err(e), Ok(_)) => return unknown(&e),
            // A connection that ends may have carried the commit.
            (Err(e), _) | (_, Err(e)) if is_cut(&e) => return unknown(&e),
            (Err(_), Err(e)) if is_cut(&e) => return unknown(&e),
            (Err(e), _) | (_, Err(e)) if is_conflict(&e) => return Ok(Swapped::Conflict),
            (Err(e), _) | (_, Err(e)) => return Err(self.failure(without_effect(&e))),
        };
        match committed {
            Err(e) if is_conflict(&e) => Ok(Swapped::Conflict),
            Err(e) => Err(self.failure(of_commit(&e))),
            Ok(()) => self.swapped(&rows),
        }
    }

    /// Returns what a swap has written, once it is committed.
    fn swapped(&self, rows: &[Row]) -> Result<Swapped, Failure> {
        if self.connection.watch.is_doubtful() {
            // The request is repeated, and its commit waits again.
            let detail = "the wait for a synchronous standby was canceled";
            return Err(Failure::unknown(FailureKind::Loading, detail));
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

    /// Returns the transactions that guard holds of names, for those that have any.
    pub(super) async fn guards(
        &self,
        store: &Postgres,
        names: &[String],
    ) -> Result<HashMap<String, String>, Failure> {
        let values: [Parameter<'_>; 1] = [(&names, Type::TEXT_ARRAY)];
        let rows = self.query(Access::Read, &store.statements.guards, &values);
        let rows = rows.await?;
        let guards = rows.iter().filter_map(|row| {
            let guards: Option<String> = row.get(1);
            Some((row.get(0), guards?))
        });
        Ok(guards.collect())
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
        let values: [Parameter<'_>; 3] = [
            (&behind, Type::TEXT),
            (&prefix, Type::TEXT),
            (&at_most, Type::INT8),
        ];
        let rows = self.query(Access::Read, &store.statements.names, &values);
        Ok(rows.await?.iter().map(|row| row.get(0)).collect())
    }

    /// Returns some old names behind that one, and the last name that was looked at.
    pub(super) async fn old_names(
        &self,
        store: &Postgres,
        behind: &str,
    ) -> Result<(Vec<String>, Option<String>), Failure> {
        let statements = &store.statements;
        let values: [Parameter<'_>; 1] = [(&behind, Type::TEXT)];
        let rows = self.query(Access::Read, &statements.old_names, &values);
        let rows = rows.await?;
        self.query(Access::Write, &statements.forget_runs, &[])
            .await?;
        Ok(rows
            .first()
            .map(|row| (row.get(0), row.get(1)))
            .unwrap_or_default())
    }

    /// Returns the values of settings and the like, as text.
    pub(super) async fn ask(&self, statement: &str) -> Result<Vec<Option<String>>, Failure> {
        let rows = self.query(Access::Read, statement, &[]).await?;
        let values = rows.first().map(|row| (0..row.len()).map(|n| row.get(n)));
        Ok(values.into_iter().flatten().collect())
    }
}

fn silent_at(place: &Endpoint) -> Failure {
    Failure::before_sending(FailureKind::Silent, format!("{place} does not answer"))
}
