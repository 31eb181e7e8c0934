//! Requests that share an exchange against the same requests one by one.

use std::time::{Duration, Instant};

use arbiter_lock_core::{Contender, Request};

use super::super::sql::Windows;
use super::rig::{TINY, notified};
use super::walk::{NAMES, UNHEARD, Walk};

impl Walk {
    /// Sends several requests for several names at once.
    async fn batch(&mut self) {
        self.pass().await;
        let count = 1 + self.requests.dice.roll(7);
        let names = 1 + self.requests.dice.roll(3) as usize;
        let mut batch = Vec::new();
        for _ in 0..count {
            let name = self.requests.dice.pick(&NAMES[..names]).unwrap_or("a");
            let request = self.heard();
            let expected = self.expected(name, &request);
            batch.push((name, request, expected));
        }
        let sent: Vec<_> = batch.iter().map(|(n, r, _)| (*n, r.clone())).collect();
        let (replies, mut grants) = self.rig.send(&sent, true).await;
        for (reply, (_, request, expected)) in replies.iter().zip(&batch) {
            self.check(request, reply, expected);
        }
        let granted: Vec<_> = batch.iter().flat_map(|(.., a)| a.granted.clone()).collect();
        let mut expected = notified(&granted);
        // Those of one name are in order, and the names are not.
        grants.sort_by_key(|(_, push)| push.request.clone());
        expected.sort_by_key(|(_, push)| push.request.clone());
        self.check_grants(&grants, &expected);
    }

    /// Draws a request of this client: it listens.
    fn heard(&mut self) -> Request {
        let request = self.requests.request();
        match request {
            Request::Acquire { contender, ticket } if &*contender.channel == UNHEARD => {
                let channel = self.rig.client.channel.clone();
                let contender = Contender {
                    channel,
                    ..(*contender).clone()
                };
                Request::Acquire {
                    contender: contender.into(),
                    ticket,
                }
            }
            other => other,
        }
    }
}

async fn compare(windows: &Windows, time: Duration) -> Walk {
    let mut walk = Walk::new(windows, 12).await;
    let end = Instant::now() + testkit::soak_time(time);
    while Instant::now() < end {
        let name = walk.requests.dice.pick(&NAMES).unwrap_or("a");
        match walk.requests.dice.roll(3) {
            0 => walk.step(name).await,
            _ => walk.batch().await,
        }
    }
    walk.compare().await;
    walk
}

#[tokio::test]
async fn batches_match_core_one_by_one() {
    let walk = compare(&Windows::STANDARD, Duration::from_secs(4)).await;
    assert_eq!(walk.rig.misses, 0);
    println!("{} steps", walk.steps);
}

#[tokio::test]
async fn batches_match_core_with_tiny_windows() {
    let walk = compare(&TINY, Duration::from_secs(4)).await;
    println!("{} steps, {} misses", walk.steps, walk.rig.misses);
    assert!(0 < walk.rig.misses);
}
