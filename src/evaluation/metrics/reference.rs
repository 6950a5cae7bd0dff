//! The metrics as the paper's reference implementation defines them.
//!
//! Thresholds are the distinct scores of both sets. Rates are shares of each set; a true positive
//! is an in-distribution score at or above the threshold, while whether an out-of-distribution
//! score equal to the threshold is a false positive depends on the metric. See
//! [`super::Definition::Reference`].

use super::{
    definition::Metrics,
    levels::{Level, Levels, rate},
};

/// True positive rates that count as 95%.
const TPR_WINDOW: std::ops::RangeInclusive<f64> = 0.9495..=0.9505;

pub(super) fn metrics(levels: &Levels) -> Metrics {
    let thresholds: Vec<Threshold> = Threshold::all(levels).collect();
    Metrics {
        fpr_at_95_tpr: fpr_at_95_tpr(&thresholds),
        detection_error: detection_error(&thresholds),
        auroc: auroc(levels),
        aupr_in: aupr_in(&thresholds),
        aupr_out: aupr_out(&thresholds),
    }
}

/// Rates at one threshold.
struct Threshold {
    /// Share of in-distribution scores at or above it.
    ids_at_or_above: f64,
    /// Share of in-distribution scores below it.
    ids_below: f64,
    /// Share of out-of-distribution scores at or above it.
    oods_at_or_above: f64,
    /// Share of out-of-distribution scores above it.
    oods_above: f64,
    /// Share of out-of-distribution scores below it.
    oods_below: f64,
}

impl Threshold {
    /// Those of all distinct scores, highest first.
    fn all(levels: &Levels) -> impl Iterator<Item = Threshold> {
        levels.accepted().zip(&levels.levels).map(|(accepted, level)| Threshold {
            ids_at_or_above: rate(accepted.ids, levels.ids),
            ids_below: rate(levels.ids - accepted.ids, levels.ids),
            oods_at_or_above: rate(accepted.oods, levels.oods),
            oods_above: rate(accepted.oods - level.oods, levels.oods),
            oods_below: rate(levels.oods - accepted.oods, levels.oods),
        })
    }
}

fn fpr_at_95_tpr(thresholds: &[Threshold]) -> Option<f64> {
    let in_window = |threshold: &&Threshold| TPR_WINDOW.contains(&threshold.ids_at_or_above);
    let rates: Vec<f64> = thresholds.iter().filter(in_window).map(|t| t.oods_above).collect();
    (!rates.is_empty()).then(|| rates.iter().sum::<f64>() / rates.len() as f64)
}

fn detection_error(thresholds: &[Threshold]) -> f64 {
    let errors = thresholds.iter().map(|t| (t.ids_below + t.oods_above) / 2.0);
    errors.fold(1.0, f64::min)
}

/// Each out-of-distribution score takes the in-distribution share at or above it: a tie is a full
/// win.
fn auroc(levels: &Levels) -> f64 {
    let win = |(accepted, level): (Level, &Level)| accepted.ids as u128 * level.oods as u128;
    let wins: u128 = levels.accepted().zip(&levels.levels).map(win).sum();
    wins as f64 / (levels.ids as u128 * levels.oods as u128) as f64
}

/// From the lowest threshold (recall 1) up; each step down in recall takes the precision after it.
fn aupr_in(thresholds: &[Threshold]) -> f64 {
    area(thresholds.iter().rev().map(|t| (t.ids_at_or_above, t.oods_at_or_above)))
}

/// From the highest threshold down, with images below it as the positives. A threshold above all
/// scores goes first: it adds nothing, and is the only point where all scores are equal. The lowest
/// score rejects no image and has no precision.
fn aupr_out(thresholds: &[Threshold]) -> f64 {
    let points = thresholds.iter().map(|t| (t.oods_below, t.ids_below));
    area(std::iter::once((1.0, 1.0)).chain(points).filter(|&(recall, others)| recall + others > 0.0))
}

/// Area under precision over recall, for points of falling recall.
///
/// A point is `(true positive rate, false positive rate)`; precision is the first as a share of
/// both. The recall that is left after the last point takes that point's precision.
fn area(points: impl Iterator<Item = (f64, f64)>) -> f64 {
    let (mut recall, mut precision, mut area) = (1.0, 0.0, 0.0);
    for (next, others) in points {
        precision = next / (next + others);
        area += (recall - next) * precision;
        recall = next;
    }
    area + recall * precision
}
