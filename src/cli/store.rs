//! Files of a training run and of a weights folder: written beside and renamed, so that nothing is ever half there.

use std::{
    fs::{self, File, TryLockError},
    io::{ErrorKind, Write},
    path::{Path, PathBuf},
    sync::Once,
};

use anyhow::{Context, Result, bail, ensure};
use burn::tensor::Device;
use eloc::{
    detection::ensemble::Member,
    network::Classifier,
    training::checkpoint::{Checkpoint, EpochRecord},
    weights::manifest::{FoldEntry, MANIFEST, Manifest},
};
use serde::{Deserialize, Serialize};

use super::output;

/// Writes `bytes` to a file beside `path` and renames it to `path`; makes the folder where it is missing.
///
/// A link is followed, and what is there and no file, such as `/dev/stdout`, is written to as it is.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let target = path.canonicalize().unwrap_or(path.to_owned());
    let folder = target.parent().unwrap_or(Path::new("."));
    let write = || -> std::io::Result<()> {
        if target.exists() && !target.is_file() {
            return fs::write(&target, bytes);
        }
        fs::create_dir_all(folder)?;
        let mut beside = tempfile::NamedTempFile::new_in(folder)?;
        beside.write_all(bytes)?;
        beside.as_file().sync_all()?;
        // The default of temporary files is to hide them from other users.
        #[cfg(unix)]
        fs::set_permissions(beside.path(), std::os::unix::fs::PermissionsExt::from_mode(0o644))?;
        beside.persist(&target)?;
        Ok(())
    };
    write().with_context(|| format!("{}: could not be written", path.display()))
}

/// Refuses a file that [`write`] could not write, without leaving anything behind.
pub fn check_writable(path: Option<&Path>) -> Result<()> {
    let Some(path) = path else { return Ok(()) };
    let target = path.canonicalize().unwrap_or(path.to_owned());
    let check = || -> std::io::Result<()> {
        if target.is_dir() {
            return Err(ErrorKind::IsADirectory.into());
        }
        if target.exists() && !target.is_file() {
            return Ok(());
        }
        // Folders that are not there will be made in the last one that is.
        let absolute = std::path::absolute(&target)?;
        let folder = absolute.ancestors().skip(1).find(|folder| folder.exists()).unwrap_or(Path::new("."));
        tempfile::NamedTempFile::new_in(folder).map(drop)
    };
    check().with_context(|| format!("{}: could not be written", path.display()))
}

/// Writes files, which come with their names, into `folder`: all of them or none.
pub fn write_all(folder: &Path, files: impl IntoIterator<Item = Result<(String, Vec<u8>)>>) -> Result<()> {
    let failed = || format!("{}: could not be written", folder.display());
    fs::create_dir_all(folder).with_context(failed)?;
    let beside = tempfile::TempDir::new_in(folder).with_context(failed)?;
    let mut names = Vec::new();
    for file in files {
        let (name, bytes) = file?;
        write_synced(&beside.path().join(&name), &bytes).with_context(failed)?;
        names.push(name);
    }
    names.iter().try_for_each(|name| fs::rename(beside.path().join(name), folder.join(name))).with_context(failed)
}

/// Writes an ensemble's fold files, whose bytes come in the order of the manifest's folds, and its manifest: all of them or none.
pub fn write_ensemble(folder: &Path, manifest: &Manifest, files: Vec<Vec<u8>>) -> Result<()> {
    let names = manifest.folds.iter().map(|entry| entry.file.clone());
    write_all(folder, names.zip(files).chain([(MANIFEST.to_owned(), manifest.to_bytes())]).map(Ok))
}

/// Writes a file and waits until it is on the disk.
fn write_synced(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Refuses a folder that has weights in it, with a manifest or without one.
pub fn check_new(folder: &Path) -> Result<()> {
    let is_weights = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        path.is_file() && (name == MANIFEST || name.starts_with("fold-") && name.contains(".safetensors"))
    };
    match entries(folder)?.iter().find(|path| is_weights(path)) {
        Some(found) => bail!("{}: expected a new folder, found weights in it: {}", folder.display(), found.display()),
        None => Ok(()),
    }
}

/// Writes `value` as JSON to `path`, where one is given.
pub fn write_json(path: Option<&Path>, value: &impl Serialize) -> Result<()> {
    match path {
        Some(path) => write(path, in_lines(&serde_json::to_string_pretty(value)?).as_bytes()),
        None => Ok(()),
    }
}

