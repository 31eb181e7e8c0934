//! The minimum, the median and the maximum of some figures.

#[derive(Clone, Copy, Debug)]
pub(crate) struct Spread {
    pub(crate) min: f64,
    pub(crate) median: f64,
    pub(crate) max: f64,
}

impl Spread {
    /// Returns the spread of figures; `None` without figures.
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        Some(Self {
            min: *values.first()?,
            median: percentile(&values, 0.5)?,
            max: *values.last()?,
        })
    }

    /// Divides each by a number.
    pub(crate) fn by(self, number: f64) -> Self {
        Self {
            min: self.min / number,
            median: self.median / number,
            max: self.max / number,
        }
    }
}

/// Returns a percentile of sorted figures.
pub(crate) fn percentile(sorted: &[f64], part: f64) -> Option<f64> {
    let at = (sorted.len() as f64 * part) as usize;
    sorted.get(at.min(sorted.len().checked_sub(1)?)).copied()
}
