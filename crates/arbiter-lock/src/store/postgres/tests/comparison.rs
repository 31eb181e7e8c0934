//! The rows of the database against those in memory: the same random steps, the same replies.

use std::time::{Duration, Instant};

use super::super::sql::Windows;
use super::rig::TINY;
use super::walk::{NAMES, Walk};

/// How many steps have to need rows that were not read.
const LEAST_MISSES: u64 = 30;

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
    let mut misses = 0;
    while testkit::goes_on(end, || LEAST_MISSES < misses) {
        walk.rig.heads = [None, Some(1), Some(2), Some(3)][walk.requests.dice.roll(4) as usize];
        walk.step(NAMES[0]).await;
        misses = walk.rig.misses;
    }
    walk.compare().await;
    let steps = walk.steps;
    println!("{steps} steps, {misses} of which needed all rows");
    assert!(
        LEAST_MISSES < misses && misses < steps,
        "{misses} of {steps}"
    );
}
