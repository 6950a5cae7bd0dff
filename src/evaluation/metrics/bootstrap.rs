//! How far the metrics, and the differences of two scores' metrics, would vary with other images: percentile bootstrap intervals.

use rand_mt::Mt;
use serde::{Deserialize, Serialize};

use super::{
    definition::{Definition, Metrics},
    delong::check_pairs,
    levels::{Level, Levels, distinct},
    measure::of_levels,
};
use crate::error::{Error, Result};
use crate::fold::draw_up_to;

/// A range for each of the five metrics, and how it was made.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Intervals {
    /// Number of resampled pairs of sets.
    pub resamples: usize,
    /// Seed of the resampling.
    pub seed: u32,
    /// Share of resamples within each interval, such as 0.95.
    pub level: f64,
    /// `None` where the metric is not defined for one resample or more.
    pub fpr_at_95_tpr: Option<Interval>,
    /// See [`Metrics::detection_error`].
    pub detection_error: Interval,
    /// See [`Metrics::auroc`].
    pub auroc: Interval,
    /// See [`Metrics::aupr_in`].
    pub aupr_in: Interval,
    /// See [`Metrics::aupr_out`].
    pub aupr_out: Interval,
}

/// A closed range of a metric, as fractions.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// The metrics of one score minus those of another of the same images, each with its range, and how these were made.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Differences {
    /// Number of resampled pairs of sets.
    pub resamples: usize,
    /// Seed of the resampling.
    pub seed: u32,
    /// Share of resamples within each interval, such as 0.95.
    pub level: f64,
    /// `None` where the metric is not defined for the sets or a resample.
    pub fpr_at_95_tpr: Option<Difference>,
    /// See [`Metrics::detection_error`].
    pub detection_error: Difference,
    /// See [`Metrics::auroc`].
    pub auroc: Difference,
    /// See [`Metrics::aupr_in`].
    pub aupr_in: Difference,
    /// See [`Metrics::aupr_out`].
    pub aupr_out: Difference,
}

/// A difference of two metrics, as a fraction.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Difference {
    /// Of the images as they are.
    pub value: f64,
    /// Of resamples.
    #[serde(flatten)]
    pub interval: Interval,
}

/// Percentile bootstrap intervals of the five metrics.
///
/// Draws `resamples` times as many scores as there are from each set, with replacement, and takes
/// for each metric the range that holds the middle share `level` of its values, linear between
/// neighbours as `numpy.percentile`. The intervals say what other images would do, not what other
/// training runs would. Source: Efron 1979. Takes O(n) a resample.
///
/// # Errors
/// Those of [`super::metrics`], and [`Error::Bootstrap`] without resamples or unless `0 < level <
/// 1`.
///
/// # Panics
/// Where a set has more than 2^32 scores.
pub fn bootstrap(
    id: &[f64],
    ood: &[f64],
    definition: Definition,
    resamples: usize,
    seed: u32,
    level: f64,
) -> Result<Intervals> {
    check_settings(resamples, level)?;
    let levels = Levels::new(id, ood)?;
    let id_levels = level_of_each(&levels, |level| level.ids);
    let ood_levels = level_of_each(&levels, |level| level.oods);
    let mut generator = Mt::new(seed);
    let metrics: Vec<Metrics> = (0..resamples)
        .map(|_| {
            let mut drawn = vec![Level::EMPTY; levels.levels.len()];
            draw(&mut generator, &id_levels, |level| drawn[level].ids += 1);
            draw(&mut generator, &ood_levels, |level| drawn[level].oods += 1);
            drawn.retain(|level| level.ids + level.oods > 0);
            of_levels(&Levels::of_counts(drawn), definition)
        })
        .collect();
    let interval = |values: Vec<f64>| Interval::of_middle(values, level);
    let of = |metric: fn(&Metrics) -> f64| interval(metrics.iter().map(metric).collect());
    let fpr_at_95_tpr: Option<Vec<f64>> = metrics.iter().map(|metrics| metrics.fpr_at_95_tpr).collect();
    Ok(Intervals {
        resamples,
        seed,
        level,
        fpr_at_95_tpr: fpr_at_95_tpr.map(interval),
        detection_error: of(|metrics| metrics.detection_error),
        auroc: of(|metrics| metrics.auroc),
        aupr_in: of(|metrics| metrics.aupr_in),
        aupr_out: of(|metrics| metrics.aupr_out),
    })
}

/// The differences of two scores' metrics, with percentile bootstrap intervals: every resample draws images, with both their scores.
///
/// `id` and `ood` hold the two scores `[first, second]` of each side's images, in the same order; the second's metrics are
/// subtracted. See [`bootstrap()`].
///
/// # Errors
/// Those of [`super::metrics`], [`Error::Bootstrap`], and [`Error::NotPaired`] where a side's two scores are not of as many images.
///
/// # Panics
/// Where a set has more than 2^32 scores.
pub fn paired_bootstrap(
    id: [&[f64]; 2],
    ood: [&[f64]; 2],
    definition: Definition,
    resamples: usize,
    seed: u32,
    level: f64,
) -> Result<Differences> {
    check_settings(resamples, level)?;
    check_pairs(id, ood)?;
    let scores = [0, 1].map(|score| Ranked::new(id[score], ood[score]));
    let mut generator = Mt::new(seed);
    let [id_images, ood_images]: [Vec<usize>; 2] = [id, ood].map(|side| (0..side[0].len()).collect());
    let difference = |[first, second]: [Metrics; 2]| first.minus(&second);
    let whole = scores.each_ref().map(|score| score.metrics(&id_images, &ood_images, definition));
    let values = difference(whole);
    let drawn: Vec<_> = (0..resamples)
        .map(|_| {
            let mut images = |of: &[usize]| {
                let mut drawn = Vec::with_capacity(of.len());
                draw(&mut generator, of, |image| drawn.push(image));
                drawn
            };
            let (id, ood) = (images(&id_images), images(&ood_images));
            difference(scores.each_ref().map(|score| score.metrics(&id, &ood, definition)))
        })
        .collect();
    let of = |metric: usize| -> Option<Difference> {
        let drawn: Option<Vec<f64>> = drawn.iter().map(|values| values[metric]).collect();
        Some(Difference { value: values[metric]?, interval: Interval::of_middle(drawn?, level) })
    };
    let defined = |metric| of(metric).expect("only the FPR may not be defined");
    Ok(Differences {
        resamples,
        seed,
        level,
        fpr_at_95_tpr: of(0),
        detection_error: defined(1),
        auroc: defined(2),
        aupr_in: defined(3),
        aupr_out: defined(4),
    })
}

