//! The rows of the database against those in memory: the same random steps, the same replies.

use std::time::{Duration, Instant};

use super::super::sql::Windows;
use super::rig::TINY;
use super::walk::{NAMES, Walk};

/// How many steps have to need rows that were not read, of a hundred.
const LEAST_MISSES: u64 = 5;

#[tokio::test]
async fn rows_match_core_on_random_steps() {
    let mut walk = Walk::new(&Windows::STANDARD, 12).await;
    let end = Instant::now() + testkit::soak_time(Duration::from_secs(4));
    while Instant::now() < end {
        walk.step(NAMES[0]).await;
    }
    walk.compare().await;
    assert_eq!(walk.rig.misses, 0);
    println!("{} steps", walk.steps);
}

#[tokio::test]
async fn tiny_windows_match_core_on_random_steps() {
    let mut walk = Walk::new(&TINY, 12).await;
    let end = Instant::now() + testkit::soak_time(Duration::from_secs(6));
    while Instant::now() < end {
        walk.rig.heads = [None, Some(1), Some(2), Some(3)][walk.requests.dice.roll(4) as usize];
        walk.step(NAMES[0]).await;
    }
    walk.compare().await;
    let (steps, misses) = (walk.steps, walk.rig.misses);
    println!("{steps} steps, {misses} of which needed all rows");
    assert!(steps * LEAST_MISSES < misses * 100, "{misses} of {steps}");
    assert!(misses < steps, "{misses} of {steps}");
}
