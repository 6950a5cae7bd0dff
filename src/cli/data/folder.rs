//! Labelled data sets from folders of images.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use eloc::images::{archive::is_hidden, dataset::Dataset};

use super::images::{files_below, has_image_extension, load_files};
use crate::cli::output;

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
