//! How well scores tell in-distribution from out-of-distribution images: the paper's five metrics.
//!
//! In: the scores of both sets (finite, in any order and number; higher = more in-distribution).
//! Out: [`Metrics`], fractions from 0 to 1. In-distribution is the positive class; an image is
//! accepted when its score is at least the threshold.
//!
//! [`metrics`] is the way in. Intervals come from [`bootstrap()`]; [`paired_bootstrap`] and [`delong()`] tell whether two scores of
//! the same images differ, [`MeanAuroc`] whether they do over several sets. Plots come from [`roc_curve`], [`pr_curve`] and
//! [`histogram`], or with less detail from [`outline()`].
//!
//! All of it works on one table, the distinct scores with how many images of each set have them,
//! and takes O(n log n) for the sort behind it.

mod bootstrap;
mod curves;
mod definition;
mod delong;
mod levels;
mod mean_auroc;
mod measure;
mod openood;
mod outline;
mod reference;
mod standard;
#[cfg(test)]
mod tests;

pub use bootstrap::{Difference, Differences, Interval, Intervals, bootstrap, paired_bootstrap};
pub use curves::{Histogram, PrPoint, RocPoint, histogram, pr_curve, roc_curve};
pub use definition::{Definition, Metrics, TPR};
pub use delong::{DeLong, delong};
pub(super) use delong::{mean, variance};
pub use mean_auroc::{MeanAuroc, Scored};
pub use measure::{metrics, threshold_at_tpr};
pub use outline::{Outline, outline};
