//! The checker of beliefs: it accepts what is right and names what is wrong.

use std::time::Duration;

use testkit::{History, Summary, Violation, unique_name};

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
fn holds_one_after_the_other_with_rising_fences_are_right() {
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
            beliefs: 6,
            unended: 0,
            excused: 0
        }
    );
}

#[test]
fn an_overlap_is_found_and_the_earliest_end_counts() {
    let scratch = Scratch::new();
    let history = scratch.history();
    let long = History::now_ns() + 60_000_000_000;
    history.begin("a", "long", 1).unwrap();
    history.end_at("a", "long", 1, long).unwrap();
    assert!(history.check().is_ok());
    history.begin("a", "short", 2).unwrap();
    let violation = *history.check().unwrap_err();
    let Violation::Overlap(first, second) = violation else {
        panic!("{violation}");
    };
    assert_eq!((first.owner, second.owner), ("long".into(), "short".into()));
    // The long one was killed before the short one began.
    history.end_at("a", "long", 1, second.begin_ns - 1).unwrap();
    let summary = history.check().unwrap();
    assert_eq!(
        summary,
        Summary {
            beliefs: 2,
            unended: 1,
            excused: 0
        }
    );
}

#[test]
fn an_overlap_with_one_that_is_not_the_last_is_found() {
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
    let excused = history.check_but(&[[now, now + 1_000_000_000]], Duration::ZERO);
    assert_eq!(excused.unwrap().excused, 2);
    assert!(history.check_but(&[[now, now]], Duration::ZERO).is_err());
    assert!(
        history
            .check_but(&[[now - 9, now - 8]], Duration::from_secs(9))
            .is_ok()
    );
}

#[test]
fn what_one_owner_believes_can_be_ended_as_a_whole() {
    let scratch = Scratch::new();
    let history = scratch.history();
    history.begin("a", "me", 1).unwrap();
    history.begin("b", "me", 2).unwrap();
    history.begin("c", "you", 3).unwrap();
    history.end_all_of("me").unwrap();
    assert_eq!(history.check().unwrap().unended, 1);
    let open = history.beliefs().unwrap().into_iter();
    let open: Vec<_> = open.filter(|belief| belief.end_ns.is_none()).collect();
    assert_eq!(open[0].owner, "you");
}

#[test]
fn a_fence_that_does_not_rise_is_found() {
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
            beliefs: 1_600,
            unended: 0,
            excused: 0,
        }
    );
}
