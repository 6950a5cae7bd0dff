//! Training of one leave-out classifier.
//!
//! In: a network's name, a [`Recipe`], the images and a [`Fold`](crate::fold::Fold). Out: the trained classifier. After each epoch the
//! caller gets the [`EpochRecord`]s so far and a [`Checkpoint`] from which a later call goes on to the same weights.
//! Every random choice is a function of the seed and the step, so that no generator state has to be kept.

use std::{ops::ControlFlow, sync::mpsc, time::Instant};

use burn::{
    module::Module,
    tensor::{Bytes, Device},
};

use crate::{
    detection::ensemble::Member,
    error::{Error, Result},
    network::{Classifier, Network},
    training::{
        batches::{Batches, Purpose},
        checkpoint::{Checkpoint, EpochRecord, checkpoint_error, load_model, record_bytes},
        data::{FoldData, steps_per_epoch},
        learner::{Learner, Totals},
        recipe::{Recipe, Statistics},
        validation::{Validation, logit_scale, select, validate},
    },
};

/// Images for the whitening of the compact network's stem.
const STEM_IMAGES: usize = 5000;
/// Kept-class images a forward pass while batch-norm statistics are recomputed.
const STATISTICS_BATCH: usize = 250;
/// Steps between two readings of the loss; a reading waits for the device.
const READ_EVERY: usize = 10;
/// Batches made ahead of the training loop.
const BATCHES_AHEAD: usize = 4;

