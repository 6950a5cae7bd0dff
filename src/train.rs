//! Training of one leave-out classifier.
//!
//! In: a network's name, a [`Recipe`], the images and a [`Fold`]. Out: the trained classifier. After each epoch the
//! caller gets an [`EpochRecord`] and a [`Checkpoint`] from which a later call goes on to the same weights. Every
//! random choice is a function of the seed and the step, so that no generator state has to be kept.

use std::{ops::ControlFlow, sync::mpsc, time::Instant};

use burn::{
    module::{Module, ParamGroup},
    nn::BatchNorm,
    optim::{GradientsParams, ModuleOptimizer},
    store::{ModuleRecord, RecordError},
    tensor::{Bytes, Device, Int, Tensor, TensorData},
};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::{
    batches::{Batch, Batches, Purpose},
    dataset::Dataset,
    ensemble::argmax,
    error::{Error, Result},
    fold::Fold,
    image::{CHANNELS, Normalisation, PIXELS, SIDE},
    loss::{cross_entropy, margin_entropy_loss},
    metrics::{self, Definition},
    model::{Classifier, Network},
    recipe::{Recipe, Selection, Statistics},
    scores,
    sgd::Sgd,
};

/// Images for the whitening of the compact network's stem.
const STEM_IMAGES: usize = 5000;
/// Images a forward pass while statistics are recomputed or the validation images are scored.
const FORWARD_BATCH: usize = 250;
/// Steps between two readings of the loss; a reading waits for the device.
const READ_EVERY: usize = 10;
/// Temperature of the fold score while training; the method's default.
const VALIDATION_TEMPERATURE: f64 = 1000.0;
/// How much accuracy an epoch may lose against the best one and still be selected (Vyas et al. 2018, section 4.1).
const ACCURACY_SLACK: f64 = 0.02;
/// Batches made ahead of the training loop.
const BATCHES_AHEAD: usize = 4;

/// What one fold is trained and validated on.
pub struct FoldData<'a> {
    /// Which classes are kept.
    pub fold: &'a Fold,
    /// Training images of all classes.
    pub train: &'a Dataset,
    /// In-distribution validation images; the accuracy is over those of kept classes, the detection over all.
    pub validation: &'a Dataset,
    /// Out-of-distribution validation images, `[n, 3, 32, 32]` u8.
    pub validation_ood: &'a [u8],
    /// Normalisation of all images.
    pub normalisation: Normalisation,
}

/// What one epoch gave.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EpochRecord {
    /// 1-based.
    pub epoch: usize,
    /// Mean training loss.
    pub loss: f64,
    /// Accuracy on the augmented kept-class training images, 0 to 1.
    pub accuracy: f64,
    /// Accuracy on the kept-class validation images, 0 to 1.
    pub validation_accuracy: f64,
    /// AUROC of the fold score between the validation sets, 0 to 1.
    pub validation_auroc: f64,
    /// Detection error of the fold score between the validation sets, 0 to 1.
    pub validation_error: f64,
    /// AUROC of the max softmax between the validation sets, 0 to 1.
    pub validation_max_softmax_auroc: f64,
    /// Seconds the epoch took.
    pub seconds: f64,
}

/// All that a training run needs to go on after an epoch.
#[derive(Clone)]
pub struct Checkpoint {
    /// The epochs so far.
    pub history: Vec<EpochRecord>,
    /// The epoch selected so far, 1-based.
    pub selected: usize,
    /// Burnpack bytes of the network.
    pub model: Vec<u8>,
    /// Burnpack bytes of the optimiser.
    pub optimizer: Vec<u8>,
    /// Burnpack bytes of the selected epoch's network, ready for scoring.
    pub best: Vec<u8>,
}

/// What the training loop tells its caller.
pub enum Event<'a> {
    /// Some steps were done.
    Step {
        /// Steps done since the start of the first epoch.
        step: usize,
        /// Steps of the whole run.
        steps: usize,
        /// Mean loss since the last event.
        loss: f64,
        /// Accuracy on the kept-class images since the last event.
        accuracy: f64,
    },
    /// An epoch was done.
    Epoch(&'a Checkpoint),
}

/// A trained fold.
pub struct TrainedFold {
    /// The selected epoch's network, for scoring.
    pub classifier: Classifier,
    /// Every epoch.
    pub history: Vec<EpochRecord>,
    /// The selected epoch, 1-based.
    pub selected: usize,
}

/// Steps of one epoch: full batches over the kept classes; what is left over waits for the next epoch's order.
pub fn steps_per_epoch(kept_images: usize, batch: usize) -> usize {
    (kept_images / batch).max(1)
}

