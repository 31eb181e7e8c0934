//! A session is opened: on the primary among the hosts, with tables, prepared and listening.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join;
use tokio::time::timeout;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Error};

use super::backend::Backend;
use super::connecting::{OpenConnection, connect};
use super::database::Postgres;
use super::failure::without_effect;
use super::server_facts::ServerFacts;
use super::session::{DatabaseSession, Prepared};
use super::sql::{VERSION, quoted, schema_sql};
use super::transaction::{Access, Parameter, in_transaction, lift_limits};
use super::url::Endpoint;
use crate::errors::failure::nothing;
use crate::store::{Failure, FailureKind, Source};

/// Undoes the changes that settings of a role or a database make to a session.
const SETTINGS: &str = "SET statement_timeout = 0; SET lock_timeout = '2s'; \
     SET idle_session_timeout = 0; SET idle_in_transaction_session_timeout = '5s'; \
     SET default_transaction_isolation = 'read committed'; \
     SET default_transaction_read_only = off; SET client_min_messages = 'warning'";

/// The errors for a schema, a table or a column that does not exist.
const MISSING: [&str; 3] = ["3F000", "42P01", "42703"];

/// How long the other hosts may take to answer, once a primary was found.
const OTHERS_LIMIT: Duration = Duration::from_millis(300);

/// A primary that was reached.
struct Primary {
    connection: OpenConnection,
    server: ServerFacts,
    source: Source,
    round_trip: Duration,
}

