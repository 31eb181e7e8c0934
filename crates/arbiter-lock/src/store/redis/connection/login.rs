//! A server denies a request: another login may be in force by now.

use super::{ConnectionShared, Up};
use crate::store::settings::LoginSource;
use crate::store::{Failure, FailureKind};

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
        let limit = self.settings.limits.command;
        if is_forgotten || up.line.login.is_replaced(login, limit).await {
            return Failure {
                kind: FailureKind::Rejected,
                ..failure
            };
        }
        failure
    }
}
