//! CIFAR as its authors give it out: the binary version, unpacked or in its archive.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::BufReader;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use eloc::images::{
    archive::{self, Limits},
    dataset::{Cifar, Dataset},
};

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

/// The unpacked folder and the official archive.
pub fn cifar_paths(dir: &Path, which: Cifar) -> [PathBuf; 2] {
    match which {
        Cifar::Ten => ["cifar-10-batches-bin", "cifar-10-binary.tar.gz"],
        Cifar::Hundred => ["cifar-100-binary", "cifar-100-binary.tar.gz"],
    }
    .map(|name| dir.join(name))
}

/// What of torchvision's version of a CIFAR set is in `dir`, the Python one, which is not read.
pub fn python_version(dir: &Path, which: Cifar) -> Option<PathBuf> {
    let names = match which {
        Cifar::Ten => ["cifar-10-batches-py", "cifar-10-python.tar.gz"],
        Cifar::Hundred => ["cifar-100-python", "cifar-100-python.tar.gz"],
    };
    names.map(|name| dir.join(name)).into_iter().find(|path| path.exists())
}

/// Says what of the Python version was found and what is wanted in its place.
pub fn wanted_for_python(found: &Path, which: Cifar) -> String {
    let [folder, archive] = cifar_paths(Path::new(""), which);
    format!(
        "{}: expected the binary version, {} or {} beside it, found the Python version",
        found.display(),
        archive.display(),
        folder.display()
    )
}

/// (Training, test) sets from the files of one of CIFAR's folders, read by name.
fn read_cifar(which: Cifar, mut read_file: impl FnMut(&str) -> Result<Vec<u8>>) -> Result<(Dataset, Dataset)> {
    let (train, test) = which.files();
    let mut read_files = |names: &[&str]| -> Result<Dataset> {
        let (mut images, mut labels) = (Vec::new(), Vec::new());
        for name in names {
            let parsed = read_file(name).and_then(|bytes| Ok(which.parse(&bytes)?));
            let parsed = parsed.with_context(|| (*name).to_owned())?;
            if images.is_empty() {
                // The files are of one size, and together too large to be moved as they grow.
                images.reserve_exact(names.len() * parsed.0.len());
            }
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
        if let Ok(bytes) = bytes
            && wanted(name)
        {
            files.insert(name.to_owned(), bytes);
        }
    })?;
    Ok(files)
}
