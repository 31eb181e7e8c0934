//! The address of a Redis or Valkey server, and the login, from a store's URL.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use url::{ParseError, Url};

use super::options::UrlOptions;
use crate::errors::invalid::Invalid;
use crate::store::credentials::Credentials;
use crate::store::settings::{LoginSource, Network};
use crate::store::url::Host;
pub(super) use crate::store::url::{Address, decoded, invalid};
use crate::store::{AddressMap, Failure, FailureKind};

/// The address of a server, and the login. Its `Display` has no secrets.
#[derive(Clone)]
pub(super) struct Target {
    pub(super) place: Place,
    pub(super) login: LoginSource,
    pub(super) database: i64,
    pub(super) network: Arc<Network>,
    /// Whether it is a node of a cluster.
    pub(super) is_node: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Tcp {
        host: String,
        port: u16,
    },
    Tls {
        host: String,
        port: u16,
        /// The name that its certificate has to have.
        name: String,
    },
    Unix(String),
}

const DEFAULT_PORT: u16 = 6379;
/// The options that may follow the path of a Unix socket.
const OF_A_SOCKET: &[&str] = &["db", "user", "pass"];
/// Those of them that no other URL has.
const OWN_OF_SOCKET: &[&str] = &["user", "pass"];
const UNDERSTOOD: &str = "redis://host:6379, rediss://host:6379, redis+unix:///path/of/the/socket, redis+sentinel://host:26379/SERVICE, redis+cluster://host:6379, postgres://user@host/database, file:///folder, memory:";

impl Target {
    pub(super) fn parse(text: &str) -> Result<(Self, UrlOptions), Invalid> {
        let url = Url::parse(text).map_err(|error| not_understood(text, error))?;
        let place = match url.scheme() {
            "redis" | "valkey" => {
                let (host, port) = host_and_port(&url)?;
                Place::Tcp { host, port }
            }
            "rediss" | "valkeys" if cfg!(feature = "tls") => {
                let (host, port) = host_and_port(&url)?;
                let name = host.clone();
                Place::Tls { host, port, name }
            }
            "rediss" | "valkeys" => {
                return Err(invalid("needs TLS, which is in the feature `tls`"));
            }
            "redis+unix" | "unix" if url.host_str().is_none_or(str::is_empty) => {
                check_socket(url.path())?;
                Place::Unix(decoded(url.path())?)
            }
            "redis+unix" | "unix" => {
                return Err(invalid("names a host in place of the path of a socket"));
            }
            scheme => {
                return Err(invalid(format!(
                    "begins with {scheme}:, and {UNDERSTOOD} are understood"
                )));
            }
        };
        if url.fragment().is_some() {
            return Err(invalid(
                "has a fragment (in a password, '?' is written %3F, '#' %23)",
            ));
        }
        let own = match &place {
            Place::Unix(_) => OWN_OF_SOCKET,
            Place::Tcp { .. } | Place::Tls { .. } => &[],
        };
        let is_tls = matches!(place, Place::Tls { .. });
        let mut options = UrlOptions::parse(url.query().unwrap_or_default(), is_tls, own)?;
        let credentials = match (url.username(), url.password()) {
            ("", None) => Credentials {
                username: options.own("user"),
                password: options.own("pass"),
            },
            (user, password) => Credentials {
                username: Some(decoded(user)?).filter(|user| !user.is_empty()),
                password: password.map(decoded).transpose()?,
            },
        };
        let of_path = match (&place, url.path().trim_matches('/')) {
            (Place::Unix(_), _) | (_, "") => None,
            (_, number) => {
                let number = number.parse().ok().filter(|number| 0 <= *number);
                // It is not shown: it may be the rest of a password with a '/'.
                Some(number.ok_or_else(|| {
                    invalid(
                        "names a database that is no number (in a password, '/' is written %2F)",
                    )
                })?)
            }
        };
        let database = options.database(of_path)?;
        let target = Self {
            place,
            login: LoginSource::Fixed(credentials),
            database,
            network: Arc::default(),
            is_node: false,
        };
        Ok((target, options))
    }
}

/// Returns the error of a text that is no URL, without the text: it may have a password.
fn not_understood(text: &str, error: ParseError) -> Invalid {
    let scheme = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
    let before = text.split_once("://").map(|(before, _)| before);
    let before = before.map(|before| before.trim_end_matches(scheme));
    let cause = match (error, before) {
        (ParseError::RelativeUrlWithoutBase, Some(before)) if before.contains('=') => {
            return invalid("is an assignment: the URL alone is expected, without NAME=");
        }
        (ParseError::RelativeUrlWithoutBase, Some(before)) if !before.is_empty() => {
            return invalid(
                "has characters before its scheme, such as a quote or '<': the URL alone is \
                 expected",
            );
        }
        (ParseError::RelativeUrlWithoutBase, _) => "it has no scheme".to_owned(),
        (error, _) => error.to_string(),
    };
    invalid(format!("is not understood ({cause}); {UNDERSTOOD} are"))
}

/// Returns the address at which a client reaches an announced address.
///
/// The map is code of the program: it may block and panic.
pub(super) fn mapped(map: Option<&AddressMap>, announced: &Address) -> Result<Address, Failure> {
    let Some(map) = map else {
        return Ok(announced.clone());
    };
    let (host, port) = announced;
    catch_unwind(AssertUnwindSafe(|| map(host, *port))).map_err(|_| {
        let detail = format!("the address map panics for {host}:{port}");
        Failure::before_sending(FailureKind::Unreachable, detail)
    })
}