/// The level of each image by one score.
struct Ranked {
    levels: usize,
    id: Vec<usize>,
    ood: Vec<usize>,
}

impl Ranked {
    /// Of scores that were checked.
    fn new(id: &[f64], ood: &[f64]) -> Self {
        let distinct = distinct(id, ood);
        let level = |score: &f64| distinct.partition_point(|other| other > score);
        Ranked { levels: distinct.len(), id: id.iter().map(level).collect(), ood: ood.iter().map(level).collect() }
    }

    /// Of these images.
    fn metrics(&self, id: &[usize], ood: &[usize], definition: Definition) -> Metrics {
        let mut levels = vec![Level::EMPTY; self.levels];
        id.iter().for_each(|&image| levels[self.id[image]].ids += 1);
        ood.iter().for_each(|&image| levels[self.ood[image]].oods += 1);
        levels.retain(|level| level.ids + level.oods > 0);
        of_levels(&Levels::of_counts(levels), definition)
    }
}

/// Refuses settings that give no interval.
fn check_settings(resamples: usize, level: f64) -> Result<()> {
    match resamples > 0 && level > 0.0 && level < 1.0 {
        true => Ok(()),
        false => Err(Error::Bootstrap { resamples, level }),
    }
}

impl Interval {
    /// The range of the middle share `level` of `values`, of which there is one at least.
    fn of_middle(mut values: Vec<f64>, level: f64) -> Self {
        values.sort_unstable_by(f64::total_cmp);
        let tail = (1.0 - level) / 2.0;
        Interval { low: quantile(&values, tail), high: quantile(&values, 1.0 - tail) }
    }
}

/// The value below which the share `share` of `sorted` lies, linear between neighbours.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let position = share * (sorted.len() - 1) as f64;
    let below = sorted[position.floor() as usize];
    let above = sorted[position.ceil() as usize];
    below + (above - below) * position.fract()
}

/// The index of the level of each image of one set.
fn level_of_each(levels: &Levels, count: fn(&Level) -> usize) -> Vec<usize> {
    let levels = levels.levels.iter().enumerate();
    levels.flat_map(|(index, level)| std::iter::repeat_n(index, count(level))).collect()
}

/// Passes as many elements of `items`, drawn with replacement, to `take`.
fn draw(generator: &mut Mt, items: &[usize], mut take: impl FnMut(usize)) {
    let last = u32::try_from(items.len() - 1).expect("a set has at most 2^32 scores");
    for _ in items {
        take(items[draw_up_to(generator, last) as usize]);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn quantiles_are_linear_between_neighbours() {
        let sorted = [1.0, 2.0, 3.0, 4.0];
        assert_eq!(quantile(&sorted, 0.0), 1.0);
        assert_eq!(quantile(&sorted, 0.25), 1.75);
        assert_eq!(quantile(&sorted, 1.0), 4.0);
        assert_eq!(quantile(&[7.0], 0.3), 7.0);
    }

    #[test]
    fn separated_sets_leave_no_doubt() {
        let found = bootstrap(&[2.0, 3.0], &[0.0, 1.0], Definition::Standard, 50, 1, 0.9).unwrap();
        assert_eq!(found.auroc, Interval { low: 1.0, high: 1.0 });
        assert_eq!(found.fpr_at_95_tpr, Some(Interval { low: 0.0, high: 0.0 }));
    }

    #[test]
    fn an_undefined_reference_fpr_has_no_interval() {
        let found = bootstrap(&[2.0, 3.0], &[0.0, 1.0], Definition::Reference, 50, 1, 0.9).unwrap();
        assert_eq!(found.fpr_at_95_tpr, None);
    }

    #[test]
    fn settings_without_an_interval_are_rejected() {
        for (resamples, level) in [(0, 0.95), (10, 0.0), (10, 1.0), (10, f64::NAN)] {
            let error = bootstrap(&[1.0], &[0.0], Definition::Standard, resamples, 0, level).unwrap_err();
            assert!(matches!(error, Error::Bootstrap { .. }), "{error}");
        }
    }

    proptest! {
        #[test]
        fn intervals_are_ordered_repeatable_and_wider_at_a_higher_level(
            id in prop::collection::vec(0.0..1.0, 1..40),
            ood in prop::collection::vec(-0.5..0.5, 1..40),
            seed: u32,
        ) {
            let at = |level| bootstrap(&id, &ood, Definition::Standard, 40, seed, level).unwrap();
            let (wide, narrow) = (at(0.95), at(0.5));
            prop_assert_eq!(wide, at(0.95));
            let ends = [wide.auroc.low, narrow.auroc.low, narrow.auroc.high, wide.auroc.high];
            prop_assert!(ends.is_sorted(), "{ends:?}");
            prop_assert!(0.0 <= wide.aupr_in.low && wide.aupr_in.high <= 1.0);
        }
    }
}
