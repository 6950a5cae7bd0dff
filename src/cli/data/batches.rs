//! The images that a command line names, in batches.

use std::{
    collections::VecDeque,
    iter, mem,
    path::{Path, PathBuf},
};

use anyhow::{Context, Error, Result, anyhow};
use eloc::images::{
    dataset::{Cifar, ImageSet},
    image::PIXELS,
};

use super::{
    ahead::{ahead, caught},
    images::{Loaded, files_below, load_file},
    sets::{check_any, collect_set, read_image_set},
};

/// Files that are read before they are asked for: more than a batch, so that the next one is ready when one has been scored.
const AHEAD: usize = 256;

/// Some images.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// `[n, 3, 32, 32]`.
    pub images: Vec<u8>,
    /// `[n]`, where each image came from: its path, and that in a folder or an archive.
    pub sources: Vec<String>,
}

/// The images in files, folders and archives, in this order and in that of their names, `size` at a time. Files are decoded on
/// all cores while the caller works on earlier ones.
///
/// # Errors
/// For what cannot be read, and for a path where there is nothing, an archive that is damaged, or where not one image can be
/// read; the others follow.
pub fn batches(paths: Vec<PathBuf>, size: usize) -> impl Iterator<Item = Result<Batch>> {
    let mut pieces = pieces(paths);
    let (mut images, mut sources) = (VecDeque::new(), VecDeque::new());
    iter::from_fn(move || {
        while sources.len() < size {
            match pieces.next() {
                Some(Ok(piece)) => {
                    images.extend(piece.images);
                    sources.extend(piece.sources);
                }
                Some(Err(error)) => return Some(Err(error)),
                None => break,
            }
        }
        let count = size.min(sources.len());
        let batch =
            Batch { images: images.drain(..count * PIXELS).collect(), sources: sources.drain(..count).collect() };
        (count > 0).then_some(Ok(batch))
    })
}

/// The images of one file or archive after the other.
fn pieces(paths: Vec<PathBuf>) -> impl Iterator<Item = Result<Batch>> {
    let mut folder = Folder::default();
    ahead(paths.into_iter().flat_map(jobs), AHEAD, Job::done).flat_map(move |done| match done {
        Done::Set(Ok(set)) => results(set),
        Done::Set(Err(error)) => vec![Err(error)],
        Done::InFolder(loaded) => folder.add(loaded),
        Done::End(path) => mem::take(&mut folder).end(&path),
    })
}

/// What could not be read of a set, then its images.
fn results(set: ImageSet) -> Vec<Result<Batch>> {
    let skipped = set.skipped.into_iter().map(|(source, reason)| Err(anyhow!("{source}: {reason}")));
    skipped.chain([Ok(Batch { images: set.images, sources: set.sources })]).collect()
}

/// Something to be read.
enum Job {
    /// A file or an archive.
    Set(PathBuf),
    /// What is wrong with a path.
    Nothing(Error),
    /// One file in a folder, with the name it goes by.
    InFolder(String, PathBuf),
    /// The end of a folder.
    End(PathBuf),
}

/// What came of it.
enum Done {
    Set(Result<ImageSet>),
    InFolder(Loaded),
    End(PathBuf),
}

fn jobs(path: PathBuf) -> Vec<Job> {
    if !path.exists() {
        let error = anyhow!("{}: expected an image, a folder or an archive, found nothing", path.display());
        return vec![Job::Nothing(error)];
    }
    if !path.is_dir() {
        return vec![Job::Set(path)];
    }
    match files_below(&path).with_context(|| path.display().to_string()) {
        Ok(files) => {
            let prefix = prefix(&path);
            let of_set = files.into_iter().filter(|(name, _)| !Cifar::has_note(name));
            let files = of_set.map(|(name, path)| Job::InFolder(format!("{prefix}{name}"), path));
            files.chain([Job::End(path)]).collect()
        }
        Err(error) => vec![Job::Nothing(error)],
    }
}

/// What stands before the names of the images in a folder or an archive.
fn prefix(path: &Path) -> String {
    format!("{}/", path.to_string_lossy().trim_end_matches('/'))
}

impl Job {
    fn done(self) -> Done {
        match self {
            Job::Set(path) => Done::Set(caught(|| read_image_set(&path, &path.to_string_lossy(), &prefix(&path)))),
            Job::Nothing(error) => Done::Set(Err(error)),
            Job::InFolder(name, path) => Done::InFolder((name, caught(|| load_file(&path)))),
            Job::End(path) => Done::End(path),
        }
    }
}

/// What is known of the folder that is being read.
#[derive(Default)]
struct Folder {
    /// Whether it has an image that can be read.
    has_images: bool,
    /// What could not be read before the first such image; where there is none, that is told in another way.
    skipped: Vec<(String, String)>,
}

impl Folder {
    fn add(&mut self, loaded: Loaded) -> Vec<Result<Batch>> {
        let mut set = collect_set("", vec![loaded]);
        self.has_images |= !set.is_empty();
        self.skipped.append(&mut set.skipped);
        if !self.has_images {
            return Vec::new();
        }
        results(ImageSet { skipped: mem::take(&mut self.skipped), ..set })
    }

    fn end(self, path: &Path) -> Vec<Result<Batch>> {
        if self.has_images {
            return Vec::new();
        }
        let nothing = ImageSet { skipped: self.skipped, ..collect_set("", Vec::new()) };
        check_any(&nothing).with_context(|| path.display().to_string()).err().map(Err).into_iter().collect()
    }
}
