//! URLs: their meanings, and which are refused.

use super::super::url::{PostgresUrl, TlsMode};
use crate::store::ServerSettings;

fn parse(rest: &str) -> Result<PostgresUrl, String> {
    let url = PostgresUrl::parse(&format!("postgres://{rest}"), &ServerSettings::default());
    url.map_err(|error| error.message)
}

#[test]
fn urls_name_hosts_user_and_database() {
    for (rest, shown, user, database) in [
        ("u@h", "h:5432/u", "u", "u"),
        ("u@h/d", "h:5432/d", "u", "d"),
        ("u:p@h:1/d", "h:1/d", "u", "d"),
        ("u:p%3F%40@h/d%2Fe", "h:5432/d/e", "u", "d/e"),
        ("u@h:1,i,[::1]:2/d", "h:1,i:5432,[::1]:2/d", "u", "d"),
        ("u@h,i/d?port=7", "h:7,i:7/d", "u", "d"),
        ("u@/d", "localhost:5432/d", "u", "d"),
        ("u@/d?host=h,i:2&port=1", "h:1,i:2/d", "u", "d"),
        ("u@/d?host=%2Frun%2Fpg&port=7", "/run/pg:7/d", "u", "d"),
        ("u@%2Frun%2Fpg/d", "/run/pg:5432/d", "u", "d"),
        ("u@%2Frun%2Fpg:7/d", "/run/pg:7/d", "u", "d"),
        ("u@%2Frun%2Fa%3A7/d", "/run/a:7:5432/d", "u", "d"),
        ("u@/d?host=%2Frun%2Fa:7", "/run/a:7:5432/d", "u", "d"),
        ("u@h/d?schema=a b", "h:5432/d?schema=a b", "u", "d"),
        ("u@h/d?application_name=n&", "h:5432/d", "u", "d"),
        ("u@h/d?target_session_attrs=primary", "h:5432/d", "u", "d"),
    ] {
        let url = parse(rest).unwrap_or_else(|error| panic!("{rest}: {error}"));
        assert_eq!(url.to_string(), format!("postgres://{shown}"), "{rest}");
        assert_eq!((&*url.user, &*url.database), (user, database), "{rest}");
        assert_eq!(url.tls, TlsMode::Disable);
    }
}

#[test]
fn refused_urls_name_what_is_expected() {
    for (rest, expected) in [
        ("u@h:0/d", "host:port"),
        ("u@h:x/d", "host:port"),
        ("u@h:1:2/d", "host:port"),
        ("u@h,/d", "host:port"),
        ("u@h/d?port=0", "1 to 65535"),
        ("u@h/d?host=i", "hosts twice"),
        ("u@h/d#f", "%23"),
        ("u:p@q@h/d", "%40"),
        ("u@h/d?schema=", "1 to 63 bytes"),
        ("u@h/d?schema=pg_own", "without the prefix pg_"),
        ("u@h/d?password=secret", "user:password@host"),
        ("u@h/d?user=secret", "user:password@host"),
        ("u@h/d?dbname=secret", "host/database"),
        ("u@h/d?sslmode=prefer", "may be downgraded"),
        ("u@h/d?sslmode=allow", "may be downgraded"),
        ("u@h/d?sslmode=full", "verify-full"),
        ("u@h/d?channel_binding=yes", "require"),
        ("u@h/d?target_session_attrs=standby", "read-write"),
        ("u@h/d?connect_timeout=0", "seconds"),
        ("u@h/d?connect_timeout=-1", "seconds"),
        ("u@h/d?rest%20of=secret", "%3F"),
        // These would be ignored.
        ("u@h/d?sslrootcert=f", "add sslmode=verify-full"),
        ("u@h/d?sslcert=f&sslkey=g", "add sslmode=verify-full"),
        ("u@h/d?channel_binding=require", "add sslmode=verify-full"),
        ("u@h/d?sslmode=verify-full&sslcert=f", "only one"),
        ("u@h/d?sslmode=require&sslrootcert=system", "verify-full"),
        ("u@h/d?sslmode=verify-ca&sslrootcert=system", "verify-full"),
    ] {
        let error = parse(rest).expect_err(rest);
        assert!(error.contains(expected), "{rest}: {error}");
        assert!(!error.contains("secret"), "{rest}: {error}");
    }
}
