//! The table that all metrics are computed from: the distinct scores of both sets.

use crate::error::{Error, Result, Side};

/// The distinct scores, highest first, with how many images of each set have them.
pub(super) struct Levels {
    pub levels: Vec<Level>,
    /// Number of in-distribution scores.
    pub ids: usize,
    /// Number of out-of-distribution scores.
    pub oods: usize,
}

/// Images with the same score.
#[derive(Clone, Copy, PartialEq)]
pub(super) struct Level {
    pub ids: usize,
    pub oods: usize,
}

impl Levels {
    pub fn new(id: &[f64], ood: &[f64]) -> Result<Self> {
        check(id, Side::Id)?;
        check(ood, Side::Ood)?;
        let ids = id.iter().map(|&score| (score, Level { ids: 1, oods: 0 }));
        let oods = ood.iter().map(|&score| (score, Level { ids: 0, oods: 1 }));
        let mut scores: Vec<(f64, Level)> = ids.chain(oods).collect();
        // 0 and -0 are neighbours in this order, and equal below.
        scores.sort_unstable_by(|a, b| b.0.total_cmp(&a.0));
        let equal = scores.chunk_by(|a, b| a.0 == b.0);
        let levels = equal.map(|scores| scores.iter().map(|score| score.1).fold(Level::EMPTY, Level::add));
        Ok(Levels::of_counts(levels.collect()))
    }

    pub fn of_counts(levels: Vec<Level>) -> Self {
        let Level { ids, oods } = levels.iter().copied().fold(Level::EMPTY, Level::add);
        Levels { levels, ids, oods }
    }

    /// For each level from the highest to the lowest: the images at or above it.
    pub fn accepted(&self) -> impl Iterator<Item = Level> {
        self.levels.iter().scan(Level::EMPTY, |accepted, &level| {
            *accepted = accepted.add(level);
            Some(*accepted)
        })
    }

    /// The same with the two sets exchanged and all scores negated, so that the positives stay on
    /// top.
    pub fn exchanged(&self) -> Levels {
        let exchange = |level: &Level| Level { ids: level.oods, oods: level.ids };
        let levels = self.levels.iter().rev().map(exchange).collect();
        Levels { levels, ids: self.oods, oods: self.ids }
    }
}

impl Level {
    pub const EMPTY: Level = Level { ids: 0, oods: 0 };

    pub fn add(self, other: Level) -> Level {
        Level { ids: self.ids + other.ids, oods: self.oods + other.oods }
    }
}

/// The distinct scores of both sets, highest first, one for each of [`Levels::levels`]; they were checked.
pub(super) fn distinct(id: &[f64], ood: &[f64]) -> Vec<f64> {
    let mut scores = [id, ood].concat();
    scores.sort_unstable_by(|a, b| b.total_cmp(a));
    // 0 and -0 are neighbours above, and equal here.
    scores.dedup();
    scores
}

/// Share of `count` in `total`; exact comparison with a decimal such as 0.95 is right, because the
/// division rounds 19 / 20 to the same number as the parser rounds 0.95.
pub(super) fn rate(count: usize, total: usize) -> f64 {
    count as f64 / total as f64
}

/// Refuses sets without scores, and scores that are not finite.
pub(super) fn check(scores: &[f64], side: Side) -> Result<()> {
    if scores.is_empty() {
        return Err(Error::NoScores { side });
    }
    match scores.iter().position(|score| !score.is_finite()) {
        Some(index) => Err(Error::ScoreNotFinite { side, index, value: scores[index] }),
        None => Ok(()),
    }
}
