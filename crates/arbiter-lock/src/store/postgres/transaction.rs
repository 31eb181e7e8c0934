//! Transactions of one statement, independent of the role's settings.

use futures_util::future::join3;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Row};

/// Whether a transaction may write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    Read,
    Write,
}

impl Access {
    /// Returns the statements that begin a transaction, independent of the role's settings.
    pub(super) fn begin(self) -> String {
        let access = match self {
            Self::Read => "READ ONLY",
            Self::Write => "READ WRITE",
        };
        format!(
            "BEGIN ISOLATION LEVEL READ COMMITTED {access}; \
             SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = '1s'; \
             SET LOCAL idle_in_transaction_session_timeout = '5s'; \
             SET LOCAL client_min_messages = 'warning'"
        )
    }
}

/// A value of a statement.
pub(super) type Parameter<'a> = (&'a (dyn ToSql + Sync), Type);

/// Runs a statement in a transaction of its own, in one round trip.
pub(super) async fn in_transaction(
    client: &Client,
    access: Access,
    statement: &str,
    values: &[Parameter<'_>],
) -> Result<Vec<Row>, tokio_postgres::Error> {
    let begin = access.begin();
    let mut tries = 1;
    loop {
        let (begun, rows, committed) = join3(
            client.batch_execute(&begin),
            client.query_typed(statement, values),
            client.batch_execute("COMMIT"),
        )
        .await;
        match begun {
            Err(e) if is_canceled(&e) && tries < TRIES => tries += 1,
            Err(e) => return Err(e),
            Ok(()) => {
                let rows = rows?;
                committed?;
                return Ok(rows);
            }
        }
    }
}

/// Runs statements of which the first ones lift the time limit of the role.
pub(super) async fn lift_limits(
    client: &Client,
    statements: &str,
) -> Result<(), tokio_postgres::Error> {
    let mut tries = 1;
    loop {
        let done = client.batch_execute(statements).await;
        if done.is_err() {
            // A transaction may be open.
            let _ = client.batch_execute("ROLLBACK").await;
        }
        match done {
            Err(e) if is_canceled(&e) && tries < TRIES => tries += 1,
            done => return done,
        }
    }
}

/// How often statements are tried that the role's time limit cancels before it is lifted.
const TRIES: u32 = 10;

fn is_canceled(error: &tokio_postgres::Error) -> bool {
    error.code() == Some(&SqlState::QUERY_CANCELED)
}