/// Trains one fold on `device`, which is a plain device, from the start or from `resume`.
///
/// # Errors
/// [`Error::NotFinite`] when the loss is no number any more, [`Error::Checkpoint`] when `resume` is of another
/// network, [`Error::FoldData`] where a side has no images, [`Error::Stopped`] when `on_event` breaks.
pub fn train_fold(
    network: &Network,
    recipe: &Recipe,
    data: &FoldData,
    resume: Option<Checkpoint>,
    device: &Device,
    on_event: &mut dyn FnMut(Event) -> ControlFlow<()>,
) -> Result<TrainedFold> {
    let batches = Batches::new(recipe, data)?;
    let autodiff = device.clone().autodiff();

    let mut model = new_model(network, recipe, &batches, &autodiff);
    let mut optimizer = new_optimizer(recipe);
    let mut checkpoint =
        Checkpoint { history: Vec::new(), selected: 0, model: Vec::new(), optimizer: Vec::new(), best: Vec::new() };
    if let Some(found) = resume {
        model = load_model(model, &found.model)?;
        optimizer = optimizer.from_bytes(Bytes::from_bytes_vec(found.optimizer.clone())).map_err(checkpoint_error)?;
        checkpoint = found;
    }

    for epoch in checkpoint.history.len()..recipe.epochs {
        let start = Instant::now();
        autodiff.seed(recipe.seed ^ ((data.fold.number as u64) << 32) ^ epoch as u64);
        let totals;
        (model, totals) = train_epoch(model, &mut optimizer, epoch, &batches, &autodiff, on_event)?;
        let finished = finish(model.clone(), recipe, &batches, device);
        let (loss, accuracy) = totals.means();
        let mut record = validate(&finished, data, device)?;
        record.epoch = epoch + 1;
        record.loss = loss;
        record.accuracy = accuracy;
        record.seconds = start.elapsed().as_secs_f64();
        if is_better(recipe.selection, &record, &checkpoint) {
            checkpoint.selected = record.epoch;
            checkpoint.best = record_bytes(finished)?;
        }
        checkpoint.history.push(record);
        checkpoint.model = record_bytes(model.clone())?;
        checkpoint.optimizer = optimizer.into_bytes().map_err(checkpoint_error)?.to_vec();
        tell(on_event, Event::Epoch(&checkpoint))?;
    }

    Ok(TrainedFold {
        classifier: load_model(model.valid(), &checkpoint.best)?,
        history: checkpoint.history,
        selected: checkpoint.selected,
    })
}

/// Trains epoch `epoch`, counted from 0, and returns the network with the epoch's sums.
fn train_epoch(
    mut model: Classifier,
    optimizer: &mut ModuleOptimizer,
    epoch: usize,
    batches: &Batches,
    device: &Device,
    on_event: &mut dyn FnMut(Event) -> ControlFlow<()>,
) -> Result<(Classifier, Totals)> {
    let recipe = batches.recipe;
    let steps_per_epoch = steps_per_epoch(batches.kept.len(), recipe.batch);
    let steps = steps_per_epoch * recipe.epochs;
    let range = epoch * steps_per_epoch..(epoch + 1) * steps_per_epoch;
    let mut totals = Totals::default();
    std::thread::scope(|scope| {
        let (sender, receiver) = mpsc::sync_channel(BATCHES_AHEAD);
        let range_ahead = range.clone();
        // Ends when the last batch is taken or the receiver is gone.
        scope.spawn(move || batches.epoch(epoch, range_ahead).try_for_each(|batch| sender.send(batch)));
        let mut running = Running::new(device);
        for step in range {
            let batch = receiver.recv().expect("the other thread makes a batch for each step");
            let rate = recipe.learning_rate_at((step as f64 + 0.5) / steps as f64);
            model = training_step(model, optimizer, batch, rate, recipe, &mut running, device);
            let step = step + 1;
            if step % READ_EVERY == 0 || step % steps_per_epoch == 0 {
                let read = running.take(device);
                if !read.loss.is_finite() {
                    return Err(Error::NotFinite { fold: batches.fold.number, epoch: epoch + 1, step });
                }
                totals.add(&read);
                let (loss, accuracy) = read.means();
                tell(on_event, Event::Step { step, steps, loss, accuracy })?;
            }
        }
        Ok((model, totals))
    })
}

fn tell(on_event: &mut dyn FnMut(Event) -> ControlFlow<()>, event: Event) -> Result<()> {
    match on_event(event) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(Error::Stopped),
    }
}

