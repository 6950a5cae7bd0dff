//! `eloc export`: a weights folder in another form.

use std::{fs, path::PathBuf};

use anyhow::{Context, Result, anyhow, ensure};
use burn::tensor::Device;
use clap::{Args, ValueEnum};
use eloc::{
    ensemble::Score,
    self_test,
    weights::{MANIFEST, int8, sha256},
};

use super::{output, scoring, store};

/// What `eloc export` takes.
#[derive(Args, Debug)]
pub struct ExportArgs {
    /// Folder of the weights.
    #[arg(long)]
    weights: PathBuf,
    /// New folder to write to.
    #[arg(long)]
    out: PathBuf,
    /// Form of the fold files.
    #[arg(long, value_enum)]
    format: Form,
}

/// Forms of a weights folder.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Form {
    /// 8 bits a value with a scale for each channel, compressed: less than half the size, for the page.
    Int8,
}

/// Writes the folds, then the manifest that describes them. The threshold stays that of the weights it was measured with:
/// 8 bits move a score by about a hundredth of its distance from the least one.
pub fn run(args: &ExportArgs) -> Result<()> {
    let Form::Int8 = args.format;
    let device = Device::flex();
    // Reads and so checks all folds.
    let (mut manifest, _) = store::read_ensemble(&args.weights, &device)?;
    let manifest_path = args.out.join(MANIFEST);
    ensure!(!manifest_path.exists(), "{}: expected a new folder, found weights in it", args.out.display());
    for entry in &mut manifest.folds {
        let path = args.weights.join(&entry.file);
        let bytes = fs::read(&path).with_context(|| path.display().to_string())?;
        let bytes = int8::quantise(&bytes).map_err(|reason| anyhow!("{}: {reason}", path.display()))?;
        entry.file = format!("fold-{}.safetensors.gz", entry.fold.number);
        (entry.bytes, entry.sha256) = (bytes.len(), sha256(&bytes));
        store::write(&args.out.join(&entry.file), &bytes)?;
    }
    store::write(&manifest_path, &manifest.to_bytes())?;

    let (_, members) = store::read_ensemble(&args.out, &device)?;
    let outputs = scoring::outputs(&manifest, &members, "self-test", &self_test::images(), None, &device)?;
    let scores = scoring::view(&manifest, &members, &outputs).scores(Score::Eloc);
    manifest.self_test = Some(scores);
    store::write(&manifest_path, &manifest.to_bytes())?;
    let bytes: usize = manifest.folds.iter().map(|entry| entry.bytes).sum();
    output::line(format_args!("{}: {} folds, {bytes} bytes", args.out.display(), manifest.folds.len()))
}
