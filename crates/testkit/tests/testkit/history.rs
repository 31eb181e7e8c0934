//! The history checker accepts consistent holds and names inconsistent ones.

use testkit::{History, HoldInterval, Share, Summary, Violation, unique_name};

struct Scratch(std::path::PathBuf);

impl Scratch {
    fn new() -> Self {
        Self(std::env::temp_dir().join(unique_name()))
    }

    fn history(&self) -> History {
        History::open(&self.0).unwrap()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn consecutive_holds_with_rising_fences_pass() {
    let scratch = Scratch::new();
    for fence in 1..=3 {
        let history = scratch.history();
        history.begin("a", "me", fence).unwrap();
        history.begin("b", "you", 10 + fence).unwrap();
        history.end("a", "me", fence).unwrap();
        history.end("b", "you", 10 + fence).unwrap();
    }
    let summary = scratch.history().check().unwrap();
    assert_eq!(
        summary,
        Summary {
            holds: 6,
            ..Summary::default()
        }
    );
}

#[test]
fn overlap_is_found_and_earliest_end_counts() {
    let scratch = Scratch::new();
    let history = scratch.history();
    let long = History::now_ns() + 60_000_000_000;
    history.begin("a", "long", 1).unwrap();
    history.end_at("a", "long", 1, long).unwrap();
    assert!(history.check().is_ok());
    history.begin("a", "short", 2).unwrap();
    let violation = *history.check().unwrap_err();
    let Violation::Overlap(others, second) = violation else {
        panic!("{violation}");
    };
    assert_eq!(others.len(), 1);
    assert_eq!([&*others[0].owner, &*second.owner], ["long", "short"]);
    // The long one was killed before the short one began.
    history.end_at("a", "long", 1, second.begin_ns - 1).unwrap();
    let summary = history.check().unwrap();
    assert_eq!(
        summary,
        Summary {
            holds: 2,
            unended: 1,
            ..Summary::default()
        }
    );
}

#[test]
fn overlap_with_an_earlier_hold_is_found() {
    let scratch = Scratch::new();
    let history = scratch.history();
    let now = History::now_ns();
    history.begin("a", "long", 1).unwrap();
    history
        .end_at("a", "long", 1, now + 60_000_000_000)
        .unwrap();
    for fence in 2..4 {
        history.begin("a", "short", fence).unwrap();
        history.end("a", "short", fence).unwrap();
    }
    assert!(history.check().is_err());
    history.forgot(now - 9, now).unwrap();
    assert!(history.check().is_err(), "it forgot before");
    history.forgot(now, now + 60_000_000_000).unwrap();
    assert_eq!(history.check().unwrap().excused, 2);
}

/// The parts of a hold: its fence, its share, when it was requested, queued, begun and ended.
type Facts = (u64, Share, u64, Option<u64>, [u64; 2]);

fn judge(facts: &[Facts]) -> Result<Summary, Box<Violation>> {
    let scratch = Scratch::new();
    let history = scratch.history();
    write(&history, facts);
    history.check()
}

fn write(history: &History, facts: &[Facts]) {
    for (fence, share, asked, queued, [begin_ns, end]) in facts {
        let hold = HoldInterval {
            name: "a".into(),
            owner: format!("owner-{fence}"),
            fence: *fence,
            share: *share,
            asked_ns: Some(*asked),
            queued_ns: *queued,
            begin_ns: *begin_ns,
            end_ns: None,
        };
        history.record(&hold).unwrap();
        history.end_at("a", &hold.owner, *fence, *end).unwrap();
    }
}

const fn part(weight: u64) -> Share {
    Share::Part { weight, limit: 3 }
}

#[test]
fn sharers_may_overlap_up_to_their_limit() {
    let (two, one) = (
        (8, part(2), 0, None, [10, 20]),
        (7, part(1), 0, None, [15, 30]),
    );
    assert_eq!(judge(&[two, one]).unwrap().holds, 2);
    let third = (9, part(1), 0, None, [19, 40]);
    let Violation::Overlap(others, hold) = *judge(&[two, one, third]).unwrap_err() else {
        panic!("no overlap");
    };
    assert_eq!((others.len(), hold.fence), (2, 9));
    let third = (9, part(1), 0, None, [20, 40]);
    assert!(judge(&[two, one, third]).is_ok());
}

#[test]
fn exclusive_and_shared_holds_may_not_overlap() {
    let shared = (5, part(1), 0, None, [10, 20]);
    for (fence, begin) in [(6, 15), (5, 25), (4, 25)] {
        let alone = (fence, Share::Alone, 0, None, [begin, 30]);
        assert!(judge(&[shared, alone]).is_err(), "{fence} {begin}");
    }
    let alone = (6, Share::Alone, 0, None, [20, 30]);
    let later = |fence, begin| (fence, part(1), 0, None, [begin, 40]);
    assert!(judge(&[shared, alone, later(7, 30)]).is_ok());
    assert!(judge(&[shared, alone, later(5, 30)]).is_err());
    assert!(judge(&[shared, alone, later(7, 29)]).is_err());
}

#[test]
fn waiter_may_be_overtaken_only_while_away() {
    let holder = (1, Share::Alone, 0, None, [1, 10]);
    let waiter = (3, Share::Alone, 2, Some(4), [21, 30]);
    let other = |asked| (2, Share::Alone, asked, None, [11, 20]);
    assert!(
        judge(&[holder, waiter, other(4)]).is_ok(),
        "they asked side by side"
    );
    let violation = judge(&[holder, waiter, other(5)]).unwrap_err();
    assert!(matches!(*violation, Violation::Order(..)), "{violation}");
    for (owner, from, to, is_excused) in [
        (Some("owner-3"), 9, 12, true),
        (None, 11, 40, true),
        (Some("owner-2"), 9, 12, false),
        (Some("owner-3"), 12, 40, false),
        (Some("owner-3"), 0, 3, false),
    ] {
        let scratch = Scratch::new();
        let history = scratch.history();
        write(&history, &[holder, waiter, other(5)]);
        history.away(owner, from, to).unwrap();
        let judged = history.check().map(|summary| summary.passed_over);
        assert_eq!(
            judged.ok(),
            is_excused.then_some(1),
            "{owner:?} {from} {to}"
        );
    }
    let after = (4, Share::Alone, 5, None, [31, 40]);
    assert_eq!(judge(&[holder, waiter, after]).unwrap().in_order, 1);
}

#[test]
fn store_loss_excuses_lower_fences_of_earlier_requests() {
    for (fence, asked, is_excused) in [(4, 25, true), (5, 25, false), (4, 26, false)] {
        let scratch = Scratch::new();
        let history = scratch.history();
        let first = (5, Share::Alone, 0, None, [10, 20]);
        write(&history, &[first]);
        let late = HoldInterval {
            owner: "late".into(),
            fence,
            asked_ns: Some(asked),
            begin_ns: 30,
            ..history.holds().unwrap().remove(0)
        };
        history.record(&late).unwrap();
        assert!(history.check().is_err());
        history.forgot(25, 35).unwrap();
        let judged = history.check().map(|summary| summary.late);
        assert_eq!(judged.ok(), is_excused.then_some(1), "{fence} {asked}");
    }
}

#[test]
fn all_holds_of_an_owner_can_be_ended() {
    let scratch = Scratch::new();
    let history = scratch.history();
    history.begin("a", "me", 1).unwrap();
    history.begin("b", "me", 2).unwrap();
    history.begin("c", "you", 3).unwrap();
    history.end_all_of("me").unwrap();
    assert_eq!(history.check().unwrap().unended, 1);
    let open = history.holds().unwrap().into_iter();
    let open: Vec<_> = open.filter(|hold| hold.end_ns.is_none()).collect();
    assert_eq!(open[0].owner, "you");
}

#[test]
fn fence_that_does_not_rise_is_found() {
    for fence in [5, 4] {
        let scratch = Scratch::new();
        let history = scratch.history();
        history.begin("a", "me", 5).unwrap();
        history.end("a", "me", 5).unwrap();
        history.begin("a", "you", fence).unwrap();
        let violation = history.check().unwrap_err();
        assert!(matches!(*violation, Violation::Fence(..)), "{violation}");
    }
}

#[test]
fn lines_of_many_writers_stay_whole() {
    let scratch = Scratch::new();
    std::thread::scope(|threads| {
        for writer in 0..8 {
            let history = scratch.history();
            threads.spawn(move || {
                let owner = format!("writer-{writer}");
                for fence in 1..=200 {
                    history.begin(&owner, &owner, fence).unwrap();
                    history.end(&owner, &owner, fence).unwrap();
                }
            });
        }
    });
    let summary = scratch.history().check().unwrap();
    assert_eq!(
        summary,
        Summary {
            holds: 1_600,
            ..Summary::default()
        }
    );
}