/// One step: two forward passes, each with its own batch statistics, and one update.
fn training_step(
    model: Classifier,
    optimizer: &mut ModuleOptimizer,
    batch: Batch,
    learning_rate: f64,
    recipe: &Recipe,
    running: &mut Running,
    device: &Device,
) -> Classifier {
    let labels = Tensor::<1, Int>::from_data(TensorData::from(batch.labels.as_slice()), device);
    let kept = model.forward(image_tensor(batch.kept, device));
    let loss = match batch.left_out {
        Some(images) => {
            let left_out = model.forward(image_tensor(images, device));
            margin_entropy_loss(kept.clone(), labels.clone(), left_out, recipe.loss)
        }
        None => cross_entropy(kept.clone(), labels.clone()),
    };
    running.add(loss.clone(), kept, labels);
    let gradients = GradientsParams::from_grads(loss.backward(), &model);
    optimizer.step(learning_rate, model, gradients)
}

fn new_model(network: &Network, recipe: &Recipe, batches: &Batches, device: &Device) -> Classifier {
    let mut rng = batches.rng(Purpose::Weights, 0);
    let classes = batches.fold.kept.len();
    let mut model = network.init(classes, recipe.mode(), &mut rng, device);
    for norm in model.batch_norms_mut() {
        norm.momentum = recipe.batch_norm_momentum;
    }
    let stem_images = &batches.kept[..batches.kept.len().min(STEM_IMAGES)];
    model.fit_stem(&batches.plain(stem_images))
}

fn new_optimizer(recipe: &Recipe) -> ModuleOptimizer {
    let sgd = |factor: f64| Sgd::new(factor, recipe.momentum, recipe.nesterov, recipe.weight_decay / factor);
    let biases = ParamGroup::from_predicate("beta");
    ModuleOptimizer::from(sgd(1.0)).with_group(biases, sgd(recipe.bias_factor), None)
}

/// The network as it will be scored: with its final batch-norm statistics, on the plain device.
fn finish(mut model: Classifier, recipe: &Recipe, batches: &Batches, device: &Device) -> Classifier {
    if let Statistics::Recomputed(images) = recipe.statistics {
        let autodiff = device.clone().autodiff();
        let images = &batches.kept[..batches.kept.len().min(images)];
        for (index, part) in images.chunks(FORWARD_BATCH).enumerate() {
            // Shares of 1, 1/2, 1/3, ... give the mean over all parts.
            set_momentum(&mut model, 1.0 / (index + 1) as f64);
            model.forward(image_tensor(batches.plain(part), &autodiff));
        }
        set_momentum(&mut model, recipe.batch_norm_momentum);
    }
    model.valid()
}

fn set_momentum(model: &mut Classifier, momentum: f64) {
    model.batch_norms_mut().into_iter().for_each(|norm: &mut BatchNorm| norm.momentum = momentum);
}

/// Accuracy and detection of a finished network on the validation images; the training columns are left at 0.
fn validate(model: &Classifier, data: &FoldData, device: &Device) -> Result<EpochRecord> {
    let id_logits = logits(model, &data.validation.images, &data.normalisation, device)?;
    let ood_logits = logits(model, data.validation_ood, &data.normalisation, device)?;

    let (mut kept, mut correct) = (0, 0);
    for (logits, &label) in id_logits.iter().zip(&data.validation.labels) {
        if let Some(expected) = data.fold.logit(usize::from(label)) {
            kept += 1;
            correct += usize::from(argmax(logits) == expected);
        }
    }
    let score = |logits: &[Vec<f32>], score: fn(&[f32]) -> f64| -> Vec<f64> {
        logits.iter().map(|logits| score(logits)).collect()
    };
    let fold_score = |logits: &[f32]| scores::eloc(logits, VALIDATION_TEMPERATURE);
    let max_softmax = |logits: &[f32]| scores::max_softmax(logits, 1.0);
    let detection =
        metrics::metrics(&score(&id_logits, fold_score), &score(&ood_logits, fold_score), Definition::Standard)?;
    Ok(EpochRecord {
        epoch: 0,
        loss: 0.0,
        accuracy: 0.0,
        validation_accuracy: f64::from(correct as u32) / f64::from(kept.max(1) as u32),
        validation_auroc: detection.auroc,
        validation_error: detection.detection_error,
        validation_max_softmax_auroc: metrics::auroc(&score(&id_logits, max_softmax), &score(&ood_logits, max_softmax)),
        seconds: 0.0,
    })
}

/// Whether an epoch takes the place of the one selected so far.
fn is_better(selection: Selection, record: &EpochRecord, checkpoint: &Checkpoint) -> bool {
    let Some(selected) = checkpoint.selected.checked_sub(1).map(|index| &checkpoint.history[index]) else {
        return true;
    };
    let best_accuracy =
        checkpoint.history.iter().map(|epoch| epoch.validation_accuracy).fold(record.validation_accuracy, f64::max);
    let accurate = |epoch: &EpochRecord| epoch.validation_accuracy >= best_accuracy - ACCURACY_SLACK;
    let detects_better = match selection {
        Selection::Last => return true,
        Selection::Reference => {
            return record.validation_max_softmax_auroc > selected.validation_max_softmax_auroc;
        }
        Selection::Best => record.validation_auroc > selected.validation_auroc,
        Selection::Paper => record.validation_error < selected.validation_error,
    };
    accurate(record) && (detects_better || !accurate(selected))
}

