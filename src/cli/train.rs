//! `eloc train`: the data, the settings, the folds one after the other, the threshold, and what to do next.

use std::{
    ops::ControlFlow,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail, ensure};
use burn::tensor::Device;
use clap::{Args, ValueEnum};
use eloc::{
    augment::{Augmentation, PaddingMode},
    dataset::Dataset,
    fold::{self, Fold},
    image::{Normalisation, PIXELS, SIDE},
    metrics::threshold_at_tpr,
    model::{Network, Precision},
    odin::{GradientMode, Odin},
    recipe::{Averaging, Recipe, Schedule, Selection, Statistics},
    report::Provenance,
    train::{Checkpoint, Event, FoldData, TrainedFold, after_schedule, train_fold},
    weights::{self, FORMAT, FoldEntry, Manifest},
};
use serde_json::Value;

use super::{
    data::{self, TrainingData},
    device::{ChosenDevice, DeviceChoice},
    evaluate::{self, EvaluateArgs},
    log::Log,
    output,
    progress::{self, Progress},
    scoring,
    store::{self, Checkpoints},
};

/// What `eloc train` takes.
#[derive(Args, Debug)]
pub struct TrainArgs {
    /// auto, cifar10, cifar100, shapes, or a folder of images, class/name.png.
    ///
    /// auto is CIFAR-10 where it is or can be fetched, else the built-in set shapes. A fifth of a folder's images is kept
    /// for testing, unless it has sub-folders train/ and test/, each with a folder for every class.
    #[arg(long, default_value = "auto")]
    dataset: String,
    #[command(flatten)]
    pub data: data::DataArgs,
    /// Folder of the run; made, or gone on with [default: runs/DATASET-NETWORK].
    #[arg(long)]
    out: Option<PathBuf>,
    /// compact, compact-A-B-C, densenet-bc-DEPTH-GROWTH (100-12) or wrn-DEPTH-WIDEN (28-10) [default: compact, for
    /// shapes a narrow one].
    #[arg(long)]
    network: Option<Network>,
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
    fold: Option<usize>,
    /// Train ordinary networks of all classes, which differ by their random numbers only: the deep ensemble to compare
    /// with. Needs --validation-ood.
    #[arg(long)]
    all_classes: bool,
    /// Seed of the class permutation.
    #[arg(long, default_value_t = fold::DEFAULT_SEED)]
    split_seed: u32,
    /// Share of the training images to hold out for the choice of the epoch and for the threshold.
    #[arg(long, default_value_t = 0.02)]
    hold_out: f64,
    /// Out-of-distribution images (name or path) for the choice of the epoch; without it, the held-out images of
    /// the left-out classes.
    #[arg(long)]
    validation_ood: Option<String>,
    /// Weights folder of a training with the same settings but without averaged epochs, after which those are trained.
    #[arg(long, requires = "averaged_epochs")]
    start_from: Option<PathBuf>,
    #[command(flatten)]
    odin: OdinArgs,
    /// Where to compute.
    #[arg(long, value_enum, default_value = "auto")]
    pub device: DeviceChoice,
}

/// Settings of the perturbation; what is not given comes from the weights or is the method's default.
#[derive(Args, Clone, Copy, Debug, Default)]
pub struct OdinArgs {
    /// Softmax temperature [default: that of the weights; 1000 for new ones, as in the paper].
    #[arg(long)]
    temperature: Option<f64>,
    /// Size of the perturbation, in units of the 0 to 1 pixel range [default: that of the weights; 0.002 for new ones].
    #[arg(long)]
    pub epsilon: Option<f64>,
    /// Loss whose gradient is followed [default: that of the weights; cross-entropy for new ones].
    #[arg(long, value_enum)]
    gradient: Option<GradientChoice>,
}

