//! The view, its keys and its lines, without a store.

use std::time::{Duration, Instant};

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::style::Modifier;

use super::draw::draw;
use super::jobs::Schedule;
use super::keys::{Key, KeyParser};
use super::reading::{MOST_ROWS, Reading, TopRow};
use super::view::{Action, Input, View};
use crate::cli::SortKey;
use crate::commands::r#break::{BreakableHold, Manner, ShownHold};
use crate::commands::row::Row;
use crate::commands::status::StatusLine;

fn hold(fence: u64, holder: &str) -> ShownHold {
    ShownHold {
        hold: BreakableHold::Fence(fence),
        holder: holder.to_owned(),
    }
}

fn row(name: &str, waiting: u64, held: u64) -> TopRow {
    let holder = format!("arbiter (pid {held}) on web-{waiting}");
    TopRow {
        name: name.to_owned(),
        row: Row {
            name: arbiter_lock::Printable(name).to_string(),
            kind: "lock".to_owned(),
            held: format!("{held} s"),
            remaining: "28 s".to_owned(),
            waiting: waiting.to_string(),
            holder: holder.clone(),
        },
        hold: Some(hold(held, &holder)),
        held: Some(Duration::from_secs(held)),
        remaining: Some(Duration::from_secs(28)),
        waiting,
        is_held: true,
    }
}

fn reading(rows: &[(&str, u64, u64)]) -> Reading {
    let mut reading = Reading::new(SortKey::Waiting, "", Instant::now());
    for (name, waiting, held) in rows {
        reading.add(row(name, *waiting, *held));
    }
    reading.finish();
    reading
}

fn listed(view: &mut View, rows: &[(&str, u64, u64)]) {
    view.apply(Input::Listed(Ok(reading(rows))), Instant::now());
}

/// Returns a view of three locks in a terminal of that size.
fn view_of(width: u16, height: u16) -> View {
    let mut view = View::new("arbiter top  redis://h:6379".into(), SortKey::Waiting);
    view.resize(width, height);
    listed(&mut view, &[("c", 0, 5), ("b", 0, 30), ("a", 2, 12)]);
    view
}

fn types(view: &mut View, text: &str) -> Vec<Action> {
    let mut parser = KeyParser::default();
    let mut keys = parser.feed(text.as_bytes());
    keys.extend(parser.decide());
    let mut press = |key| {
        let action = view.apply(Input::Key(key), Instant::now());
        screen(view, view.layout.width, view.layout.height);
        action
    };
    keys.into_iter().map(&mut press).collect()
}

fn screen(view: &mut View, width: u16, height: u16) -> Vec<String> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal
        .draw(|frame| draw(view, frame, Instant::now()))
        .unwrap();
    let buffer = terminal.backend().buffer();
    let line = |y| {
        let cells = (0..width).map(|x| buffer[(x, y)].symbol());
        cells.collect::<String>().trim_end().to_owned()
    };
    (0..height).map(line).collect()
}

/// Returns the name behind the mark.
fn selected(view: &mut View) -> String {
    let lines = screen(view, 80, 24);
    let line = lines.iter().find_map(|line| line.strip_prefix("> "));
    line.unwrap().split(' ').next().unwrap().to_owned()
}

#[test]
fn wide_screen_shows_all_columns() {
    let lines = screen(&mut view_of(80, 24), 80, 24);
    assert_eq!(lines[0], "arbiter top  redis://h:6379");
    assert_eq!(lines[1], "3 locks, 3 held, 1 waited for by 2; by waiting");
    assert_eq!(
        lines[2..7],
        [
            "  NAME         KIND     HELD REMAINING WAITING HOLDER",
            "> a            lock     12 s      28 s       2 arbiter (pid 12) on web-2",
            "  b            lock     30 s      28 s       0 arbiter (pid 30) on web-0",
            "  c            lock      5 s      28 s       0 arbiter (pid 5) on web-0",
            "",
        ]
    );
    assert!(lines[23].starts_with("q quit  ? help  Enter details"));
}

#[test]
fn narrow_screen_shows_what_matters_most() {
    let lines = screen(&mut view_of(40, 10), 40, 10);
    assert_eq!(
        lines[2..5],
        [
            "  NAME                      HELD WAITING",
            "> a                         12 s       2",
            "  b                         30 s       0",
        ]
    );
    assert_eq!(screen(&mut view_of(1, 1), 1, 1), ["…"]);
}

