//! The options of URLs: those of this library, and those of other clients that hold here anyway.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::target::{decoded, invalid};
use crate::errors::invalid::Invalid;
use crate::store::tls::{Pem, Tls};

/// The options of a URL.
#[derive(Default)]
pub(super) struct UrlOptions {
    pub(super) database: Option<i64>,
    pub(super) client_name: Option<String>,
    pub(super) tls: Tls,
    /// The options that only one kind of URL has.
    own: BTreeMap<&'static str, String>,
}

/// The meaning of another client's option here.
enum Meaning {
    /// It holds, with any value.
    Holds,
    /// It holds with one of these values.
    HoldsIf(&'static [&'static str]),
    /// As [`Meaning::HoldsIf`], on a connection with TLS.
    HoldsWithTls(&'static [&'static str]),
    /// Nothing here does it.
    Refused(&'static str),
}

const YES: &[&str] = &["true", "True", "1", "yes"];
const NO: &[&str] = &["false", "False", "0", "no"];
const TIMEOUT: &str = "set command_timeout or connect_timeout of the client";
const POOL: &str = "a client has few connections, and no pool";

/// The options of redis-py, go-redis, ioredis, Jedis, Lettuce and the crate `redis`.
const MEANINGS: &[(&str, Meaning)] = &[
    ("protocol", Meaning::HoldsIf(&["3", "resp3", "RESP3"])),
    ("decode_responses", Meaning::Holds),
    ("encoding", Meaning::Holds),
    ("encoding_errors", Meaning::Holds),
    ("health_check_interval", Meaning::Holds),
    ("retry_on_timeout", Meaning::Holds),
    ("socket_keepalive", Meaning::HoldsIf(YES)),
    ("allowUsernameInURI", Meaning::HoldsIf(YES)),
    (
        "ssl_cert_reqs",
        Meaning::HoldsWithTls(&["required", "CERT_REQUIRED"]),
    ),
    ("ssl_check_hostname", Meaning::HoldsWithTls(YES)),
    (
        "verifyPeer",
        Meaning::HoldsWithTls(&["full", "FULL", "true"]),
    ),
    ("skip_verify", Meaning::HoldsIf(NO)),
    ("timeout", Meaning::Refused(TIMEOUT)),
    ("socket_timeout", Meaning::Refused(TIMEOUT)),
    ("socket_connect_timeout", Meaning::Refused(TIMEOUT)),
    ("dial_timeout", Meaning::Refused(TIMEOUT)),
    ("read_timeout", Meaning::Refused(TIMEOUT)),
    ("write_timeout", Meaning::Refused(TIMEOUT)),
    ("connectTimeout", Meaning::Refused(TIMEOUT)),
    ("commandTimeout", Meaning::Refused(TIMEOUT)),
    ("pool_size", Meaning::Refused(POOL)),
    ("max_connections", Meaning::Refused(POOL)),
    ("min_idle_conns", Meaning::Refused(POOL)),
    (
        "keyPrefix",
        Meaning::Refused("set key_prefix of the client, or ARBITER_KEY_PREFIX"),
    ),
    (
        "max_retries",
        Meaning::Refused("a request is repeated until the wait limit"),
    ),
    (
        "family",
        Meaning::Refused("all addresses of a host are tried"),
    ),
    (
        "username",
        Meaning::Refused("the user comes before the host: user:password@host"),
    ),
    (
        "password",
        Meaning::Refused("the password comes before the host: user:password@host"),
    ),
    (
        "sentinelMasterId",
        Meaning::Refused("the name is in the path: redis+sentinel://host/NAME"),
    ),
    (
        "master_name",
        Meaning::Refused("the name is in the path: redis+sentinel://host/NAME"),
    ),
];

