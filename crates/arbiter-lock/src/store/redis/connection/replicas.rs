//! Whether a master can have been replaced while no sentinels answer.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use redis::Value;
use redis::aio::MultiplexedConnection;

use super::{ConnectionShared, Up};
use crate::store::redis::failure::failure_of;
use crate::store::redis::introduction::{before_use, text};
use crate::store::redis::target::Address;
use crate::store::{Failure, FailureKind};

/// How long a check of the replicas is used. One that failed is used for a tenth of it.
const REPLICAS_COUNT: Duration = Duration::from_secs(1);

/// The replicas of a master that refuses writes without replicas.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ConnectedReplicas {
    /// How many have acknowledged within `min-replicas-max-lag`.
    good: u64,
    /// The addresses of all that are connected.
    connected: BTreeSet<Address>,
}

impl ConnectedReplicas {
    /// Queries the replicas of a master. Returns `None` if it accepts writes without replicas.
    ///
    /// If it refuses them, a master that was replaced beyond a partition soon refuses writes, unless
    /// some of its replicas are cut off with it. Without the right to query, the master counts as
    /// one that accepts them.
    pub(super) async fn query(
        connection: &mut MultiplexedConnection,
    ) -> Result<Option<Self>, Failure> {
        let mut info = redis::cmd("INFO");
        info.arg("replication");
        let info = connection.send_packed_command(&info).await;
        match info.and_then(Value::extract_error) {
            Ok(info) => Ok(text(&info).and_then(|text| Self::parse(&text))),
            Err(e) if e.code().is_none() || failure_of(&e).kind == FailureKind::Loading => {
                Err(before_use(&e))
            }
            Err(_) => Ok(None),
        }
    }

    fn parse(info: &str) -> Option<Self> {
        let mut lines = info.lines();
        let good = lines.find_map(|line| line.strip_prefix("min_slaves_good_slaves:"));
        // slave0:ip=10.0.0.1,port=6379,state=online,offset=14,lag=0
        let address = |line: &str| {
            let (slave, fields) = line.split_once(":ip=")?;
            let (host, fields) = fields.split_once(",port=")?;
            let (port, _) = fields.split_once(',')?;
            let is_replica = slave.starts_with("slave");
            is_replica.then_some((host.to_owned(), port.parse().ok()?))
        };
        Some(Self {
            good: good?.trim().parse().ok()?,
            connected: info.lines().filter_map(address).collect(),
        })
    }

    /// Returns whether these are all replicas that the sentinels know, without a lag.
    fn are_all(&self, known: &BTreeSet<Address>) -> bool {
        let is_without_lag = usize::try_from(self.good) == Ok(self.connected.len());
        is_without_lag && known.is_subset(&self.connected)
    }
}

impl Up {
    /// Returns whether a master sees all of its replicas, if that was checked recently.
    pub(super) fn sees_all(&self) -> Option<bool> {
        let checked = *self.sees_all.lock().unwrap_or_else(PoisonError::into_inner);
        let (sent, sees_all) = checked?;
        let lasts = if sees_all {
            REPLICAS_COUNT
        } else {
            REPLICAS_COUNT / 10
        };
        (sent.elapsed() < lasts).then_some(sees_all)
    }
}

impl ConnectionShared {
    /// Returns whether the sentinels would have announced another master by now.
    pub(super) fn is_heard(&self) -> bool {
        let sentinels = self.route.sentinels();
        sentinels.is_none_or(|sentinels| sentinels.is_heard())
    }

    /// Returns the time left for a request, unless another master can have been promoted while no
    /// sentinels answered. No other can if the master refuses writes without replicas, and sees all
    /// of them.
    pub(super) async fn check_replicas(
        self: &Arc<Self>,
        up: &Arc<Up>,
        limit: Duration,
    ) -> Result<Duration, Failure> {
        let Some(sentinels) = self.route.sentinels() else {
            return Ok(limit);
        };
        let begun = Instant::now();
        let checked = async {
            let _one_at_a_time = up.check_of_replicas.lock().await;
            if let Some(known) = up.sees_all() {
                return known;
            }
            let sent = Instant::now();
            let mut connection = up.line.connection.clone();
            let query = async move { ConnectedReplicas::query(&mut connection).await };
            let query = up.line.driver.call(false, || query);
            let found = self.in_time(up, query, limit, Duration::ZERO).await;
            let sees_all = match (found, sentinels.replicas()) {
                (Some(Ok(Some(found))), Some(known)) => found.are_all(&known),
                _ => false,
            };
            *up.sees_all.lock().unwrap_or_else(PoisonError::into_inner) = Some((sent, sees_all));
            sees_all
        };
        match tokio::time::timeout(limit, checked).await {
            Ok(true) => Ok(limit.saturating_sub(begun.elapsed())),
            _ => Err(sentinels.unheard()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(ports: &[u16]) -> BTreeSet<Address> {
        let address = |port: &u16| ("fd::1".to_owned(), *port);
        ports.iter().map(address).collect()
    }

    fn replicas(good: u64, connected: &[u16]) -> ConnectedReplicas {
        let slave = |(n, port): (usize, &u16)| {
            format!("slave{n}:ip=fd::1,port={port},state=online,offset=14,lag=9\r\n")
        };
        let slaves: String = connected.iter().enumerate().map(slave).collect();
        let head = "# Replication\r\nrole:master\r\n";
        let info = format!("{head}min_slaves_good_slaves:{good}\r\n{slaves}repl_backlog:1\r\n");
        ConnectedReplicas::parse(&info).unwrap()
    }

    #[test]
    fn replica_that_is_not_seen_may_be_promoted() {
        for (good, connected, known, are_all) in [
            (2, &[1, 2][..], &[1, 2][..], true),
            (3, &[1, 2, 3], &[1, 2], true),
            (2, &[1, 2], &[1, 2, 3], false),
            // The second one lags.
            (1, &[1, 2], &[1], false),
            // Another one has taken the place of the second one.
            (2, &[1, 3], &[1, 2], false),
        ] {
            let seen = replicas(good, connected);
            assert_eq!(
                seen.are_all(&addresses(known)),
                are_all,
                "{seen:?} {known:?}"
            );
        }
        let unprotected = "role:master\r\nslave0:ip=127.0.0.1,port=1,state=online,lag=0\r\n";
        assert_eq!(ConnectedReplicas::parse(unprotected), None);
    }
}