/// Indented JSON with each list of numbers on one line.
fn in_lines(json: &str) -> String {
    let mut rest = &json.lines().collect::<Vec<_>>()[..];
    let mut lines = Vec::new();
    while let Some((first, others)) = rest.split_first() {
        let (list, after) = others.split_at(list_length(first, others));
        let items = list.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ");
        lines.push(first.to_string() + &items.replace("[ ", "[").replace(" ]", "]"));
        rest = after;
    }
    lines.join("\n")
}

/// How many of the lines `after` are the numbers of a list that begins with the line `first`.
fn list_length(first: &str, after: &[&str]) -> usize {
    let mut depth = i32::from(first.ends_with('['));
    for (index, line) in after.iter().enumerate() {
        match line.trim().trim_end_matches(',') {
            _ if depth == 0 => return index,
            "[" => depth += 1,
            "]" => depth -= 1,
            item if item == "null" || item.parse::<f64>().is_ok() => {}
            _ => return 0,
        }
    }
    if depth == 0 { after.len() } else { 0 }
}

/// Reads the manifest of a weights folder; `None` where there is none.
pub fn read_manifest(folder: &Path) -> Result<Option<Manifest>> {
    let path = folder.join(MANIFEST);
    match fs::read(&path) {
        Ok(bytes) => Ok(Some(Manifest::from_bytes(&bytes).with_context(|| path.display().to_string())?)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| path.display().to_string()),
    }
}

/// Reads all folds of a weights folder.
pub fn read_ensemble(folder: &Path, device: &Device) -> Result<(Manifest, Vec<Member>)> {
    read_folds(folder, complete_manifest(folder)?, device)
}

/// Reads the manifest of a weights folder in which all folds are trained.
pub fn complete_manifest(folder: &Path) -> Result<Manifest> {
    let manifest = existing_manifest(folder)?;
    ensure!(
        manifest.folds.len() >= manifest.fold_count,
        "{}: expected {} trained folds, found {}; the command that trained them trains the others",
        folder.display(),
        manifest.fold_count,
        manifest.folds.len(),
    );
    Ok(manifest)
}

/// Reads the first `count` of the trained folds of a weights folder, in which others may still be missing.
pub fn read_first_folds(folder: &Path, count: usize, device: &Device) -> Result<(Manifest, Vec<Member>)> {
    let mut manifest = existing_manifest(folder)?;
    let trained = manifest.folds.len();
    ensure!(trained > 0, "{}: expected a trained fold, found none", folder.display());
    ensure!(
        (1..=trained).contains(&count),
        "{}: expected at least the {count} trained folds that were asked for, found {trained}",
        folder.display()
    );
    manifest.folds.truncate(count);
    read_folds(folder, manifest, device)
}

/// Reads the manifest of what should be a weights folder.
pub fn existing_manifest(folder: &Path) -> Result<Manifest> {
    let Some(manifest) = read_manifest(folder)? else {
        bail!("{}: expected a weights folder, found no {MANIFEST} in it", folder.display());
    };
    Ok(manifest)
}

fn read_folds(folder: &Path, manifest: Manifest, device: &Device) -> Result<(Manifest, Vec<Member>)> {
    let members = manifest.folds.iter().map(|entry| {
        let classifier = read_classifier(folder, &manifest, entry, &Device::flex());
        classifier.map(|classifier| Member::new(entry.fold.clone(), classifier, device))
    });
    let members = members.collect::<Result<_>>()?;
    Ok((manifest, members))
}

/// Reads the network of one fold of a weights folder.
pub fn read_classifier(folder: &Path, manifest: &Manifest, entry: &FoldEntry, device: &Device) -> Result<Classifier> {
    let path = folder.join(&entry.file);
    let bytes = fs::read(&path).with_context(|| path.display().to_string())?;
    entry.read(&bytes, &manifest.network, device).with_context(|| folder.display().to_string())
}

