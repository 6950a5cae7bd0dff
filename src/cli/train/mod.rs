//! `eloc train`: the data, the settings, the folds one after the other, the threshold, and what to do next.

use std::{ops::ControlFlow, path::Path};

use anyhow::{Context, Result, ensure};
use eloc::{
    detection::odin::Odin,
    evaluation::{metrics::threshold_at_tpr, report::Provenance},
    fold::Fold,
    images::{dataset::Dataset, image::Normalisation},
    network::{Network, tensors},
    training::{
        checkpoint::Checkpoint,
        data::{FoldData, steps_per_epoch},
        recipe::{Recipe, Statistics},
        train::{Event, TrainedFold, train_fold},
    },
    weights::manifest::{FORMAT, FoldEntry, Manifest},
};

use super::{
    data::{self, TrainingData},
    device::ChosenDevice,
    evaluate::{self, EvaluateArgs},
    log::Log,
    output,
    progress::{self, Progress},
    scoring, shell,
    store::{self, Checkpoints},
};
use claim::{Begun, Start, claim, claim_fold};
use teacher::Teacher;
use validation::Validation;

pub use args::TrainArgs;
pub use claim::{are_joined, check_kin, weights_sha256};

mod args;
mod claim;
mod teacher;
mod validation;

/// A compact network narrow enough to learn the built-in set in minutes without a GPU.
const SHAPES_NETWORK: Network = Network::Compact { widths: [32, 64, 64] };
/// Share of the held-out training images that the threshold accepts.
const THRESHOLD_TPR: f64 = 0.95;
/// Steps of a fold below which the tool says that they are few, and those that it proposes instead: about as many as the
/// quick recipe takes on CIFAR-10.
const FEW_STEPS: usize = 200;
const ENOUGH_STEPS: usize = 1000;
/// Held-out images below which the threshold is said to come from few.
const FEW_HELD_OUT: usize = 100;
/// Images of each set that the built-in set's ensemble is measured on after its training.
const SHAPES_OOD_IMAGES: usize = 2000;

