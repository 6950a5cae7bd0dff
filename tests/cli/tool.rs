//! Running the tool, and the one small ensemble that many tests look at.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use serde_json::Value;
use tempfile::TempDir;

use super::pictures;

/// The tool as Cargo built it for the tests.
pub const ELOC: &str = env!("CARGO_BIN_EXE_eloc");

/// Nobody listens on port 1, so that a download fails at once.
pub const NO_MIRROR: &str = "http://127.0.0.1:1";

/// Classes of the shared ensemble's images, images of each class, and those of a class that are held out for testing.
pub const CLASSES: usize = 6;
pub const PER_CLASS: usize = 12;
pub const TEST_PER_CLASS: usize = 2;
pub const FOLDS: usize = 3;
pub const EPOCHS: usize = 2;

/// Settings of a training that takes about a second.
const TINY: [(&str, &str); 7] = [
    ("--network", "compact-4-4-4"),
    ("--batch", "12"),
    ("--left-out-batch", "4"),
    ("--outlier-batch", "4"),
    ("--epochs", "2"),
    ("--folds", "3"),
    ("--device", "cpu"),
];

/// The tool, kept away from the user's data folder and from the sources.
pub fn eloc() -> Command {
    let mut command = Command::new(ELOC);
    command.current_dir(env!("CARGO_TARGET_TMPDIR"));
    command.env("ELOC_DATA", Path::new(env!("CARGO_TARGET_TMPDIR")).join("no-data"));
    // Without it, libraries that a Vulkan driver loads complain on the error stream when a device is used.
    command.env("XDG_RUNTIME_DIR", env!("CARGO_TARGET_TMPDIR"));
    command
}

/// The arguments of a tiny training on `dataset` into `out`; `settings` replace or extend the usual ones.
pub fn training_args(dataset: &str, out: &Path, settings: &[(&str, &str)]) -> Vec<String> {
    let mut flags: BTreeMap<&str, &str> = TINY.into();
    flags.extend(settings.iter().copied());
    let flags = flags.into_iter().flat_map(|(flag, value)| [flag, value]).map(str::to_owned);
    let fixed = ["train", "--dataset", dataset, "--mirror", NO_MIRROR, "--out", path(out)].map(str::to_owned);
    fixed.into_iter().chain(flags).collect()
}

/// A tiny training.
pub fn train(dataset: &Path, out: &Path, settings: &[(&str, &str)]) -> Command {
    let mut command = eloc();
    command.args(training_args(path(dataset), out, settings));
    command
}

/// `eloc score` on the CPU.
pub fn score(weights: &Path, images: &[&Path], flags: &[&str]) -> Command {
    let mut command = eloc();
    command.args(["score", "--device", "cpu", "--weights", path(weights)]).args(flags).args(images);
    command
}

/// `eloc evaluate` on the CPU, with its cache in `data`.
pub fn evaluate(weights: &Path, id: &Path, data: &Path, ood: &[&str]) -> Command {
    let mut command = eloc();
    command.args(["evaluate", "--device", "cpu", "--weights", path(weights), "--id", path(id), "--data", path(data)]);
    if !ood.is_empty() {
        command.arg("--ood").args(ood);
    }
    command
}

/// Runs the command, which must succeed, and returns what it printed.
pub fn stdout(command: &mut Command) -> String {
    let output = command.output().expect("the tool starts");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("the tool prints UTF-8")
}

/// Runs the command, which must fail with code 1 and one line on the error stream that contains all of `parts`.
pub fn refused(command: &mut Command, parts: &[&str]) -> String {
    let output = command.output().expect("the tool starts");
    let message = String::from_utf8(output.stderr).expect("the tool prints UTF-8");
    assert_eq!(output.status.code(), Some(1), "{command:?}: {message}");
    assert!(message.starts_with("eloc: ") && message.lines().count() == 1, "expected one line, found:\n{message}");
    for part in parts {
        assert!(message.contains(part), "expected `{part}` in: {message}");
    }
    message
}

/// A line of JSON for each image.
pub fn json_lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).expect("each line is JSON")).collect()
}

/// The JSON in a file.
pub fn json(file: &Path) -> Value {
    serde_json::from_slice(&fs::read(file).unwrap()).expect("the file is JSON")
}

/// The manifest of a weights folder.
pub fn manifest(weights: &Path) -> Value {
    json(&weights.join("manifest.json"))
}

/// The bytes of the file of fold `number`.
pub fn fold_file(weights: &Path, number: usize) -> Vec<u8> {
    fs::read(weights.join(format!("fold-{number}.safetensors"))).unwrap()
}

/// The bytes of the files of all folds.
pub fn fold_files(weights: &Path) -> Vec<Vec<u8>> {
    (1..=FOLDS).map(|number| fold_file(weights, number)).collect()
}

/// Every file below `folder`, by its path relative to it; nothing where there is no folder.
pub fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next).into_iter().flatten() {
            let found = entry.unwrap().path();
            if found.is_dir() {
                folders.push(found);
            } else {
                let name = path(found.strip_prefix(folder).unwrap()).to_owned();
                files.insert(name, fs::read(&found).unwrap());
            }
        }
    }
    files
}

/// A path as an argument.
pub fn path(path: &Path) -> &str {
    path.to_str().expect("the tests' folders have plain names")
}

/// A folder that goes away with the test.
pub fn scratch() -> TempDir {
    TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

/// An ensemble that is trained once. No test changes it; one that would takes a [`Trained::copy`].
pub struct Trained {
    /// Its images, `class-C/II.png`.
    pub images: PathBuf,
    /// Its weights.
    pub weights: PathBuf,
    /// What the training printed.
    pub printed: String,
}

impl Trained {
    /// The shared ensemble.
    pub fn shared() -> &'static Trained {
        static SHARED: OnceLock<Trained> = OnceLock::new();
        SHARED.get_or_init(|| {
            // A static is never dropped, so what the last run of the tests left is removed here.
            let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("shared");
            let _ = fs::remove_dir_all(&folder);
            let (images, weights) = (folder.join("pictures"), folder.join("weights"));
            pictures::class_folder(&images, CLASSES, PER_CLASS);
            let printed = stdout(&mut train(&images, &weights, &[]));
            Trained { images, weights, printed }
        })
    }

    /// A copy of the weights folder as `to`.
    pub fn copy(&self, to: &Path) {
        for (name, bytes) in files(&self.weights) {
            let to = to.join(name);
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            fs::write(to, bytes).unwrap();
        }
    }
}
