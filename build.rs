//! Passes on which source a build is of: the commit for results, a hash of the files for what is kept between runs.

use std::{
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    path::Path,
    process::Command,
};

/// What decides what the tool computes.
const SOURCES: [&str; 4] = ["src", "Cargo.toml", "Cargo.lock", "build.rs"];

fn main() {
    // A file that is missing would count as changed at every build.
    for path in ["HEAD", "logs/HEAD"].iter().filter_map(|file| git(&["rev-parse", "--git-path", file])) {
        if Path::new(&path).exists() {
            println!("cargo::rerun-if-changed={path}");
        }
    }
    let mut hasher = DefaultHasher::new();
    for source in SOURCES {
        println!("cargo::rerun-if-changed={source}");
        hash(Path::new(source), &mut hasher);
    }
    println!("cargo::rustc-env=ELOC_SOURCE={:016x}", hasher.finish());

    if let Some(commit) = git(&["rev-parse", "--short=10", "HEAD"]) {
        let changed = git(&[&["status", "--porcelain", "--"], &SOURCES[..]].concat());
        let suffix = if changed.is_none_or(|files| files.is_empty()) { "" } else { "-dirty" };
        println!("cargo::rustc-env=ELOC_COMMIT={commit}{suffix}");
    }
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok().filter(|output| output.status.success())?;
    String::from_utf8(output.stdout).ok().map(|text| text.trim().to_owned())
}

/// Name and content of a file, or of all files below a folder.
fn hash(path: &Path, hasher: &mut DefaultHasher) {
    if let Ok(entries) = fs::read_dir(path) {
        let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
        paths.sort();
        paths.iter().for_each(|path| hash(path, hasher));
    } else {
        path.hash(hasher);
        fs::read(path).unwrap_or_default().hash(hasher);
    }
}
