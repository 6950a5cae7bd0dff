//! From paths and names to sets of images: CIFAR, labelled image folders, and everything that
//! serves as out-of-distribution data.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail, ensure};

use super::download::{Check, SOURCES};
use super::images::{Loaded, files_below, has_image_extension, load_file, load_parallel};
use super::output;
use eloc::archive::{self, Format, Limits, is_hidden};
use eloc::dataset::{Cifar, Dataset, ImageSet};
use eloc::image::PIXELS;
use eloc::synthetic;

/// How many images a generated set has unless told: as many as CIFAR's test set.
pub const GENERATED_IMAGES: usize = 10_000;
/// The most that it may have, 3 GB.
const MOST_GENERATED: usize = 1_000_000;
/// Images of a CIFAR test set.
const CIFAR_TEST_IMAGES: usize = 10_000;

/// The data folder: the flag, else the environment variable `ELOC_DATA`, else `eloc/data` in the
/// user's cache folder, else (where there is no such folder) `data`.
pub fn data_dir(flag: Option<&Path>) -> PathBuf {
    choose_data_dir(flag, std::env::var_os("ELOC_DATA"), dirs::cache_dir())
}

fn choose_data_dir(flag: Option<&Path>, variable: Option<OsString>, cache: Option<PathBuf>) -> PathBuf {
    match (flag, variable.filter(|value| !value.is_empty()), cache) {
        (Some(flag), _, _) => flag.to_owned(),
        (None, Some(variable), _) => variable.into(),
        (None, None, Some(cache)) => cache.join("eloc").join("data"),
        (None, None, None) => PathBuf::from("data"),
    }
}

/// CIFAR's (training, test) sets from the unpacked folder or the official archive in `dir`, or
/// `None` where there is neither.
///
/// # Errors
/// Names the file that is missing or damaged, with what was expected and found.
pub fn cifar(dir: &Path, which: Cifar) -> Result<Option<(Dataset, Dataset)>> {
    let [folder, archive] = cifar_paths(dir, which);
    if folder.is_dir() {
        let read_file = |name: &str| Ok(fs::read(folder.join(name))?);
        return read_cifar(which, read_file).with_context(|| folder.display().to_string()).map(Some);
    }
    if archive.is_file() {
        let read_archive = || {
            let mut files = archived_files(&archive, |name| name.ends_with(".bin"))?;
            read_cifar(which, |name| files.remove(name).context("not in the archive"))
        };
        return read_archive().with_context(|| archive.display().to_string()).map(Some);
    }
    Ok(None)
}

/// Whether there is the unpacked folder or the official archive of a CIFAR set in `dir`, sound or not.
pub fn has_cifar(dir: &Path, which: Cifar) -> bool {
    cifar_paths(dir, which).iter().any(|path| path.exists())
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

/// The unpacked folder and the official archive.
fn cifar_paths(dir: &Path, which: Cifar) -> [PathBuf; 2] {
    match which {
        Cifar::Ten => ["cifar-10-batches-bin", "cifar-10-binary.tar.gz"],
        Cifar::Hundred => ["cifar-100-binary", "cifar-100-binary.tar.gz"],
    }
    .map(|name| dir.join(name))
}

/// Names of the files with training images, and of the one with test images.
fn cifar_files(which: Cifar) -> (&'static [&'static str], &'static str) {
    match which {
        Cifar::Ten => (
            &["data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin", "data_batch_5.bin"],
            "test_batch.bin",
        ),
        Cifar::Hundred => (&["train.bin"], "test.bin"),
    }
}

/// (Training, test) sets from the files of one of CIFAR's folders, read by name.
fn read_cifar(which: Cifar, mut read_file: impl FnMut(&str) -> Result<Vec<u8>>) -> Result<(Dataset, Dataset)> {
    let (train, test) = cifar_files(which);
    let mut read_files = |names: &[&str]| -> Result<Dataset> {
        let (mut images, mut labels) = (Vec::new(), Vec::new());
        for name in names {
            let parsed = read_file(name).and_then(|bytes| Ok(which.parse(&bytes)?));
            let parsed = parsed.with_context(|| (*name).to_owned())?;
            images.extend(parsed.0);
            labels.extend(parsed.1);
        }
        Ok(Dataset::new(images, labels, which.classes())?)
    };
    Ok((read_files(train)?, read_files(&[test])?))
}