impl Primary {
    async fn reach(store: &Arc<Postgres>, place: &Endpoint) -> Result<Self, Failure> {
        let connection = connect(store, place, None).await?;
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

/// Opens a session of the primary within the limit, and makes the tables if they are missing. With
/// a channel, it listens on it. Ends earlier sessions that do not answer.
pub(super) async fn open_session(
    store: &Arc<Postgres>,
    channel: Option<&str>,
    silent: &mut Vec<Backend>,
    limit: Duration,
) -> Result<DatabaseSession, Failure> {
    let end = Instant::now() + limit;
    let primary = primary_among(store, end).await?;
    let left = end.saturating_duration_since(Instant::now());
    let opened = timeout(left, session_on(store, primary, channel, silent)).await;
    opened.unwrap_or_else(|_| {
        let detail = nothing("session", limit);
        Err(Failure::before_sending(FailureKind::Silent, detail))
    })
}

/// Reaches the primary among the hosts. Asks all, since one that was replaced may serve again.
async fn primary_among(store: &Arc<Postgres>, end: Instant) -> Result<Primary, Failure> {
    let (mut last, mut found): (_, Option<Primary>) = (None, None);
    let places = &store.url.places;
    for (n, place) in places.iter().enumerate() {
        let left = end.saturating_duration_since(Instant::now());
        let mut share = left / u32::try_from(places.len() - n).unwrap_or(1);
        if found.is_some() {
            share = share.min(OTHERS_LIMIT);
        }
        let reached = timeout(share, Primary::reach(store, place)).await;
        match reached.unwrap_or_else(|_| Err(silent_at(place))) {
            Ok(primary) => {
                let timeline = |of: &Primary| of.server.timeline;
                if found.as_ref().map(timeline) < Some(timeline(&primary)) {
                    found = Some(primary);
                }
            }
            // The failure of a host that was reached is worth more.
            Err(failure) => {
                let keeps = |kept: &Failure| !kept.is_silence() && failure.is_silence();
                if !last.as_ref().is_some_and(keeps) {
                    last = Some(failure);
                }
            }
        }
    }
    let none = || Failure::before_sending(FailureKind::Unreachable, "no host");
    found.ok_or_else(|| last.unwrap_or_else(none))
}

async fn session_on(
    store: &Arc<Postgres>,
    primary: Primary,
    channel: Option<&str>,
    silent: &mut Vec<Backend>,
) -> Result<DatabaseSession, Failure> {
    let Primary {
        connection,
        server,
        source,
        round_trip,
    } = primary;
    let client = &connection.client;
    let backend = server.backend.unless_pooled(client).await;
    if backend.is_some() {
        settle(client).await?;
    }
    // Otherwise they would keep locks.
    for backend in silent.iter() {
        backend.terminate(client).await;
    }
    silent.clear();
    prepare(client, store).await?;
    let prepared = match &backend {
        Some(_) => Some(Prepared::new(client, store).await?),
        None => None,
    };
    let mut session = DatabaseSession {
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
        make_listen(&mut session, store, channel).await?;
    }
    session.connection.is_opening = false;
    Ok(session)
}

async fn make_listen(
    session: &mut DatabaseSession,
    store: &Arc<Postgres>,
    channel: &str,
) -> Result<(), Failure> {
    match &store.url.listen {
        Some(place) => {
            let listeners = Some((store.listeners.clone(), session.source));
            let mut listener = connect(store, place, listeners).await?;
            let server = ServerFacts::ask(&listener.client).await?;
            if server
                .backend
                .unless_pooled(&listener.client)
                .await
                .is_none()
            {
                let detail = format!(
                    "listen={place} is a pooler, which keeps no subscription: name the server"
                );
                return Err(Failure::before_sending(FailureKind::WrongUrl, detail));
            }
            settle(&listener.client).await?;
            listen(&listener.client, channel).await?;
            listener.is_opening = false;
            session.listener = Some(listener);
        }
        // A pooler would keep the subscription on a connection of its own.
        None if session.backend.is_some() => {
            let connection = &session.connection;
            connection.watch.listen(&store.listeners, session.source);
            listen(&connection.client, channel).await?;
        }
        None => return Ok(()),
    }
    session.is_listening = true;
    Ok(())
}

/// Creates the tables if they are missing, and checks their version.
async fn prepare(client: &Client, store: &Postgres) -> Result<(), Failure> {
    let schema = &store.url.schema;
    let role = match &store.login {
        None => &*store.url.user,
        Some(_) => "ROLE",
    };
    let advice = format!(
        "an owner of the database can create the tables and grant the rights: arbiter store init \
         --print --schema {schema} --role {role} | psql"
    );
    let denied = |e: &Error| {
        let mut failure = without_effect(e);
        if failure.kind == FailureKind::Denied {
            failure.detail = format!("{}; {advice}", failure.detail);
        }
        failure
    };
    let make = async || {
        let made = lift_limits(client, &schema_sql(schema)).await;
        made.map_err(|e| denied(&e))
    };
    let version = &store.statements.version;
    let rows = match in_transaction(client, Access::Read, version, &[]).await {
        // The schema or the table is missing.
        Err(e) if e.code().is_some_and(|code| MISSING.contains(&code.code())) => {
            return make().await;
        }
        rows => rows.map_err(|e| denied(&e))?,
    };
    let version: Option<i32> = rows.first().and_then(|row| row.get(0));
    match version.unwrap_or_default() {
        VERSION => Ok(()),
        older if older < VERSION => make().await,
        newer => Err(Failure::before_sending(
            FailureKind::Unsupported,
            format!(
                "the schema {schema} was written by a newer version of arbiter (format {newer}, \
                 this one supports {VERSION})"
            ),
        )),
    }
}

/// Undoes the settings of the role, on a session of the server itself.
async fn settle(client: &Client) -> Result<(), Failure> {
    let settled = lift_limits(client, SETTINGS).await;
    settled.map_err(|e| without_effect(&e))
}

/// Listens on a channel, on a session of the server itself.
async fn listen(client: &Client, channel: &str) -> Result<(), Failure> {
    let listen = format!("LISTEN {}", quoted(channel));
    let values: [Parameter<'_>; 1] = [(&channel, Type::TEXT)];
    // The lock shows that the session listens, until it ends.
    let (listened, locked) = join(
        client.batch_execute(&listen),
        client.query_typed(
            "SELECT pg_try_advisory_lock(hashtextextended($1, 0))",
            &values,
        ),
    )
    .await;
    listened.map_err(|e| without_effect(&e))?;
    let locked = locked.map_err(|e| without_effect(&e))?;
    if locked.first().is_some_and(|row| row.get(0)) {
        return Ok(());
    }
    // An earlier session of this client has it, and the server has not noticed its end.
    let end = client.query_typed(
        "SELECT pg_terminate_backend(pid) FROM pg_locks \
         WHERE locktype = 'advisory' AND objsubid = 1 AND granted AND mode = 'ExclusiveLock' \
           AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) \
           AND ((classid::bigint << 32) | objid::bigint) = hashtextextended($1, 0)",
        &values,
    );
    end.await.map_err(|e| without_effect(&e))?;
    let lock = client.query_typed("SELECT pg_advisory_lock(hashtextextended($1, 0))", &values);
    lock.await.map(drop).map_err(|e| without_effect(&e))
}

fn silent_at(place: &Endpoint) -> Failure {
    Failure::before_sending(FailureKind::Silent, format!("{place} does not answer"))
}
