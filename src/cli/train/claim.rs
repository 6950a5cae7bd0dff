//! Which run a folder belongs to: settings that have to agree for a training to go on in it, or after another.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use burn::tensor::Device;
use eloc::{
    detection::odin::Odin,
    fold::Fold,
    training::{
        checkpoint::{Checkpoint, after_schedule, before_schedule},
        data::FoldData,
        recipe::Recipe,
    },
    weights::manifest::{FoldEntry, MANIFEST, Manifest, sha256},
};
use serde_json::Value;

use crate::cli::{
    odin::OdinArgs,
    store::{self, Checkpoints},
};

/// Takes the folder for a run with these settings: a new one, one to go on with, or one in which nothing was done yet.
/// The perturbation plays no part in the training, but none that is asked for is passed over.
pub fn claim(out: &Path, start: &Manifest, odin: &OdinArgs) -> Result<Manifest> {
    store::update_manifest(out, start, |manifest| {
        if !out.join(MANIFEST).exists() {
            store::check_new(out)?;
        }
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

/// Takes fold `fold` of the run in `out`, for which nobody else can claim the folder from then on: the run's manifest and the
/// fold's checkpoints, `None` while another process is training it.
pub fn claim_fold(out: &Path, start: &Manifest, fold: usize) -> Result<(Manifest, Option<Checkpoints>)> {
    let mut checkpoints = None;
    let manifest = store::update_manifest(out, start, |manifest| {
        // Another process may have claimed the folder for other settings while nothing was done in it.
        same_run(start, manifest, out)?;
        checkpoints = Checkpoints::new(out, fold, run_hash(start))?;
        Ok(())
    })?;
    Ok((manifest, checkpoints))
}

/// The settings and images that decide a training's weights, as JSON.
fn settings(manifest: &Manifest) -> Value {
    let manifest =
        Manifest { threshold: None, self_test: None, folds: Vec::new(), odin: Odin::default(), ..manifest.clone() };
    serde_json::to_value(manifest).expect("a manifest is JSON")
}

/// Hash of all that decides a training's weights.
fn run_hash(start: &Manifest) -> String {
    sha256(settings(start).to_string().as_bytes())
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

/// Refuses the weights in `folder`, which `flag` names, unless they are of the network, folds, images and held-out images of `run`.
pub fn check_kin(flag: &str, folder: &Path, found: &Manifest, run: &Manifest) -> Result<()> {
    let expected = Manifest {
        // The seed decides which images are held out.
        recipe: found.recipe.clone().zip(run.recipe.as_ref()).map(|(recipe, run)| Recipe { seed: run.seed, ..recipe }),
        validation_sha256: found.validation_sha256.clone(),
        start_sha256: found.start_sha256.clone(),
        initial_sha256: found.initial_sha256.clone(),
        teacher_sha256: found.teacher_sha256.clone(),
        averaged: found.averaged.clone(),
        ..run.clone()
    };
    same_settings(flag, folder, found, &expected)
}

/// Refuses the weights in `folder`, which `flag` names, if any setting is another than expected.
fn same_settings(flag: &str, folder: &Path, found: &Manifest, expected: &Manifest) -> Result<()> {
    let Some((name, there, here)) = first_difference("", &settings(found), &settings(expected)) else {
        return Ok(());
    };
    bail!("{flag} {}: expected weights with the same {name}, found {there} there and {here} here", folder.display())
}

/// Whether one of two ensembles was trained on from the other, or both from the same.
pub fn are_joined(one: &Manifest, other: &Manifest) -> bool {
    let from = |manifest: &Manifest| [&manifest.initial_sha256, &manifest.start_sha256].map(Clone::clone);
    let trained_on = |one: &Manifest, other: &Manifest| from(other).contains(&Some(weights_sha256(one)));
    trained_on(one, other)
        || trained_on(other, one)
        || from(one).into_iter().flatten().any(|start| from(other).contains(&Some(start)))
}

/// Hash of all folds' weights.
pub fn weights_sha256(manifest: &Manifest) -> String {
    sha256(manifest.folds.iter().map(|entry| entry.sha256.as_str()).collect::<String>().as_bytes())
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

/// Where a training starts from the weights of another.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// After the schedule.
    Averaging,
    /// At the beginning of a schedule of its own.
    Schedule,
}

impl Start {
    fn flag(self) -> &'static str {
        match self {
            Start::Averaging => "--start-from",
            Start::Schedule => "--initial-weights",
        }
    }
}

/// A finished training whose weights another starts from.
pub struct Begun {
    start: Start,
    folder: PathBuf,
    manifest: Manifest,
}

impl Begun {
    /// The one in `folder`, with all `folds`. Its settings have to be those of `run`: for the averaging all others, for a schedule
    /// those that [`check_kin`] compares.
    pub fn new(start: Start, folder: &Path, run: &Manifest, folds: &[Fold]) -> Result<Self> {
        let manifest = store::existing_manifest(folder)?;
        match start {
            Start::Averaging => {
                let expected = Manifest {
                    recipe: run.recipe.clone().map(|recipe| Recipe { averaging: None, ..recipe }),
                    // It may itself have started from others.
                    initial_sha256: manifest.initial_sha256.clone(),
                    ..run.clone()
                };
                same_settings(start.flag(), folder, &manifest, &expected)?;
            }
            Start::Schedule => check_kin(start.flag(), folder, &manifest, run)?,
        }
        let begun = Begun { start, folder: folder.to_owned(), manifest };
        folds.iter().try_for_each(|fold| begun.entry(fold.number).map(|_| ()))?;
        Ok(begun)
    }

    fn entry(&self, fold: usize) -> Result<&FoldEntry> {
        let entry = self.manifest.folds.iter().find(|entry| entry.fold.number == fold);
        entry.with_context(|| {
            format!("{} {}: expected a trained fold {fold}, found none", self.start.flag(), self.folder.display())
        })
    }

    /// `run`, which says that it starts here.
    pub fn begin(&self, run: Manifest) -> Manifest {
        let weights = weights_sha256(&self.manifest);
        match self.start {
            Start::Averaging => {
                Manifest { start_sha256: Some(weights), initial_sha256: self.manifest.initial_sha256.clone(), ..run }
            }
            Start::Schedule => Manifest { initial_sha256: Some(weights), ..run },
        }
    }

    /// Epochs of `recipe` that are done.
    pub fn epochs(&self, recipe: &Recipe) -> usize {
        if self.start == Start::Averaging { recipe.epochs } else { 0 }
    }

    /// What the fold of `images` goes on from.
    pub fn checkpoint(&self, images: &FoldData<'_>, recipe: &Recipe, device: &Device) -> Result<Checkpoint> {
        let entry = self.entry(images.fold.number)?;
        let classifier = store::read_classifier(&self.folder, &self.manifest, entry, device)?;
        Ok(match self.start {
            Start::Averaging => after_schedule(classifier, entry.history.clone(), entry.epoch, recipe, images, device)?,
            Start::Schedule => before_schedule(classifier, recipe, images, device)?,
        })
    }
}