/// The files whose name without folders is `wanted`, by that name.
fn archived_files(path: &Path, wanted: impl Fn(&str) -> bool) -> Result<HashMap<String, Vec<u8>>> {
    let mut files = HashMap::new();
    archive::for_each_file(BufReader::new(File::open(path)?), &Limits::default(), |label, bytes| {
        let name = label.rsplit('/').next().unwrap_or(&label);
        if wanted(name) {
            files.insert(name.to_owned(), bytes);
        }
    })?;
    Ok(files)
}

/// Whether a folder of labelled images has its own test set.
pub fn is_split(path: &Path) -> bool {
    ["train", "test"].iter().all(|part| path.join(part).is_dir())
}

/// (Training, test) sets from a folder with one sub-folder of images per class.
///
/// With sub-folders `train` and `test`, each of these is such a folder; else a share `hold_out`
/// of each class is held out at random for testing. Classes are in the order of their names, the
/// images of a class in the order of theirs. Files without the extension of an image are left out.
///
/// # Errors
/// When there is no class, a class has no image, an image is damaged, the classes of `test` are
/// not those of `train`, or too few images are there to hold one out.
pub fn image_folder(path: &Path, seed: u64, hold_out: f64) -> Result<(Dataset, Dataset)> {
    if is_split(path) {
        let (train, test) = (path.join("train"), path.join("test"));
        let classes = class_names(&train)?;
        for class in class_names(&test)? {
            ensure!(
                classes.contains(&class),
                "{}: expected a class of {}, found `{class}`, which is none",
                test.display(),
                train.display()
            );
        }
        return Ok((labelled(&train, &classes)?, labelled(&test, &classes)?));
    }
    ensure!(
        0.0 < hold_out && hold_out < 1.0,
        "share held out for testing: expected more than 0 and less than 1, found {hold_out}"
    );
    let classes = class_names(path)?;
    ensure!(
        !classes.iter().all(|class| ["train", "test", "val", "valid", "validation"].contains(&class.as_str())),
        "{}: expected train/ and test/ with a sub-folder for each class, or such sub-folders, found {}",
        path.display(),
        classes.join("/ and ") + "/"
    );
    let all = labelled(path, &classes)?;
    for (label, class) in (0..).zip(&classes) {
        ensure!(
            all.labels.iter().filter(|&&other| other == label).count() >= 2,
            "{}: expected at least 2 images, one of them to hold out for testing, found 1",
            path.join(class).display()
        );
    }
    Ok(all.hold_out(hold_out, seed))
}

/// The names of the sub-folders, sorted.
fn class_names(folder: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    let unreadable = || folder.display().to_string();
    for entry in fs::read_dir(folder).with_context(unreadable)? {
        let path = entry.with_context(unreadable)?.path();
        let name = path.file_name().expect("what lies in a folder has a name").to_str();
        let name = name.with_context(|| format!("{}: expected a name in UTF-8, found another", path.display()))?;
        if path.is_dir() && !is_hidden(name) {
            ensure!(
                !folder.canonicalize()?.starts_with(path.canonicalize()?),
                "{}: expected a folder of images, found a link to one that it lies in",
                path.display()
            );
            names.push(name.to_owned());
        }
    }
    ensure!(!names.is_empty(), "{}: expected a sub-folder of images for each class, found none", folder.display());
    ensure!(
        names.len() <= usize::from(u16::MAX),
        "{}: expected at most {} classes, found {}",
        folder.display(),
        u16::MAX,
        names.len()
    );
    names.sort();
    Ok(names)
}

