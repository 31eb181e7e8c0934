//! Single reads of the rows that windows have: each is that of a table with all rows, or needs more.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arbiter_lock_core::{Hold, Moment, Note, Resource, Rows, Table, Waiter};
use serde_json::json;

use super::super::rows::{Loaded, SnapshotRows};
use super::super::sql::Windows;
use super::super::wire;
use super::rig::TINY;
use super::walk::{NAMES, UNHEARD, Walk};
use crate::store::tests::random_requests::{Dice, RandomRequests};

/// The rows of a window beside a table with all rows.
struct Pair {
    snapshot: SnapshotRows,
    table: Table,
    at: Moment,
}

/// How often each read was answered, and how often it needed rows that were not read.
#[derive(Debug, Default)]
struct Tally(BTreeMap<&'static str, (u64, u64)>);

impl Tally {
    /// Returns whether all reads were answered and missed that often.
    fn has(&self, (answered, missed): (u64, u64)) -> bool {
        let is_enough = |(a, m): &(u64, u64)| answered <= *a && missed <= *m;
        self.0.len() == 16 && self.0.values().all(is_enough)
    }
}

impl Pair {
    /// Makes a read on both. Returns its result, or none if it needs more rows.
    fn read<T: PartialEq + std::fmt::Debug>(
        &mut self,
        tally: &mut Tally,
        name: &'static str,
        read: impl Fn(&mut dyn Rows) -> T,
    ) -> Option<T> {
        let (found, expected) = (read(&mut self.snapshot), read(&mut self.table));
        let (answered, missed) = tally.0.entry(name).or_default();
        if self.snapshot.is_incomplete() {
            *missed += 1;
            return None;
        }
        *answered += 1;
        assert_eq!(found, expected, "{name}: {:#?}", self.snapshot);
        Some(found)
    }

    fn write(&mut self, write: impl Fn(&mut dyn Rows)) {
        write(&mut self.snapshot);
        write(&mut self.table);
    }
}

impl Walk {
    /// Loads a window of the rows for a few random requests, and uses it several times.
    async fn reads(&mut self, tally: &mut Tally, count: u64) {
        let (ids, fences): (Vec<_>, Vec<_>) = (0..self.requests.dice.roll(3))
            .map(|_| self.requests.hold())
            .unzip();
        let heads = 1 + self.requests.dice.roll(3);
        let wants_run = self.requests.dice.roll(2) == 0;
        let key = self.rig.store.key(NAMES[0]);
        let texts: Vec<_> = ids.iter().map(|id| &**id).collect();
        let request = json!([[&*key, texts, fences, "", heads, false, wants_run]]).to_string();
        // Later, some rows are old.
        let later = match self.requests.dice.roll(4) {
            0 => 50_000_000 + 1_000_000 * self.requests.dice.roll(12),
            _ => 0,
        };
        self.rig.advance(later).await;
        let session = &self.rig.client.session;
        let states = session.load(&self.rig.store, &request).await.unwrap();
        self.rig.rewind(later).await;
        for _ in 0..count {
            let (at, loaded) = wire::loaded(&states[0]).unwrap();
            let table = self.memory[NAMES[0]].rows().clone();
            assert_eq!(loaded.root, *table.root());
            let snapshot = SnapshotRows::new(loaded, &ids, &fences);
            let mut pair = Pair {
                snapshot,
                table,
                at,
            };
            self.requests.read_some(&mut pair, tally, &ids);
        }
    }
}

impl RandomRequests {
    /// Makes random reads and writes until one needs more rows.
    fn read_some(&mut self, pair: &mut Pair, tally: &mut Tally, ids: &[Arc<str>]) {
        let steps = 1 + self.dice.roll(16);
        let _ = (0..steps).try_for_each(|_| self.read(pair, tally, ids));
    }

    /// Makes a random read or write. Returns none if it needs more rows.
    fn read(&mut self, pair: &mut Pair, tally: &mut Tally, ids: &[Arc<str>]) -> Option<()> {
        let id = self.id_for(pair, ids);
        match self.dice.roll(3) {
            0 => self.read_holds(pair, tally, &id),
            1 => self.read_queue(pair, tally, &id),
            _ => self.change(pair, tally, &id),
        }
    }

    /// Returns an id that was asked for, one at an end of the queue, or any other.
    fn id_for(&mut self, pair: &Pair, asked: &[Arc<str>]) -> Arc<str> {
        let table = &pair.table;
        let waiter = match self.dice.roll(8) {
            0 => table.first_waiting_to_share(),
            1 => table.last_waiting(),
            _ => None,
        };
        let n = self.dice.roll(2 * asked.len().max(1) as u64) as usize;
        let id = waiter.map(|waiter| waiter.contender.id);
        let id = id.or_else(|| asked.get(n).cloned());
        id.unwrap_or_else(|| self.id())
    }

    fn read_holds(&mut self, pair: &mut Pair, tally: &mut Tally, id: &str) -> Option<()> {
        let dice = &mut self.dice;
        let count = 1 + dice.roll(4);
        let first = pair.table.nth_to_expire(count).unwrap_or(7);
        match dice.roll(6) {
            0 => drop(pair.read(tally, "shared", |rows| rows.shared(id))?),
            1 => {
                let fence = self.hold().1;
                pair.read(tally, "fence", |rows| rows.shared_of_fence(fence))?;
            }
            2 => {
                let milli = first + dice.roll(3) - 1;
                pair.read(tally, "expired", |rows| rows.expired(milli))?;
            }
            3 => {
                let count = count as usize;
                pair.read(tally, "last to expire", |rows| rows.last_to_expire(count))?;
            }
            4 => drop(pair.read(tally, "nth to expire", |rows| rows.nth_to_expire(count))?),
            _ => {
                // One that is not remembered may be there or not.
                let now = pair.at.as_millis();
                let read = |rows: &mut dyn Rows| rows.run().filter(|run| now <= run.until);
                pair.read(tally, "run", read)?;
            }
        }
        Some(())
    }

    fn read_queue(&mut self, pair: &mut Pair, tally: &mut Tally, id: &str) -> Option<()> {
        let count = 1 + self.dice.roll(4);
        match self.dice.roll(7) {
            0 => drop(pair.read(tally, "waiter", |rows| rows.waiter(id))?),
            1 => drop(pair.read(tally, "first waiting", |rows| rows.first_waiting())?),
            2 => drop(pair.read(tally, "last waiting", |rows| rows.last_waiting())?),
            3 => {
                pair.read(tally, "first to share", |rows| {
                    rows.first_waiting_to_share()
                })?;
            }
            4 => {
                let count = count as usize;
                pair.read(tally, "first waiters", |rows| rows.first_waiters(count))?;
            }
            5 => {
                let ticket = self.ticket();
                pair.read(tally, "places", |rows| rows.count_waiting(ticket, count))?;
            }
            _ => {
                let note = self.note();
                pair.read(tally, "note", |rows| rows.has_note(note, id))?;
            }
        }
        Some(())
    }

    fn note(&mut self) -> Note {
        let notes = [Note::GrantedMarker, Note::Tombstone];
        self.dice.pick(&notes).unwrap_or(notes[0])
    }

    /// Changes rows that were read, as steps do; never a row that was not read.
    fn change(&mut self, pair: &mut Pair, tally: &mut Tally, id: &str) -> Option<()> {
        let at = pair.at;
        match self.dice.roll(9) {
            0 | 1 => {
                let first = pair.read(tally, "first waiting", |rows| rows.first_waiting())?;
                let Some(waiter) = first else { return Some(()) };
                match self.dice.roll(2) {
                    0 => pair.write(|rows| rows.remove_waiter(&waiter.contender.id)),
                    _ => pair.write(|rows| {
                        rows.put_waiter(Waiter {
                            seen: None,
                            ..waiter.clone()
                        });
                    }),
                }
            }
            2 => {
                pair.read(tally, "waiter", |rows| rows.waiter(id))?;
                pair.write(|rows| rows.remove_waiter(id));
            }
            3 | 4 => {
                let before = pair.read(tally, "waiter", |rows| rows.waiter(id))?;
                let mut contender = self.contender();
                contender.id = id.into();
                let carried = match self.dice.roll(2) {
                    0 => self.ticket(),
                    _ => at.as_micros(),
                };
                let leaves = self.dice.roll(2) == 0;
                let before = before.filter(|_| !leaves);
                let ticket = before.map_or(carried, |before| before.ticket);
                let seen = Some(at);
                pair.write(|rows| {
                    if leaves {
                        rows.remove_waiter(id);
                    }
                    rows.put_waiter(Waiter {
                        contender: contender.clone(),
                        ticket,
                        seen,
                    });
                });
            }
            5 => {
                let note = self.note();
                if self.dice.roll(2) == 0 {
                    pair.read(tally, "note put", |rows| rows.put_note(note, id, at))?;
                } else {
                    pair.read(tally, "note removed", |rows| rows.remove_note(note, id))?;
                }
            }
            6 => {
                let hold = pair.read(tally, "shared", |rows| rows.shared(id))?;
                let Some(hold) = hold else { return Some(()) };
                let last_milli = Some(hold.end() + self.dice.roll(3_000));
                match self.dice.roll(2) {
                    0 => pair.write(|rows| rows.remove_shared(id)),
                    _ => pair.write(|rows| {
                        rows.put_shared(Hold {
                            last_milli,
                            ..hold.clone()
                        });
                    }),
                }
            }
            7 => {
                let oldest = at.as_micros() - 60_000_000;
                let oldest = Moment::from_micros(oldest);
                pair.read(tally, "forgotten", |rows| rows.forget_before(oldest))?;
            }
            _ if self.dice.roll(8) == 0 => pair.write(|rows| rows.forget_queue()),
            _ => {}
        }
        Some(())
    }
}

/// Compares reads for a while, and then until each was answered and missed that often.
async fn compare(windows: &Windows, time: Duration, least: (u64, u64)) -> Tally {
    let mut walk = Walk::new(windows, 12).await;
    let end = Instant::now() + testkit::soak_time(time);
    let mut tally = Tally::default();
    while testkit::goes_on(end, || tally.has(least)) {
        walk.step(NAMES[0]).await;
        // More often if there is more than a window has.
        let root = walk.memory[NAMES[0]].rows().root();
        let sharers = root.sharing.map_or(0, |sharing| sharing.count);
        let is_long = 3 < root.waiting || 2 < sharers;
        walk.reads(&mut tally, if is_long { 60 } else { 5 }).await;
    }
    println!("{} steps: {:?}", walk.steps, tally.0);
    tally
}

#[tokio::test]
async fn reads_are_right_or_need_more_rows() {
    let least = (50, 5);
    let tally = compare(&TINY, Duration::from_secs(5), least).await;
    assert!(tally.has(least), "{tally:#?}");
}

#[tokio::test]
async fn whole_rows_answer_every_read() {
    let Tally(mut tally) = compare(&Windows::STANDARD, Duration::from_secs(1), (20, 0)).await;
    // The last run is only read for some requests.
    tally.remove("run");
    for (read, (_, missed)) in tally {
        assert_eq!(missed, 0, "{read}");
    }
}

/// Returns a window of the rows of a table, as the server does. Nothing is old.
fn window(table: &Table, at: Moment, ids: &[Arc<str>], fences: &[u64], heads: usize) -> Loaded {
    let count = |most: u32| most as usize;
    let waiting = table.first_waiters(usize::MAX);
    let all: Vec<_> = table
        .waiter_ids()
        .filter_map(|id| table.waiter(&id))
        .collect();
    let has_all_waiters = all.len() <= count(TINY.waiters);
    let first = table.first_waiting_to_share();
    let ends = [table.last_waiting(), first];
    let is_read = |waiter: &Waiter| {
        let is = |other: &Waiter| other.contender.id == waiter.contender.id;
        has_all_waiters
            || ids.contains(&waiter.contender.id)
            || waiting.iter().take(heads).any(is)
            || ends.iter().flatten().any(is)
    };
    let waiters: Vec<_> = all.into_iter().filter(is_read).collect();
    let place = |waiter: &Waiter| (waiter.ticket, waiter.contender.id.clone());
    let places = waiting.iter().take(count(TINY.places)).map(place).collect();
    let mut shared = table.last_to_expire(usize::MAX);
    let (sharers, most) = (shared.len(), count(TINY.ends));
    let has_all_shared = sharers <= count(TINY.shared);
    let mut n = 0;
    shared.retain(|hold| {
        n += 1;
        has_all_shared
            || n <= most
            || sharers - most < n
            || ids.contains(&hold.owner)
            || hold.fence.is_some_and(|fence| fences.contains(&fence))
    });
    let notes = table.note_ids();
    let mut loaded = Loaded {
        root: table.root().clone(),
        revision: Some(1),
        places: (!has_all_waiters).then_some(places),
        has_all_places: waiting.len() <= count(TINY.places),
        waiters,
        shared,
        has_all_shared,
        notes: notes.map(|(note, id)| (note, id, at)).collect(),
        has_all_notes: true,
        run: table.run(),
        has_run: true,
        ..Loaded::default()
    };
    if !has_all_shared {
        loaded.set_ends(most);
    }
    loaded
}

#[test]
fn reads_of_many_windows_are_right() {
    let channel = |client| [UNHEARD, "c"][usize::from(client % 4 != 0)].into();
    let mut requests = RandomRequests::new(Dice::from_environment(), 12, channel);
    let end = Instant::now() + testkit::soak_time(Duration::from_secs(3));
    let (mut memory, mut tally) = (Resource::default(), Tally::default());
    let mut now = 1_700_000_000_000_000;
    while Instant::now() < end {
        // Many are of one moment and one lease.
        now += requests.pause() / 1_000 * 1_000;
        let at = Moment::from_micros(now);
        let request = requests.request();
        let answer = request.apply(&mut memory, at, |channel| channel != UNHEARD);
        requests.learn(&request, &answer);
        for _ in 0..8 {
            let (ids, fences): (Vec<_>, Vec<_>) =
                (0..requests.dice.roll(3)).map(|_| requests.hold()).unzip();
            let heads = 1 + requests.dice.roll(3) as usize;
            let mut table = memory.rows().clone();
            let _ = table.forget_before(Moment::from_micros(now - 60_000_000));
            let loaded = window(&table, at, &ids, &fences, heads);
            let snapshot = SnapshotRows::new(loaded, &ids, &fences);
            let mut pair = Pair {
                snapshot,
                table,
                at,
            };
            requests.read_some(&mut pair, &mut tally, &ids);
        }
    }
    println!("{:?}", tally.0);
}
