//! The checks of a database's settings that matter to its locks.

use super::database::Postgres;
use super::session::DatabaseSession;
use crate::store::Failure;
use crate::store::diagnosis::Check;

/// Checks the server of a session.
pub(super) async fn checks(
    store: &Postgres,
    session: &DatabaseSession,
) -> Result<Vec<Check>, Failure> {
    let values = session
        .ask(
            "SELECT current_setting('server_version'), current_setting('fsync'), \
                    current_setting('full_page_writes'), \
                    current_setting('synchronous_standby_names'), \
                    (SELECT count(*)::text FROM pg_stat_replication)",
        )
        .await?;
    let value = |n: usize| values.get(n).cloned().flatten().unwrap_or_default();
    let mut checks = vec![Check::ok(
        "mode",
        format!("PostgreSQL {}, schema {}", value(0), store.url.schema),
    )];
    checks.push(match value(1).as_str() {
        "on" => Check::ok("disk", "each grant is on disk before it counts"),
        _ => Check::failure(
            "disk",
            "fsync is off: a crash of the machine may lose grants, or the database",
            "set fsync = on",
        ),
    });
    let standbys = value(4);
    checks.push(match (value(3).as_str(), standbys.as_str()) {
        ("", "0" | "") => Check::ok("standbys", "none"),
        ("", count) => Check::warning(
            "standbys",
            format!("{count}, and no grant waits for them: a promoted one may lack the latest"),
            "set synchronous_standby_names",
        ),
        (names, _) => Check::ok("standbys", format!("each grant waits for {names}")),
    });
    checks.push(match (session.is_listening, &session.backend) {
        (true, _) => Check::ok("notifications", "waiters are notified"),
        (false, None) => Check::warning(
            "notifications",
            "a pooler is in front of the server, so that waiters poll once a second",
            "name the server itself: add listen=host:port to the URL",
        ),
        (false, Some(_)) => Check::ok("notifications", "this session needs none"),
    });
    Ok(checks)
}