fn labelled(folder: &Path, classes: &[String]) -> Result<Dataset> {
    let (mut images, mut labels, mut left_out) = (Vec::new(), Vec::new(), Vec::new());
    for (label, class) in (0_u16..).zip(classes) {
        let folder = folder.join(class);
        let files = if folder.is_dir() { files_below(&folder)? } else { Vec::new() };
        // A folder stands among the files where it cannot be read.
        let is_taken =
            |(name, path): &(String, PathBuf)| has_image_extension(name) || path.is_dir() && !path.is_symlink();
        let (files, others): (Vec<_>, Vec<_>) = files.into_iter().partition(is_taken);
        left_out.extend(others.into_iter().map(|(_, path)| path));
        for (name, image) in load_files(files)? {
            images.extend(image.with_context(|| folder.join(name).display().to_string())?);
            labels.push(label);
        }
    }
    let set = Dataset::new(images, labels, classes.to_vec()).with_context(|| folder.display().to_string())?;
    if let Some(first) = left_out.first() {
        let (folder, count, first) = (folder.display(), left_out.len(), first.display());
        output::note(format_args!(
            "{folder}: {count} files without the extension of an image were left out, the first {first}"
        ));
    }
    Ok(set)
}

/// Unlabelled images by name or path, in the order of their file names.
///
/// In this order: `uniform`, `gaussian`, `patterns` or `shapes`, made with `seed` (`uniform:500` for 500
/// images instead of 10,000); the test images of `cifar10` or `cifar100` in `data_dir`; a path to a
/// folder (searched to any depth), a zip, tar or tar.gz, or an image; a name under `data_dir`, found
/// as ODIN's archives unpack: `NAME/test`, `NAME/NAME`, `NAME`, `NAME.zip`, `NAME.tar`, `NAME.tar.gz`
/// or `NAME.tgz`. What cannot be read is listed in `skipped`.
///
/// # Errors
/// When nothing goes by that name, an archive is damaged, or not one image can be read.
pub fn image_set(path_or_name: &str, data_dir: &Path, seed: u64) -> Result<ImageSet> {
    if let Some(generated) = generated(path_or_name, seed)? {
        return Ok(generated);
    }
    if let Some(set) = cifar_test(path_or_name, data_dir)? {
        return Ok(set);
    }
    let given = Path::new(path_or_name);
    ensure!(!path_or_name.is_empty(), "expected the name or the path of a set of images, found an empty one");
    if given.exists() {
        let path = given.canonicalize()?;
        // ODIN's archives unpack to NAME/test.
        let named = if path.ends_with("test") { path.parent().unwrap_or(&path) } else { &path };
        let name = named.file_name().map_or(path_or_name.into(), |name| name.to_string_lossy().into_owned());
        return read_image_set(given, &name);
    }
    let candidates = [
        data_dir.join(path_or_name).join("test"),
        data_dir.join(path_or_name).join(path_or_name),
        data_dir.join(path_or_name),
        data_dir.join(format!("{path_or_name}.zip")),
        data_dir.join(format!("{path_or_name}.tar")),
        data_dir.join(format!("{path_or_name}.tar.gz")),
        data_dir.join(format!("{path_or_name}.tgz")),
    ];
    match candidates.iter().find(|path| path.exists()) {
        Some(path) => read_image_set(path, path_or_name),
        None => {
            let fetched = SOURCES.iter().any(|source| source.name == path_or_name);
            let hint = if fetched { format!("; `eloc data {path_or_name}` fetches it") } else { String::new() };
            bail!(
                "`{path_or_name}`: expected uniform, gaussian, patterns, shapes, cifar10, cifar100, a path, or a folder or \
                 archive of that name in {}, found none{hint}",
                data_dir.display()
            )
        }
    }
}

/// The test images of a CIFAR set that is in `data_dir`, under the names that the page gives them.
fn cifar_test(name: &str, data_dir: &Path) -> Result<Option<ImageSet>> {
    let Some(which) = Cifar::named(name) else { return Ok(None) };
    let (_, file) = cifar_files(which);
    Ok(cifar(data_dir, which)?.map(|(_, test)| {
        let sources = (0..test.len()).map(|index| format!("{file} {index}")).collect();
        ImageSet { name: name.to_owned(), images: test.images, sources, skipped: Vec::new() }
    }))
}

