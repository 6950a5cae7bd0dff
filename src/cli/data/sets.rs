//! Sets of unlabelled images by name or path: everything that serves as out-of-distribution data.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use eloc::images::{
    archive::Format,
    dataset::{Cifar, ImageSet},
    image::PIXELS,
    synthetic,
};

use super::{
    cifar::{cifar, cifar_paths, python_version, wanted_for_python},
    download::{Check, SOURCES},
    images::{Loaded, files_below, load_archive, load_file, load_files},
    set::{Generate, Set},
};
use crate::cli::output;

/// How many images a generated set has unless told: as many as CIFAR's test set.
pub(super) const GENERATED_IMAGES: usize = 10_000;
/// The most that it may have, 3 GB where all are in memory.
const MOST_GENERATED: usize = 1_000_000;
/// The most files that are named where none of a set can be read.
const MOST_NAMED: usize = 36;
/// Images of a CIFAR test set.
const CIFAR_TEST_IMAGES: usize = 10_000;

/// Unlabelled images by name or path, in the order of their file names.
///
/// In this order: `uniform`, `gaussian`, `patterns`, `fractals` or `shapes`, made with `seed` (`uniform:500` for 500
/// images instead of 10,000); the test images of `cifar10` or `cifar100` in `data_dir`; a path to a
/// folder (searched to any depth), a zip, tar or tar.gz, or an image; a name under `data_dir`, found
/// as ODIN's archives unpack: `NAME/test`, `NAME/NAME`, `NAME`, `NAME.zip`, `NAME.tar`, `NAME.tar.gz`
/// or `NAME.tgz`. What cannot be read is listed in `skipped`.
///
/// # Errors
/// When nothing goes by that name, an archive is damaged, or not one image can be read.
pub fn image_set(path_or_name: impl AsRef<OsStr>, data_dir: &Path, seed: u64) -> Result<Set> {
    let given = Path::new(&path_or_name);
    let shown = given.to_string_lossy();
    if let Some(generated) = generated(&shown, seed)? {
        return Ok(generated);
    }
    if let Some(set) = cifar_test(&shown, data_dir)? {
        return Ok(Set::Loaded(set));
    }
    ensure!(!shown.is_empty(), "expected the name or the path of a set of images, found an empty one");
    if given.exists() {
        let path = given.canonicalize()?;
        // ODIN's archives unpack to NAME/test.
        let named = if path.ends_with("test") { path.parent().unwrap_or(&path) } else { &path };
        let name = named.file_name().map_or(shown.clone(), OsStr::to_string_lossy);
        return read_image_set(given, &name, "").map(Set::Loaded);
    }
    let candidates = [
        data_dir.join(given).join("test"),
        data_dir.join(given).join(given),
        data_dir.join(given),
        data_dir.join(format!("{shown}.zip")),
        data_dir.join(format!("{shown}.tar")),
        data_dir.join(format!("{shown}.tar.gz")),
        data_dir.join(format!("{shown}.tgz")),
    ];
    match candidates.iter().find(|path| path.exists()) {
        Some(path) => read_image_set(path, &shown, "").map(Set::Loaded),
        None => {
            let python = Cifar::named(&shown).and_then(|which| Some((python_version(data_dir, which)?, which)));
            if let Some((found, which)) = python {
                bail!("{}; `eloc data {shown}` fetches it", wanted_for_python(&found, which));
            }
            let fetched = SOURCES.iter().any(|source| source.name == shown);
            let hint = if fetched { format!("; `eloc data {shown}` fetches it") } else { String::new() };
            bail!(
                "`{shown}`: expected uniform, gaussian, patterns, fractals, shapes, cifar10, cifar100, a path, or a folder or \
                 archive of that name in {}, found none{hint}",
                data_dir.display()
            )
        }
    }
}

/// The folder in `dir` to which someone has unpacked the archive of the data set `name`, which is read in its place.
///
/// # Errors
/// When it does not have as many sound images.
pub fn unpacked(name: &str, dir: &Path) -> Result<Option<PathBuf>> {
    let Some(source) = SOURCES.iter().find(|source| source.name == name) else { return Ok(None) };
    let folder = match Cifar::named(name) {
        Some(which) => cifar_paths(dir, which)[0].clone(),
        None => dir.join(name),
    };
    if !folder.is_dir() {
        return Ok(None);
    }
    let expected = match source.check {
        Check::Images(count) => count,
        Check::Md5(_) => CIFAR_TEST_IMAGES,
    };
    let found = image_set(name, dir, 0)?.len();
    ensure!(found == expected, "{}: expected {expected} images to score, found {found}", folder.display());
    Ok(Some(folder))
}

