//! The metrics of two sets of scores, and the threshold of one.

use super::{
    definition::{Definition, Metrics},
    levels::{Levels, check, rate},
    openood, reference, standard,
};
use crate::error::{Result, Side};

/// The five metrics of two sets of scores.
///
/// # Errors
/// [`Error::NoScores`](crate::error::Error::NoScores) and [`Error::ScoreNotFinite`](crate::error::Error::ScoreNotFinite), which name the set and the score.
pub fn metrics(id: &[f64], ood: &[f64], definition: Definition) -> Result<Metrics> {
    Ok(of_levels(&Levels::new(id, ood)?, definition))
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

/// The metrics of a table of scores.
pub(super) fn of_levels(levels: &Levels, definition: Definition) -> Metrics {
    match definition {
        Definition::Standard => standard::metrics(levels),
        Definition::Reference => reference::metrics(levels),
        Definition::OpenOod => openood::metrics(levels),
    }
}
