//! The standard definitions of the metrics, which are scikit-learn's.

use super::{
    definition::{Metrics, TPR},
    levels::{Level, Levels, rate},
};

pub(super) fn metrics(levels: &Levels) -> Metrics {
    Metrics {
        fpr_at_95_tpr: Some(fpr_at_95_tpr(levels)),
        detection_error: detection_error(levels),
        auroc: auroc(levels),
        aupr_in: aupr_in(levels),
        aupr_out: aupr_out(levels),
    }
}

/// Wins of in-distribution images over out-of-distribution images, ties half, as a share of all
/// pairs.
fn auroc(levels: &Levels) -> f64 {
    let mut oods_below = levels.oods;
    let mut half_wins = 0u128; // a count, so that no order of summation matters
    for level in &levels.levels {
        oods_below -= level.oods;
        half_wins += level.ids as u128 * (2 * oods_below as u128 + level.oods as u128);
    }
    half_wins as f64 / (2 * levels.ids as u128 * levels.oods as u128) as f64
}

/// Average precision: the mean over in-distribution images of the precision at their score.
fn aupr_in(levels: &Levels) -> f64 {
    let precisions = levels.accepted().map(|accepted| rate(accepted.ids, accepted.ids + accepted.oods));
    let at_level = levels.levels.iter().zip(precisions);
    at_level.map(|(level, precision)| level.ids as f64 * precision).sum::<f64>() / levels.ids as f64
}

fn aupr_out(levels: &Levels) -> f64 {
    aupr_in(&levels.exchanged())
}

/// FPR at the highest threshold with TPR >= 0.95: lower thresholds accept more of everything.
fn fpr_at_95_tpr(levels: &Levels) -> f64 {
    let mut accepted = levels.accepted();
    let enough = accepted.find(|accepted| rate(accepted.ids, levels.ids) >= TPR);
    rate(enough.expect("the lowest score accepts all images").oods, levels.oods)
}

/// The threshold above all scores accepts no image, which is an error of 0.5.
fn detection_error(levels: &Levels) -> f64 {
    let error = |accepted: Level| {
        let false_negatives = rate(levels.ids - accepted.ids, levels.ids);
        (false_negatives + rate(accepted.oods, levels.oods)) / 2.0
    };
    levels.accepted().map(error).fold(error(Level::EMPTY), f64::min)
}
