//! What is measured, and by whose definition.

use serde::{Deserialize, Serialize};

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
