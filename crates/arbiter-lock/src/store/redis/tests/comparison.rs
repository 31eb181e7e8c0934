//! Random steps, foreign ones and losses among them, fed to the core and to the scripts: the
//! same replies, the same grants. `ARBITER_TEST_SEED` replays a run.

use std::sync::Arc;

use arbiter_lock_core::Contender;
use testkit::Server;

use super::ask::contender;
use super::rig::Rig;
use super::walk::Walk;

const STEPS: usize = 10_000;
const MOST_STEPS: usize = 300_000;
const LEAST: usize = 100;

pub(super) fn seed() -> u64 {
    let seed = std::env::var("ARBITER_TEST_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| rand::random::<u32>().into());
    println!("ARBITER_TEST_SEED={seed}");
    seed
}

#[tokio::test]
async fn scripts_match_core_in_every_transition() {
    let mut walk = Walk::new(Server::builder(), seed()).await;
    let mut steps = 0;
    while steps < STEPS || walk.seen.rarest().1 < LEAST {
        walk.steps(STEPS).await;
        steps += STEPS;
        assert!(
            steps < MOST_STEPS,
            "{:?}: {:#?}",
            walk.seen.rarest(),
            walk.seen.0
        );
    }
    println!("{steps} steps: {:#?}", walk.seen.0);
}

#[tokio::test]
async fn scripts_match_core_on_every_server() {
    let seed = seed();
    for flavour in testkit::flavours() {
        println!("{}", flavour.name);
        Walk::new(Server::builder().binary(&flavour.binary), seed)
            .await
            .steps(3_000)
            .await;
    }
}

#[tokio::test]
async fn any_label_and_owner_round_trips() {
    let mut rig = Rig::new(Server::builder()).await;
    let holder = contender("h", "c0", 30_000);
    rig.acquire(&holder, None).await;
    for (n, label) in ["", " ", "a  b\nc", "ünï %s %d \\", "- - - -"]
        .into_iter()
        .enumerate()
    {
        let waiter = Contender {
            label: Arc::from(label),
            ..contender(&format!("w{n}"), "c0", 500)
        };
        rig.acquire(&waiter, None).await;
    }
    let status = rig.inspect().await;
    assert_eq!(&*status.waiters[2].label, "a  b\nc");
    rig.end(&holder, false).await;
    assert_eq!(&*rig.inspect().await.holder.unwrap().label, "");
}
