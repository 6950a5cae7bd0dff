//! `--exclude`: images that are left out of the sets, such as those of classes that the networks know.

use std::{cell::RefCell, collections::HashMap, fs, path::Path};

use anyhow::{Context, Result, ensure};

use super::{data::Set, output};

/// Names of images, and whether each was found.
pub struct Excluded {
    file: String,
    names: RefCell<HashMap<String, bool>>,
}

impl Excluded {
    /// Reads a file with the name of an image a line: its path in its set, or the end of that from one of its folders on.
    ///
    /// # Errors
    /// When it cannot be read, is not text, or names nothing.
    pub fn read(path: &Path) -> Result<Self> {
        let file = path.display().to_string();
        let text = fs::read(path).with_context(|| file.clone())?;
        let text = String::from_utf8(text)
            .ok()
            .with_context(|| format!("{file}: expected text in UTF-8, found other bytes"))?;
        let lines = text.trim_start_matches('\u{feff}').lines().map(str::trim).filter(|line| !line.is_empty());
        let names: HashMap<_, _> = lines.map(|name| (name.to_owned(), false)).collect();
        ensure!(!names.is_empty(), "{file}: expected the name of an image in each line, found none");
        Ok(Excluded { file, names: RefCell::new(names) })
    }

    /// The other images of a set, and how many were left out.
    ///
    /// # Errors
    /// When none is left.
    pub fn out_of(&self, set: Set) -> Result<(Set, usize)> {
        let kept: Vec<usize> = (0..set.sources().len()).filter(|&index| !self.names(&set.sources()[index])).collect();
        let count = set.sources().len() - kept.len();
        if count == 0 {
            return Ok((set, 0));
        }
        ensure!(
            !kept.is_empty(),
            "{}: expected some images of {} to be left, found all of them",
            self.file,
            set.name()
        );
        Ok((set.subset(&kept), count))
    }

    /// Whether an image is named.
    fn names(&self, source: &str) -> bool {
        let mut names = self.names.borrow_mut();
        let ends = source.match_indices('/').map(|(at, _)| &source[at + 1..]);
        let mut is_named = false;
        for name in std::iter::once(source).chain(ends) {
            if let Some(found) = names.get_mut(name) {
                (*found, is_named) = (true, true);
            }
        }
        is_named
    }

    /// Says how many of the names were those of images.
    ///
    /// # Errors
    /// When none was.
    pub fn check(&self) -> Result<()> {
        let names = self.names.borrow();
        let missing: Vec<&String> = names.iter().filter(|(_, found)| !**found).map(|(name, _)| name).collect();
        ensure!(
            missing.len() < names.len(),
            "{}: expected names of images in the sets, found none, but such as `{}`",
            self.file,
            missing[0]
        );
        if !missing.is_empty() {
            let (file, missing, all) = (&self.file, missing.len(), names.len());
            output::note(format_args!("{file}: {missing} of {all} names are of no image in the sets"));
        }
        Ok(())
    }
}
