//! A session of a server: the statements on it.
//!
//! No state of the session matters, except that it listens. So a pooler may serve each transaction
//! on another connection.

use std::collections::HashMap;
use std::time::Duration;

use futures_util::future::{join, join3};
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Error, Row, Statement};

use super::backend::Backend;
use super::connecting::OpenConnection;
use super::database::Postgres;
use super::failure::{is_conflict, is_cut, of_commit, without_effect};
use super::transaction::{Access, Parameter, in_transaction};
use crate::store::{Failure, FailureKind, Source};

/// An open session.
pub(super) struct DatabaseSession {
    pub(super) connection: OpenConnection,
    /// A session of its own that listens.
    pub(super) listener: Option<OpenConnection>,
    pub(super) source: Source,
    /// The timeline of its server.
    pub(super) timeline: u32,
    /// The backend, if it is the server's own.
    pub(super) backend: Option<Backend>,
    /// None behind a pooler, which may serve the next statement on another connection.
    pub(super) prepared: Option<Prepared>,
    pub(super) is_listening: bool,
    pub(super) round_trip: Duration,
}

/// The statements of every request.
pub(super) struct Prepared {
    load: Statement,
    swap: Statement,
}

impl Prepared {
    pub(super) async fn new(client: &Client, store: &Postgres) -> Result<Self, Failure> {
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

/// How long a locked read waits for other transactions, and they for this client.
const LOCKED_LIMITS: &str = "; SET LOCAL lock_timeout = '200ms'; \
     SET LOCAL idle_in_transaction_session_timeout = '1s'";

/// The result of a swap.
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

    /// Returns the failure of a statement. The cause of the end is worth more than the end.
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

    /// Writes the changes, in one transaction, which a locked read has begun.
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

    /// Returns the result of a swap, once it is committed.
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
