//! Permits of dead holders are granted again when they expire.

use std::time::Duration;

use arbiter_lock::Client;
use futures_util::future::join_all;

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// Returns how late each grant is after the expiry. The permits have those leases and are not
/// renewed.
async fn lateness(leases: &[u64], waiters: usize) -> Vec<Duration> {
    let (client, limit) = (Client::in_memory(), leases.len() as u32);
    let (mut expiries, mut dead) = (Vec::new(), Vec::new());
    for lease in leases {
        let permits = client.semaphore("s", limit).lease_time(ms(*lease));
        dead.push(permits.watchdog(false).acquire().await.unwrap());
        expiries.push(tokio::time::Instant::now() + ms(*lease));
    }
    expiries.sort_unstable();
    let acquire = || async {
        let guard = client.semaphore("s", limit).acquire().await.unwrap();
        (tokio::time::Instant::now(), guard)
    };
    let waiting = std::iter::repeat_with(acquire).take(waiters);
    let mut granted: Vec<_> = join_all(waiting).await;
    granted.sort_unstable_by_key(|(at, _)| *at);
    let both = granted.iter().zip(expiries);
    both.map(|((at, _), expiry)| at.duration_since(expiry))
        .collect()
}

#[tokio::test(start_paused = true)]
async fn every_expired_permit_is_granted_within_a_tenth() {
    let spread: Vec<u64> = (0..30).map(|n| 300 + n * 997 % 2_500).collect();
    let burst: Vec<u64> = (0..30).map(|n| 1_300 + n * 3).collect();
    for leases in [vec![1_300, 30_000], spread, burst] {
        let expiring = leases.iter().filter(|lease| **lease < 5_000).count();
        let late = lateness(&leases, expiring).await;
        assert_eq!(late.len(), expiring);
        assert!(late.iter().all(|late| *late <= ms(100)), "{late:?}");
    }
}
