//! A server denies a request: another login may be in force by now.

use std::sync::PoisonError;
use std::time::{Duration, Instant};

use super::{ConnectionShared, Up};
use crate::store::Failure;
use crate::store::settings::LoginSource;

/// The shortest pause between two questions for the login of one connection.
const ASK_EVERY: Duration = Duration::from_secs(1);

impl ConnectionShared {
    /// Returns whether the connection is to be replaced by one with another login, after the server
    /// has denied a request on it.
    ///
    /// A server that has forgotten the login is logged in to again. If only a right is missing, the
    /// login has to be another one.
    pub(super) async fn has_another_login(&self, up: &Up, denied: &Failure) -> bool {
        let LoginSource::Changing(login) = self.route.login() else {
            return false;
        };
        if denied.detail.starts_with("NOAUTH") || denied.detail.starts_with("WRONGPASS") {
            return true;
        }
        let now = Instant::now();
        {
            let mut asked = up
                .login_asked
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            if asked.is_some_and(|asked| now.duration_since(asked) < ASK_EVERY) {
                return false;
            }
            *asked = Some(now);
        }
        let current = login.ask(self.settings.limits.command).await;
        current.is_ok_and(|current| current != up.line.credentials)
    }
}
