//! The version and settings of a server.

use tokio_postgres::Client;

use super::backend::Backend;
use super::failure::without_effect;
use super::transaction::{Access, in_transaction};
use crate::store::{Failure, FailureKind};

/// The oldest supported version of the server.
const OLDEST: i32 = 14_00_00;

/// The version and settings of a server.
pub(super) struct ServerFacts {
    pub(super) is_standby: bool,
    pub(super) backend: Backend,
    pub(super) timeline: u32,
    /// Another one for every start of a server.
    pub(super) identity: String,
}

impl ServerFacts {
    pub(super) async fn ask(client: &Client) -> Result<Self, Failure> {
        let statement = "SELECT pg_is_in_recovery(), \
                                current_setting('server_version_num')::int4, \
                                current_setting('server_encoding'), a.pid, \
                                extract(epoch FROM a.backend_start)::text, \
                                CASE WHEN NOT pg_is_in_recovery() \
                                     THEN pg_walfile_name(pg_current_wal_lsn()) END, \
                                concat_ws(' ', inet_server_addr(), inet_server_port(), \
                                          extract(epoch FROM pg_postmaster_start_time())) \
                         FROM pg_stat_get_activity(pg_backend_pid()) a";
        let rows = in_transaction(client, Access::Read, statement, &[]).await;
        let rows = rows.map_err(|e| without_effect(&e))?;
        let row = rows.first();
        let row = row.ok_or_else(|| {
            Failure::before_sending(FailureKind::Malformed, "an answer without a row")
        })?;
        let version: i32 = row.get(1);
        if version < OLDEST {
            return Err(Failure::before_sending(
                FailureKind::Unsupported,
                format!(
                    "it is PostgreSQL {}, and {} or later is needed",
                    version / 10_000,
                    OLDEST / 10_000
                ),
            ));
        }
        let encoding: String = row.get(2);
        if encoding != "UTF8" {
            return Err(Failure::before_sending(
                FailureKind::Unsupported,
                format!(
                    "the database has the encoding {encoding}, which lacks some names: use one \
                         with UTF8"
                ),
            ));
        }
        let log: Option<String> = row.get(5);
        let timeline = log.and_then(|log| u32::from_str_radix(log.get(..8)?, 16).ok());
        let timeline = timeline.unwrap_or_default();
        Ok(Self {
            is_standby: row.get(0),
            backend: Backend {
                process: row.get(3),
                begun: row.get(4),
            },
            timeline,
            identity: format!("{} {timeline}", row.get::<_, String>(6)),
        })
    }
}
