//! A server denies a request: another login may be in force by now.

use std::sync::PoisonError;
use std::time::{Duration, Instant};

use super::{ConnectionShared, Up};
use crate::store::credentials::ChangingLogin;
use crate::store::settings::LoginSource;
use crate::store::{Failure, FailureKind};

/// The shortest pause between two questions for the login of one connection.
const ASK_EVERY: Duration = Duration::from_secs(1);

impl ConnectionShared {
    /// Returns the failure of a request that the server has denied. It is transient if the login
    /// may be another one by now, so that the connection is to be replaced.
    ///
    /// A server that has forgotten the login is logged in to again. If only a right is missing, the
    /// login has to be another one.
    pub(super) async fn denied(&self, up: &Up, failure: Failure) -> Failure {
        let LoginSource::Changing(login) = self.route.login() else {
            return failure;
        };
        let is_forgotten = ["NOAUTH", "WRONGPASS"]
            .iter()
            .any(|code| failure.detail.starts_with(code));
        if is_forgotten || self.has_another_login(up, login).await {
            return Failure {
                kind: FailureKind::Rejected,
                ..failure
            };
        }
        failure
    }

    async fn has_another_login(&self, up: &Up, login: &ChangingLogin) -> bool {
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
        current.is_ok_and(|current| current.credentials != up.line.credentials)
    }
}