/// The test images of a CIFAR set that is in `data_dir`, under the names that the page gives them.
fn cifar_test(name: &str, data_dir: &Path) -> Result<Option<ImageSet>> {
    let Some(which) = Cifar::named(name) else { return Ok(None) };
    let (_, file) = which.files();
    Ok(cifar(data_dir, which)?.map(|(_, test)| {
        let sources = (0..test.len()).map(|index| format!("{file} {index}")).collect();
        ImageSet { name: name.to_owned(), images: test.images, sources, skipped: Vec::new() }
    }))
}

fn generated(name: &str, seed: u64) -> Result<Option<Set>> {
    let (kind, count) = match name.split_once(':') {
        Some((kind, count)) => (kind, Some(count)),
        None => (name, None),
    };
    // The built-in test set has the same number of each of its ten classes.
    let (generate, seed, multiple): (Generate, _, _) = match kind {
        "uniform" => (synthetic::uniform_noise, seed, 1),
        "gaussian" => (synthetic::gaussian_noise, seed, 1),
        "patterns" => (synthetic::patterns, seed, 1),
        "fractals" => (synthetic::fractals, seed, 1),
        "shapes" => (synthetic::unlabelled_shapes, synthetic::SHAPES_TEST_SEED, 10),
        _ => return Ok(None),
    };
    let count = match count {
        None => GENERATED_IMAGES,
        Some(count) => count.parse().ok().filter(|count| (1..=MOST_GENERATED).contains(count)).with_context(|| {
            format!("`{name}`: expected a number of images from 1 to {MOST_GENERATED}, found `{count}`")
        })?,
    };
    Ok(Some(Set::Generated { name: kind.to_owned(), generate, count: count.next_multiple_of(multiple), seed }))
}

/// Unlabelled images of a folder, an archive or a file, as a set called `name`.
///
/// The sources of those in a folder or an archive are their paths in it behind `prefix`; that of a file is `name`.
///
/// # Errors
/// When the folder cannot be searched, the archive is damaged, or not one image can be read.
pub fn read_image_set(path: &Path, name: &str, prefix: &str) -> Result<ImageSet> {
    let set = || -> Result<ImageSet> {
        let loaded = if path.is_dir() {
            below(prefix, load_files(files_below(path)?)?)
        } else if is_archive(path)? {
            below(prefix, load_archive(path)?)
        } else {
            vec![(name.to_owned(), load_file(path))]
        };
        let set = collect_set(name, loaded);
        check_any(&set)?;
        Ok(set)
    };
    set().with_context(|| path.display().to_string())
}

fn is_archive(path: &Path) -> Result<bool> {
    // Opening a pipe would wait for somebody to write to it.
    Ok(fs::metadata(path)?.is_file() && Format::of(&mut File::open(path)?)?.is_some())
}

/// What was found in a folder or an archive, without what comes with CIFAR's files, and each source behind `prefix`.
fn below(prefix: &str, loaded: Vec<Loaded>) -> Vec<Loaded> {
    let of_set = loaded.into_iter().filter(|(source, _)| !Cifar::has_note(source));
    // An entry of an archive may have an absolute path.
    let named = |source: String| match prefix {
        "" => source,
        prefix => format!("{prefix}{}", source.trim_start_matches('/')),
    };
    of_set.map(|(source, images)| (named(source), images)).collect()
}

/// What was loaded, as a set called `name`.
pub fn collect_set(name: &str, loaded: Vec<Loaded>) -> ImageSet {
    let mut set = ImageSet {
        name: name.to_owned(),
        images: Vec::with_capacity(loaded.len() * PIXELS),
        sources: Vec::with_capacity(loaded.len()),
        skipped: Vec::new(),
    };
    for (source, images) in loaded {
        match images {
            Ok(images) => {
                let count = images.len() / PIXELS;
                set.images.extend(images);
                if Cifar::has_file(&source) {
                    set.sources.extend((0..count).map(|index| format!("{source} {index}")));
                } else {
                    set.sources.push(source);
                }
            }
            Err(error) => set.skipped.push((source, format!("{error:#}"))),
        }
    }
    set
}

/// Refuses a set of which nothing could be read, and names what was found.
pub fn check_any(set: &ImageSet) -> Result<()> {
    if !set.is_empty() {
        return Ok(());
    }
    match &set.skipped[..] {
        [] => bail!("expected at least one image, found no file"),
        [(source, reason)] => bail!("expected at least one readable image, found `{source}`: {reason}"),
        all => {
            all.iter()
                .take(MOST_NAMED)
                .for_each(|(source, reason)| output::note(format_args!("eloc: {source}: {reason}")));
            if all.len() > MOST_NAMED {
                output::note(format_args!("eloc: and {} other files", all.len() - MOST_NAMED));
            }
            bail!("expected at least one readable image, found {} other files", all.len())
        }
    }
}