/// Refuses the path of a socket with a login or an option in it, which errors would show.
fn check_socket(path: &str) -> Result<(), Invalid> {
    let is_option = |text: &str| {
        let name = text.split_once('=').map(|(name, _)| name);
        name.is_some_and(|name| OF_A_SOCKET.contains(&name))
    };
    let login = path.rsplit_once('@').map(|(login, _)| login);
    if login.is_some_and(|login| login.contains(':'))
        || path.split(['&', ';']).skip(1).any(is_option)
    {
        return Err(invalid(
            "has a login or an option in the path of its socket: ?user=NAME&pass=PASSWORD comes \
             after it (in a path, '@' is written %40, '&' %26)",
        ));
    }
    Ok(())
}

fn host_and_port(url: &Url) -> Result<(String, u16), Invalid> {
    let host = url.host_str().filter(|host| !host.is_empty());
    let host = host.ok_or_else(|| invalid("names no host"))?;
    let host = decoded(host.trim_start_matches('[').trim_end_matches(']'))?;
    match url.port().unwrap_or(DEFAULT_PORT) {
        0 => Err(invalid("has a port that is no number from 1 to 65535")),
        port => Ok((host, port)),
    }
}

impl Place {
    /// Returns a URL with the host and the port only, and a kind of store behind the scheme.
    pub(super) fn url(&self, kind: &str) -> String {
        match self {
            Self::Tcp { host, port } => format!("redis{kind}://{}:{port}", Host(host)),
            Self::Tls { host, port, .. } => format!("rediss{kind}://{}:{port}", Host(host)),
            Self::Unix(_) => format!("redis{kind}://HOST:PORT"),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Unix(path) => write!(f, "redis+unix://{path}")?,
            place => f.write_str(&place.url(""))?,
        }
        match (self.database, &self.place) {
            (0, _) => Ok(()),
            (db, Place::Unix(_)) => write!(f, "?db={db}"),
            (db, _) => write!(f, "/{db}"),
        }
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(url: &str) -> Target {
        Target::parse(url).unwrap().0
    }

    fn login(target: &Target) -> (Option<&str>, Option<&str>) {
        match &target.login {
            LoginSource::Fixed(login) => (login.username.as_deref(), login.password.as_deref()),
            LoginSource::Changing(_) => panic!("it is the URL's"),
        }
    }

    #[test]
    fn url_is_shown_without_its_credentials() {
        let target = parsed("redis://us%40er:p%2Fw@[::1]:7000/3");
        assert_eq!(
            target.place,
            Place::Tcp {
                host: "::1".into(),
                port: 7000
            }
        );
        assert_eq!(login(&target), (Some("us@er"), Some("p/w")));
        assert_eq!(target.to_string(), "redis://[::1]:7000/3");
        assert_eq!(format!("{target:?}"), "redis://[::1]:7000/3");
    }

    #[test]
    fn password_alone_has_no_user() {
        let target = parsed("redis://:secret@h");
        assert_eq!(login(&target), (None, Some("secret")));
    }

    #[test]
    fn socket_is_named_by_its_path() {
        let target = parsed("redis+unix:///run/a%20b.sock?db=2&user=u&pass=p");
        assert_eq!(target.place, Place::Unix("/run/a b.sock".into()));
        for path in ["/run/a@1:2.sock", "/run/a&b=c.sock"] {
            let target = parsed(&format!("redis+unix://{path}"));
            assert_eq!(target.place, Place::Unix(path.into()));
        }
        assert_eq!((target.database, login(&target).1), (2, Some("p")));
    }

    #[test]
    fn plus_sign_stands_for_itself_everywhere() {
        for url in [
            "redis://a+b:c+d@h",
            "redis+unix:///run/e+f.sock?user=a+b&pass=c+d",
        ] {
            assert_eq!(login(&parsed(url)), (Some("a+b"), Some("c+d")), "{url}");
        }
        let target = parsed("redis+unix:///run/e+f.sock");
        assert_eq!(target.place, Place::Unix("/run/e+f.sock".into()));
    }

    #[test]
    fn database_is_in_the_path_or_an_option() {
        for (url, database) in [("redis://h/3", 3), ("redis://h?db=3", 3), ("redis://h", 0)] {
            assert_eq!(parsed(url).database, database, "{url}");
        }
        assert!(Target::parse("redis://h/1?db=3").is_err());
    }

    #[test]
    fn text_around_a_url_is_named() {
        for (text, named) in [
            ("ARBITER_STORE=redis://:secret@h", "is an assignment"),
            ("export STORE='redis://:secret@h?x=y'", "is an assignment"),
            ("<redis://:secret@h?x=y>", "before its scheme"),
            ("\"redis://:secret@h\"", "before its scheme"),
            ("secret", "it has no scheme"),
        ] {
            let error = Target::parse(text).err().unwrap().to_string();
            assert!(error.contains(named), "{text}: {error}");
            assert!(!error.contains("secret") && !error.contains("without a base"));
        }
    }

    #[test]
    fn invalid_url_error_hides_the_password() {
        for url in [
            "",
            "redis",
            "http://:secret@h",
            "redis://:secret@h/x",
            "redis://:secret@",
            "file:///x",
            "redis://:secret@h:99999",
            "redis://:secret@h:0",
            "redis://user:12/secret@h",
            "redis://user:12?secret@h",
            "redis://user:12#secret@h",
            "redis://:secret@h/1?db=3",
            "redis://:secret@h?protocol=2",
            "redis://user:12?db=secret@h",
            "redis://user:12?protocol=secret@h",
            "redis+unix://user:12/secret@/s.sock",
            "redis+unix:///user:secret@/s.sock",
            "redis+unix:///s.sock&pass=secret",
            "redis+unix:///s.sock;user=u;pass=secret",
        ] {
            let error = Target::parse(url).err().unwrap().to_string();
            assert!(
                error.contains("URL") && !error.contains("secret"),
                "{url}: {error}"
            );
        }
    }
}
