//! What plots of two sets of scores need: ROC and precision-recall points, and histograms.

use serde::{Deserialize, Serialize};

use super::levels::{Levels, rate};
use crate::error::{Error, Result, Side};

/// A point of the ROC curve.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct RocPoint {
    /// Share of out-of-distribution images accepted.
    pub fpr: f64,
    /// Share of in-distribution images accepted.
    pub tpr: f64,
}

/// A point of the precision-recall curve.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct PrPoint {
    /// Share of the positives that are found.
    pub recall: f64,
    /// Share of positives in what is found.
    pub precision: f64,
}

/// Counts of scores in bins of equal width.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Histogram {
    /// Lower end of the first bin.
    pub low: f64,
    /// Upper end of the last bin.
    pub high: f64,
    /// Scores in each bin, lowest first. A bin holds its lower end; the last holds `high` too.
    pub counts: Vec<usize>,
    /// Scores below `low`.
    pub below: usize,
    /// Scores above `high`.
    pub above: usize,
}

/// The ROC curve from (0, 0) to (1, 1), one point per distinct score but at most
/// `max_points` (at least 2).
///
/// Points are left out evenly by rank; the ends always stay.
///
/// # Errors
/// Those of [`super::metrics`].
pub fn roc_curve(id: &[f64], ood: &[f64], max_points: usize) -> Result<Vec<RocPoint>> {
    let levels = Levels::new(id, ood)?;
    let accepted = levels
        .accepted()
        .map(|accepted| RocPoint { fpr: rate(accepted.oods, levels.oods), tpr: rate(accepted.ids, levels.ids) });
    Ok(thinned(std::iter::once(RocPoint { fpr: 0.0, tpr: 0.0 }).chain(accepted).collect(), max_points))
}

/// Precision and recall with `positive` as the positive set, by rising recall up to 1, one point
/// per distinct score but at most `max_points` (at least 2).
///
/// Points are left out evenly by rank; the ends always stay.
///
/// # Errors
/// Those of [`super::metrics`].
pub fn pr_curve(id: &[f64], ood: &[f64], positive: Side, max_points: usize) -> Result<Vec<PrPoint>> {
    let levels = Levels::new(id, ood)?;
    let levels = match positive {
        Side::Id => levels,
        Side::Ood => levels.exchanged(),
    };
    let points = levels.accepted().map(|accepted| PrPoint {
        recall: rate(accepted.ids, levels.ids),
        precision: rate(accepted.ids, accepted.ids + accepted.oods),
    });
    Ok(thinned(points.collect(), max_points))
}

/// Leaves items out evenly until there are `most` (at least 2).
fn thinned<T: Copy>(items: Vec<T>, most: usize) -> Vec<T> {
    let (last, steps) = (items.len() - 1, most.max(2) - 1);
    if last <= steps {
        return items;
    }
    (0..=steps).map(|step| items[step * last / steps]).collect()
}

