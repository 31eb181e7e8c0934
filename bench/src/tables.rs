//! The figures as text.

use std::fmt::Write as _;

use crate::figures::Figures;
use crate::goal::tidy;
use crate::measures::{
    AT_64, BETWEEN, CLIENT_CPU, COMMANDS_PER_CYCLE, CROWD, CYCLE_P50, CYCLES, DUEL, IDLE_COMMANDS,
    IN_COMMANDS, IN_PROCESS, SERVER_CPU,
};
use crate::participant::{ARBITER, libraries};

/// A column: its head, and its cell for a library.
type Column = (&'static str, fn(&Figures, &str) -> Option<String>);

const VERSION: &str = "version";

const ON_OWN_NAMES: [Column; 9] = [
    ("1 task", |figures, library| rate(figures, library, 0)),
    ("16", |figures, library| rate(figures, library, 1)),
    ("64", |figures, library| rate(figures, library, 2)),
    ("256", |figures, library| rate(figures, library, 3)),
    ("arbiter ÷ it at 64", |figures, library| {
        ratio(figures, library, CYCLES[AT_64])
    }),
    ("server µs: commands / CPU", |figures, library| {
        pair(figures, library, IN_COMMANDS[AT_64], SERVER_CPU[AT_64])
    }),
    ("client µs", |figures, library| {
        median(figures, library, CLIENT_CPU[AT_64])
    }),
    ("commands", |figures, library| {
        median(figures, library, COMMANDS_PER_CYCLE)
    }),
    (VERSION, |figures, library| {
        figures.versions.get(library).cloned()
    }),
];

const HAND_OFF: [Column; 5] = [
    ("in a process p50 / p99", |figures, library| {
        pair(figures, library, IN_PROCESS.p50, IN_PROCESS.p99)
    }),
    ("arbiter ÷ it", |figures, library| {
        ratio(figures, library, IN_PROCESS.p50)
    }),
    ("between processes", |figures, library| {
        pair(figures, library, BETWEEN.p50, BETWEEN.p99)
    }),
    ("arbiter ÷ it", |figures, library| {
        ratio(figures, library, BETWEEN.p50)
    }),
    ("hangs", |figures, library| {
        let most = |measure| Some(figures.spread(library, measure)?.max);
        let hangs = most(IN_PROCESS.hangs)? + most(BETWEEN.hangs)?;
        Some(tidy(hangs))
    }),
];

const ON_ONE_NAME: [Column; 8] = [
    ("16 tasks", |figures, library| {
        median(figures, library, CROWD.cycles)
    }),
    ("arbiter ÷ it", |figures, library| {
        ratio(figures, library, CROWD.cycles)
    }),
    ("worst wait ms", |figures, library| {
        median(figures, library, CROWD.worst)
    }),
    ("mean turn", |figures, library| {
        median(figures, library, CROWD.mean)
    }),
    ("shares", |figures, library| {
        pair(figures, library, CROWD.least, CROWD.most)
    }),
    ("2 processes", |figures, library| {
        median(figures, library, DUEL.cycles)
    }),
    ("shares", |figures, library| {
        pair(figures, library, DUEL.least, DUEL.most)
    }),
    ("idle: commands/s", |figures, library| {
        median(figures, library, IDLE_COMMANDS)
    }),
];

/// Returns the tables of the libraries, then the figures of Arbiter alone, then the failures.
pub(crate) fn text(figures: &Figures) -> String {
    let mut text = String::new();
    let mut tell = |title, columns| text.push_str(&table(figures, title, columns));
    tell(
        "Thousand cycles/s (p50 µs), every task on a name of its own",
        &ON_OWN_NAMES,
    );
    tell("Hand-off to another, µs", &HAND_OFF);
    tell("On one name, cycles/s", &ON_ONE_NAME);
    text.push_str(&alone(figures));
    for note in figures.notes() {
        let _ = writeln!(text, "! {note}");
    }
    text
}

fn table(figures: &Figures, title: &str, columns: &[Column]) -> String {
    let mut rows = vec![vec![String::new()]];
    rows[0].extend(columns.iter().map(|(head, _)| (*head).to_owned()));
    for library in libraries() {
        let cells: Vec<_> = columns
            .iter()
            .map(|(_, cell)| cell(figures, library))
            .collect();
        // The versions of unmeasured libraries are known too.
        let mut measured = columns
            .iter()
            .zip(&cells)
            .filter(|(column, _)| column.0 != VERSION);
        if measured.any(|(_, cell)| cell.is_some()) {
            let mut row = vec![library.to_owned()];
            row.extend(
                cells
                    .into_iter()
                    .map(|cell| cell.unwrap_or_else(|| "–".to_owned())),
            );
            rows.push(row);
        }
    }
    if rows.len() == 1 {
        return String::new();
    }
    let widths = (0..rows[0].len()).map(|at| {
        let cells = rows.iter().map(|row| row[at].chars().count());
        cells.max().unwrap_or_default()
    });
    let widths: Vec<_> = widths.collect();
    let mut text = format!("\n{title}\n");
    for row in rows {
        let mut cells = row.iter().zip(&widths);
        if let Some((library, width)) = cells.next() {
            let _ = write!(text, "{library:<width$}");
        }
        for (cell, width) in cells {
            let _ = write!(text, "  {cell:>width$}");
        }
        text.push('\n');
    }
    text
}

/// Returns the measures of Arbiter alone.
fn alone(figures: &Figures) -> String {
    let shown = |measure: &str| {
        let of_libraries = [
            "cycle",
            "server",
            "client",
            "commands per",
            "hand-off",
            "an idle",
        ];
        let of_crowds = [CROWD.cycles, DUEL.cycles].map(|cycles| &cycles[..cycles.len() - 8]);
        let mut tabled = of_libraries.iter().chain(&of_crowds);
        !tabled.any(|begin| measure.starts_with(begin)) || measure.contains("beside")
    };
    let mut text = String::new();
    for (library, measure, _) in figures.all().filter(|(_, measure, _)| shown(measure)) {
        if text.is_empty() {
            text.push_str("\nWhere there is much of something, on one machine, and on a cluster\n");
        }
        if let Some(spread) = figures.spread(library, measure) {
            let [min, median, max] = [spread.min, spread.median, spread.max].map(tidy);
            let _ = writeln!(text, "{measure}, {library}: {median} ({min} to {max})");
        }
    }
    text
}

fn median(figures: &Figures, library: &str, measure: &str) -> Option<String> {
    Some(tidy(figures.spread(library, measure)?.median))
}

fn pair(figures: &Figures, library: &str, left: &str, right: &str) -> Option<String> {
    let (left, right) = (
        median(figures, library, left)?,
        median(figures, library, right)?,
    );
    Some(format!("{left} / {right}"))
}

fn rate(figures: &Figures, library: &str, at: usize) -> Option<String> {
    let rate = figures.spread(library, CYCLES[at])?.median / 1e3;
    let p50 = figures.spread(library, CYCLE_P50[at])?.median;
    Some(format!("{rate:.1} ({p50:.0})"))
}

/// Returns the minimum, the median and the maximum of the ratios of all rounds.
fn ratio(figures: &Figures, library: &str, measure: &str) -> Option<String> {
    let ratio = figures.ratio((ARBITER, measure), (library, measure))?;
    let [min, median, max] = [ratio.min, ratio.median, ratio.max].map(tidy);
    Some(format!("{min} {median} {max}"))
}
