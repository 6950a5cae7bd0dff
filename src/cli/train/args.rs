//! What `eloc train` is told, and the recipe and folds that follow from it.

use std::{ffi::OsString, path::PathBuf};

use anyhow::{Result, bail, ensure};
use clap::{Args, ValueEnum};
use eloc::{
    detection::odin::Odin,
    fold::{self, Fold},
    images::image::SIDE,
    network::{Network, Precision},
    training::{
        augment::{Augmentation, PaddingMode},
        recipe::{Averaging, Recipe, Schedule, Selection, Statistics},
    },
};

use crate::cli::{data, device::DeviceChoice, odin::OdinArgs};

/// Largest number of epochs or of images a step.
const LARGEST: usize = 1_000_000;

/// Dropout of the wide residual network in the paper.
const WIDE_RESNET_DROPOUT: f64 = 0.3;
/// Share of a teacher in the targets.
const TEACHER_SHARE: f64 = 0.7;

/// What `eloc train` takes.
#[derive(Args, Debug)]
pub struct TrainArgs {
    /// auto, cifar10, cifar100, shapes, or a folder of images, class/name.png.
    ///
    /// auto is CIFAR-10 where it is or can be fetched, else the built-in set shapes. A fifth of a folder's images is kept
    /// for testing, unless it has sub-folders train/ and test/, each with a folder for every class.
    #[arg(long, default_value = "auto")]
    pub dataset: String,
    #[command(flatten)]
    pub data: data::DataArgs,
    /// Folder of the run; made, or gone on with [default: runs/DATASET-NETWORK].
    #[arg(long)]
    pub out: Option<PathBuf>,
    /// compact, compact-A-B-C, densenet-bc-DEPTH-GROWTH (100-12) or wrn-DEPTH-WIDEN (28-10) [default: compact, for
    /// shapes a narrow one].
    #[arg(long)]
    pub network: Option<Network>,
    /// Settings to start from; every flag below overrides one of them.
    #[arg(long, value_enum, default_value = "quick")]
    recipe: RecipeChoice,
    #[command(flatten)]
    overrides: Overrides,
    /// Number of folds.
    #[arg(long, default_value_t = fold::DEFAULT_FOLDS)]
    folds: usize,
    /// Train this fold only, counted from 1; other processes may train the others.
    #[arg(long)]
    pub fold: Option<usize>,
    /// Train ordinary networks of all classes, which differ by their random numbers only: the deep ensemble to compare
    /// with. Needs --validation-ood.
    #[arg(long, conflicts_with = "split_seed")]
    pub all_classes: bool,
    /// Seed of the class permutation.
    #[arg(long, default_value_t = fold::DEFAULT_SEED)]
    pub split_seed: u32,
    /// Share of the training images to hold out for the choice of the epoch and for the threshold.
    #[arg(long, default_value_t = 0.02)]
    pub hold_out: f64,
    /// Out-of-distribution images (name or path) to validate each epoch against, beside the held-out images of the left-out
    /// classes; with --select paper or reference in their place. --select last writes it down and chooses nothing by it.
    #[arg(long)]
    pub validation_ood: Option<OsString>,
    /// Weights folder of a training with the same settings but without averaged epochs, after which those are trained.
    #[arg(long, requires = "averaged_epochs")]
    pub start_from: Option<PathBuf>,
    /// Weights folder with folds of the same classes and network, trained without the images that are held out here, from whose
    /// weights the training starts, at the beginning of its schedule.
    #[arg(long, conflicts_with = "start_from")]
    pub initial_weights: Option<PathBuf>,
    /// Weights folder of an ensemble that held out the same images: its probabilities are a part of the targets of the
    /// cross-entropy, beside the labels (knowledge distillation).
    #[arg(long)]
    pub teacher: Option<PathBuf>,
    #[command(flatten)]
    pub odin: OdinArgs,
    /// Where to compute.
    #[arg(long, value_enum, default_value = "auto")]
    pub device: DeviceChoice,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum RecipeChoice {
    /// Few epochs, one cycle, batch statistics of the kept classes; made outliers, one batch a step, margin 1, LogitNorm.
    Quick,
    /// The published code's settings.
    Reference,
    /// The paper's settings.
    Paper,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ScheduleChoice {
    Step,
    Linear,
    OneCycle,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum SelectionChoice {
    /// The last epoch.
    Last,
    /// Highest AUROC within two points of the best accuracy so far, epoch by epoch.
    Best,
    /// Lowest detection error within two points of the best accuracy so far; needs --validation-ood.
    Paper,
    /// Highest AUROC of the max softmax between 1,000 test images and --validation-ood, as published code does.
    Reference,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum PrecisionChoice {
    Single,
    Bf16,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum PaddingModeChoice {
    /// Black.
    Constant,
    /// The image's mirror image.
    Reflect,
}

/// One flag for each setting of a recipe.
#[derive(Args, Debug)]
struct Overrides {
    /// Passes over the kept classes.
    #[arg(long)]
    epochs: Option<usize>,
    /// Kept-class images a step.
    #[arg(long)]
    batch: Option<usize>,
    /// Left-out images a step; 0 trains without them.
    #[arg(long)]
    left_out_batch: Option<usize>,
    /// Images a step that are made, for an entropy term of their own: noise, pictures, and training images in pieces, with shuffled
    /// pixels or point-sampled; 0 for none.
    #[arg(long)]
    outlier_batch: Option<usize>,
    /// Whether all images of a step go through the network in one batch, normalised by the kept ones, instead of each side in its own.
    #[arg(long)]
    one_batch: Option<bool>,
    /// Part of the targets that --teacher gives, 0 to 1 [0.7].
    #[arg(long, requires = "teacher")]
    teacher_share: Option<f64>,
    /// Course of the learning rate.
    #[arg(long, value_enum)]
    schedule: Option<ScheduleChoice>,
    /// Largest learning rate.
    #[arg(long)]
    learning_rate: Option<f64>,
    /// Epochs after the schedule, at a constant learning rate; the network has the mean of the weights at their ends
    /// (stochastic weight averaging).
    #[arg(long)]
    averaged_epochs: Option<usize>,
    /// Learning rate of these epochs [a tenth of --learning-rate].
    #[arg(long, requires = "averaged_epochs")]
    averaged_learning_rate: Option<f64>,
    /// How many of these epochs the weights before them count as in the mean [0].
    #[arg(long, requires = "averaged_epochs")]
    averaged_start: Option<usize>,
    /// Learning rate of the batch-norm biases in multiples of the others'.
    #[arg(long)]
    bias_factor: Option<f64>,
    /// Momentum of the gradient descent.
    #[arg(long)]
    momentum: Option<f64>,
    /// Whether it is Nesterov's.
    #[arg(long)]
    nesterov: Option<bool>,
    /// Share of each parameter that is added to its gradient.
    #[arg(long)]
    weight_decay: Option<f64>,
    /// Weight of the entropy term.
    #[arg(long)]
    beta: Option<f64>,
    /// Margin of the entropy term, in nats.
    #[arg(long)]
    margin: Option<f64>,
    /// Temperature of LogitNorm: the cross-entropy takes each image's logits divided by this and by their length, or with 0 as
    /// they are, like the paper. The trained network's logits are scaled so that its probabilities of the validation images fit.
    #[arg(long)]
    logit_norm: Option<f64>,
    /// Pixels around an image before the random crop.
    #[arg(long)]
    padding: Option<usize>,
    /// What these pixels are.
    #[arg(long, value_enum)]
    padding_mode: Option<PaddingModeChoice>,
    /// Whether images are mirrored at random.
    #[arg(long)]
    flip: Option<bool>,
    /// Side of the grey square that hides a part of each training image (cutout); 0 for none.
    #[arg(long)]
    cutout: Option<usize>,
    /// Dropout probability inside the blocks, in compact networks before the last layer [wrn with recipe reference or paper: 0.3].
    #[arg(long)]
    dropout: Option<f64>,
    /// Number format of the convolutions; bf16 is about twice as fast where the device has it.
    #[arg(long, value_enum)]
    precision: Option<PrecisionChoice>,
    /// Share of a batch in the running batch-norm statistics, which count with --statistics-images 0 only.
    #[arg(long)]
    batch_norm_momentum: Option<f64>,
    /// Kept-class images for the final batch-norm statistics; 0 keeps the running ones.
    #[arg(long)]
    statistics_images: Option<usize>,
    /// Which epoch's weights to keep.
    #[arg(long, value_enum)]
    select: Option<SelectionChoice>,
    /// Seed of everything random in the training.
    #[arg(long)]
    seed: Option<u64>,
}

impl Overrides {
    fn over(&self, start: Recipe) -> Recipe {
        let learning_rate = self.learning_rate.unwrap_or(start.learning_rate);
        Recipe {
            epochs: self.epochs.unwrap_or(start.epochs),
            batch: self.batch.unwrap_or(start.batch),
            left_out_batch: self.left_out_batch.unwrap_or(start.left_out_batch),
            outlier_batch: self.outlier_batch.unwrap_or(start.outlier_batch),
            one_batch: self.one_batch.unwrap_or(start.one_batch),
            teacher_share: self.teacher_share.unwrap_or(start.teacher_share),
            schedule: match self.schedule {
                Some(ScheduleChoice::Step) => Schedule::Step,
                Some(ScheduleChoice::Linear) => Schedule::Linear,
                Some(ScheduleChoice::OneCycle) => Schedule::OneCycle,
                None => start.schedule,
            },
            learning_rate,
            averaging: self.averaged_epochs.map(|epochs| Averaging {
                epochs,
                learning_rate: self.averaged_learning_rate.unwrap_or(learning_rate / 10.0),
                start: self.averaged_start.unwrap_or(0),
            }),
            bias_factor: self.bias_factor.unwrap_or(start.bias_factor),
            momentum: self.momentum.unwrap_or(start.momentum),
            nesterov: self.nesterov.unwrap_or(start.nesterov),
            weight_decay: self.weight_decay.unwrap_or(start.weight_decay),
            loss: eloc::training::loss::MarginEntropy {
                beta: self.beta.unwrap_or(start.loss.beta),
                margin: self.margin.unwrap_or(start.loss.margin),
                logit_norm: self.logit_norm.or(start.loss.logit_norm).filter(|&temperature| temperature != 0.0),
            },
            augmentation: Augmentation {
                padding: self.padding.unwrap_or(start.augmentation.padding),
                padding_mode: match self.padding_mode {
                    Some(PaddingModeChoice::Constant) => PaddingMode::Constant,
                    Some(PaddingModeChoice::Reflect) => PaddingMode::Reflect,
                    None => start.augmentation.padding_mode,
                },
                flip: self.flip.unwrap_or(start.augmentation.flip),
                cutout: self.cutout.unwrap_or(start.augmentation.cutout),
            },
            dropout: self.dropout.unwrap_or(start.dropout),
            precision: match self.precision {
                Some(PrecisionChoice::Single) => Precision::Single,
                Some(PrecisionChoice::Bf16) => Precision::Bf16,
                None => start.precision,
            },
            batch_norm_momentum: self.batch_norm_momentum.unwrap_or(start.batch_norm_momentum),
            statistics: match self.statistics_images {
                Some(0) => Statistics::Running,
                Some(images) => Statistics::Recomputed(images),
                None => start.statistics,
            },
            selection: match self.select {
                Some(SelectionChoice::Last) => Selection::Last,
                Some(SelectionChoice::Best) => Selection::Best,
                Some(SelectionChoice::Paper) => Selection::Paper,
                Some(SelectionChoice::Reference) => Selection::Reference,
                None => start.selection,
            },
            seed: self.seed.unwrap_or(start.seed),
        }
    }
}

impl TrainArgs {
    /// The recipe for `network` on the data set called `dataset`.
    pub fn recipe(&self, network: &Network, dataset: &str) -> Recipe {
        let mut start = match self.recipe {
            RecipeChoice::Quick if dataset == data::SHAPES => {
                Recipe { epochs: 3, batch: 50, left_out_batch: 12, outlier_batch: 12, ..Recipe::quick() }
            }
            RecipeChoice::Quick => Recipe::quick(),
            RecipeChoice::Reference => Recipe::reference(),
            RecipeChoice::Paper => Recipe::paper(),
        };
        if matches!(network, Network::WideResNet { .. }) && !matches!(self.recipe, RecipeChoice::Quick) {
            start.dropout = WIDE_RESNET_DROPOUT;
        }
        if self.teacher.is_some() {
            start.teacher_share = TEACHER_SHARE;
        }
        let recipe = self.overrides.over(start);
        if self.all_classes { Recipe { left_out_batch: 0, ..recipe } } else { recipe }
    }

    /// Refuses settings that no training can have, whatever the data.
    pub fn check(&self) -> Result<()> {
        let Overrides { beta, margin, .. } = self.overrides;
        let recipe = self.recipe(self.network.as_ref().unwrap_or(&Network::COMPACT), "");
        ensure!(
            !self.all_classes || recipe.outlier_batch > 0 || (beta.is_none() && margin.is_none()),
            "--all-classes: expected no --beta or --margin without --outlier-batch, since no entropy counts, found one"
        );
        if let Some(fold) = self.fold {
            ensure!((1..=self.folds).contains(&fold), "--fold: expected 1 to {}, found {fold}", self.folds);
        }
        self.odin.over(Odin::default())?;
        self.check_selection(&recipe)?;
        check(&recipe, self.hold_out)
    }

    /// Refuses a choice of the epoch that lacks images or looks at those of a test.
    fn check_selection(&self, recipe: &Recipe) -> Result<()> {
        let selects_with_ood = match recipe.selection {
            Selection::Paper => Some("paper"),
            Selection::Reference => Some("reference"),
            Selection::Best | Selection::Last => None,
        };
        if self.validation_ood.is_none() {
            if let Some(select) = selects_with_ood {
                bail!(
                    "--select {select}: expected out-of-distribution images to select with, found no --validation-ood \
                     (the sources take iSUN); or take --select best"
                );
            }
            ensure!(
                !self.all_classes,
                "--all-classes: expected out-of-distribution images to select with, since no class is left out, found \
                 no --validation-ood"
            );
        }
        if let (Selection::Reference, Some(temperature)) = (&recipe.selection, recipe.loss.logit_norm) {
            bail!(
                "--select reference: expected --logit-norm 0, since the logits would be scaled for the validation images, which are \
                 test images here, found {temperature}; or take another --select"
            );
        }
        Ok(())
    }

    /// The folds of `classes` classes.
    pub fn folds(&self, classes: usize) -> Result<Vec<Fold>> {
        if self.all_classes {
            ensure!(
                (1..=fold::MAX_FOLDS).contains(&self.folds),
                "--folds: expected a number from 1 to {}, found {}",
                fold::MAX_FOLDS,
                self.folds
            );
            ensure!(classes > 1, "--all-classes: expected at least 2 classes, found {classes}");
        }
        Ok(match self.all_classes {
            true => fold::ordinary(classes, self.folds),
            false => fold::folds(classes, self.folds, self.split_seed)?,
        })
    }
}

/// Refuses settings that no training can have.
fn check(recipe: &Recipe, hold_out: f64) -> Result<()> {
    ensure!(
        recipe.averaging.is_none() || recipe.statistics != Statistics::Running,
        "--averaged-epochs: expected --statistics-images to measure the averaged network's batch statistics, found 0"
    );
    let Averaging { epochs: averaged_epochs, learning_rate: averaged_rate, start: averaged_start } =
        recipe.averaging.unwrap_or(Averaging { epochs: 1, learning_rate: 0.0, start: 0 });
    let Recipe {
        epochs,
        batch,
        left_out_batch,
        outlier_batch,
        teacher_share,
        learning_rate,
        bias_factor,
        momentum,
        weight_decay,
        dropout,
        ..
    } = *recipe;
    let Augmentation { padding, cutout, .. } = recipe.augmentation;
    let counts = |value: usize| (1..=LARGEST).contains(&value);
    let at_least_0 = |value: f64| value.is_finite() && value >= 0.0;
    let below_1 = |value: f64| at_least_0(value) && value < 1.0;
    let batch_norm_momentum = recipe.batch_norm_momentum;
    let above_0 = |value: f64| at_least_0(value) && value > 0.0;
    let (beta, margin, logit_norm) = (recipe.loss.beta, recipe.loss.margin, recipe.loss.logit_norm.unwrap_or(1.0));
    for (flag, value, is_right, expected) in [
        ("--epochs", epochs as f64, counts(epochs), "a number from 1 to 1000000"),
        ("--batch", batch as f64, counts(batch), "a number from 1 to 1000000"),
        ("--left-out-batch", left_out_batch as f64, left_out_batch <= LARGEST, "a number of at most 1000000"),
        ("--outlier-batch", outlier_batch as f64, outlier_batch <= LARGEST, "a number of at most 1000000"),
        ("--teacher-share", teacher_share, (0.0..=1.0).contains(&teacher_share), "a number from 0 to 1"),
        ("--learning-rate", learning_rate, at_least_0(learning_rate), "a number of at least 0"),
        ("--averaged-epochs", averaged_epochs as f64, counts(averaged_epochs), "a number from 1 to 1000000"),
        ("--averaged-learning-rate", averaged_rate, at_least_0(averaged_rate), "a number of at least 0"),
        ("--averaged-start", averaged_start as f64, averaged_start <= LARGEST, "a number of at most 1000000"),
        ("--bias-factor", bias_factor, above_0(bias_factor), "a number above 0"),
        ("--momentum", momentum, below_1(momentum), "a number from 0 to below 1"),
        ("--weight-decay", weight_decay, at_least_0(weight_decay), "a number of at least 0"),
        ("--beta", beta, at_least_0(beta), "a number of at least 0"),
        ("--margin", margin, at_least_0(margin), "a number of at least 0"),
        ("--logit-norm", logit_norm, above_0(logit_norm), "a number of at least 0"),
        ("--padding", padding as f64, padding <= SIDE, "a number of at most 32"),
        ("--cutout", cutout as f64, cutout <= SIDE, "a number of at most 32"),
        ("--dropout", dropout, below_1(dropout), "a number from 0 to below 1"),
        (
            "--batch-norm-momentum",
            batch_norm_momentum,
            (0.0..=1.0).contains(&batch_norm_momentum),
            "a number from 0 to 1",
        ),
        ("--hold-out", hold_out, below_1(hold_out) && hold_out > 0.0, "a share between 0 and 1"),
    ] {
        if !is_right {
            bail!("{flag}: expected {expected}, found {value}");
        }
    }
    Ok(())
}
