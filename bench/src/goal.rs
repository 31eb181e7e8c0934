//! A goal: one figure against another.

use crate::figures::Figures;
use crate::participant::peers;
use crate::spread::Spread;

/// A figure of a library.
pub(crate) type Of = (&'static str, &'static str);

/// Whether a peer belongs to a group.
pub(crate) type Among = fn(&str) -> bool;

pub(crate) enum Against {
    One(Of),
    /// The peer of a group with the highest figure.
    Highest(Among, &'static str),
    Lowest(Among, &'static str),
    Number(f64),
}

#[derive(Clone, Copy)]
pub(crate) enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

pub(crate) struct Goal {
    pub(crate) text: &'static str,
    pub(crate) figure: Of,
    /// The bound of the ratio.
    pub(crate) bound: Bound,
    pub(crate) against: Against,
}

/// The result of a goal.
pub(crate) struct Outcome {
    pub(crate) is_met: bool,
    pub(crate) figure: f64,
    pub(crate) against: String,
    /// The ratio of the figures; `None` against zero.
    pub(crate) ratio: Option<Spread>,
    /// By how much of the bound it is met or missed.
    pub(crate) margin: Option<f64>,
}

impl Goal {
    /// Returns the result; `None` if one of the figures was not measured.
    pub(crate) fn outcome(&self, figures: &Figures) -> Option<Outcome> {
        let figure = figures.spread(self.figure.0, self.figure.1)?;
        let (ratio, against) = match self.against {
            Against::Number(number) => (figure.by(number), tidy(number)),
            Against::One(other) => self.by_library(figures, other)?,
            Against::Highest(among, measure) => {
                let all = medians(figures, among, measure);
                let best = all.max_by(|a, b| f64::total_cmp(&a.1, &b.1))?;
                self.by_library(figures, (best.0, measure))?
            }
            Against::Lowest(among, measure) => {
                let all = medians(figures, among, measure);
                let best = all.min_by(|a, b| f64::total_cmp(&a.1, &b.1))?;
                self.by_library(figures, (best.0, measure))?
            }
        };
        if !ratio.median.is_finite() {
            return Some(Outcome {
                is_met: matches!(self.bound, Bound::AtMost(_)) && figure.median <= 0.0,
                figure: figure.median,
                against,
                ratio: None,
                margin: None,
            });
        }
        let (is_met, margin) = match self.bound {
            Bound::AtLeast(times) => (times <= ratio.median, ratio.median / times - 1.0),
            Bound::AtMost(times) => (ratio.median <= times, 1.0 - ratio.median / times),
        };
        Some(Outcome {
            is_met,
            figure: figure.median,
            against,
            ratio: Some(ratio),
            margin: Some(margin),
        })
    }

    fn by_library(&self, figures: &Figures, other: Of) -> Option<(Spread, String)> {
        let value = figures.spread(other.0, other.1)?.median;
        let ratio = figures.ratio(self.figure, other)?;
        Some((ratio, format!("{} {}", other.0, tidy(value))))
    }
}

fn medians(
    figures: &Figures,
    among: Among,
    measure: &str,
) -> impl Iterator<Item = (&'static str, f64)> {
    peers()
        .filter(move |library| among(library))
        .filter_map(move |library| Some((library, figures.spread(library, measure)?.median)))
}

/// Formats a number with its significant digits.
pub(crate) fn tidy(number: f64) -> String {
    let size = number.abs();
    if number == 0.0 {
        "0".to_owned()
    } else if size < 1.0 {
        format!("{number:.3}")
    } else if size < 10.0 {
        format!("{number:.2}")
    } else if size < 100.0 {
        format!("{number:.1}")
    } else {
        thousands(number)
    }
}

fn thousands(number: f64) -> String {
    let digits = format!("{:.0}", number.abs());
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if 0 < at && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if number < 0.0 {
        format!("-{text}")
    } else {
        text
    }
}