fn generated(name: &str, seed: u64) -> Result<Option<ImageSet>> {
    let (kind, count) = match name.split_once(':') {
        Some((kind, count)) => (kind, Some(count)),
        None => (name, None),
    };
    let generate = match kind {
        "uniform" => synthetic::uniform_noise,
        "gaussian" => synthetic::gaussian_noise,
        "patterns" => synthetic::patterns,
        "shapes" => shapes,
        _ => return Ok(None),
    };
    let count = match count {
        None => GENERATED_IMAGES,
        Some(count) => count.parse().ok().filter(|count| (1..=MOST_GENERATED).contains(count)).with_context(|| {
            format!("`{name}`: expected a number of images from 1 to {MOST_GENERATED}, found `{count}`")
        })?,
    };
    Ok(Some(generate(count, seed)))
}

/// About as many images of the built-in test set, the same number of each class.
fn shapes(count: usize, _seed: u64) -> ImageSet {
    let set = synthetic::shapes(count.div_ceil(10), synthetic::SHAPES_TEST_SEED);
    let sources = (0..set.len()).map(|index| format!("shapes {index}")).collect();
    ImageSet { name: "shapes".to_owned(), images: set.images, sources, skipped: Vec::new() }
}

/// Unlabelled images of a folder, an archive or a file, as a set called `name`; `name` is also the source of the image
/// in a file.
pub fn read_image_set(path: &Path, name: &str) -> Result<ImageSet> {
    let set = || {
        let loaded = if path.is_dir() {
            load_files(files_below(path)?)?
        } else if is_archive(path)? {
            load_archive(path)?
        } else {
            vec![(name.to_owned(), load_file(path))]
        };
        collect_set(name, loaded)
    };
    set().with_context(|| path.display().to_string())
}

fn is_archive(path: &Path) -> Result<bool> {
    let mut head = Vec::new();
    File::open(path)?.take(262).read_to_end(&mut head)?;
    Ok(Format::detect(&head).is_some())
}

fn load_files(files: Vec<(String, PathBuf)>) -> Result<Vec<Loaded>> {
    let produce = |job: &mut dyn FnMut(String, PathBuf)| {
        files.into_iter().for_each(|(label, path)| job(label, path));
        Ok(())
    };
    load_parallel(produce, |path| load_file(&path))
}

fn load_archive(path: &Path) -> Result<Vec<Loaded>> {
    let reader = BufReader::new(File::open(path)?);
    let produce = |job: &mut dyn FnMut(String, Vec<u8>)| {
        archive::for_each_file(reader, &Limits::default(), |label, bytes| {
            if !is_hidden(&label) {
                job(label, bytes);
            }
        })?;
        Ok(())
    };
    load_parallel(produce, |bytes| Ok(eloc::image::decode(&bytes)?))
}

fn collect_set(name: &str, loaded: Vec<Loaded>) -> Result<ImageSet> {
    let mut set = ImageSet {
        name: name.to_owned(),
        images: Vec::with_capacity(loaded.len() * PIXELS),
        sources: Vec::with_capacity(loaded.len()),
        skipped: Vec::new(),
    };
    for (source, image) in loaded {
        match image {
            Ok(image) => {
                set.images.extend(image);
                set.sources.push(source);
            }
            Err(error) => set.skipped.push((source, format!("{error:#}"))),
        }
    }
    match set.skipped.first() {
        _ if !set.is_empty() => Ok(set),
        None => Err(anyhow!("expected at least one image, found no file")),
        Some((source, reason)) => Err(anyhow!(
            "expected at least one readable image, found {} other files, the first `{source}`: \
             {reason}",
            set.skipped.len()
        )),
    }
}

#[cfg(test)]
mod tests;
