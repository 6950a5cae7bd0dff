//! The metrics as OpenOOD defines them. See [`super::Definition::OpenOod`].

use super::{
    definition::{Metrics, TPR},
    levels::{Level, Levels, rate},
    standard,
};

pub(super) fn metrics(levels: &Levels) -> Metrics {
    let ood_positive = levels.exchanged();
    Metrics {
        fpr_at_95_tpr: Some(fpr_at_95_tpr(&ood_positive)),
        aupr_in: area(levels),
        aupr_out: area(&ood_positive),
        ..standard::metrics(levels)
    }
}

/// FPR at the first corner of the ROC curve with TPR >= 0.95; a level with as many images of each set as the next is none.
fn fpr_at_95_tpr(levels: &Levels) -> f64 {
    let next = levels.levels.iter().skip(1).map(Some).chain([None]);
    let is_corner = |(index, (level, next)): (usize, (&Level, Option<&Level>))| index == 0 || Some(level) != next;
    let corners = levels.levels.iter().zip(next).enumerate().map(is_corner);
    let mut accepted = levels.accepted().zip(corners);
    let enough = accepted.find(|(accepted, is_corner)| *is_corner && rate(accepted.ids, levels.ids) >= TPR);
    rate(enough.expect("the lowest score is a corner and accepts all images").0.oods, levels.oods)
}

/// Area under straight lines between the points of precision and recall.
fn area(levels: &Levels) -> f64 {
    let (mut recall, mut precision, mut area) = (0.0, 1.0, 0.0);
    for accepted in levels.accepted() {
        let next = (rate(accepted.ids, levels.ids), rate(accepted.ids, accepted.ids + accepted.oods));
        area += (next.0 - recall) * (next.1 + precision) / 2.0;
        (recall, precision) = next;
    }
    area
}