#[test]
fn every_state_is_drawn_in_every_size() {
    for keys in ["", "/x", "/a\r", "\r", "?", "b", "by", "j\x1b[6~", " s"] {
        let sizes = [0, 1, 2, 3, 5, 8, 13, 40, 90];
        for (width, height) in sizes.iter().flat_map(|w| sizes.map(|h| (*w, h))) {
            let mut view = view_of(80, 24);
            types(&mut view, keys);
            let lines: Vec<StatusLine> = (0..9)
                .map(|n| format!("  {n}. 中文 holder of many words").into())
                .collect();
            let answer = Input::Inspected("a".into(), Ok(lines));
            view.apply(answer, Instant::now());
            let failure = "redis://h:6379 does not answer ".repeat(9);
            view.apply(Input::Listed(Err(failure)), Instant::now());
            screen(&mut view, width, height);
            types(&mut view, "\x1b[F\x1b[H\x1b[5~");
            screen(&mut view, width, height);
        }
    }
}

#[test]
fn columns_hold_with_any_name() {
    let names = [
        "中文名字很长很长很长很长很长很长",
        "a\u{202e}b\nc\x1b[2J",
        "👩🏽",
        "e\u{301}",
    ];
    let mut view = view_of(80, 24);
    let rows = names.map(|name| (name, 7, 33));
    listed(&mut view, &rows);
    let mut terminal = Terminal::new(TestBackend::new(80, 24)).unwrap();
    terminal
        .draw(|frame| draw(&mut view, frame, Instant::now()))
        .unwrap();
    let buffer = terminal.backend().buffer();
    let column = |y: u16, from: u16, to: u16| {
        let cells = (from..to).map(|x| buffer[(x, y)].symbol());
        cells.collect::<String>().trim().to_owned()
    };
    let line = column(2, 0, 80);
    let waiting = 2 + u16::try_from(line.find("WAITING").unwrap()).unwrap();
    for y in 3..7 {
        assert_eq!(column(y, waiting, waiting + 7), "7", "{}", column(y, 0, 80));
    }
    let all = screen(&mut view, 80, 24).concat();
    assert!(!all.contains('\u{202e}') && !all.contains('\x1b'), "{all}");
    assert!(all.contains(r"a\u{202e}b\nc\u{1b}[2J"), "{all}");
}

#[test]
fn selected_row_is_reversed_and_uncolored() {
    let mut terminal = Terminal::new(TestBackend::new(80, 24)).unwrap();
    let mut view = view_of(80, 24);
    terminal
        .draw(|frame| draw(&mut view, frame, Instant::now()))
        .unwrap();
    let buffer = terminal.backend().buffer();
    let is_reversed = |y| buffer[(79, y)].modifier.contains(Modifier::REVERSED);
    assert!(is_reversed(3) && !is_reversed(4));
    let colors = buffer.content.iter().map(|cell| (cell.fg, cell.bg));
    let reset = ratatui::style::Color::Reset;
    assert!(colors.into_iter().all(|colors| colors == (reset, reset)));
}

#[test]
fn selection_follows_the_name() {
    let mut view = view_of(80, 24);
    listed(&mut view, &[("c", 9, 5), ("b", 0, 30), ("a", 2, 12)]);
    assert_eq!(
        selected(&mut view),
        "c",
        "the first row, until a key moves it"
    );
    types(&mut view, "j");
    assert_eq!(selected(&mut view), "a");
    listed(&mut view, &[("c", 9, 5), ("b", 10, 30), ("a", 0, 12)]);
    assert_eq!(selected(&mut view), "a");
    types(&mut view, "s");
    assert_eq!(selected(&mut view), "a");
    listed(&mut view, &[("c", 9, 5), ("b", 10, 30)]);
    assert_eq!(selected(&mut view), "c", "the name is gone: its neighbor");
    types(&mut view, "\x1b[H");
    assert_eq!(selected(&mut view), "b", "by held");
}

#[test]
fn filter_is_live_and_escape_clears_it() {
    let mut view = view_of(80, 24);
    let shown = |view: &View| view.rows().map(|row| row.name.clone()).collect::<String>();
    assert!(!types(&mut view, "/PID 3").contains(&Action::Quit));
    assert_eq!(shown(&view), "b");
    types(&mut view, "\x7f\x7f");
    assert_eq!(shown(&view), "abc");
    types(&mut view, "x\r");
    assert_eq!(shown(&view), "");
    assert_eq!(types(&mut view, "\x1b"), [Action::Nothing]);
    assert_eq!(shown(&view), "abc");
    assert_eq!(types(&mut view, "\x1b"), [Action::Quit]);
    for quit in ["q", "\x03", "/x\x03", "?\x03", "b\x03", "\r\x03", "\rq"] {
        assert_eq!(types(&mut view, quit).pop(), Some(Action::Quit), "{quit:?}");
    }
}

