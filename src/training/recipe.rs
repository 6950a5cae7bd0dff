//! Training settings: everything that decides the weights, apart from the images.

use serde::{Deserialize, Serialize};

use crate::{
    fold::Fold,
    network::{Precision, TrainingMode},
    training::{augment::Augmentation, loss::MarginEntropy},
};

/// How one fold is trained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Recipe {
    /// Passes over the kept classes in the course of the schedule.
    pub epochs: usize,
    /// Kept-class images a step.
    pub batch: usize,
    /// Left-out images a step.
    pub left_out_batch: usize,
    /// Images a step that are made, of no class, for an entropy term of their own.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub outlier_batch: usize,
    /// Whether all images of a step go through the network in one batch, with the batch statistics of the kept ones, by which they
    /// are scored, too, instead of each side by itself with its own.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub one_batch: bool,
    /// Course of the learning rate.
    pub schedule: Schedule,
    /// Learning rate at the top of the schedule.
    pub learning_rate: f64,
    /// What follows the schedule, where anything does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub averaging: Option<Averaging>,
    /// Learning rate of the batch-norm biases, in multiples of the others'. Their weight decay is divided by it.
    pub bias_factor: f64,
    /// Momentum of stochastic gradient descent.
    pub momentum: f64,
    /// Whether the momentum is Nesterov's.
    pub nesterov: bool,
    /// L2 penalty, added to the gradient of every parameter.
    pub weight_decay: f64,
    /// Share of a teacher's probabilities in the targets of the cross-entropy, of which the label has the rest (Hinton et al. 2015).
    #[serde(default, skip_serializing_if = "is_nought")]
    pub teacher_share: f64,
    /// Weight and margin of the entropy term, and whether the cross-entropy has LogitNorm.
    pub loss: MarginEntropy,
    /// Random crops and flips.
    pub augmentation: Augmentation,
    /// Dropout probability inside the blocks.
    pub dropout: f64,
    /// Number format of the convolutions.
    pub precision: Precision,
    /// Share of each batch in the running batch-norm statistics.
    pub batch_norm_momentum: f64,
    /// Which images the final batch-norm statistics come from.
    pub statistics: Statistics,
    /// Which epoch's weights are kept.
    pub selection: Selection,
    /// Seed of the initial weights, the order of the images, and their augmentation.
    pub seed: u64,
}

/// Course of the learning rate over a training run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Schedule {
    /// A tenth after half and another tenth after three quarters of the epochs.
    Step,
    /// A straight line down to a thousandth.
    Linear,
    /// Up from 0 over the first fifth, then a straight line down to 0.
    OneCycle,
}

/// Stochastic weight averaging (Izmailov et al. 2018): after the schedule some epochs at a constant learning rate; the network
/// is the mean of the weights at their ends and, as often as [`start`](Self::start) says, of those before them (a half in all is
/// what Wortsman et al. 2022 propose for weights that are trained on). Its batch-norm statistics have to be [`Statistics::Recomputed`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Averaging {
    /// How many epochs.
    pub epochs: usize,
    /// Their learning rate.
    pub learning_rate: f64,
    /// How many of them the weights that they start from count as; 0 leaves these out of the mean.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub start: usize,
}

fn is_zero(number: &usize) -> bool {
    *number == 0
}

fn is_nought(number: &f64) -> bool {
    *number == 0.0
}

/// Which images the batch-norm statistics of the finished network come from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Statistics {
    /// Running means over the training batches: of kept and left-out images in turn, as published, or of one batch's kept images.
    Running,
    /// Recomputed over this many unaugmented kept-class training images, with the dropout of the training.
    Recomputed(usize),
}

/// Which epoch's weights a training run returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Selection {
    /// The last.
    Last,
    /// An epoch takes over that is within two points of the best accuracy so far and has a higher AUROC of the fold score
    /// than the one before, or finds that one further behind.
    Best,
    /// The same with a lower detection error (Vyas et al. 2018, section 4.1).
    Paper,
    /// The highest AUROC of the max softmax, as the published code does.
    Reference,
}