/// Trains what is missing, sets the threshold, and says what to try next.
pub fn run(args: &TrainArgs) -> Result<()> {
    args.check()?;
    let device = args.device.open()?;
    let data = data::training("--dataset", &args.dataset, &args.data)?;
    let network =
        args.network.clone().unwrap_or(if data.name == data::SHAPES { SHAPES_NETWORK } else { Network::COMPACT });
    let recipe = args.recipe(&network, &data.name);
    let folds = args.folds(data.train.classes.len())?;
    let wanted: Vec<&Fold> = folds.iter().filter(|fold| args.fold.is_none_or(|number| number == fold.number)).collect();
    let (train, held_out) = data.train.hold_out(args.hold_out, recipe.seed);
    ensure!(
        !held_out.is_empty(),
        "{}: expected a class of two training images or more, of which to hold one out for the threshold, found none",
        data.name
    );

    let out = args.out.clone().unwrap_or_else(|| Path::new("runs").join(format!("{}-{network}", data.name)));
    if !data::is_built_in(&data.name) {
        check_outside(&out, Path::new(&args.dataset))?;
    }
    let validation = Validation::new(args, recipe.selection, &data, &held_out)?;
    wanted.iter().try_for_each(|fold| validation.check(fold, &data))?;
    let start = Manifest {
        format: FORMAT,
        dataset: data.name.clone(),
        images_sha256: Some(data.sha256()),
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
        initial_sha256: None,
        teacher_sha256: None,
        averaged: None,
        recipe: Some(recipe.clone()),
        folds: Vec::new(),
    };
    let teacher = args.teacher.as_deref().map(|folder| Teacher::new(folder, &start)).transpose()?;
    let start = Manifest { teacher_sha256: teacher.as_ref().map(|teacher| teacher.sha256.clone()), ..start };
    let from = [(Start::Averaging, &args.start_from), (Start::Schedule, &args.initial_weights)];
    let from = from.into_iter().find_map(|(from, folder)| Some((from, folder.as_deref()?)));
    let begun = from.map(|(from, folder)| Begun::new(from, folder, &start, &folds)).transpose()?;
    let start = match &begun {
        Some(begun) => begun.begin(start),
        None => start,
    };
    let manifest = claim(&out, &start, &args.odin)?;

    let missing: Vec<&Fold> =
        wanted.into_iter().filter(|fold| manifest.folds.iter().all(|done| done.fold.number != fold.number)).collect();
    let begun_epochs = begun.as_ref().map_or(0, |begun| begun.epochs(&recipe));
    let taught = if teacher.is_some() { 2 * folds.len() * train.len() } else { 0 };
    let steps = steps_left(&recipe, &missing, [&train, &held_out], begun_epochs, &out) + forward(taught, &recipe);
    announce(&start, &train, &missing, &device, &out, steps)?;
    let progress = Progress::training(&recipe, &missing, &train);
    let mut probabilities = None;
    for fold in missing {
        let (manifest, checkpoints) = claim_fold(&out, &start, fold.number)?;
        let Some(checkpoints) = checkpoints else {
            let busy = format!("another process is training fold {}", fold.number);
            ensure!(args.fold.is_none(), "{}: {busy}; --fold trains another one", out.display());
            progress.say(&busy);
            continue;
        };
        if manifest.folds.iter().any(|done| done.fold.number == fold.number) {
            progress.say(&format!("another process has trained fold {}", fold.number));
            continue;
        }
        if let (Some(teacher), None) = (&teacher, &probabilities) {
            probabilities = Some(teacher.probabilities(&train.images, &args.data, &device)?);
        }
        let (id, ood) = validation.of(fold);
        let images = FoldData {
            fold,
            train: &train,
            validation: &id,
            validation_ood: &ood,
            teacher: probabilities.as_deref(),
            normalisation: start.normalisation,
        };
        let resume = match (checkpoints.load()?, &begun) {
            (None, Some(begun)) => Some(begun.checkpoint(&images, &recipe, &device.device)?),
            (found, _) => found,
        };
        let trained = train_one(&images, &start, resume, &checkpoints, &device, &out, &progress)?;
        let bytes = tensors::to_bytes(&trained.classifier)?;
        let seconds = trained.history.iter().map(|epoch| epoch.seconds).sum();
        let provenance = Provenance::new(shell::command_line(), device.name.clone(), seconds);
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

    let manifest = store::existing_manifest(&out)?;
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

/// Refuses to write into the folder of the images, where a run's folders would be classes from then on.
fn check_outside(out: &Path, images: &Path) -> Result<()> {
    let absolute = std::path::absolute(out)?;
    // What is there of it may be a link.
    let there = absolute.ancestors().find_map(|path| Some((path, path.canonicalize().ok()?)));
    let (there, target) = there.unwrap_or((&absolute, absolute.clone()));
    let is_inside = target.join(absolute.strip_prefix(there)?).starts_with(images.canonicalize()?);
    ensure!(
        !is_inside,
        "--out: expected a folder outside of the images in {}, found {}",
        images.display(),
        out.display()
    );
    Ok(())
}

/// A forward pass of `images` alone, in training steps.
fn forward(images: usize, recipe: &Recipe) -> f64 {
    images as f64 / (3 * recipe.images_per_step()) as f64
}

/// What the training of `folds` still takes, in training steps: those after each fold's first `begun` epochs, or those of its
/// checkpoint in the run in `out`, and what is measured after each epoch.
fn steps_left(recipe: &Recipe, folds: &[&Fold], [train, held_out]: [&Dataset; 2], begun: usize, out: &Path) -> f64 {
    let of = |fold: &&Fold| {
        let kept = fold.partition(&train.labels).0.len();
        let statistics = match recipe.statistics {
            Statistics::Recomputed(images) => images.min(kept),
            Statistics::Running => 0,
        };
        let epochs = recipe.total_epochs().saturating_sub(store::epochs_done(out, fold.number).max(begun));
        let epoch = steps_per_epoch(kept, recipe.batch) as f64 + forward(statistics + held_out.len(), recipe);
        epochs as f64 * epoch
    };
    folds.iter().map(of).sum()
}

/// Says what will be trained, where, on what, and about how long it will take: so many training steps.
fn announce(
    run: &Manifest,
    train: &Dataset,
    folds: &[&Fold],
    device: &ChosenDevice,
    out: &Path,
    steps: f64,
) -> Result<()> {
    let recipe = recipe(run);
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
    let (step, _) = progress::step_time(&run.network, recipe, run.classes.len(), &device.device)?;
    output::aside(format_args!(
        "about {} at {:.0} images/s",
        progress::duration(step.mul_f64(steps)),
        recipe.images_per_step() as f64 / step.as_secs_f64()
    ))?;
    let kept = folds[0].partition(&train.labels).0.len();
    let steps = steps_per_epoch(kept, recipe.batch) * recipe.total_epochs();
    if steps < FEW_STEPS {
        output::aside(format_args!(
            "a fold takes only {steps} steps, in which it learns little; \
             --batch 32{}{} --epochs {} would be about {ENOUGH_STEPS}",
            if recipe.left_out_batch > 0 { " --left-out-batch 8" } else { "" },
            if recipe.outlier_batch > 0 { " --outlier-batch 8" } else { "" },
            ENOUGH_STEPS.div_ceil(steps_per_epoch(kept, 32))
        ))?;
    }
    Ok(())
}

fn recipe(run: &Manifest) -> &Recipe {
    run.recipe.as_ref().expect("a training has a recipe")
}

/// Trains one fold of `run`, from `resume` where that is given, with a log and a plot beside the weights.
fn train_one(
    images: &FoldData<'_>,
    run: &Manifest,
    resume: Option<Checkpoint>,
    checkpoints: &Checkpoints,
    device: &ChosenDevice,
    out: &Path,
    progress: &Progress,
) -> Result<TrainedFold> {
    let fold = images.fold;
    let log = Log::new(out, fold.number);
    if let Some(checkpoint) = &resume
        && !checkpoint.history.is_empty()
    {
        // The process may have ended between the checkpoint and its log.
        log.write(&checkpoint.history)?;
        progress.say(&format!("fold {}: going on after epoch {}", fold.number, checkpoint.history.len()));
    }
    progress.start_fold(fold.number, resume.as_ref().map_or(0, |checkpoint| checkpoint.history.len()));
    let mut failed = None;
    let trained = train_fold(&run.network, recipe(run), images, resume, &device.device, &mut |event| match event {
        Event::Step { step, loss, accuracy } => {
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
    // Of a finished run, too: a file that was damaged since is refused.
    let (manifest, members) = store::read_ensemble(out, &device.device)?;
    if manifest.threshold.is_some() && manifest.self_test.is_some() {
        return Ok(());
    }
    let threshold = match manifest.threshold {
        Some(threshold) => threshold,
        None => threshold(&scoring::scores(&manifest, &members, "held-out images", &held_out.images, &device.device)?)?,
    };
    let self_test = scoring::self_test(&manifest, &members, &device.device)?;
    store::update_manifest(out, start, |manifest| {
        manifest.threshold = Some(threshold);
        manifest.self_test = Some(self_test);
        Ok(())
    })?;
    Ok(())
}

/// The threshold for known images, from the scores of held-out training images.
pub fn threshold(scores: &[f64]) -> Result<f64> {
    if scores.len() < FEW_HELD_OUT {
        output::aside(format_args!(
            "the threshold for known images comes from {} held-out images only; `train --hold-out` keeps more",
            scores.len()
        ))?;
    }
    Ok(threshold_at_tpr(scores, THRESHOLD_TPR))
}

/// Measures what can be measured on the spot and says which command to try next.
fn next(out: &Path, data: &TrainingData, args: &TrainArgs) -> Result<()> {
    if data.name == data::SHAPES {
        let ood = ["patterns", "uniform", "gaussian"].map(|name| format!("{name}:{SHAPES_OOD_IMAGES}"));
        evaluate::run(&EvaluateArgs::new(out, data::SHAPES, &ood, &args.data, args.device))?;
    }
    let id = shell::quoted(if args.dataset == "auto" { &data.name } else { &args.dataset });
    let shown = |path: &Path| shell::quoted(&path.to_string_lossy());
    let dir = args.data.dir.as_ref().map_or(String::new(), |dir| format!(" --data {}", shown(dir)));
    let out = shown(out);
    output::line(format_args!("\nThe weights are in {out}. Try them on images of your own:"))?;
    output::line(format_args!("  cargo run --release -- score --weights {out} FOLDER_OR_ARCHIVE"))?;
    output::line(format_args!(
        "  cargo run --release -- evaluate --weights {out} --id {id}{dir} --ood FOLDER_OR_ARCHIVE uniform gaussian"
    ))?;
    Ok(())
}
