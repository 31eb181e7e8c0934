//! The picture: bars by library, drawn by hand as SVG, for light and dark pages.

use std::fmt::Write as _;
use std::path::Path;

use crate::Failure;
use crate::figures::Figures;
use crate::file;
use crate::goal::tidy;
use crate::measures::{AT_64, BETWEEN, CYCLES, IN_PROCESS};
use crate::participant::{ARBITER, libraries};
use crate::spread::Spread;

const WIDTH: f64 = 760.0;
const NAMES: f64 = 200.0;
/// The width of the number to the right of the longest bar.
const NUMBERS: f64 = 76.0;
const ROW: f64 = 24.0;
const BAR: f64 = 14.0;
const HEAD: f64 = 62.0;
const GAP: f64 = 26.0;

/// Tones between light and dark, which are readable on both.
const STYLE: &str = "text{font:13px ui-sans-serif,system-ui,sans-serif;fill:#76808b}\
    .title{font-size:15px;font-weight:600}.note{font-size:12px}\
    rect.bar{fill:#8b98a5}.ours{fill:#1f9d75}text.ours{font-weight:700}\
    .grid{stroke:#8b98a5;stroke-opacity:.25}.whisker{stroke:#76808b;stroke-width:1.5}\
    .ours-whisker{stroke:#0b6b4d;stroke-width:1.5}";

struct Panel {
    title: &'static str,
    measure: &'static str,
    scale: Scale,
    /// Whether the highest comes first.
    descends: bool,
}

#[derive(Clone, Copy)]
enum Scale {
    Linear,
    /// Each step ten times the one before, from the power of ten below the least.
    Logarithmic,
}

const PANELS: [Panel; 3] = [
    Panel {
        title: "Lock and unlock of free names, 64 tasks: cycles per second",
        measure: CYCLES[AT_64],
        scale: Scale::Linear,
        descends: true,
    },
    Panel {
        title: "Hand-off to another task of the process: median time in µs, logarithmic",
        measure: IN_PROCESS.p50,
        scale: Scale::Logarithmic,
        descends: false,
    },
    Panel {
        title: "Hand-off to another process: median time in µs, logarithmic",
        measure: BETWEEN.p50,
        scale: Scale::Logarithmic,
        descends: false,
    },
];

/// Draws the picture from the figures in the documentation.
pub(crate) fn draw_again() -> Result<(), Failure> {
    let folder = Path::new("docs/performance");
    let figures = file::read(&folder.join(file::JSON))?;
    let picture = svg(&figures).ok_or("the figures have nothing to draw")?;
    Ok(std::fs::write(folder.join(file::SVG), picture)?)
}

/// Returns the picture; `None` if its figures were not measured.
pub(crate) fn svg(figures: &Figures) -> Option<String> {
    let (mut body, mut top) = (String::new(), 0.0);
    for panel in &PANELS {
        let rows = panel.rows(figures);
        if !rows.is_empty() {
            panel.draw(&rows, top, &mut body);
            top += HEAD + ROW * rows.len() as f64 + GAP;
        }
    }
    (!body.is_empty()).then(|| {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {top}\" role=\"img\">\n\
         <title>Arbiter beside other libraries</title>\n<style>{STYLE}</style>\n{body}</svg>\n"
    )
    })
}

impl Panel {
    fn rows(&self, figures: &Figures) -> Vec<(&'static str, Spread)> {
        let found = libraries()
            .filter_map(|library| Some((library, figures.spread(library, self.measure)?)));
        let mut rows: Vec<_> = found.collect();
        rows.sort_by(|(_, a), (_, b)| a.median.total_cmp(&b.median));
        if self.descends {
            rows.reverse();
        }
        rows
    }