/// Logits of `images` `[n, 3, 32, 32]` u8, a row an image.
fn logits(model: &Classifier, images: &[u8], normalisation: &Normalisation, device: &Device) -> Result<Vec<Vec<f32>>> {
    let mut rows = Vec::with_capacity(images.len() / PIXELS);
    for part in images.chunks(FORWARD_BATCH * PIXELS) {
        let mut values = vec![0.0; part.len()];
        normalisation.apply(part, &mut values);
        let logits = model.forward(image_tensor(values, device));
        let [_, classes] = logits.dims();
        let values: Vec<f32> = logits.try_into_data()?.try_to_vec().expect("logits are single precision");
        rows.extend(values.chunks_exact(classes).map(<[f32]>::to_vec));
    }
    Ok(rows)
}

/// `[n, 3, 32, 32]` from normalised planar values.
fn image_tensor(values: Vec<f32>, device: &Device) -> Tensor<4> {
    let images = values.len() / PIXELS;
    Tensor::from_data(TensorData::new(values, [images, CHANNELS, SIDE, SIDE]), device)
}

fn record_bytes(model: Classifier) -> Result<Vec<u8>> {
    Ok(model.into_record().into_bytes().map_err(checkpoint_error)?.to_vec())
}

fn load_model(model: Classifier, bytes: &[u8]) -> Result<Classifier> {
    let record = ModuleRecord::from_bytes(Bytes::from_bytes_vec(bytes.to_vec())).map_err(checkpoint_error)?;
    model.try_load_record(record).map_err(checkpoint_error)
}

fn checkpoint_error(source: RecordError) -> Error {
    Error::Checkpoint { reason: source.to_string() }
}

/// Loss and accuracy of the steps since the last reading, kept on the device.
struct Running {
    loss: Tensor<1>,
    correct: Tensor<1>,
    images: usize,
    steps: usize,
}

impl Running {
    fn new(device: &Device) -> Self {
        let device = device.clone().inner();
        Running { loss: Tensor::zeros([1], &device), correct: Tensor::zeros([1], &device), images: 0, steps: 0 }
    }

    fn add(&mut self, loss: Tensor<1>, logits: Tensor<2>, labels: Tensor<1, Int>) {
        let [images, _] = logits.dims();
        let correct = logits.inner().argmax(1).squeeze_dim::<1>(1).equal(labels.inner());
        self.loss = self.loss.clone() + loss.inner();
        self.correct = self.correct.clone() + correct.float().sum();
        self.images += images;
        self.steps += 1;
    }

    /// Reads the sums and starts anew.
    fn take(&mut self, device: &Device) -> Totals {
        let read = std::mem::replace(self, Running::new(device));
        Totals {
            loss: read.loss.into_scalar::<f32>().into(),
            correct: read.correct.into_scalar::<f32>().into(),
            images: read.images as f64,
            steps: read.steps as f64,
        }
    }
}

/// Sums over steps.
#[derive(Default)]
struct Totals {
    loss: f64,
    correct: f64,
    images: f64,
    steps: f64,
}

impl Totals {
    fn add(&mut self, other: &Totals) {
        self.loss += other.loss;
        self.correct += other.correct;
        self.images += other.images;
        self.steps += other.steps;
    }

    /// Mean loss and accuracy.
    fn means(&self) -> (f64, f64) {
        (self.loss / self.steps, self.correct / self.images)
    }
}

/// Runs one training step on blank images and waits for it, so that a caller can tell how long a training will take.
pub fn time_step(network: &Network, recipe: &Recipe, classes: usize, device: &Device) {
    let autodiff = device.clone().autodiff();
    let mut rng = ChaCha8Rng::seed_from_u64(recipe.seed);
    let model = network.init(classes, recipe.mode(), &mut rng, &autodiff);
    let batch = Batch {
        kept: vec![0.0; recipe.batch * PIXELS],
        labels: vec![0; recipe.batch],
        left_out: (recipe.left_out_batch > 0).then(|| vec![0.0; recipe.left_out_batch * PIXELS]),
    };
    let mut running = Running::new(&autodiff);
    training_step(model, &mut new_optimizer(recipe), batch, 0.0, recipe, &mut running, &autodiff);
    running.take(&autodiff);
}
