//! The rows of the file against those in memory: the same random steps, the same replies.

use arbiter_lock_core::{Answer, Moment, Reply, Request, Resource, Rows, Table};

use super::super::database::Database;
use super::folder;
use crate::store::tests::random_requests::{Dice, RandomRequests};

const STEPS: u32 = 12_000;

#[derive(Clone, Debug)]
enum RandomStep {
    Send(Request),
    LockDeleted,
    TakenExternally(u64),
    QueueLost,
}

/// Applies a step, and returns its answer.
fn step<R: Rows>(
    resource: &mut Resource<R>,
    now: Moment,
    step: &RandomStep,
    unreachable: u64,
) -> Option<Answer<Reply>> {
    let reach = |channel: &str| channel != format!("c{unreachable}");
    match step {
        RandomStep::Send(request) => return Some(request.apply(resource, now, reach)),
        RandomStep::LockDeleted => resource.delete_lock(now),
        RandomStep::TakenExternally(ttl_ms) => {
            resource.take_externally(now, "them", Some(*ttl_ms));
        }
        RandomStep::QueueLost => resource.lose_queue(),
    }
    None
}

fn draw(requests: &mut RandomRequests) -> RandomStep {
    match requests.dice.roll(100) {
        0 | 1 => RandomStep::LockDeleted,
        2 => RandomStep::QueueLost,
        3 => RandomStep::TakenExternally(100 + 700 * requests.dice.roll(10)),
        _ => RandomStep::Send(requests.request()),
    }
}

#[test]
fn file_and_memory_agree_on_random_steps() {
    let folder = folder();
    let channel = |client| format!("c{client}").into();
    let mut requests = RandomRequests::new(Dice::from_environment(), 12, channel);
    let mut database = Database::open(folder.path(), || Ok(())).unwrap();
    let name = "n";
    let mut memory: Resource<Table> = Resource::default();
    let mut now = 1_000_000_000;
    for n in 0..STEPS {
        now += requests.pause();
        let at = Moment::from_micros(now);
        if requests.dice.roll(20) == 0 {
            database.forget_after("", at).unwrap();
            if memory.is_forgotten(at) {
                memory = Resource::default();
            }
        }
        let drawn = draw(&mut requests);
        let unreachable = requests.dice.roll(40);
        let expected = step(&mut memory, at, &drawn, unreachable);
        let (answer, _) = database
            .step(name, |resource, _| {
                resource.set_date(at);
                let answer = step(resource, at, &drawn, unreachable);
                assert_eq!(
                    resource.rows().root(),
                    memory.rows().root(),
                    "{n}: {drawn:?}"
                );
                answer
            })
            .unwrap();
        assert_eq!(answer, expected, "step {n}: {drawn:?}");
        if let (RandomStep::Send(request), Some(answer)) = (&drawn, &answer) {
            requests.learn(request, answer);
        }
    }
}
