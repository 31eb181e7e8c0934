//! `WAIT` and `WAITAOF`, and whether their answers have the acknowledgements that are needed.

use std::time::Duration;

use redis::{Cmd, Value};

use crate::store::{Failure, FailureKind};

/// How many acknowledgements a call needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Needed {
    pub(super) replicas: u32,
    /// Whether the server has to have it on disk too, and the replicas likewise.
    pub(super) durable: bool,
}

impl Needed {
    /// Returns the command that waits for the acknowledgements, for at most `limit`.
    pub(super) fn wait(self, limit: Duration) -> Cmd {
        // Zero would wait forever.
        let limit = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX).max(1);
        let mut wait = redis::cmd(if self.durable { "WAITAOF" } else { "WAIT" });
        if self.durable {
            wait.arg(1);
        }
        wait.arg(self.replicas).arg(limit);
        wait
    }

    /// Returns whether the answer of that command has the acknowledgements.
    pub(super) fn check(self, answer: &Value) -> Result<(), Failure> {
        let (is_local, replicas) = match (self.durable, answer) {
            (false, Value::Int(replicas)) => (true, *replicas),
            (true, Value::Array(both)) => match both.as_slice() {
                [Value::Int(local), Value::Int(replicas)] => (1 <= *local, *replicas),
                _ => (false, 0),
            },
            _ => (false, 0),
        };
        if is_local && i64::from(self.replicas) <= replicas {
            return Ok(());
        }
        let needed = self.replicas;
        let detail = match is_local {
            true => format!("{replicas} of {needed} acknowledged"),
            false => "it has not written the hold to its disk in time".to_owned(),
        };
        Err(Failure::unknown(FailureKind::NoReplicas, detail))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_enough_acknowledgements_count() {
        let replicas = |replicas| Needed {
            replicas,
            durable: false,
        };
        assert!(replicas(2).check(&Value::Int(2)).is_ok());
        assert!(replicas(2).check(&Value::Int(3)).is_ok());
        let failure = replicas(2).check(&Value::Int(1)).unwrap_err();
        assert_eq!(failure.kind, FailureKind::NoReplicas);
        assert!(failure.may_have_run, "{failure}");
        assert!(
            failure.to_string().ends_with("1 of 2 acknowledged"),
            "{failure}"
        );
        assert!(replicas(0).check(&Value::Nil).is_err());
        let durable = Needed {
            replicas: 1,
            durable: true,
        };
        let answer = |local, replicas| Value::Array(vec![Value::Int(local), Value::Int(replicas)]);
        assert!(durable.check(&answer(1, 1)).is_ok());
        for (local, replicas) in [(0, 1), (1, 0), (0, 0)] {
            assert!(durable.check(&answer(local, replicas)).is_err());
        }
        assert!(durable.check(&Value::Int(1)).is_err());
    }

    #[test]
    fn wait_without_time_is_bounded() {
        let needed = Needed {
            replicas: 1,
            durable: false,
        };
        let packed = needed.wait(Duration::ZERO).get_packed_command();
        assert_eq!(packed, b"*3\r\n$4\r\nWAIT\r\n$1\r\n1\r\n$1\r\n1\r\n");
    }
}