#[test]
fn filter_reads_rows_that_are_not_kept() {
    let mut view = view_of(80, 24);
    assert_eq!(types(&mut view, "/a\r").pop(), Some(Action::Nothing));
    let mut so_far = reading(&[("a", 1, 1)]);
    so_far.is_whole = false;
    let mut view = View::new("arbiter top".into(), SortKey::Waiting);
    view.apply(Input::SoFar(so_far), Instant::now());
    assert_eq!(types(&mut view, "/b\r").pop(), Some(Action::Restart));
    assert_eq!(types(&mut view, "s"), [Action::Restart]);
}

#[test]
fn break_needs_the_right_key() {
    for declined in [
        "\r",
        "n",
        "\x1b",
        "b",
        " ",
        "Y",
        "\x1b[A",
        "\x1b[200~y!\x1b[201~",
    ] {
        let mut view = view_of(80, 24);
        let actions = types(&mut view, &format!("b{declined}"));
        assert!(
            actions.iter().all(|a| *a == Action::Nothing),
            "{declined:?}"
        );
        assert!(view.message.unwrap().contains("nothing was broken"));
    }
    let mut view = view_of(80, 24);
    assert_eq!(types(&mut view, "\x1b[200~by\x1b[201~"), [Action::Nothing]);
    assert_eq!(view.overlay, None);
}

#[test]
fn break_is_of_the_hold_that_was_shown() {
    let mut view = view_of(80, 24);
    types(&mut view, "b");
    let lines = screen(&mut view, 80, 24);
    assert!(lines[3].contains("Break the hold of 'a'?"), "{lines:?}");
    assert!(lines[4].contains("arbiter (pid 12) on web-2"), "{lines:?}");
    assert!(lines[5].contains("fence: 12"), "{lines:?}");
    // Another holder comes, and another name goes to the first row.
    listed(&mut view, &[("c", 9, 5), ("a", 2, 99)]);
    for (key, expected) in [("y", Manner::Ask), ("!", Manner::Now)] {
        types(&mut view, "b");
        let mut view = view_of(80, 24);
        types(&mut view, "b");
        listed(&mut view, &[("c", 9, 5), ("a", 2, 99)]);
        let actions = types(&mut view, key);
        let [Action::Break(confirmation, manner)] = actions.as_slice() else {
            panic!("{actions:?}");
        };
        assert_eq!((confirmation.name.as_str(), *manner), ("a", expected));
        assert_eq!(confirmation.hold.hold, BreakableHold::Fence(12));
    }
}

#[test]
fn keys_typed_ahead_answer_no_question() {
    let mut view = view_of(80, 24);
    for key in ['b', 'y', '!', 'n'] {
        let action = view.apply(Input::Key(Key::Char(key)), Instant::now());
        assert_eq!(action, Action::Nothing);
    }
    assert!(view.overlay.is_some());
    screen(&mut view, 80, 24);
    assert!(matches!(types(&mut view, "y")[..], [Action::Break(..)]));
}

#[test]
fn break_unseen_is_refused() {
    for (width, height) in [(80, 5), (9, 24), (1, 1)] {
        let mut view = view_of(width, height);
        assert_eq!(types(&mut view, "by"), [Action::Nothing, Action::Nothing]);
        assert!(view.message.unwrap().contains("too small"));
    }
}

#[test]
fn one_of_several_holders_is_chosen_in_details() {
    let mut view = view_of(80, 24);
    let mut shared = row("s", 9, 1);
    shared.hold = None;
    let mut reading = Reading::new(SortKey::Waiting, "", Instant::now());
    reading.add(shared);
    reading.finish();
    view.apply(Input::Listed(Ok(reading)), Instant::now());
    assert_eq!(types(&mut view, "b"), [Action::Refresh]);
    assert!(view.message.as_ref().unwrap().contains("several"));
    let lines = |fences: &[u64]| {
        let title = StatusLine::from("s: shared by 2".to_owned());
        let holders = fences.iter().map(|fence| StatusLine {
            text: format!("  fence {fence}"),
            hold: Some(hold(*fence, "h")),
        });
        let lines = std::iter::once(title).chain(holders).collect();
        Input::Inspected("s".into(), Ok(lines))
    };
    view.apply(lines(&[1, 2, 3]), Instant::now());
    types(&mut view, "b");
    assert_eq!(view.overlay, None, "no holder is selected");
    types(&mut view, "jj");
    // The selection stays at fence 2.
    view.apply(lines(&[2, 3]), Instant::now());
    let actions = types(&mut view, "by");
    let Some(Action::Break(confirmation, _)) = actions.last() else {
        panic!("{actions:?}");
    };
    assert_eq!(confirmation.hold.hold, BreakableHold::Fence(2));
    assert_eq!(types(&mut view, "\x1b"), [Action::Refresh]);
    assert!(view.details.is_none());
}