impl Recipe {
    /// For few epochs of the compact network: one cycle, large batches, statistics of the kept classes; and what the paper has not,
    /// made outliers, all images of a step in one batch with a larger margin, and LogitNorm.
    pub fn quick() -> Self {
        Recipe {
            epochs: 8,
            batch: 250,
            left_out_batch: 62,
            outlier_batch: 62,
            one_batch: true,
            teacher_share: 0.0,
            schedule: Schedule::OneCycle,
            learning_rate: 0.25,
            averaging: None,
            bias_factor: 16.0,
            momentum: 0.9,
            nesterov: true,
            weight_decay: 1.3e-3,
            loss: MarginEntropy { margin: 1.0, logit_norm: Some(0.1), ..MarginEntropy::default() },
            augmentation: Augmentation { padding: 2, ..Augmentation::default() },
            dropout: 0.0,
            precision: Precision::Single,
            batch_norm_momentum: 0.4,
            statistics: Statistics::Recomputed(10_000),
            selection: Selection::Last,
            seed: 1,
        }
    }

    /// The published code's settings; dropout is the wide residual network's.
    pub fn reference() -> Self {
        Recipe {
            epochs: 100,
            batch: 100,
            left_out_batch: 100,
            outlier_batch: 0,
            one_batch: false,
            schedule: Schedule::Step,
            learning_rate: 0.1,
            bias_factor: 1.0,
            nesterov: false,
            weight_decay: 5e-4,
            loss: MarginEntropy::default(),
            augmentation: Augmentation::default(),
            batch_norm_momentum: 0.1,
            statistics: Statistics::Running,
            selection: Selection::Reference,
            ..Recipe::quick()
        }
    }

    /// The paper's settings: as published code, but with a straight line down and the paper's choice of the epoch.
    pub fn paper() -> Self {
        Recipe { schedule: Schedule::Linear, selection: Selection::Paper, ..Recipe::reference() }
    }

    /// What the network does while it trains.
    pub fn mode(&self) -> TrainingMode {
        TrainingMode { dropout: self.dropout, precision: self.precision }
    }

    /// Images that go through the network in a step.
    pub fn images_per_step(&self) -> usize {
        self.batch + self.left_out_batch + self.outlier_batch
    }

    /// Whether the steps of `fold` have left-out images, which the entropy term looks at.
    pub fn uses_left_out(&self, fold: &Fold) -> bool {
        self.left_out_batch > 0 && !fold.left_out.is_empty()
    }

    /// Epochs of the schedule and of the averaging after it.
    pub fn total_epochs(&self) -> usize {
        self.epochs + self.averaging.map_or(0, |averaging| averaging.epochs)
    }

    /// Learning rate after `epochs` epochs.
    pub fn learning_rate_at(&self, epochs: f64) -> f64 {
        let progress = epochs / self.epochs as f64;
        if let (Some(averaging), true) = (self.averaging, progress >= 1.0) {
            return averaging.learning_rate;
        }
        let factor = match self.schedule {
            Schedule::Step if progress < 0.5 => 1.0,
            Schedule::Step if progress < 0.75 => 0.1,
            Schedule::Step => 0.01,
            Schedule::Linear => 1.0 - 0.999 * progress,
            Schedule::OneCycle => (progress / 0.2).min((1.0 - progress) / 0.8),
        };
        self.learning_rate * factor
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rates<const N: usize>(schedule: Schedule, progress: [f64; N]) -> [f64; N] {
        let recipe = Recipe { schedule, learning_rate: 0.1, epochs: 10, ..Recipe::quick() };
        progress.map(|at| (recipe.learning_rate_at(10.0 * at) * 1e9).round() / 1e9)
    }

    #[test]
    fn averaged_epochs_follow_the_schedule() {
        let plain = Recipe { epochs: 4, ..Recipe::quick() };
        let averaging = Some(Averaging { epochs: 2, learning_rate: 0.03, start: 0 });
        let averaged = Recipe { averaging, ..plain.clone() };
        for epochs in [0.0, 0.5, 3.0, 3.99] {
            assert_eq!(averaged.learning_rate_at(epochs), plain.learning_rate_at(epochs), "{epochs}");
        }
        assert_eq!([4.0, 5.9].map(|epochs| averaged.learning_rate_at(epochs)), [0.03; 2]);
    }

    #[test]
    fn schedules_go_through_their_published_points() {
        assert_eq!(rates(Schedule::Step, [0.0, 0.49, 0.5, 0.74, 0.75, 0.99]), [0.1, 0.1, 0.01, 0.01, 0.001, 0.001]);
        assert_eq!(rates(Schedule::Linear, [0.0, 0.5, 1.0]), [0.1, 0.05005, 0.0001]);
        assert_eq!(rates(Schedule::OneCycle, [0.0, 0.1, 0.2, 0.6, 1.0]), [0.0, 0.05, 0.1, 0.05, 0.0]);
    }
}