/// What the training loop tells its caller.
pub enum Event<'a> {
    /// Some steps were done.
    Step {
        /// Steps done since the start of the first epoch.
        step: usize,
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

/// Trains one fold on `device`, which is a plain device, from the start or from `resume`.
///
/// With LogitNorm the cross-entropy leaves the length of the logits open: the network's are scaled in the end, so that its
/// softmax on the validation images is calibrated (Guo et al. 2017), and have mean 0.
///
/// # Errors
/// [`Error::NotFinite`] when the loss is no number any more, [`Error::Checkpoint`] when `resume` is of another
/// network, [`Error::FoldData`] and [`Error::NoValidation`] where a side has no images, [`Error::NoEpochs`] for a recipe of
/// none, [`Error::Device`] when the device fails, [`Error::Stopped`] when `on_event` breaks.
pub fn train_fold(
    network: &Network,
    recipe: &Recipe,
    data: &FoldData,
    resume: Option<Checkpoint>,
    device: &Device,
    on_event: &mut dyn FnMut(Event) -> ControlFlow<()>,
) -> Result<TrainedFold> {
    let batches = Batches::new(recipe, data)?;
    let mut learner = new_learner(network, &batches, device);
    let mut checkpoint = resume.unwrap_or_default();
    learner.model = match checkpoint.model.is_empty() {
        true => learner.model.fit_stem(|| stem_images(&batches)),
        false => load_model(learner.model, &checkpoint.model)?,
    };
    if let Some(optimizer) = checkpoint.optimizer.clone() {
        learner.optimizer = learner.optimizer.from_bytes(Bytes::from_bytes_vec(optimizer)).map_err(checkpoint_error)?;
    }
    let load_average = |bytes: &Vec<u8>| load_model(learner.model.clone(), bytes);
    let mut average = checkpoint.average.as_ref().map(load_average).transpose()?;

    for epoch in checkpoint.history.len()..recipe.total_epochs() {
        let start = Instant::now();
        let averaging = recipe.averaging.filter(|_| epoch >= recipe.epochs);
        if epoch == recipe.epochs && averaging.is_some_and(|averaging| averaging.start > 0) {
            average = Some(learner.model.clone());
        }
        device.seed(recipe.seed ^ ((data.fold.number as u64) << 32) ^ epoch as u64);
        let totals = train_epoch(&mut learner, epoch, &batches, on_event)?;
        if let Some(averaging) = averaging {
            let share = 1.0 / (averaging.start + epoch - recipe.epochs + 1) as f64;
            average = Some(match average {
                Some(average) => average.moved_towards(&learner.model, share),
                None => learner.model.clone(),
            });
        }
        let scored = average.clone().unwrap_or(learner.model.clone());
        recompute_statistics(&scored, &learner, &batches);
        let scored = scored.valid();
        let member = Member::new(data.fold.clone(), scored.clone(), device);
        let validation = validate(&member, data, device).map_err(|error| match error {
            // The last update of the epoch, after which no loss is measured.
            Error::ScoreNotFinite { .. } => Error::NotFinite {
                fold: data.fold.number,
                epoch: epoch + 1,
                step: (epoch + 1) * steps_per_epoch(batches.kept.len(), recipe.batch),
            },
            other => other,
        })?;

        let before: Vec<Validation> = checkpoint.history.iter().map(|epoch| epoch.validation).collect();
        let selected = select(recipe.selection, &before, checkpoint.selected, &validation);
        if selected > before.len() {
            checkpoint.best = record_bytes(scored)?;
        }
        checkpoint.selected = Some(selected);
        checkpoint.history.push(EpochRecord {
            epoch: epoch + 1,
            loss: totals.loss(),
            accuracy: totals.accuracy(),
            validation,
            seconds: start.elapsed().as_secs_f64(),
        });
        checkpoint.model = record_bytes(learner.model.clone())?;
        checkpoint.optimizer = Some(learner.optimizer.into_bytes().map_err(checkpoint_error)?.to_vec());
        checkpoint.average = average.clone().map(record_bytes).transpose()?;
        tell(on_event, Event::Epoch(&checkpoint))?;
    }

    let selected = checkpoint.selected.ok_or(Error::NoEpochs)?;
    let best = load_model(learner.model.valid(), &checkpoint.best)?;
    let classifier = calibrated(best, recipe, data, device)?;
    Ok(TrainedFold { classifier, history: checkpoint.history, selected })
}

/// The network whose weights are `share` of the way from those of the first of two to those of the second, both of the fold of
/// `data` and trained from one another, and how it does on the validation images.
///
/// Networks of which one was trained on from the other are mostly joined by networks that are as good (Wortsman et al. 2022). Its
/// batch-norm statistics are computed anew, as `recipe` says, which has to have [`Statistics::Recomputed`]; with LogitNorm its
/// logits are scaled as [`train_fold`] does.
///
/// # Errors
/// [`Error::Checkpoint`] for networks of two shapes, and those of [`train_fold`].
pub fn average_fold(
    network: &Network,
    recipe: &Recipe,
    data: &FoldData,
    networks: [Classifier; 2],
    share: f64,
    device: &Device,
) -> Result<(Classifier, Validation)> {
    let batches = Batches::new(recipe, data)?;
    let learner = new_learner(network, &batches, device);
    let [start, end] = networks.map(|one| load_model(learner.model.clone(), &record_bytes(one)?));
    let average = start?.moved_towards(&end?, share);
    recompute_statistics(&average, &learner, &batches);
    let classifier = calibrated(average.valid(), recipe, data, device)?;
    let validation = validate(&Member::new(data.fold.clone(), classifier.clone(), device), data, device)?;
    Ok((classifier, validation))
}

/// The network with logits of the length that the validation images want, where the loss has left it open.
fn calibrated(classifier: Classifier, recipe: &Recipe, data: &FoldData, device: &Device) -> Result<Classifier> {
    if recipe.loss.logit_norm.is_none() {
        return Ok(classifier);
    }
    let member = Member::new(data.fold.clone(), classifier.clone(), device);
    Ok(classifier.with_logits_scaled(logit_scale(&member, data, device)?))
}

/// Trains epoch `epoch`, counted from 0, and returns its sums.
fn train_epoch(
    learner: &mut Learner,
    epoch: usize,
    batches: &Batches,
    on_event: &mut dyn FnMut(Event) -> ControlFlow<()>,
) -> Result<Totals> {
    let recipe = batches.recipe;
    let steps_per_epoch = steps_per_epoch(batches.kept.len(), recipe.batch);
    let range = epoch * steps_per_epoch..(epoch + 1) * steps_per_epoch;
    let mut totals = Totals::default();
    std::thread::scope(|scope| {
        let (sender, receiver) = mpsc::sync_channel(BATCHES_AHEAD);
        let range_ahead = range.clone();
        // Ends when the last batch is taken or the receiver is gone.
        scope.spawn(move || batches.epoch(epoch, range_ahead).try_for_each(|batch| sender.send(batch)));
        for step in range {
            let batch = receiver.recv().expect("the other thread makes a batch for each step");
            learner.step(&batch, recipe.learning_rate_at((step as f64 + 0.5) / steps_per_epoch as f64));
            let step = step + 1;
            if step % READ_EVERY == 0 || step % steps_per_epoch == 0 {
                let read = learner.take_totals()?;
                if !read.loss().is_finite() {
                    return Err(Error::NotFinite { fold: batches.fold.number, epoch: epoch + 1, step });
                }
                totals.add(&read);
                tell(on_event, Event::Step { step, loss: read.loss(), accuracy: read.accuracy() })?;
            }
        }
        Ok(totals)
    })
}

fn tell(on_event: &mut dyn FnMut(Event) -> ControlFlow<()>, event: Event) -> Result<()> {
    match on_event(event) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(Error::Stopped),
    }
}

