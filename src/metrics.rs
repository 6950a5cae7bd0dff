//! How well scores tell in-distribution from out-of-distribution images: the paper's five metrics.
//!
//! In: the scores of both sets (finite, in any order and number; higher = more in-distribution).
//! Out: [`Metrics`], fractions from 0 to 1. In-distribution is the positive class; an image is
//! accepted when its score is at least the threshold.
//!
//! [`metrics`] is the way in. Intervals come from [`bootstrap()`], plots from [`roc_curve`],
//! [`pr_curve`] and [`histogram`].
//!
//! All of it works on one table, the distinct scores with how many images of each set have them,
//! and takes O(n log n) for the sort behind it.

mod bootstrap;
mod curves;
mod reference;
mod standard;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result, Side};

pub use bootstrap::{Interval, Intervals, bootstrap};
pub use curves::{Histogram, PrPoint, RocPoint, histogram, pr_curve, roc_curve};

/// The true positive rate of the metric "FPR at 95% TPR"; Liang et al. 2018.
pub const TPR: f64 = 0.95;

/// The five metrics of Vyas et al. 2018, table 3, as fractions from 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Metrics {
    /// Share of out-of-distribution images accepted where 95% of in-distribution images are; lower
    /// is better. `None` where it is not defined, which happens by [`Definition::Reference`] only.
    pub fpr_at_95_tpr: Option<f64>,
    /// Least mean of false negative and false positive rate, at most 0.5; lower is better.
    pub detection_error: f64,
    /// Probability that an in-distribution image scores higher than an out-of-distribution image.
    pub auroc: f64,
    /// Area under precision and recall with in-distribution images as positives.
    pub aupr_in: f64,
    /// Area under precision and recall with out-of-distribution images as positives.
    pub aupr_out: f64,
}

/// Whose definitions of the metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Definition {
    /// Those of scikit-learn's `roc_auc_score` and `average_precision_score`: right with ties and
    /// with sets of different sizes.
    #[default]
    Standard,
    /// Those of the paper's reference implementation. They come close to the standard ones where
    /// both sets have one size and no score occurs twice.
    ///
    /// - FPR at 95% TPR: mean of the FPR (at scores > threshold) over the thresholds with a TPR (at
    ///   scores >= threshold) from 0.9495 to 0.9505; not defined where there is none.
    /// - Detection error: FPR at scores > threshold.
    /// - AUROC: ties count in full.
    /// - AUPR: of rates instead of counts, as if both sets had one size; AUPR-out rejects at scores
    ///   below the threshold. Where all scores are equal the reference fails; AUPR-out is 0.5 here.
    Reference,
}

/// The five metrics of two sets of scores.
///
/// # Errors
/// [`Error::NoScores`] and [`Error::ScoreNotFinite`], which name the set and the score.
pub fn metrics(id: &[f64], ood: &[f64], definition: Definition) -> Result<Metrics> {
    Ok(Levels::new(id, ood)?.metrics(definition))
}

/// Largest threshold that accepts at least the share `tpr` of in-distribution images.
///
/// Accepted is a score of at least the threshold, which is one of the scores.
///
/// # Panics
/// On an empty set, a score that is not finite, or unless `0 < tpr <= 1`.
pub fn threshold_at_tpr(id: &[f64], tpr: f64) -> f64 {
    assert!(tpr > 0.0 && tpr <= 1.0, "true positive rate: expected in (0, 1], found {tpr}");
    check(id, Side::Id).expect("scores were checked before");
    let mut sorted = id.to_vec();
    sorted.sort_unstable_by(|a, b| b.total_cmp(a));
    let accepted = (1..=id.len()).find(|&accepted| rate(accepted, id.len()) >= tpr);
    sorted[accepted.expect("all scores are a share of 1") - 1]
}

/// The distinct scores, highest first, with how many images of each set have them.
struct Levels {
    levels: Vec<Level>,
    /// Number of in-distribution scores.
    ids: usize,
    /// Number of out-of-distribution scores.
    oods: usize,
}

/// Images with the same score.
#[derive(Clone, Copy)]
struct Level {
    ids: usize,
    oods: usize,
}

impl Levels {
    fn new(id: &[f64], ood: &[f64]) -> Result<Self> {
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

    fn of_counts(levels: Vec<Level>) -> Self {
        let Level { ids, oods } = levels.iter().copied().fold(Level::EMPTY, Level::add);
        Levels { levels, ids, oods }
    }

    fn metrics(&self, definition: Definition) -> Metrics {
        match definition {
            Definition::Standard => standard::metrics(self),
            Definition::Reference => reference::metrics(self),
        }
    }

    /// For each level from the highest to the lowest: the images at or above it.
    fn accepted(&self) -> impl Iterator<Item = Level> {
        self.levels.iter().scan(Level::EMPTY, |accepted, &level| {
            *accepted = accepted.add(level);
            Some(*accepted)
        })
    }

    /// The same with the two sets exchanged and all scores negated, so that the positives stay on
    /// top.
    fn exchanged(&self) -> Levels {
        let exchange = |level: &Level| Level { ids: level.oods, oods: level.ids };
        let levels = self.levels.iter().rev().map(exchange).collect();
        Levels { levels, ids: self.oods, oods: self.ids }
    }
}

impl Level {
    const EMPTY: Level = Level { ids: 0, oods: 0 };

    fn add(self, other: Level) -> Level {
        Level { ids: self.ids + other.ids, oods: self.oods + other.oods }
    }
}

/// Share of `count` in `total`; exact comparison with a decimal such as 0.95 is right, because the
/// division rounds 19 / 20 to the same number as the parser rounds 0.95.
fn rate(count: usize, total: usize) -> f64 {
    count as f64 / total as f64
}

fn check(scores: &[f64], side: Side) -> Result<()> {
    if scores.is_empty() {
        return Err(Error::NoScores { side });
    }
    match scores.iter().position(|score| !score.is_finite()) {
        Some(index) => Err(Error::ScoreNotFinite { side, index, value: scores[index] }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
