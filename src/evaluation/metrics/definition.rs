//! What is measured, and by whose definition.

use serde::{Deserialize, Serialize};

/// The true positive rate of the metric "FPR at 95% TPR"; Liang et al. 2018.
pub const TPR: f64 = 0.95;

/// The five metrics of Vyas et al. 2018, table 3, as fractions from 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Metrics {
    /// Share of out-of-distribution images accepted where 95% of in-distribution images are, or by
    /// [`Definition::OpenOod`] the other way round; lower is better. `None` where it is not defined,
    /// which happens by [`Definition::Reference`] only.
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

impl Metrics {
    /// Names of the metrics in files, in the order of [`values`](Self::values).
    pub const NAMES: [&str; 5] = ["fpr_at_95_tpr", "detection_error", "auroc", "aupr_in", "aupr_out"];

    /// The metrics in the order of the paper's tables.
    pub fn values(&self) -> [Option<f64>; 5] {
        let Metrics { fpr_at_95_tpr, detection_error, auroc, aupr_in, aupr_out } = *self;
        [fpr_at_95_tpr, Some(detection_error), Some(auroc), Some(aupr_in), Some(aupr_out)]
    }

    /// Each metric less the other's; `None` where one is not defined.
    pub fn minus(&self, other: &Metrics) -> [Option<f64>; 5] {
        let (ours, theirs) = (self.values(), other.values());
        std::array::from_fn(|metric| Some(ours[metric]? - theirs[metric]?))
    }
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
    /// Those of OpenOOD (Zhang et al. 2023, "OpenOOD v1.5"), computed with scikit-learn: FPR at 95%
    /// TPR with out-of-distribution images as the positives.
    ///
    /// - FPR at 95% TPR: share of in-distribution images rejected where 95% of out-of-distribution
    ///   images are, at the first point of scikit-learn's ROC curve with such a TPR. The curve has no
    ///   points in the middle of straight lines, which can leave out a better threshold where scores
    ///   are tied.
    /// - AUPR: area under straight lines between the points of precision and recall, from precision 1
    ///   at recall 0.
    /// - Detection error: OpenOOD has none; the standard one, which is the same both ways round.
    OpenOod,
}

impl Definition {
    /// Every definition, the default first.
    pub const ALL: [Definition; 3] = [Definition::Standard, Definition::Reference, Definition::OpenOod];

    /// Name in tables and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Definition::Standard => "standard",
            Definition::Reference => "reference",
            Definition::OpenOod => "openood",
        }
    }

    /// What the metrics mean, in a sentence or two beside their table.
    pub fn in_words(self) -> &'static str {
        match self {
            Definition::Standard => {
                "Standard definitions: FPR95 is the share of out-of-distribution images accepted where 95% of \
                 in-distribution images are; AUPR is average precision, as scikit-learn has it."
            }
            Definition::Reference => {
                "The published code's definitions: FPR95 is the mean share of out-of-distribution images above the \
                 thresholds that accept 94.95% to 95.05% of in-distribution images; AUPR takes both sets as of one size, \
                 and ties count for the detector."
            }
            Definition::OpenOod => {
                "OpenOOD's definitions: FPR95 is the share of in-distribution images rejected where 95% of \
                 out-of-distribution images are; AUPR is the area under straight lines between the points. OpenOOD has no \
                 detection error; it is the standard one."
            }
        }
    }
}