    fn draw(&self, rows: &[(&str, Spread)], top: f64, body: &mut String) {
        let most = rows
            .iter()
            .map(|(_, spread)| spread.max)
            .fold(0.0, f64::max);
        let least = rows
            .iter()
            .map(|(_, spread)| spread.min)
            .fold(f64::MAX, f64::min);
        let axis = Axis::new(self.scale, least, most);
        let bottom = top + HEAD + ROW * rows.len() as f64;
        let _ = writeln!(
            body,
            "<text class=\"title\" x=\"0\" y=\"{}\">{}</text>\n\
             <text class=\"note\" x=\"0\" y=\"{}\">bar and number: median of the rounds; whiskers: min and max</text>",
            top + 18.0,
            self.title,
            top + 37.0
        );
        for tick in &axis.ticks {
            let x = axis.x(*tick);
            let _ = writeln!(
                body,
                "<line class=\"grid\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{}\" y2=\"{bottom}\"/>\n\
                 <text class=\"note\" x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
                top + HEAD - 4.0,
                top + HEAD - 8.0,
                short(*tick)
            );
        }
        for (at, (library, spread)) in rows.iter().enumerate() {
            axis.draw_row(library, spread, top + HEAD + ROW * at as f64, body);
        }
    }
}

/// The horizontal position of values.
struct Axis {
    scale: Scale,
    from: f64,
    to: f64,
    ticks: Vec<f64>,
}

impl Axis {
    fn new(scale: Scale, least: f64, most: f64) -> Self {
        let (from, to, ticks) = match scale {
            Scale::Linear => {
                let power = 10_f64.powf(most.log10().floor());
                let step = if most / power < 2.5 {
                    power / 2.0
                } else {
                    power
                };
                let ticks = (0..10).map(|n| step * f64::from(n));
                (0.0, most, ticks.filter(|tick| *tick <= most).collect())
            }
            Scale::Logarithmic => {
                let first = least.log10().floor() as i32;
                let last = most.log10().floor() as i32;
                let ticks = (first..=last).map(|power| 10_f64.powi(power));
                (10_f64.powi(first), most, ticks.collect())
            }
        };
        Self {
            scale,
            from,
            to,
            ticks,
        }
    }

    fn x(&self, value: f64) -> f64 {
        let part = match self.scale {
            Scale::Linear => value / self.to,
            Scale::Logarithmic => (value / self.from).log10() / (self.to / self.from).log10(),
        };
        NAMES + part * (WIDTH - NAMES - NUMBERS)
    }

    fn draw_row(&self, library: &str, spread: &Spread, y: f64, body: &mut String) {
        let is_ours = library.starts_with(ARBITER);
        let class = if is_ours { "ours" } else { "bar" };
        let whisker = if is_ours { "ours-whisker" } else { "whisker" };
        let [low, end, high] = [spread.min, spread.median, spread.max].map(|value| self.x(value));
        let (middle, text) = (y + ROW / 2.0, y + ROW / 2.0 + 4.5);
        let _ = writeln!(
            body,
            "<text class=\"{class}\" x=\"{}\" y=\"{text}\" text-anchor=\"end\">{library}</text>\n\
             <rect class=\"{class}\" x=\"{NAMES}\" y=\"{}\" width=\"{:.1}\" height=\"{BAR}\" rx=\"2\"/>\n\
             <path class=\"{whisker}\" d=\"M{low:.1} {middle}H{high:.1}M{low:.1} {}v8M{high:.1} {}v8\"/>\n\
             <text class=\"{class}\" x=\"{:.1}\" y=\"{text}\">{}</text>",
            NAMES - 10.0,
            middle - BAR / 2.0,
            end - NAMES,
            middle - 4.0,
            middle - 4.0,
            end.max(high) + 8.0,
            tidy(spread.median)
        );
    }
}

/// Formats 20,000 as `20 k`.
fn short(number: f64) -> String {
    match number {
        n if 1e6 <= n => format!("{} M", n / 1e6),
        n if 1e3 <= n => format!("{} k", n / 1e3),
        n => format!("{n}"),
    }
}