/// Counts `scores` in `bins` bins of equal width over `range`, a pair of its low and its high end.
///
/// # Errors
/// [`Error::Histogram`] unless there is a bin and the range is finite and not empty.
///
/// # Panics
/// On a score that is not a number.
pub fn histogram(scores: &[f64], bins: usize, range: (f64, f64)) -> Result<Histogram> {
    let (low, high) = range;
    let width = high - low;
    if bins == 0 || !(width > 0.0 && width.is_finite()) {
        return Err(Error::Histogram { bins, low, high });
    }
    let mut histogram = Histogram { low, high, counts: vec![0; bins], below: 0, above: 0 };
    for &score in scores {
        assert!(!score.is_nan(), "scores were checked before");
        if score < low {
            histogram.below += 1;
        } else if score > high {
            histogram.above += 1;
        } else {
            let bin = ((score - low) / width * bins as f64) as usize;
            histogram.counts[bin.min(bins - 1)] += 1;
        }
    }
    Ok(histogram)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::evaluation::metrics::{definition::Definition, measure::metrics};

    const ID: [f64; 4] = [4.0, 3.0, 3.0, 1.0];
    const OOD: [f64; 2] = [3.0, 0.0];

    #[test]
    fn roc_points_by_hand() {
        let points = roc_curve(&ID, &OOD, 100).unwrap();
        let points: Vec<_> = points.iter().map(|point| (point.fpr, point.tpr)).collect();
        assert_eq!(points, [(0.0, 0.0), (0.0, 0.25), (0.5, 0.75), (0.5, 1.0), (1.0, 1.0)]);
    }

    #[test]
    fn pr_points_by_hand() {
        let points = |positive| -> Vec<_> {
            let points = pr_curve(&ID, &OOD, positive, 100).unwrap();
            points.iter().map(|point| (point.recall, point.precision)).collect()
        };
        assert_eq!(points(Side::Id), [(0.25, 1.0), (0.75, 0.75), (1.0, 0.8), (1.0, 4.0 / 6.0)]);
        assert_eq!(points(Side::Ood), [(0.5, 1.0), (0.5, 0.5), (1.0, 0.4), (1.0, 2.0 / 6.0)]);
    }

    #[test]
    fn a_long_curve_is_thinned_and_keeps_its_ends() {
        let scores: Vec<f64> = (0..1000).map(f64::from).collect();
        let points = roc_curve(&scores[500..], &scores[..500], 11).unwrap();
        assert_eq!(points.len(), 11);
        assert_eq!(points[0], RocPoint { fpr: 0.0, tpr: 0.0 });
        assert_eq!(points[5], RocPoint { fpr: 0.0, tpr: 1.0 });
        assert_eq!(points[10], RocPoint { fpr: 1.0, tpr: 1.0 });
    }

    #[test]
    fn curves_of_unusable_scores_are_rejected() {
        assert!(matches!(roc_curve(&[], &OOD, 9), Err(Error::NoScores { side: Side::Id })));
        let error = pr_curve(&ID, &[f64::NAN], Side::Ood, 9).unwrap_err();
        assert!(matches!(error, Error::ScoreNotFinite { side: Side::Ood, index: 0, .. }));
    }

    #[test]
    fn histogram_by_hand() {
        let found = histogram(&[-1.0, 0.0, 0.4, 0.5, 1.0, 1.5, 2.0, 2.5, 2.5], 4, (0.0, 2.0)).unwrap();
        let expected = Histogram { low: 0.0, high: 2.0, counts: vec![2, 1, 1, 2], below: 1, above: 2 };
        assert_eq!(found, expected);
    }

    #[test]
    fn a_histogram_without_bins_or_range_is_rejected() {
        for (bins, range) in [(0, (0.0, 1.0)), (4, (1.0, 1.0)), (4, (1.0, 0.0)), (4, (0.0, f64::INFINITY))] {
            let error = histogram(&ID, bins, range).unwrap_err();
            assert!(matches!(error, Error::Histogram { .. }), "{error}");
        }
        assert!(histogram(&ID, 4, (0.0, f64::NAN)).is_err());
    }

    proptest! {
        #[test]
        fn the_area_under_the_roc_points_is_auroc(
            id in prop::collection::vec((0u8..30).prop_map(f64::from), 1..60),
            ood in prop::collection::vec((0u8..30).prop_map(f64::from), 1..60),
        ) {
            let points = roc_curve(&id, &ood, 100).unwrap();
            let trapezoid = |pair: &[RocPoint]| {
                (pair[1].fpr - pair[0].fpr) * (pair[0].tpr + pair[1].tpr) / 2.0
            };
            let area: f64 = points.windows(2).map(trapezoid).sum();
            let auroc = metrics(&id, &ood, Definition::Standard).unwrap().auroc;
            prop_assert!((area - auroc).abs() < 1e-12);
        }

        #[test]
        fn a_histogram_counts_every_score_once(
            scores in prop::collection::vec(-10.0..10.0, 0..100),
            bins in 1usize..20,
            high in -4.0..5.0,
        ) {
            let histogram = histogram(&scores, bins, (-5.0, high)).unwrap();
            let inside: usize = histogram.counts.iter().sum();
            prop_assert_eq!(inside + histogram.below + histogram.above, scores.len());
        }
    }
}
