//! What plots of two sets of scores need, in a kilobyte: coarse histograms and a thinned curve.

use serde::{Deserialize, Serialize};

use super::{
    curves::histogram,
    definition::TPR,
    levels::{Levels, distinct, rate},
};
use crate::error::Result;

/// Bins of a histogram.
const BINS: usize = 32;
/// Most points of a curve that are evenly spaced.
const POINTS: usize = 33;
/// Significant digits of the shares that are stored: fewer would make 95% of a little less.
const DIGITS: usize = 6;
/// The same of thresholds, which can lie close together: at a temperature of 1000, scores differ in the fourth.
const THRESHOLD_DIGITS: usize = 8;

/// Histograms and a thinned ROC curve of two sets of scores.
///
/// Precision and recall follow from the points: with `n` in-distribution and `m` out-of-distribution images, the precision of the
/// former is `tpr n / (tpr n + fpr m)` at the recall `tpr`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outline {
    /// Lower end of the first bin.
    pub low: f64,
    /// Upper end of the last bin.
    pub high: f64,
    /// In-distribution scores in each bin, lowest first; what lies outside of the range is in the first or the last.
    pub id: Vec<usize>,
    /// Out-of-distribution scores in each bin.
    pub ood: Vec<usize>,
    /// `[threshold, fpr, tpr]` by falling threshold: shares of images whose score is at least that, rounded.
    pub points: Vec<[f64; 3]>,
}

/// Histograms over the range that holds all but a thousandth of each set at each end, and the points of the ROC curve that are
/// evenly spaced along it, with that of the FPR at 95% TPR.
///
/// # Errors
/// Those of [`super::metrics`].
pub fn outline(id: &[f64], ood: &[f64]) -> Result<Outline> {
    let levels = Levels::new(id, ood)?;
    let points = points(&levels, id, ood);
    let [id, ood] = [id, ood].map(|scores| {
        let mut sorted = scores.to_vec();
        sorted.sort_unstable_by(f64::total_cmp);
        sorted
    });
    // Single scores far from the others would leave a bin or two for these.
    let ends = |sorted: &[f64]| [sorted[sorted.len() / 1000], sorted[sorted.len() - 1 - sorted.len() / 1000]];
    let ([id_low, id_high], [ood_low, ood_high]) = (ends(&id), ends(&ood));
    let (low, high) = (id_low.min(ood_low), id_high.max(ood_high));
    let (low, high) = if low < high { (low, high) } else { (low - 0.5, high + 0.5) };
    let counts = |scores: &[f64]| -> Result<Vec<usize>> {
        let inside: Vec<f64> = scores.iter().map(|score| score.clamp(low, high)).collect();
        Ok(histogram(&inside, BINS, (low, high))?.counts)
    };
    let (id_counts, ood_counts) = (counts(&id)?, counts(&ood)?);
    Ok(Outline { low, high, id: id_counts, ood: ood_counts, points })
}

/// Thresholds at which as many steps of `POINTS - 1` along the curve are done.
fn points(levels: &Levels, id: &[f64], ood: &[f64]) -> Vec<[f64; 3]> {
    let mut points: Vec<[f64; 3]> = Vec::new();
    let (mut next, mut has_tpr) = (0.0, false);
    let last = levels.levels.len() - 1;
    for (index, (threshold, accepted)) in distinct(id, ood).into_iter().zip(levels.accepted()).enumerate() {
        let (fpr, tpr) = (rate(accepted.oods, levels.oods), rate(accepted.ids, levels.ids));
        let is_first_of_tpr = !has_tpr && tpr >= TPR;
        has_tpr |= is_first_of_tpr;
        if fpr + tpr >= next || is_first_of_tpr || index == last {
            let point = [rounded(threshold, THRESHOLD_DIGITS), rounded(fpr, DIGITS), rounded(tpr, DIGITS)];
            match points.last_mut().filter(|last| last[0] == point[0]) {
                Some(last) => *last = point,
                None => points.push(point),
            }
            let step = 2.0 / (POINTS - 1) as f64;
            next = ((fpr + tpr) / step).floor() * step + step;
        }
    }
    points
}

/// The nearest number of few digits.
fn rounded(value: f64, digits: usize) -> f64 {
    format!("{value:.*e}", digits - 1).parse().expect("a number was written")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::evaluation::metrics::{definition::Definition, measure::metrics};

    #[test]
    fn a_few_scores_are_all_there() {
        let found = outline(&[4.0, 3.0, 2.0], &[1.0, 3.0]).unwrap();
        let points = [[4.0, 0.0, 0.333333], [3.0, 0.5, 0.666667], [2.0, 0.5, 1.0], [1.0, 1.0, 1.0]];
        assert_eq!((found.low, found.high, &found.points[..]), (1.0, 4.0, &points[..]));
        assert_eq!(found.id.iter().sum::<usize>(), 3);
        assert_eq!([found.ood[0], found.ood[21], found.id[31]], [1, 1, 1]);
    }

    #[test]
    fn equal_scores_have_a_range() {
        let found = outline(&[2.0; 3], &[2.0; 5]).unwrap();
        assert_eq!((found.low, found.high, found.points), (1.5, 2.5, vec![[2.0, 1.0, 1.0]]));
    }

    #[test]
    fn thresholds_that_lie_close_together_are_kept_apart() {
        let id: Vec<f64> = (0..1000).map(|index| -9.7 + 1e-6 * f64::from(index)).collect();
        let ood: Vec<f64> = id.iter().map(|score| score - 4e-4).collect();
        let found = outline(&id, &ood).unwrap();
        assert!(found.points.len() > 25, "{:?}", found.points);
        assert!(found.points.windows(2).all(|pair| pair[0][0] > pair[1][0]), "{:?}", found.points);
    }

    proptest! {
        #[test]
        fn many_scores_take_a_kilobyte(seed: u64, count in 500_usize..3000) {
            use rand::{Rng, SeedableRng};
            let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
            let id: Vec<f64> = (0..count).map(|_| rng.random_range(-2.0..3.0)).collect();
            let ood: Vec<f64> = (0..2 * count).map(|_| rng.random_range(-3.0..2.0)).collect();
            let found = outline(&id, &ood).unwrap();
            prop_assert!(found.points.len() <= POINTS + 2, "{}", found.points.len());
            let fpr = metrics(&id, &ood, Definition::Standard).unwrap().fpr_at_95_tpr.unwrap();
            let stored = found.points.iter().find(|point| point[2] >= TPR).unwrap()[1];
            prop_assert!((stored - fpr).abs() < 1e-3, "{stored} {fpr}");
            prop_assert_eq!(found.points.last().unwrap()[1..].to_vec(), vec![1.0, 1.0]);
            prop_assert!(found.points.windows(2).all(|pair| pair[0][0] > pair[1][0] && pair[0][1] <= pair[1][1]));
            prop_assert_eq!(found.id.iter().sum::<usize>(), count);
            let bytes = serde_json::to_string(&found).unwrap().len();
            prop_assert!(bytes < 1600, "{bytes}");
        }
    }
}
