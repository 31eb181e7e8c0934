//! The user and the password of a login, which may change while a client is in use.

use std::error::Error as StdError;
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use super::{Failure, FailureKind};
use crate::errors::error::Error;
use crate::errors::failure::whole_millis;
use crate::service::Service;

/// A user and a password, which a provider of
/// [`ClientBuilder::credentials_provider`](crate::ClientBuilder::credentials_provider) returns.
///
/// Its `Debug` does not show the password.
///
/// # Examples
/// ```
/// use arbiter_lock::Credentials;
///
/// let credentials = Credentials::new("app", "secret");
/// assert_eq!(format!("{credentials:?}"), r#"Credentials { username: Some("app"), .. }"#);
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Credentials {
    pub(crate) username: Option<String>,
    pub(crate) password: Option<String>,
}

type Provided = Result<Credentials, Box<dyn StdError + Send + Sync>>;

/// Returns the current credentials.
pub(crate) type Provider = Arc<dyn Fn() -> BoxFuture<'static, Provided> + Send + Sync>;

/// Credentials that are asked for at each dial.
///
/// The provider is code of the program, so it runs on a thread of its own: one that blocks delays
/// only the dials that need its answer.
pub(crate) struct ChangingLogin {
    provider: Provider,
    thread: Mutex<Option<Service>>,
    state: Mutex<LoginState>,
}

#[derive(Default)]
struct LoginState {
    /// Whether a server has ever accepted one.
    is_accepted: bool,
    /// The last one that was rejected.
    rejected: Option<Credentials>,
    rejections: u64,
}

/// The credentials of a connection.
pub(crate) struct LoginInUse {
    credentials: Credentials,
    /// When the provider was last asked for others, since the server had denied a request.
    asked: Mutex<Option<Instant>>,
}

/// The shortest pause between two questions for the login of one connection.
const ASK_EVERY: Duration = Duration::from_secs(1);

#[cfg_attr(
    not(any(feature = "redis", feature = "postgres")),
    expect(dead_code, reason = "only servers have logins")
)]
impl LoginInUse {
    pub(crate) fn new(credentials: Credentials) -> Self {
        Self {
            credentials,
            asked: Mutex::default(),
        }
    }

    /// Returns whether the provider names other credentials by now. It is asked once a second.
    pub(crate) async fn is_replaced(&self, login: &ChangingLogin, limit: Duration) -> bool {
        let now = Instant::now();
        {
            let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
            if asked.is_some_and(|asked| now.duration_since(asked) < ASK_EVERY) {
                return false;
            }
            *asked = Some(now);
        }
        let current = login.ask(limit).await;
        current.is_ok_and(|current| current.credentials != self.credentials)
    }
}

/// The answer of a provider.
#[derive(Clone)]
pub(crate) struct CurrentLogin {
    pub(crate) credentials: Credentials,
    /// How many rejections there were before the question.
    rejections: u64,
}

impl Credentials {
    /// Makes credentials of that user; an empty name is the server's default user, or the user of
    /// the URL.
    #[must_use]
    pub fn new(username: &str, password: &str) -> Self {
        Self {
            username: Some(username.to_owned()).filter(|name| !name.is_empty()),
            password: Some(password.to_owned()),
        }
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}

#[cfg_attr(
    not(any(feature = "redis", feature = "postgres")),
    expect(dead_code, reason = "only servers have logins")
)]
impl ChangingLogin {
    pub(crate) fn new(provider: Provider) -> Arc<Self> {
        Arc::new(Self {
            provider,
            thread: Mutex::default(),
            state: Mutex::default(),
        })
    }

    /// Asks the provider, within the limit.
    pub(crate) async fn ask(&self, limit: Duration) -> Result<CurrentLogin, Failure> {
        let failure = |detail: String| Failure::before_sending(FailureKind::Unreachable, detail);
        let (provider, rejections) = (self.provider.clone(), self.state().rejections);
        let asking = AssertUnwindSafe(async move { provider().await }).catch_unwind();
        let asked = self.run(asking)?;
        match tokio::time::timeout(limit, asked).await {
            Ok(Ok(Ok(Ok(credentials)))) => Ok(CurrentLogin {
                credentials,
                rejections,
            }),
            Ok(Ok(Ok(Err(e)))) => Err(failure(format!("the credentials provider failed: {e}"))),
            Ok(Ok(Err(_))) => Err(failure("the credentials provider panicked".to_owned())),
            Ok(Err(_)) => Err(failure("the client has ended".to_owned())),
            Err(_) => {
                let limit = whole_millis(limit);
                let detail = format!("the credentials provider did not answer within {limit:?}");
                Err(Failure::before_sending(FailureKind::Silent, detail))
            }
        }
    }

    fn run<T: Send + 'static, W: Future<Output = T> + Send + 'static>(
        &self,
        work: W,
    ) -> Result<impl Future<Output = Result<T, Error>> + use<T, W>, Failure> {
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        let service = match thread.take() {
            Some(service) => service,
            None => Service::start().map_err(|e| {
                let detail = format!("this system starts no thread for it: {e}");
                Failure::before_sending(FailureKind::Unreachable, detail)
            })?,
        };
        Ok(thread.insert(service).run(work))
    }

    /// Notes that a server has accepted the credentials.
    pub(crate) fn accepted(&self) {
        let mut state = self.state();
        (state.is_accepted, state.rejected) = (true, None);
    }

    /// Returns the failure of a dial whose credentials the server has rejected. Others may be in
    /// force by the next dial, unless none was ever accepted, and the provider repeats itself.
    pub(crate) fn rejected(&self, login: CurrentLogin, failure: Failure) -> Failure {
        let mut state = self.state();
        let is_repeated = state.rejected.as_ref() == Some(&login.credentials)
            && state.rejections <= login.rejections;
        if is_repeated && !state.is_accepted {
            return failure;
        }
        state.rejected = Some(login.credentials);
        state.rejections += 1;
        Failure {
            kind: FailureKind::Rejected,
            ..failure
        }
    }

    fn state(&self) -> MutexGuard<'_, LoginState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn repeated_credentials_are_denied_unless_ever_accepted() {
        let provided = Arc::new(Mutex::new("one"));
        let current = provided.clone();
        let login = ChangingLogin::new(Arc::new(move || {
            let password = *current.lock().unwrap_or_else(PoisonError::into_inner);
            Box::pin(async move { Ok(Credentials::new("", password)) })
        }));
        let ask = || async { login.ask(Duration::from_secs(5)).await.ok().unwrap() };
        let rejected = |current| {
            let denied = Failure::before_sending(FailureKind::Denied, "WRONGPASS");
            login.rejected(current, denied).kind
        };
        let (first, beside_it) = (ask().await, ask().await);
        assert_eq!(rejected(first), FailureKind::Rejected);
        // It was asked for before that rejection.
        assert_eq!(rejected(beside_it), FailureKind::Rejected);
        assert_eq!(rejected(ask().await), FailureKind::Denied);
        *provided.lock().unwrap() = "two";
        assert_eq!(rejected(ask().await), FailureKind::Rejected);
        assert_eq!(rejected(ask().await), FailureKind::Denied);
        login.accepted();
        assert_eq!(rejected(ask().await), FailureKind::Rejected);
        assert_eq!(rejected(ask().await), FailureKind::Rejected);
    }
}