fn new_learner(network: &Network, batches: &Batches, device: &Device) -> Learner {
    let mut rng = batches.rng(Purpose::Weights, 0);
    let classes = batches.fold.kept.len();
    Learner::new(network, classes, batches.recipe, batches.normalisation, &mut rng, device)
}

/// Normalised images for [`Classifier::fit_stem`].
fn stem_images(batches: &Batches) -> Vec<f32> {
    let images = batches.pixels(&batches.kept[..batches.kept.len().min(STEM_IMAGES)]);
    let mut values = vec![0.0; images.len()];
    batches.normalisation.apply(&images, &mut values);
    values
}

/// Gives `classifier`, a network of the learner's, the batch-norm statistics that the recipe wants it to be scored with.
///
/// They are those of kept images alone, which normalise one batch in training, too.
///
/// Clones share their statistics, so that these become the learner's, too, which trains without them.
fn recompute_statistics(classifier: &Classifier, learner: &Learner, batches: &Batches) {
    let Statistics::Recomputed(images) = batches.recipe.statistics else { return };
    let images = &batches.kept[..batches.kept.len().min(images)];
    // Forward passes that no backward pass follows would keep their activations for one.
    let mut model = classifier.clone().no_grad();
    let mut seen = 0;
    for part in images.chunks(STATISTICS_BATCH) {
        // With a part's share of the images so far, the running means end as those over all images.
        seen += part.len();
        model.batch_norms_mut().into_iter().for_each(|norm| norm.momentum = part.len() as f64 / seen as f64);
        learner.forward(&model, &batches.pixels(part));
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::BTreeMap,
        sync::{Mutex, PoisonError},
    };

    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::{
        fold::{Fold, folds},
        images::{
            dataset::Dataset,
            image::{Normalisation, PIXELS},
            synthetic,
        },
        training::{checkpoint::after_schedule, recipe::Averaging, validation::margin_scale},
    };

    struct Run {
        network: Network,
        recipe: Recipe,
        fold: Fold,
        train: Dataset,
        validation: Dataset,
        ood: Vec<u8>,
    }

    /// Epochs after which the network of [`run`] knows its images better than chance.
    const LEARNED: usize = 30;

    fn run() -> Run {
        let (train, validation) = synthetic::shapes(8, 1).hold_out(0.25, 1);
        Run {
            network: "compact-4-4-4".parse().unwrap(),
            recipe: Recipe { epochs: 3, batch: 16, left_out_batch: 4, outlier_batch: 4, ..Recipe::quick() },
            fold: folds(10, 5, 3).unwrap().remove(1),
            ood: synthetic::uniform_noise(0..20, 1).images,
            train,
            validation,
        }
    }

    impl Run {
        fn data(&self) -> FoldData<'_> {
            FoldData {
                fold: &self.fold,
                train: &self.train,
                validation: &self.validation,
                validation_ood: &self.ood,
                teacher: None,
                normalisation: Normalisation::default(),
            }
        }

        fn go(
            &self,
            resume: Option<Checkpoint>,
            on_event: &mut dyn FnMut(Event) -> ControlFlow<()>,
        ) -> Result<TrainedFold> {
            // Dropout draws from one generator a process, which another test's training would seed anew.
            static ONE_TRAINING: Mutex<()> = Mutex::new(());
            let _guard = ONE_TRAINING.lock().unwrap_or_else(PoisonError::into_inner);
            train_fold(&self.network, &self.recipe, &self.data(), resume, &Device::flex(), on_event)
        }

        fn undisturbed(&self) -> Result<TrainedFold> {
            self.go(None, &mut |_| ControlFlow::Continue(()))
        }
    }

    fn bytes(trained: TrainedFold) -> Vec<u8> {
        crate::network::tensors::to_bytes(&trained.classifier).unwrap()
    }

    #[test]
    fn a_resumed_run_ends_with_the_weights_of_an_undisturbed_one() {
        let recomputed = || Recipe { statistics: Statistics::Recomputed(40), ..run().recipe };
        let recipes = [
            recomputed(),
            Recipe { dropout: 0.2, ..recomputed() },
            Recipe { epochs: 1, averaging: Some(AVERAGING), ..recomputed() },
            Recipe { epochs: 2, averaging: Some(Averaging { epochs: 1, start: 2, ..AVERAGING }), ..recomputed() },
            Recipe { outlier_batch: 0, one_batch: false, ..recomputed() },
            Recipe { statistics: Statistics::Running, ..run().recipe },
            Recipe { statistics: Statistics::Running, dropout: 0.2, ..run().recipe },
        ];
        for recipe in recipes {
            let run = Run { recipe, ..run() };
            let expected = bytes(run.undisturbed().unwrap());
            let mut checkpoint = None;
            let stopped = run.go(None, &mut |event| match event {
                Event::Epoch(found) if found.history.len() == 2 => {
                    checkpoint = Some(found.clone());
                    ControlFlow::Break(())
                }
                _ => ControlFlow::Continue(()),
            });
            assert!(matches!(stopped, Err(Error::Stopped)));
            let resumed = run.go(checkpoint, &mut |_| ControlFlow::Continue(())).unwrap();
            assert_eq!(resumed.history.len(), 3);
            assert!(bytes(resumed) == expected, "{:?}", run.recipe);
        }
    }

    const AVERAGING: Averaging = Averaging { epochs: 2, learning_rate: 0.1, start: 0 };

    fn parameters(classifier: &Classifier) -> Vec<f32> {
        let bytes = crate::network::tensors::to_exact_bytes(&classifier.clone().valid()).unwrap();
        let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let parameters: BTreeMap<_, _> = tensors.iter().filter(|(name, _)| !name.contains("running")).collect();
        let values = |data: &[u8]| -> Vec<f32> {
            data.chunks_exact(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap())).collect()
        };
        parameters.values().flat_map(|tensor| values(tensor.data())).collect()
    }

    #[test]
    fn averaged_epochs_give_the_mean_of_their_weights_and_of_those_before() {
        for start in [0, 3] {
            let averaging = Some(Averaging { start, ..AVERAGING });
            let mut run = Run { recipe: Recipe { epochs: 1, averaging, ..run().recipe }, ..run() };
            // Else the last layer's weights are scaled in the end.
            run.recipe.loss.logit_norm = None;
            let mut ends = Vec::new();
            let trained = run.go(None, &mut |event| {
                if let Event::Epoch(checkpoint) = event {
                    let device = Device::flex().autodiff();
                    let network = run.network.init(8, run.recipe.mode(), &mut ChaCha8Rng::seed_from_u64(0), &device);
                    ends.push(parameters(&load_model(network, &checkpoint.model).unwrap()));
                }
                ControlFlow::Continue(())
            });
            let found = parameters(&trained.unwrap().classifier);
            let [first, second, third] = ends.try_into().unwrap();
            assert!(first != second && second != third, "or this says nothing");
            let weight = start as f32;
            for (found, (first, (second, third))) in found.iter().zip(first.iter().zip(second.iter().zip(&third))) {
                let mean = (weight * first + second + third) / (weight + 2.0);
                assert!((found - mean).abs() < 1e-6, "{start}: {found} {first} {second} {third}");
            }
        }
    }

    /// The gap between entropies that the loss asks for is what the network starts with, however its logits were scaled, and
    /// though the validation images of left-out classes are the tool's out-of-distribution ones.
    #[test]
    fn averaged_epochs_go_on_after_another_training() {
        let mut run = run();
        // Images that the network knows, or calibration would find nothing in its logits.
        let (kept, left_out) = run.fold.partition(&run.train.labels);
        run.ood = run.train.subset(&left_out).images;
        run.validation = run.train.subset(&kept);
        run.recipe.loss.margin = 0.01;
        (run.recipe.epochs, run.recipe.learning_rate) = (LEARNED, 0.02);
        let before = run.undisturbed().unwrap();
        let history = before.history.clone();
        let member = Member::new(run.fold.clone(), before.classifier.clone(), &Device::flex());
        run.recipe.averaging = Some(AVERAGING);
        let scale = margin_scale(&member, &run.data(), 0.01, &Device::flex()).unwrap();
        assert!((scale - 1.0).abs() > 0.1, "{scale}, or this says nothing");
        let checkpoint =
            after_schedule(before.classifier, history.clone(), LEARNED, &run.recipe, &run.data(), &Device::flex())
                .unwrap();

        let device = Device::flex();
        let network = run.network.init(8, run.recipe.mode(), &mut ChaCha8Rng::seed_from_u64(0), &device);
        let member = Member::new(run.fold.clone(), load_model(network, &checkpoint.model).unwrap(), &device);
        let scale = margin_scale(&member, &run.data(), 0.01, &device).unwrap();
        assert!((scale - 1.0).abs() < 0.02, "{scale}");

        let after = run.go(Some(checkpoint), &mut |_| ControlFlow::Continue(())).unwrap();
        assert_eq!(after.history[..LEARNED], history);
        assert_eq!(
            after.history[LEARNED..].iter().map(|epoch| epoch.epoch).collect::<Vec<_>>(),
            [LEARNED + 1, LEARNED + 2]
        );
        assert_eq!(after.selected, LEARNED + 2);
    }

    #[test]
    fn logits_of_a_fold_that_leaves_nothing_out_stay_as_they_are() {
        let run = Run { fold: crate::fold::ordinary(10, 2).remove(0), ..run() };
        let classifier = run.undisturbed().unwrap().classifier;
        let checkpoint = after_schedule(classifier, Vec::new(), 1, &run.recipe, &run.data(), &Device::flex()).unwrap();
        assert!(checkpoint.model == checkpoint.best);
    }

    #[test]
    fn the_seed_decides_the_weights() {
        let one = run();
        let other = Run { recipe: Recipe { seed: 2, ..one.recipe.clone() }, ..run() };
        let first = bytes(one.undisturbed().unwrap());
        assert!(first == bytes(one.undisturbed().unwrap()));
        assert!(first != bytes(other.undisturbed().unwrap()));
    }

    #[test]
    fn logits_of_a_loss_with_logit_norm_are_calibrated() {
        let mut run = run();
        run.validation = run.train.clone();
        (run.recipe.epochs, run.recipe.learning_rate) = (LEARNED, 0.02);
        let member = Member::new(run.fold.clone(), run.undisturbed().unwrap().classifier, &Device::flex());
        let scale = logit_scale(&member, &run.data(), &Device::flex()).unwrap();
        assert!((scale - 1.0).abs() < 1e-3, "{scale}");
    }

    #[test]
    fn a_diverged_loss_is_an_error() {
        let mut run = run();
        run.recipe.learning_rate = 1e30;
        assert!(matches!(run.undisturbed(), Err(Error::NotFinite { fold: 2, .. })));
        // In the last step of an epoch, after which no loss is measured.
        run.recipe.batch = run.train.len();
        assert!(matches!(run.undisturbed(), Err(Error::NotFinite { fold: 2, epoch: 1, step: 1 })));
    }

    #[test]
    fn another_networks_checkpoint_is_rejected() {
        let mut checkpoint = None;
        let first = run();
        let _ = first.go(None, &mut |event| match event {
            Event::Epoch(found) => {
                checkpoint = Some(found.clone());
                ControlFlow::Break(())
            }
            Event::Step { .. } => ControlFlow::Continue(()),
        });
        let other = Run { network: "compact-4-4-8".parse().unwrap(), ..run() };
        let resumed = other.go(checkpoint, &mut |_| ControlFlow::Continue(()));
        assert!(matches!(resumed, Err(Error::Checkpoint { .. })));
    }

    #[test]
    fn a_training_of_no_epochs_is_rejected() {
        let mut run = run();
        run.recipe.epochs = 0;
        assert!(matches!(run.undisturbed(), Err(Error::NoEpochs)));
    }

    #[test]
    fn a_fold_without_left_out_images_is_rejected() {
        let mut run = run();
        let kept: Vec<usize> = (0..run.train.len())
            .filter(|&index| run.fold.logit(usize::from(run.train.labels[index])).is_some())
            .collect();
        run.train = run.train.subset(&kept);
        assert!(matches!(run.undisturbed(), Err(Error::FoldData { fold: 2, left_out: 0, .. })));
        run.recipe.left_out_batch = 0;
        assert!(run.undisturbed().is_ok(), "without left-out images a step none are needed");
    }

    #[test]
    fn a_fold_without_validation_images_of_kept_classes_is_rejected() {
        let mut run = run();
        let left_out = run.fold.left_out[0];
        let of_left_out: Vec<usize> =
            (0..run.validation.len()).filter(|&index| usize::from(run.validation.labels[index]) == left_out).collect();
        run.validation = run.validation.subset(&of_left_out);
        assert!(matches!(run.undisturbed(), Err(Error::NoValidation { fold: 2 })));
    }

    /// A last part of fewer images counts by its size, and images of the other side not at all.
    #[test]
    fn recomputed_statistics_are_those_over_all_kept_images() {
        let run = Run { train: synthetic::shapes(40, 1), ..run() };
        let recipe = Recipe { statistics: Statistics::Recomputed(260), ..run.recipe.clone() };
        let data = run.data();
        let all = Batches::new(&recipe, &data).unwrap();
        let means = |kept: &[usize]| -> Vec<f32> {
            let learner = new_learner(&run.network, &all, &Device::flex());
            let mut part = Batches::new(&recipe, &data).unwrap();
            part.kept = kept.to_vec();
            let mut classifier = learner.model.clone();
            recompute_statistics(&classifier, &learner, &part);
            classifier.batch_norms_mut()[0].running_mean.value_sync().into_data().try_to_vec().unwrap()
        };
        let [first, last, both] = [&all.kept[..250], &all.kept[250..260], &all.kept[..260]].map(means);
        for (channel, mean) in both.iter().enumerate() {
            let expected = (250.0 * first[channel] + 10.0 * last[channel]) / 260.0;
            assert!((mean - expected).abs() < 1e-5, "{mean} {expected}");
            assert!((first[channel] - last[channel]).abs() > 1e-4, "the parts differ, or this says nothing");
        }
    }

    /// Scoring gives an image the same logits alone and among others, which a network left in training mode does not.
    #[test]
    fn a_trained_classifier_scores_an_image_alike_in_any_batch() {
        let run = run();
        let member = Member::new(run.fold.clone(), run.undisturbed().unwrap().classifier, &Device::flex());
        let logits = |images: &[u8]| member.logits(images, &Normalisation::default(), &Device::flex()).unwrap();
        let together = logits(&run.validation.images);
        for (image, expected) in run.validation.images.chunks_exact(PIXELS).zip(together.chunks_exact(8)) {
            // Matrix products of another size may add in another order.
            assert!(logits(image).iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-5));
        }
    }
}
