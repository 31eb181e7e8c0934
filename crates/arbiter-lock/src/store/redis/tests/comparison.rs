//! Random steps for the core and the scripts, with external changes and losses among them. Both
//! return the same replies and the same grants. `ARBITER_TEST_SEED` replays a run.

use std::sync::{Arc, Mutex};

use arbiter_lock_core::Contender;
use testkit::Server;
use tokio::runtime::Builder;

use super::ask::contender;
use super::rig::Rig;
use super::seen::Seen;
use super::walk::Walk;

const STEPS: usize = 5_000;
const MOST_STEPS: usize = 150_000;
const LEAST: usize = 100;

pub(super) fn seed() -> u64 {
    let seed = std::env::var("ARBITER_TEST_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| rand::random::<u32>().into());
    println!("ARBITER_TEST_SEED={seed}");
    seed
}

/// Runs two walks, on a core each, until both together have seen every transition often.
#[test]
fn scripts_match_core_in_every_transition() {
    let (seed, seen) = (seed(), Mutex::new(Seen::default()));
    let walk = |seed| {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut walk = Walk::new(Server::builder(), seed).await;
            for _ in 0..MOST_STEPS / STEPS {
                walk.steps(STEPS).await;
                let mut all = seen.lock().expect("the other walk continues");
                all.add(std::mem::take(&mut walk.seen));
                if LEAST <= all.rarest().1 {
                    return;
                }
            }
        });
    };
    std::thread::scope(|threads| {
        threads.spawn(|| walk(seed));
        threads.spawn(|| walk(!seed));
    });
    let seen = seen.into_inner().unwrap();
    println!("{:#?}", seen.0);
    assert!(
        LEAST <= seen.rarest().1,
        "{:?}: {:#?}",
        seen.rarest(),
        seen.0
    );
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
