//! Sets of unlabelled images by name or path: everything that serves as out-of-distribution data.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail, ensure};
use eloc::images::{
    archive::Format,
    dataset::{Cifar, ImageSet},
    image::PIXELS,
    synthetic,
};

use super::{
    cifar::{cifar, cifar_files, cifar_paths},
    download::{Check, SOURCES},
    images::{Loaded, files_below, load_archive, load_file, load_files},
};

/// How many images a generated set has unless told: as many as CIFAR's test set.
pub(super) const GENERATED_IMAGES: usize = 10_000;
/// The most that it may have, 3 GB.
const MOST_GENERATED: usize = 1_000_000;
/// Images of a CIFAR test set.
const CIFAR_TEST_IMAGES: usize = 10_000;

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
