//! The rows of the file against those in memory: the same random steps, the same replies.

use std::num::NonZeroU32;

use arbiter_lock_core::{Contender, Limit, Mode, Moment, Name, Resource, Rows, Table};

use super::super::database::Database;
use super::folder;

const STEPS: u32 = 12_000;

/// A small generator, whose seed determines everything.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

#[derive(Clone, Debug)]
enum RandomStep {
    Acquire(Contender, Option<u64>),
    Try(Contender),
    Renew(String, u64, u64),
    End(String, bool),
    Break(u64, bool),
    Inspect,
    Downgrade(String, u64),
    Resize(NonZeroU32),
    Proclaim(String, u64),
    BeginRun(String, u64),
    FinishRun(u64),
    LockDeleted,
    TakenExternally(u64),
    QueueLost,
}

/// Applies a step, and returns its full result as text.
fn step<R: Rows>(
    resource: &mut Resource<R>,
    now: Moment,
    step: &RandomStep,
    unreachable: u64,
) -> String {
    let reach = |channel: &str| channel != format!("c{unreachable}");
    match step {
        RandomStep::Acquire(request, ticket) => {
            format!("{:?}", resource.acquire(now, request, *ticket, reach))
        }
        RandomStep::Try(request) => format!("{:?}", resource.try_acquire(now, request, reach)),
        RandomStep::Renew(owner, fence, lease_ms) => {
            format!("{:?}", resource.renew(now, owner, *fence, *lease_ms))
        }
        RandomStep::End(id, tombstone) => format!("{:?}", resource.end(now, id, *tombstone, reach)),
        RandomStep::Break(fence, at_once) => {
            format!("{:?}", resource.break_hold(now, *fence, *at_once, reach))
        }
        RandomStep::Inspect => format!("{:?} {:?}", resource.inspect(now), resource.last_run(now)),
        RandomStep::Downgrade(owner, fence) => {
            format!("{:?}", resource.downgrade(now, owner, *fence, 900, reach))
        }
        RandomStep::Resize(limit) => format!("{:?}", resource.resize(now, *limit, reach)),
        RandomStep::Proclaim(owner, fence) => {
            format!("{:?}", resource.proclaim(now, owner, *fence, "value"))
        }
        RandomStep::BeginRun(owner, fence) => {
            format!("{:?}", resource.begin_run(now, owner, *fence, 5_000))
        }
        RandomStep::FinishRun(fence) => {
            format!("{:?}", resource.finish_run(now, *fence, &"0".into(), 5_000))
        }
        RandomStep::LockDeleted => {
            resource.delete_lock(now);
            String::new()
        }
        RandomStep::TakenExternally(ttl_ms) => {
            resource.take_externally(now, "them", Some(*ttl_ms));
            String::new()
        }
        RandomStep::QueueLost => {
            resource.lose_queue();
            String::new()
        }
    }
}

fn draw(dice: &mut Dice, fences: &[u64], tickets: &[u64]) -> RandomStep {
    let client = dice.roll(12);
    let id = format!("r{client}");
    let lease_ms = 100 + 700 * dice.roll(10);
    let mode = match dice.roll(5) {
        0 | 1 => Mode::Exclusive,
        2 | 3 => Mode::Shared {
            weight: NonZeroU32::MIN.saturating_add(dice.roll(3) as u32),
            limit: [Limit::Stated, Limit::Followed][dice.roll(2) as usize](
                NonZeroU32::MIN.saturating_add(3),
            ),
        },
        _ => Mode::Shared {
            weight: NonZeroU32::MIN,
            limit: Limit::Unlimited,
        },
    };
    let request = Contender {
        id: id.as_str().into(),
        mode,
        lease_ms,
        channel: format!("c{client}").into(),
        label: format!("l{client}").into(),
    };
    let pick = |dice: &mut Dice, of: &[u64]| match of.len() as u64 {
        0 => 7,
        n => of[dice.roll(n) as usize],
    };
    match dice.roll(50) {
        0..=15 => {
            let carries = dice.roll(4) == 0;
            RandomStep::Acquire(request, carries.then(|| pick(dice, tickets)))
        }
        16..=19 => RandomStep::Try(request),
        20..=25 => RandomStep::Renew(id, pick(dice, fences), lease_ms),
        26..=34 => RandomStep::End(id, dice.roll(6) == 0),
        35 | 36 => RandomStep::Break(pick(dice, fences), dice.roll(2) == 0),
        37 => RandomStep::Inspect,
        38 => RandomStep::LockDeleted,
        40 | 41 => RandomStep::Downgrade(id, pick(dice, fences)),
        42 => RandomStep::Resize(NonZeroU32::MIN.saturating_add(dice.roll(6) as u32)),
        43 | 44 => RandomStep::Proclaim(id, pick(dice, fences)),
        45..=47 => RandomStep::BeginRun(id, pick(dice, fences)),
        48 | 49 => RandomStep::FinishRun(pick(dice, fences)),
        _ if dice.roll(3) == 0 => RandomStep::QueueLost,
        _ => RandomStep::TakenExternally(lease_ms),
    }
}

/// Returns the numbers after a word in a reply.
fn numbers(reply: &str, word: &str) -> Vec<u64> {
    let rest = reply.split(word).skip(1);
    let digits = rest.map(|rest| {
        rest.chars()
            .take_while(char::is_ascii_digit)
            .collect::<String>()
    });
    digits.filter_map(|digits| digits.parse().ok()).collect()
}

#[test]
fn file_and_memory_agree_on_random_steps() {
    let seed = std::env::var("ARBITER_TEST_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| rand::random::<u64>() | 1);
    println!("ARBITER_TEST_SEED={seed}");
    let (mut dice, folder) = (Dice(seed), folder());
    let mut database = Database::open(folder.path(), || Ok(())).unwrap();
    let name = Name::new("n").unwrap();
    let mut memory: Resource<Table> = Resource::default();
    let (mut fences, mut tickets) = (Vec::new(), Vec::new());
    let mut now = 1_000_000_000;
    for n in 0..STEPS {
        now += match dice.roll(50) {
            0 => 70_000_000,
            1..=5 => 3_000_000,
            6..=20 => 300_000,
            21..=45 => 1_000,
            _ => 0,
        };
        let at = Moment::from_micros(now);
        if dice.roll(20) == 0 {
            database.forget_after("", at).unwrap();
            if memory.is_forgotten(at) {
                memory = Resource::default();
            }
        }
        let drawn = draw(&mut dice, &fences, &tickets);
        let unreachable = dice.roll(40);
        let expected = step(&mut memory, at, &drawn, unreachable);
        let (reply, _) = database
            .step(&name, |resource, _| {
                let reply = step(resource, at, &drawn, unreachable);
                assert_eq!(
                    resource.rows().root(),
                    memory.rows().root(),
                    "{n}: {drawn:?}"
                );
                reply
            })
            .unwrap();
        assert_eq!(reply, expected, "step {n}: {drawn:?}");
        fences.extend(numbers(&reply, "fence: "));
        tickets.extend(numbers(&reply, "ticket: "));
        let recent = |of: &mut Vec<u64>| {
            let old = of.len().saturating_sub(8);
            of.drain(..old);
        };
        recent(&mut fences);
        recent(&mut tickets);
    }
}