/// Changes the manifest of `folder` under a lock, so that processes that train different folds do not undo each
/// other's work. `start` is the manifest of a folder that has none yet. An error of `change` leaves it as it was.
pub fn update_manifest(
    folder: &Path,
    start: &Manifest,
    change: impl FnOnce(&mut Manifest) -> Result<()>,
) -> Result<Manifest> {
    fs::create_dir_all(folder).with_context(|| format!("{}: could not be made", folder.display()))?;
    let lock_path = folder.join(".lock");
    let lock = File::create(&lock_path).with_context(|| format!("{}: could not be written", lock_path.display()))?;
    match lock.lock() {
        Err(error) if is_without_locks(&error) => warn_of_no_locks(&lock_path),
        locked => locked.with_context(|| format!("{}: could not be locked", lock_path.display()))?,
    }
    let mut manifest = read_manifest(folder)?.unwrap_or_else(|| start.clone());
    change(&mut manifest)?;
    write(&folder.join(MANIFEST), &manifest.to_bytes())?;
    Ok(manifest)
}

/// Whether a lock was refused because the file system has none, as Lustre unless it is mounted with them.
fn is_without_locks(error: &std::io::Error) -> bool {
    error.kind() == ErrorKind::Unsupported
}

/// Says once that nothing keeps two processes apart.
fn warn_of_no_locks(path: &Path) {
    static WARNED: Once = Once::new();
    WARNED.call_once(|| {
        output::note(format_args!(
            "{}: the file system has no locks; going on without, but train this run with one process at a time only",
            path.display()
        ));
    });
}

/// Name of the checkpoints' folder in a run's.
pub const CHECKPOINTS: &str = "checkpoints";

/// Start of the name of a checkpoint's folder; the number of its epoch follows.
const EPOCH: &str = "epoch-";

/// The checkpoints of one fold: a folder an epoch, made complete and then renamed.
///
/// No other process has the same fold's as long as the value lives.
pub struct Checkpoints {
    folder: PathBuf,
    /// Hash of the run's settings and images: a checkpoint of others is of no use.
    run: String,
    lock: PathBuf,
    _locked: File,
}

/// What a checkpoint's JSON file holds.
#[derive(Serialize, Deserialize)]
struct State {
    /// Hash of the settings and images of its run.
    run: String,
    history: Vec<EpochRecord>,
    selected: Option<usize>,
}

impl Checkpoints {
    /// The checkpoints of fold `fold` in the folder `out` of a run, whose settings and images have the hash `run`; `None`
    /// while another process is training the fold. To be made under the lock of [`update_manifest`].
    pub fn new(out: &Path, fold: usize, run: String) -> Result<Option<Self>> {
        let lock = out.join(format!(".fold-{fold}.lock"));
        let file = File::create(&lock).with_context(|| format!("{}: could not be written", lock.display()))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) if is_without_locks(&error) => warn_of_no_locks(&lock),
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("{}: could not be locked", lock.display()));
            }
        }
        Ok(Some(Checkpoints { folder: checkpoints_of(out, fold), run, lock, _locked: file }))
    }

    /// The newest one, where there is any.
    ///
    /// # Errors
    /// When it cannot be read, or is of a run with other settings or images.
    pub fn load(&self) -> Result<Option<Checkpoint>> {
        let Some(folder) = epochs(&self.folder)?.pop() else { return Ok(None) };
        let read = |name: &str| {
            let path = folder.join(name);
            fs::read(&path).with_context(|| path.display().to_string())
        };
        let read_if_there = |name: &str| folder.join(name).exists().then(|| read(name)).transpose();
        let state: State = serde_json::from_slice(&read("state.json")?)
            .with_context(|| format!("{}: expected the state of a training run", folder.display()))?;
        ensure!(
            state.run == self.run,
            "{}: expected a checkpoint of a run with the same settings and images, found one with others; take another \
             --out, or remove the checkpoint to train the fold from its beginning",
            folder.display()
        );
        Ok(Some(Checkpoint {
            history: state.history,
            selected: state.selected,
            model: read("model.bpk")?,
            optimizer: read_if_there("optimizer.bpk")?,
            average: read_if_there("average.bpk")?,
            best: read("best.bpk")?,
        }))
    }

    /// Adds one and removes the ones before it.
    pub fn save(&self, checkpoint: &Checkpoint) -> Result<()> {
        let before = epochs(&self.folder)?;
        let write = || -> Result<()> {
            fs::create_dir_all(&self.folder)?;
            let beside = tempfile::TempDir::new_in(&self.folder)?;
            let (history, selected) = (checkpoint.history.clone(), checkpoint.selected);
            let state = State { run: self.run.clone(), history, selected };
            for (name, bytes) in [
                ("state.json", Some(&serde_json::to_vec_pretty(&state)?)),
                ("model.bpk", Some(&checkpoint.model)),
                ("optimizer.bpk", checkpoint.optimizer.as_ref()),
                ("average.bpk", checkpoint.average.as_ref()),
                ("best.bpk", Some(&checkpoint.best)),
            ] {
                let Some(bytes) = bytes else { continue };
                write_synced(&beside.path().join(name), bytes)?;
            }
            let epoch = self.folder.join(format!("{EPOCH}{:04}", checkpoint.history.len()));
            fs::rename(beside.keep(), epoch)?;
            Ok(())
        };
        write().with_context(|| format!("{}: the checkpoint could not be written", self.folder.display()))?;
        for folder in before {
            fs::remove_dir_all(&folder).with_context(|| folder.display().to_string())?;
        }
        Ok(())
    }

    /// Removes all of them.
    pub fn clear(&self) -> Result<()> {
        match fs::remove_dir_all(&self.folder) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(error).with_context(|| self.folder.display().to_string())
            }
            _ => Ok(()),
        }
    }
}

