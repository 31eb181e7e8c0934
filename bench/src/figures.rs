//! The results: for each library and measure, a figure of each round.

use std::collections::{BTreeMap, BTreeSet};

use crate::spread::Spread;

#[derive(Default)]
pub(crate) struct Figures {
    values: BTreeMap<(String, String), BTreeMap<usize, f64>>,
    pub(crate) versions: BTreeMap<String, String>,
    /// Failures, and features that a library lacks.
    notes: BTreeSet<String>,
}

impl Figures {
    pub(crate) fn note_value(&mut self, round: usize, library: &str, measure: &str, value: f64) {
        let key = (library.to_owned(), measure.to_owned());
        self.values.entry(key).or_default().insert(round, value);
    }

    /// Prints and records a failure, once.
    pub(crate) fn note_failure(&mut self, line: String) {
        if !self.notes.contains(&line) {
            eprintln!("{line}");
            self.notes.insert(line);
        }
    }

    pub(crate) fn notes(&self) -> impl Iterator<Item = &str> {
        self.notes.iter().map(String::as_str)
    }

    /// Returns the figures of all rounds, by library and measure.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&str, &str, Vec<f64>)> {
        self.values.iter().map(|((library, measure), rounds)| {
            (
                library.as_str(),
                measure.as_str(),
                rounds.values().copied().collect(),
            )
        })
    }

    fn rounds(&self, library: &str, measure: &str) -> Option<&BTreeMap<usize, f64>> {
        self.values.get(&(library.to_owned(), measure.to_owned()))
    }

    pub(crate) fn spread(&self, library: &str, measure: &str) -> Option<Spread> {
        Spread::of(self.rounds(library, measure)?.values().copied())
    }

    /// Returns the ratios of two figures, round by round. It is the ratio of the medians if they
    /// have no round in common.
    pub(crate) fn ratio(&self, left: (&str, &str), right: (&str, &str)) -> Option<Spread> {
        let (left, right) = (self.rounds(left.0, left.1)?, self.rounds(right.0, right.1)?);
        let both = left
            .iter()
            .filter_map(|(round, value)| Some(value / right.get(round)?));
        let medians = || {
            let median = |rounds: &BTreeMap<_, f64>| Spread::of(rounds.values().copied());
            Spread::of([median(left)?.median / median(right)?.median])
        };
        Spread::of(both).or_else(medians)
    }
}
