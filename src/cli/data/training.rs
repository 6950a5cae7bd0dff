//! Which images a command works on: data sets by name, by folder, or made on the spot.

use std::{ffi::OsStr, path::Path};

use anyhow::{Result, bail, ensure};
use eloc::{
    images::{
        dataset::{Cifar, Dataset, ImageSet},
        synthetic,
    },
    weights::manifest::{Manifest, sha256},
};

use super::{
    args::DataArgs,
    cifar::{cifar, has_cifar, python_version, wanted_for_python},
    download, folder,
    set::Set,
    sets,
};
use crate::cli::output;

/// Name of the built-in data set.
pub const SHAPES: &str = "shapes";
/// Images of each class of the built-in set.
const SHAPES_TRAIN: usize = 500;
const SHAPES_TEST: usize = 200;
/// Seed of the built-in training set. It is fixed, since the set stands for data.
const SHAPES_TRAIN_SEED: u64 = 1;
/// Share of a labelled folder without train/ and test/ that becomes the test set, and the seed of that choice.
const TEST_SHARE: f64 = 0.2;
const TEST_SEED: u64 = 0;
/// Seed of the noise sets.
const NOISE_SEED: u64 = 0;

/// A labelled data set.
pub struct TrainingData {
    /// Its name in tables.
    pub name: String,
    pub train: Dataset,
    pub test: Dataset,
    /// Whether the test images are a share of a folder's, so that other images in it make others of them test images.
    pub test_is_drawn: bool,
}

impl TrainingData {
    /// SHA-256 of the training images; of those of a folder with their labels, which change when a file moves.
    pub fn sha256(&self) -> String {
        if is_built_in(&self.name) {
            return sha256(&self.train.images);
        }
        let labels: Vec<u8> = self.train.labels.iter().flat_map(|label| label.to_le_bytes()).collect();
        sha256(&[&self.train.images[..], &labels].concat())
    }
}

/// Whether a data set goes by its name alone.
pub fn is_built_in(name: &str) -> bool {
    name == SHAPES || Cifar::named(name).is_some()
}

/// The name of the data set that weights were trained on, for a command that got none by `flag`; a folder's says not where
/// it is.
pub fn trained_on<'a>(flag: &str, name: &'a str) -> Result<&'a str> {
    ensure!(
        is_built_in(name),
        "{flag}: expected the folder of {name}, which the weights were trained on, found no {flag}"
    );
    Ok(name)
}

/// The data set called `name`, the value of `flag`: auto, cifar10, cifar100, shapes, or a folder of class/name.png, whose
/// name in tables is never that of another set.
pub fn training(flag: &str, name: &str, args: &DataArgs) -> Result<TrainingData> {
    if let Some(which) = Cifar::named(name) {
        return cifar_or_download(which, args);
    }
    match name {
        SHAPES => Ok(shapes()),
        "auto" => match cifar_or_download(Cifar::Ten, args) {
            Ok(data) => Ok(data),
            // What is there but damaged would be in the way of another archive, too.
            Err(error) if has_cifar(&args.dir(), Cifar::Ten) => Err(error),
            Err(error) => {
                output::aside(format_args!("CIFAR-10 could not be had: {error:#}"))?;
                output::aside(format_args!(
                    "put cifar-10-binary.tar.gz into {} to train on it; going on with the built-in set {SHAPES}",
                    args.dir().display()
                ))?;
                Ok(shapes())
            }
        },
        given => {
            let path = Path::new(given);
            if !path.is_dir() {
                bail!("{flag}: expected auto, cifar10, cifar100, {SHAPES} or a folder, found {given}");
            }
            let (train, test) = folder::image_folder(path, TEST_SEED, TEST_SHARE)?;
            let mut name: String =
                path.canonicalize()?.file_name().map_or("images".into(), |name| name.to_string_lossy().into());
            if is_built_in(&name) {
                name += "-images";
            }
            Ok(TrainingData { name, train, test, test_is_drawn: !folder::is_split(path) })
        }
    }
}

/// The images that the weights in `folder` were trained on, and those that they held out; `dataset` says where they are if
/// the weights do not.
pub fn train_and_held_out(
    folder: &Path,
    manifest: &Manifest,
    dataset: Option<&str>,
    args: &DataArgs,
) -> Result<(Dataset, Dataset)> {
    let name = match dataset {
        Some(name) => name,
        None => trained_on("--dataset", &manifest.dataset)?,
    };
    let Some(recipe) = &manifest.recipe else {
        bail!(
            "{}: expected weights that eloc trained, found imported ones; what they held out is not known",
            folder.display()
        );
    };
    let data = training("--dataset", name, args)?;
    if manifest.images_sha256 != Some(data.sha256()) {
        bail!("--dataset {name}: expected the images that the weights were trained on, found others");
    }
    Ok(data.train.hold_out(manifest.hold_out, recipe.seed))
}

/// The out-of-distribution set called `name`: a file, a folder, an archive, a set in the data folder, or noise.
pub fn image_set(name: &OsStr, args: &DataArgs) -> Result<Set> {
    Ok(match sets::image_set(name, &args.dir(), NOISE_SEED)? {
        Set::Loaded(set) => Set::Loaded(reported(set)),
        generated => generated,
    })
}

/// Says on the error stream which files were skipped; the name may stand in a table then.
fn reported(mut set: ImageSet) -> ImageSet {
    set.name = output::in_one_line(&set.name);
    if let Some((source, reason)) = set.skipped.first() {
        let (name, count) = (&set.name, set.skipped.len());
        output::note(format_args!("{name}: {count} files were skipped, the first {source}: {reason}"));
    }
    set
}

/// The built-in data set.
fn shapes() -> TrainingData {
    TrainingData {
        name: SHAPES.to_owned(),
        train: synthetic::shapes(SHAPES_TRAIN, SHAPES_TRAIN_SEED),
        test: synthetic::shapes(SHAPES_TEST, synthetic::SHAPES_TEST_SEED),
        test_is_drawn: false,
    }
}

fn cifar_or_download(which: Cifar, args: &DataArgs) -> Result<TrainingData> {
    let (name, dir) = (which.name(), args.dir());
    let (train, test) = match cifar(&dir, which)? {
        Some(sets) => sets,
        None => {
            if let Some(found) = python_version(&dir, which) {
                output::note(wanted_for_python(&found, which));
            }
            let archive = download::fetch(name, &dir, args.mirror.as_deref())?;
            match cifar(&dir, which)? {
                Some(sets) => sets,
                None => bail!("{}: expected the data set {name} in it, found none", archive.display()),
            }
        }
    };
    if !which.is_published(&train, &test) {
        output::note(format_args!(
            "{name}: {} does not have the published images and labels in their order; figures from it do not compare",
            dir.display()
        ));
    }
    Ok(TrainingData { name: name.to_owned(), train, test, test_is_drawn: false })
}