impl Drop for Checkpoints {
    fn drop(&mut self) {
        // What stays of it would be in nobody's way.
        drop(fs::remove_file(&self.lock));
    }
}

/// Whether a fold of the run in `out` has a checkpoint, or is being trained by another process.
///
/// To be asked under the lock of [`update_manifest`], as [`Checkpoints::new`] is: for a moment it takes the locks of others.
pub fn is_begun(out: &Path) -> Result<bool> {
    for fold in entries(&out.join(CHECKPOINTS))? {
        if fold.is_dir() && !epochs(&fold)?.is_empty() {
            return Ok(true);
        }
    }
    let is_lock = |path: &Path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(".fold-"));
    let is_held =
        |path: &Path| File::open(path).is_ok_and(|file| matches!(file.try_lock(), Err(TryLockError::WouldBlock)));
    Ok(entries(out)?.iter().any(|path| is_lock(path) && is_held(path)))
}

fn checkpoints_of(out: &Path, fold: usize) -> PathBuf {
    out.join(CHECKPOINTS).join(format!("fold-{fold}"))
}

/// How many epochs of fold `fold` the newest checkpoint of the run in `out` has behind it.
pub fn epochs_done(out: &Path, fold: usize) -> usize {
    let newest = epochs(&checkpoints_of(out, fold)).ok().and_then(|mut folders| folders.pop());
    let name = newest.as_deref().and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned());
    name.and_then(|name| name.strip_prefix(EPOCH)?.parse().ok()).unwrap_or(0)
}

/// The folders of complete checkpoints in `folder`, oldest first.
fn epochs(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut epochs = entries(folder)?;
    epochs.retain(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(EPOCH)));
    epochs.sort();
    Ok(epochs)
}

/// What lies in `folder`; nothing where there is no such folder.
fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let unreadable = || folder.display().to_string();
    match fs::read_dir(folder) {
        Ok(entries) => entries.map(|entry| Ok(entry.with_context(unreadable)?.path())).collect(),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error).with_context(unreadable),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The numbers of Linux for ENOSYS, EOPNOTSUPP and EACCES.
    #[cfg(target_os = "linux")]
    #[test]
    fn file_system_without_locks_is_told_from_other_failures() {
        let is_without = |number| is_without_locks(&std::io::Error::from_raw_os_error(number));
        assert_eq!([38, 95, 13].map(is_without), [true, true, false]);
    }

    #[test]
    fn file_that_cannot_be_written_is_told_and_nothing_is_left() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, b"as it was").unwrap();
        for sound in [&file, &dir.path().join("new.json"), &dir.path().join("new/folder/new.json")] {
            check_writable(Some(sound)).unwrap();
        }
        for path in [dir.path(), &file.join("new.json")] {
            let error = format!("{:#}", check_writable(Some(path)).unwrap_err());
            assert!(error.contains("could not be written") && error.contains(path.to_str().unwrap()), "{error}");
        }
        assert_eq!((fs::read(&file).unwrap(), fs::read_dir(dir.path()).unwrap().count()), (b"as it was".to_vec(), 1));
    }
}