#[test]
fn failure_keeps_the_rows_with_their_age() {
    let mut view = view_of(80, 24);
    let error = "redis://h:6379 does not answer: Connection refused";
    view.apply(Input::Listed(Err(error.into())), Instant::now());
    let lines = screen(&mut view, 80, 24);
    assert!(lines[1].starts_with("NOT CURRENT: read "), "{lines:?}");
    assert!(lines[3].starts_with("> a"), "{lines:?}");
    assert!(lines[22].contains(error), "{lines:?}");
    listed(&mut view, &[("c", 9, 5)]);
    let lines = screen(&mut view, 80, 24).concat();
    assert!(!lines.contains("NOT CURRENT") && !lines.contains(error));
}

#[test]
fn first_reading_is_shown_while_it_goes_on() {
    let begun = Instant::now();
    let mut view = View::new("arbiter top".into(), SortKey::Waiting);
    view.resize(80, 24);
    view.apply(Input::Listing, begun);
    let so_far = |names: &[(&str, u64, u64)]| {
        let mut so_far = reading(names);
        so_far.is_whole = false;
        Input::SoFar(so_far)
    };
    view.apply(so_far(&[]), begun);
    assert_eq!(screen(&mut view, 80, 24)[3], "reading the locks");
    view.apply(so_far(&[("b", 1, 1), ("a", 0, 1)]), begun);
    let state = view.state(begun + Duration::from_secs(12));
    assert!(
        state.starts_with("reading for 12 s, 2 locks so far"),
        "{state}"
    );
    assert_eq!(selected(&mut view), "b");
    listed(&mut view, &[("c", 9, 1), ("b", 1, 1), ("a", 0, 1)]);
    view.apply(so_far(&[("d", 9, 1)]), begun);
    assert_eq!(selected(&mut view), "c", "the whole list is kept");
}

#[test]
fn first_rows_of_many_are_kept() {
    let mut reading = Reading::new(SortKey::Waiting, "", Instant::now());
    for n in 0..5_500_u64 {
        // A server returns some names twice, soon after each other.
        for _ in 0..1 + u64::from(n % 100 == 0) {
            reading.add(row(&format!("lock-{n}"), n, 1));
        }
        assert!(reading.rows.len() < 2 * MOST_ROWS);
    }
    reading.finish();
    let kept: Vec<u64> = reading.rows.iter().map(|row| row.waiting).collect();
    let expected: Vec<u64> = (4_500..5_500).rev().collect();
    assert_eq!(kept, expected);
    assert_eq!((reading.totals.locks, reading.totals.held), (5_500, 5_500));
    assert_eq!(reading.totals.waiters, (0..5_500).sum::<u64>());
    assert!(reading.is_incomplete());
    let mut filtered = Reading::new(SortKey::Waiting, "LOCK-17", Instant::now());
    for n in 0..5_500 {
        filtered.add(row(&format!("lock-{n}"), n, 1));
    }
    filtered.finish();
    assert_eq!(filtered.rows.len() as u64, filtered.totals.matching);
    assert_eq!(filtered.rows.len(), 1 + 10 + 100);
}

#[test]
fn slow_reading_leaves_the_store_as_long() {
    let (begun, second) = (Instant::now(), Duration::from_secs(1));
    let mut schedule = Schedule::new(2 * second, begun);
    assert!(
        schedule.is_due(begun, true),
        "the first one, also if paused"
    );
    for (took, next) in [(0, 2), (1, 2), (2, 4), (30, 60)] {
        schedule.begin(begun);
        schedule.end(begun + took * second);
        let due = begun + next * second;
        assert!(!schedule.is_due(due - second / 10, false), "{took}");
        assert!(schedule.is_due(due, false) && !schedule.is_due(due, true));
    }
    schedule.hurry();
    assert!(schedule.is_due(begun, true));
}

#[test]
fn typed_text_of_a_filter_is_no_command() {
    let mut view = view_of(80, 24);
    let actions = types(&mut view, "/qbsr? jk");
    assert!(actions.iter().all(|action| *action == Action::Nothing));
    assert_eq!(view.filter, "qbsr? jk");
    assert_eq!(
        view.apply(Input::Key(Key::Ctrl('z')), Instant::now()),
        Action::Suspend
    );
}