impl UrlOptions {
    /// Parses the part after the `?`. A kind of URL may have options of its own.
    pub(super) fn parse(query: &str, is_tls: bool, own: &[&'static str]) -> Result<Self, Invalid> {
        let mut options = Self::default();
        for option in query.split('&').filter(|option| !option.is_empty()) {
            let (key, value) = option.split_once('=').unwrap_or((option, ""));
            let value = decoded(value)?;
            match own.iter().find(|own| **own == key) {
                Some(own) => {
                    options.own.insert(own, value);
                }
                None if own.contains(&"pass") && ["username", "password"].contains(&key) => {
                    return Err(invalid(format!(
                        "has the option {key}, which is not one of this library: the login of a \
                         socket is ?user=NAME&pass=PASSWORD"
                    )));
                }
                None => options.set(key, value, is_tls)?,
            }
        }
        let Tls {
            certificate, key, ..
        } = &options.tls;
        if certificate.is_some() != key.is_some() {
            return Err(invalid("has only one of ssl_certfile and ssl_keyfile"));
        }
        Ok(options)
    }

    fn set(&mut self, key: &str, value: String, is_tls: bool) -> Result<(), Invalid> {
        let needs_tls = || {
            invalid(format!(
                "has the option {key}, which needs TLS: its scheme is then rediss in place of redis"
            ))
        };
        match key {
            "db" | "database" => {
                let number = value.parse().ok().filter(|number| 0 <= *number);
                let number = number.ok_or_else(|| invalid("names a database that is no number"))?;
                self.database = Some(number);
                return Ok(());
            }
            "client_name" | "clientName" | "connectionName" => {
                self.client_name = Some(value).filter(|name| !name.is_empty());
                return Ok(());
            }
            "ssl_ca_certs" | "ssl_certfile" | "ssl_keyfile" if !is_tls => return Err(needs_tls()),
            "ssl_ca_certs" => {
                self.tls.authorities = Some(Pem::File(PathBuf::from(value)));
                return Ok(());
            }
            "ssl_certfile" => {
                self.tls.certificate = Some(Pem::File(PathBuf::from(value)));
                return Ok(());
            }
            "ssl_keyfile" => {
                self.tls.key = Some(Pem::File(PathBuf::from(value)));
                return Ok(());
            }
            _ => {}
        }
        let holds_if = |values: &[&str]| match values.contains(&&*value) {
            true => Ok(()),
            // The value may be the rest of a password.
            false => Err(invalid(format!(
                "has the option {key} with a value that does not hold: {key}={} does",
                values[0]
            ))),
        };
        match MEANINGS.iter().find(|(known, _)| *known == key) {
            Some((_, Meaning::Holds)) => Ok(()),
            Some((_, Meaning::HoldsIf(values))) => holds_if(values),
            Some((_, Meaning::HoldsWithTls(_))) if !is_tls => Err(needs_tls()),
            Some((_, Meaning::HoldsWithTls(values))) => holds_if(values),
            Some((_, Meaning::Refused(advice))) => Err(invalid(format!(
                "has the option {key}, which is not one of this library: {advice}"
            ))),
            // A client that overlooked it might use another database than those that it is to
            // exclude. It is not shown: it may be the rest of a password.
            None => Err(invalid(
                "has an option that is not understood (in a password, '?' is written %3F, '&' \
                 %26, '#' %23)",
            )),
        }
    }

    /// Takes the value of an option that only this kind of URL has.
    pub(super) fn own(&mut self, key: &str) -> Option<String> {
        self.own.remove(key)
    }

    /// Returns the database of the path or of the option, which must not contradict each other.
    pub(super) fn database(&self, of_path: Option<i64>) -> Result<i64, Invalid> {
        match (of_path, self.database) {
            (Some(path), Some(option)) if path != option => Err(invalid(
                "names two databases, in its path and in its option db",
            )),
            (path, option) => Ok(path.or(option).unwrap_or(0)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(query: &str, is_tls: bool) -> Result<UrlOptions, String> {
        UrlOptions::parse(query, is_tls, &[]).map_err(|e| e.to_string())
    }

    #[test]
    fn options_of_other_clients_hold_or_are_named() {
        for query in [
            "",
            "protocol=3",
            "protocol=resp3&decode_responses=True&encoding=utf-8",
            "db=0&socket_keepalive=1&health_check_interval=30",
        ] {
            assert!(parsed(query, false).is_ok(), "{query}");
            assert!(parsed(query, true).is_ok(), "{query}");
        }
        for query in [
            "ssl_cert_reqs=required",
            "ssl_check_hostname=true",
            "verifyPeer=full",
        ] {
            assert!(parsed(query, true).is_ok(), "{query}");
            let error = parsed(query, false).err().unwrap();
            assert!(error.contains("needs TLS"), "{query}: {error}");
        }
        for query in [
            "protocol=2",
            "ssl_cert_reqs=none",
            "ssl_check_hostname=false",
            "skip_verify=true",
            "socket_timeout=3",
            "pool_size=10",
            "db=-1",
            "db=x",
            "ssl_certfile=c.pem",
            "secret",
        ] {
            let error = parsed(query, true).err().unwrap();
            let name = query.split('=').next().unwrap();
            let is_named = error.contains(name) || name == "db";
            assert!(is_named != (name == "secret"), "{query}: {error}");
        }
    }

    #[test]
    fn login_of_a_socket_is_named() {
        for query in ["password=secret", "username=secret"] {
            let error = UrlOptions::parse(query, false, &["user", "pass"]);
            let error = error.err().unwrap().to_string();
            assert!(error.contains("pass=PASSWORD"), "{error}");
            assert!(!error.contains("secret") && !error.contains("@host"));
        }
    }

    #[test]
    fn options_that_map_are_honored() {
        let query = "client_name=web+1%2B&ssl_ca_certs=%2Fca.pem&db=3";
        let options = parsed(query, true).unwrap();
        assert_eq!(options.client_name.as_deref(), Some("web+1+"));
        assert!(
            matches!(&options.tls.authorities, Some(Pem::File(path)) if path.ends_with("ca.pem"))
        );
        assert_eq!(options.database(None), Ok(3));
        assert_eq!(options.database(Some(3)), Ok(3));
        assert!(options.database(Some(0)).is_err());
    }
}