impl OdinArgs {
    /// The settings, `start` where a flag was not given.
    pub fn over(self, start: Odin) -> Result<Odin> {
        let odin = Odin {
            temperature: self.temperature.unwrap_or(start.temperature),
            epsilon: self.epsilon.unwrap_or(start.epsilon),
            gradient: self.gradient.map_or(start.gradient, GradientChoice::mode),
        };
        if !(odin.temperature.is_finite() && odin.temperature > 0.0) {
            bail!("--temperature: expected a number above 0, found {}", odin.temperature);
        }
        if !(odin.epsilon.is_finite() && odin.epsilon >= 0.0) {
            bail!("--epsilon: expected a number of at least 0, found {}", odin.epsilon);
        }
        Ok(odin)
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum GradientChoice {
    CrossEntropy,
    Entropy,
}

impl GradientChoice {
    fn mode(self) -> GradientMode {
        match self {
            GradientChoice::CrossEntropy => GradientMode::CrossEntropy,
            GradientChoice::Entropy => GradientMode::Entropy,
        }
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum RecipeChoice {
    /// Few epochs, one cycle, batch statistics of the kept classes.
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
    /// Highest AUROC within two points of the best accuracy.
    Best,
    /// Lowest detection error within two points of the best accuracy; needs --validation-ood.
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
    /// Left-out images a step; 0 trains without the entropy term.
    #[arg(long)]
    left_out_batch: Option<usize>,
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
    /// Temperature of LogitNorm: the cross-entropy takes each image's logits divided by this and by their length; without
    /// it as they are, like the paper. The trained network's logits are scaled so that its probabilities of the validation
    /// images fit.
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
    /// Dropout probability inside the blocks [wrn with recipe reference or paper: 0.3].
    #[arg(long)]
    dropout: Option<f64>,
    /// Number format of the convolutions; bf16 is about twice as fast where the device has it.
    #[arg(long, value_enum)]
    precision: Option<PrecisionChoice>,
    /// Share of a batch in the running batch-norm statistics.
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
            }),
            bias_factor: self.bias_factor.unwrap_or(start.bias_factor),
            momentum: self.momentum.unwrap_or(start.momentum),
            nesterov: self.nesterov.unwrap_or(start.nesterov),
            weight_decay: self.weight_decay.unwrap_or(start.weight_decay),
            loss: eloc::loss::MarginEntropy {
                beta: self.beta.unwrap_or(start.loss.beta),
                margin: self.margin.unwrap_or(start.loss.margin),
                logit_norm: self.logit_norm.or(start.loss.logit_norm),
            },
            augmentation: Augmentation {
                padding: self.padding.unwrap_or(start.augmentation.padding),
                padding_mode: match self.padding_mode {
                    Some(PaddingModeChoice::Constant) => PaddingMode::Constant,
                    Some(PaddingModeChoice::Reflect) => PaddingMode::Reflect,
                    None => start.augmentation.padding_mode,
                },
                flip: self.flip.unwrap_or(start.augmentation.flip),
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
    fn recipe(&self, network: &Network, data: &TrainingData) -> Recipe {
        let mut start = match self.recipe {
            RecipeChoice::Quick if data.name == data::SHAPES => {
                Recipe { epochs: 3, batch: 50, left_out_batch: 12, ..Recipe::quick() }
            }
            RecipeChoice::Quick => Recipe::quick(),
            RecipeChoice::Reference => Recipe::reference(),
            RecipeChoice::Paper => Recipe::paper(),
        };
        if matches!(network, Network::WideResNet { .. }) && !matches!(self.recipe, RecipeChoice::Quick) {
            start.dropout = WIDE_RESNET_DROPOUT;
        }
        let recipe = self.overrides.over(start);
        if self.all_classes { Recipe { left_out_batch: 0, ..recipe } } else { recipe }
    }

    fn folds(&self, classes: usize) -> Result<Vec<Fold>> {
        if self.all_classes {
            ensure!(self.folds > 0, "--folds: expected a number of at least 1, found 0");
            ensure!(classes > 1, "--all-classes: expected at least 2 classes, found {classes}");
        }
        Ok(match self.all_classes {
            true => fold::ordinary(classes, self.folds),
            false => fold::folds(classes, self.folds, self.split_seed)?,
        })
    }
}

/// Dropout of the wide residual network in the paper.
const WIDE_RESNET_DROPOUT: f64 = 0.3;
/// A compact network narrow enough to learn the built-in set in minutes without a GPU.
const SHAPES_NETWORK: Network = Network::Compact { widths: [32, 64, 64] };
/// Share of the held-out training images that the threshold accepts.
pub const THRESHOLD_TPR: f64 = 0.95;
/// Images of each set that the built-in set's ensemble is measured on after its training.
const SHAPES_OOD_IMAGES: usize = 2000;
/// Images of each class or set that the published selection rule looks at, and the seed it draws them with.
const REFERENCE_IMAGES: usize = 1000;

/// Trains what is missing, sets the threshold, and says what to try next.
pub fn run(args: &TrainArgs) -> Result<()> {
    let device = args.device.open()?;
    let data = data::training("--dataset", &args.dataset, &args.data)?;
    let network =
        args.network.clone().unwrap_or(if data.name == data::SHAPES { SHAPES_NETWORK } else { Network::COMPACT });
    let recipe = args.recipe(&network, &data);
    let folds = args.folds(data.train.classes.len())?;
    let wanted = wanted_folds(&folds, args.fold)?;
    check(&recipe, args.hold_out)?;
    let (train, held_out) = data.train.hold_out(args.hold_out, recipe.seed);
    ensure!(
        !held_out.is_empty(),
        "{}: expected a class of two training images or more, of which to hold one out for the threshold, found none",
        data.name
    );

    let out = args.out.clone().unwrap_or_else(|| Path::new("runs").join(format!("{}-{network}", data.name)));
    let validation = Validation::new(args, &recipe, &data, &held_out)?;
    wanted.iter().try_for_each(|fold| validation.check(fold, &data))?;
    let start = Manifest {
        format: FORMAT,
        dataset: data.name.clone(),
        images_sha256: Some(weights::sha256(&data.train.images)),
        classes: data.train.classes.clone(),
        network: network.clone(),
        fold_count: folds.len(),
        split_seed: args.split_seed,
        all_classes: args.all_classes,
        normalisation: Normalisation::default(),
        odin: args.odin.over(Odin::default())?,
        threshold: None,
        self_test: None,
        hold_out: args.hold_out,
        validation_sha256: validation.sha256(),
        start_sha256: None,
        recipe: Some(recipe.clone()),
        folds: Vec::new(),
    };
    let begun = args.start_from.as_deref().map(|folder| Begun::new(folder, &start, &folds)).transpose()?;
    let start = Manifest { start_sha256: begun.as_ref().map(Begun::sha256), ..start };
    let manifest = claim(&out, &start, &args.odin)?;

    let missing: Vec<&Fold> =
        wanted.into_iter().filter(|fold| manifest.folds.iter().all(|done| done.fold.number != fold.number)).collect();
    let progress = Progress::training(&recipe, &missing, &train, begun.as_ref().map_or(0, |_| recipe.epochs), &out);
    announce(&start, &recipe, &train, &missing, &device, &out, &progress)?;
    for fold in missing {
        let Some(checkpoints) = claim_fold(&out, &start, fold.number)? else {
            let busy = format!("another process is training fold {}", fold.number);
            ensure!(args.fold.is_none(), "{}: {busy}; --fold trains another one", out.display());
            progress.say(&busy);
            continue;
        };
        if store::existing_manifest(&out)?.folds.iter().any(|done| done.fold.number == fold.number) {
            progress.say(&format!("another process has trained fold {}", fold.number));
            continue;
        }
        let (id, ood) = validation.of(fold);
        let images =
            FoldData { fold, train: &train, validation: &id, validation_ood: &ood, normalisation: start.normalisation };
        if let Some(begun) = &begun
            && store::epochs_done(&out, fold.number) == 0
        {
            checkpoints.save(&begun.checkpoint(&images, &recipe, &device.device)?)?;
        }
        let trained = train_one(&images, &recipe, &network, &checkpoints, &device, &out, &progress)?;
        let bytes = weights::to_bytes(&trained.classifier)?;
        let seconds = trained.history.iter().map(|epoch| epoch.seconds).sum();
        let provenance = Provenance::new(super::command_line(), device.name.clone(), seconds);
        let entry = FoldEntry::new(fold.clone(), &bytes, trained.selected, trained.history, provenance);
        store::update_manifest(&out, &start, |manifest| {
            store::write(&out.join(&entry.file), &bytes)?;
            manifest.folds.retain(|other| other.fold.number != fold.number);
            manifest.folds.push(entry);
            manifest.folds.sort_by_key(|entry| entry.fold.number);
            Ok(())
        })?;
        checkpoints.clear()?;
    }
    progress.finish();

    let manifest = store::read_manifest(&out)?.with_context(|| format!("{}: the manifest is gone", out.display()))?;
    if manifest.folds.len() < manifest.fold_count {
        let missing: Vec<String> = (1..=manifest.fold_count)
            .filter(|number| manifest.folds.iter().all(|entry| entry.fold.number != *number))
            .map(|number| number.to_string())
            .collect();
        output::line(format_args!(
            "{}: {} of {} folds done; missing: {}",
            out.display(),
            manifest.folds.len(),
            manifest.fold_count,
            missing.join(", ")
        ))?;
        return Ok(());
    }
    calibrate(&out, &start, &held_out, &device)?;
    next(&out, &data, args)
}

fn wanted_folds(folds: &[Fold], wanted: Option<usize>) -> Result<Vec<&Fold>> {
    match wanted {
        None => Ok(folds.iter().collect()),
        Some(number) => match folds.iter().find(|fold| fold.number == number) {
            Some(fold) => Ok(vec![fold]),
            None => bail!("--fold: expected 1 to {}, found {number}", folds.len()),
        },
    }
}

/// Refuses settings that no training can have.
fn check(recipe: &Recipe, hold_out: f64) -> Result<()> {
    ensure!(
        recipe.averaging.is_none() || recipe.statistics != Statistics::Running,
        "--averaged-epochs: expected --statistics-images to measure the averaged network's batch statistics, found 0"
    );
    let (averaged_epochs, averaged_rate) = match recipe.averaging {
        Some(averaging) => (averaging.epochs, averaging.learning_rate),
        None => (1, 0.0),
    };
    let Recipe { epochs, batch, learning_rate, bias_factor, momentum, weight_decay, dropout, .. } = *recipe;
    let padding = recipe.augmentation.padding;
    let at_least_0 = |value: f64| value.is_finite() && value >= 0.0;
    let below_1 = |value: f64| at_least_0(value) && value < 1.0;
    let batch_norm_momentum = recipe.batch_norm_momentum;
    let above_0 = |value: f64| at_least_0(value) && value > 0.0;
    let (beta, margin, logit_norm) = (recipe.loss.beta, recipe.loss.margin, recipe.loss.logit_norm.unwrap_or(1.0));
    for (flag, value, is_right, expected) in [
        ("--epochs", epochs as f64, epochs > 0, "a number of at least 1"),
        ("--batch", batch as f64, batch > 0, "a number of at least 1"),
        ("--learning-rate", learning_rate, at_least_0(learning_rate), "a number of at least 0"),
        ("--averaged-epochs", averaged_epochs as f64, averaged_epochs > 0, "a number of at least 1"),
        ("--averaged-learning-rate", averaged_rate, at_least_0(averaged_rate), "a number of at least 0"),
        ("--bias-factor", bias_factor, above_0(bias_factor), "a number above 0"),
        ("--momentum", momentum, below_1(momentum), "a number from 0 to below 1"),
        ("--weight-decay", weight_decay, at_least_0(weight_decay), "a number of at least 0"),
        ("--beta", beta, at_least_0(beta), "a number of at least 0"),
        ("--margin", margin, at_least_0(margin), "a number of at least 0"),
        ("--logit-norm", logit_norm, above_0(logit_norm), "a number above 0"),
        ("--padding", padding as f64, padding <= SIDE, "a number of at most 32"),
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

/// Takes the folder for a run with these settings: a new one, one to go on with, or one in which nothing was done yet.
/// The perturbation plays no part in the training, but none that is asked for is passed over.
fn claim(out: &Path, start: &Manifest, odin: &OdinArgs) -> Result<Manifest> {
    store::update_manifest(out, start, |manifest| {
        if manifest.folds.is_empty() && !store::is_begun(out)? {
            manifest.clone_from(start);
        }
        ensure!(
            odin.over(manifest.odin)? == manifest.odin,
            "{}: expected --temperature, --epsilon and --gradient as there, found others; `eloc tune --write` changes them",
            out.display()
        );
        same_run(start, manifest, out)
    })
}

/// Takes fold `fold` of the run in `out`, for which nobody else can claim the folder from then on; `None` while another process
/// is training it.
fn claim_fold(out: &Path, start: &Manifest, fold: usize) -> Result<Option<Checkpoints>> {
    let mut checkpoints = None;
    store::update_manifest(out, start, |manifest| {
        // Another process may have claimed the folder for other settings while nothing was done in it.
        same_run(start, manifest, out)?;
        checkpoints = Checkpoints::new(out, fold, run_hash(start))?;
        Ok(())
    })?;
    Ok(checkpoints)
}

/// The settings and images that decide a training's weights, as JSON.
fn settings(manifest: &Manifest) -> Value {
    let manifest =
        Manifest { threshold: None, self_test: None, folds: Vec::new(), odin: Odin::default(), ..manifest.clone() };
    serde_json::to_value(manifest).expect("a manifest is JSON")
}

/// Hash of all that decides a training's weights.
fn run_hash(start: &Manifest) -> String {
    weights::sha256(settings(start).to_string().as_bytes())
}

/// Refuses to go on in a folder that belongs to a run with other data or settings.
fn same_run(expected: &Manifest, found: &Manifest, out: &Path) -> Result<()> {
    let Some((name, there, now)) = first_difference("", &settings(found), &settings(expected)) else {
        return Ok(());
    };
    bail!(
        "{}: expected a run with the same {name}, found {there} there and {now} now; take another --out, or the same \
         settings to go on",
        out.display(),
    )
}

/// Path and values of the first place where two JSON values differ.
fn first_difference(path: &str, a: &Value, b: &Value) -> Option<(String, Value, Value)> {
    match (a, b) {
        (Value::Object(fields), Value::Object(others)) => fields.keys().chain(others.keys()).find_map(|name| {
            let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            let [value, other] = [fields, others].map(|fields| fields.get(name).unwrap_or(&Value::Null));
            first_difference(&path, value, other)
        }),
        _ if a == b => None,
        _ => Some((path.to_owned(), a.clone(), b.clone())),
    }
}

/// A finished training to go on with.
struct Begun {
    folder: PathBuf,
    manifest: Manifest,
}

impl Begun {
    /// The one in `folder`, whose settings have to be those of `start` but for the averaging, with all `folds`.
    fn new(folder: &Path, start: &Manifest, folds: &[Fold]) -> Result<Self> {
        let manifest = store::existing_manifest(folder)?;
        let mut expected = start.clone();
        expected.recipe.iter_mut().for_each(|recipe| recipe.averaging = None);
        if let Some((name, there, now)) = first_difference("", &settings(&manifest), &settings(&expected)) {
            bail!(
                "--start-from {}: expected a training with the same {name}, found {there} there and {now} now",
                folder.display()
            );
        }
        let begun = Begun { folder: folder.to_owned(), manifest };
        folds.iter().try_for_each(|fold| begun.entry(fold.number).map(|_| ()))?;
        Ok(begun)
    }

    fn entry(&self, fold: usize) -> Result<&FoldEntry> {
        let entry = self.manifest.folds.iter().find(|entry| entry.fold.number == fold);
        entry.with_context(|| {
            format!("--start-from {}: expected a trained fold {fold}, found none", self.folder.display())
        })
    }

    /// Stands for the weights of all folds.
    fn sha256(&self) -> String {
        weights::sha256(self.manifest.folds.iter().map(|entry| entry.sha256.as_str()).collect::<String>().as_bytes())
    }

    /// What the fold of `images` goes on from.
    fn checkpoint(&self, images: &FoldData<'_>, recipe: &Recipe, device: &Device) -> Result<Checkpoint> {
        let entry = self.entry(images.fold.number)?;
        let member = store::read_member(&self.folder, &self.manifest, entry, device)?;
        Ok(after_schedule(member, entry.history.clone(), entry.epoch, recipe, images, device)?)
    }
}

/// The images that the choice of the epoch looks at.
struct Validation {
    id: Dataset,
    /// `None`: the fold's own left-out classes among the held-out images.
    ood: Option<Vec<u8>>,
}

impl Validation {
    fn new(args: &TrainArgs, recipe: &Recipe, data: &TrainingData, held_out: &Dataset) -> Result<Self> {
        let ood = match &args.validation_ood {
            Some(name) => Some(data::image_set(name, &args.data)?),
            None if matches!(recipe.selection, Selection::Paper | Selection::Reference) => bail!(
                "--select {}: expected out-of-distribution images to select with, found no --validation-ood \
                 (the sources take iSUN); or take --select best",
                if recipe.selection == Selection::Paper { "paper" } else { "reference" }
            ),
            None if args.all_classes => bail!(
                "--all-classes: expected out-of-distribution images to select with, since no class is left out, found \
                 no --validation-ood"
            ),
            None => None,
        };
        if recipe.selection != Selection::Reference {
            return Ok(Validation { id: held_out.clone(), ood: ood.map(|set| set.images) });
        }
        let first = |images: usize| -> Vec<usize> {
            let mut order = fold::permutation(fold::DEFAULT_SEED, images);
            order.truncate(REFERENCE_IMAGES);
            order
        };
        let ood = ood.expect("checked above");
        let chosen = first(ood.len()).into_iter().flat_map(|index| ood.image(index)).copied().collect();
        Ok(Validation { id: data.test.subset(&first(data.test.len())), ood: Some(chosen) })
    }

    /// Hash of the images, where they are others than the fold's own classes.
    fn sha256(&self) -> Option<String> {
        self.ood.as_ref().map(|ood| weights::sha256(&[&self.id.images[..], ood].concat()))
    }

    /// Refuses images that nothing can be chosen by.
    fn check(&self, fold: &Fold, data: &TrainingData) -> Result<()> {
        let (id, ood) = self.of(fold);
        ensure!(
            !id.is_empty() && !ood.is_empty(),
            "{}: expected held-out images of the classes that fold {} keeps and of those that it leaves out, found {} and \
             {}; give each class more images",
            data.name,
            fold.number,
            id.len(),
            ood.len() / PIXELS
        );
        Ok(())
    }

    /// In- and out-of-distribution images for one fold.
    fn of(&self, fold: &Fold) -> (Dataset, Vec<u8>) {
        match &self.ood {
            Some(ood) => (self.id.clone(), ood.clone()),
            None => {
                let (kept, left_out) = fold.partition(&self.id.labels);
                (self.id.subset(&kept), self.id.subset(&left_out).images)
            }
        }
    }
}

/// Says what will be trained, where, on what, and about how long it will take.
fn announce(
    run: &Manifest,
    recipe: &Recipe,
    train: &Dataset,
    folds: &[&Fold],
    device: &ChosenDevice,
    out: &Path,
    progress: &Progress,
) -> Result<()> {
    if folds.is_empty() {
        output::aside(format_args!("{}: nothing left to train in {}", run.dataset, out.display()))?;
        return Ok(());
    }
    output::aside(format_args!(
        "{}: {} training images of {} classes, {} folds to train with {} for {} epochs",
        run.dataset,
        train.len(),
        run.classes.len(),
        folds.len(),
        run.network,
        recipe.total_epochs(),
    ))?;
    output::aside(format_args!("device {device}; run in {}", out.display()))?;
    let step = progress::step_time(&run.network, recipe, run.classes.len(), &device.device)?;
    let images = recipe.batch + recipe.left_out_batch;
    output::aside(format_args!(
        "about {} at {:.0} images/s",
        progress::duration(step.mul_f64(progress.steps_left() as f64)),
        images as f64 / step.as_secs_f64()
    ))?;
    Ok(())
}

/// Trains one fold from its newest checkpoint, with a log and a plot beside the weights.
fn train_one(
    images: &FoldData<'_>,
    recipe: &Recipe,
    network: &Network,
    checkpoints: &Checkpoints,
    device: &ChosenDevice,
    out: &Path,
    progress: &Progress,
) -> Result<TrainedFold> {
    let fold = images.fold;
    let log = Log::new(out, fold.number);
    let resume = checkpoints.load()?;
    if let Some(checkpoint) = &resume {
        // The process may have ended between the checkpoint and its log.
        log.write(&checkpoint.history)?;
        progress.say(&format!("fold {}: going on after epoch {}", fold.number, checkpoint.history.len()));
    }
    progress.start_fold(fold.number, resume.as_ref().map_or(0, |checkpoint| checkpoint.history.len()));
    let mut failed = None;
    let trained = train_fold(network, recipe, images, resume, &device.device, &mut |event| match event {
        Event::Step { step, loss, accuracy, .. } => {
            progress.step(step, loss, accuracy);
            ControlFlow::Continue(())
        }
        Event::Epoch(checkpoint) => {
            progress.epoch(checkpoint);
            let written = checkpoints.save(checkpoint).and_then(|()| log.write(&checkpoint.history));
            failed = written.err();
            if failed.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        }
    });
    match failed {
        Some(error) => Err(error),
        None => trained.with_context(|| format!("{}", out.display())),
    }
}

/// Sets the score that 95% of the held-out training images reach, and the scores of the self-test.
fn calibrate(out: &Path, start: &Manifest, held_out: &Dataset, device: &ChosenDevice) -> Result<()> {
    let (manifest, members) = store::read_ensemble(out, &device.device)?;
    if manifest.threshold.is_some() && manifest.self_test.is_some() {
        return Ok(());
    }
    let threshold = match manifest.threshold {
        Some(threshold) => threshold,
        None => {
            let scores = scoring::scores(&manifest, &members, "held-out images", &held_out.images, &device.device)?;
            threshold_at_tpr(&scores, THRESHOLD_TPR)
        }
    };
    let self_test = scoring::self_test(&manifest, &members, &device.device)?;
    store::update_manifest(out, start, |manifest| {
        manifest.threshold = Some(threshold);
        manifest.self_test = Some(self_test);
        Ok(())
    })?;
    Ok(())
}

/// Measures what can be measured on the spot and says which command to try next.
fn next(out: &Path, data: &TrainingData, args: &TrainArgs) -> Result<()> {
    if data.name == data::SHAPES {
        let ood = ["patterns", "uniform", "gaussian"].map(|name| format!("{name}:{SHAPES_OOD_IMAGES}"));
        evaluate::run(&EvaluateArgs::new(out, data::SHAPES, &ood, &args.data, args.device))?;
    }
    let (id, out) = (if args.dataset == "auto" { &data.name } else { &args.dataset }, out.display());
    let dir = args.data.dir.as_ref().map_or(String::new(), |dir| format!(" --data {}", dir.display()));
    output::line(format_args!("\nThe weights are in {out}. Try them on images of your own:"))?;
    output::line(format_args!("  cargo run --release -- score --weights {out} FOLDER_OR_ARCHIVE"))?;
    output::line(format_args!(
        "  cargo run --release -- evaluate --weights {out} --id {id}{dir} --ood FOLDER_OR_ARCHIVE uniform gaussian"
    ))?;
    Ok(())
}
