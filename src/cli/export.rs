//! `eloc export`: a weights folder in another form.

use std::{fs, path::PathBuf};

use anyhow::{Context, Result, anyhow};
use burn::tensor::Device;
use clap::{Args, ValueEnum};
use eloc::{
    detection::ensemble::Member,
    network::Classifier,
    weights::{
        int8,
        manifest::{MANIFEST, Manifest, sha256},
        pytorch,
    },
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
    /// Single precision with PyTorch's names and layouts, for load_state_dict.
    Safetensors,
}

/// Writes the folds in the form that was asked for.
pub fn run(args: &ExportArgs) -> Result<()> {
    let device = Device::flex();
    let manifest = store::complete_manifest(&args.weights)?;
    // Reads and so checks all folds.
    let classifiers =
        manifest.folds.iter().map(|entry| store::read_classifier(&args.weights, &manifest, entry, &device));
    let classifiers: Vec<Classifier> = classifiers.collect::<Result<_>>()?;
    store::check_new(&args.out)?;
    let bytes = match args.format {
        Form::Int8 => export_int8(args, manifest, &device)?,
        Form::Safetensors => export_safetensors(args, &manifest, &classifiers)?,
    };
    output::line(format_args!("{}: {} folds, {} bytes", args.out.display(), bytes.len(), bytes.iter().sum::<usize>()))
}

/// The folds, then the manifest that describes them. The threshold stays that of the weights it was measured with: 8 bits
/// move a score by about a hundredth of its distance from the least one.
fn export_int8(args: &ExportArgs, mut manifest: Manifest, device: &Device) -> Result<Vec<usize>> {
    let (mut files, mut members) = (Vec::new(), Vec::new());
    for entry in &mut manifest.folds {
        let path = args.weights.join(&entry.file);
        let bytes = fs::read(&path).with_context(|| path.display().to_string())?;
        let bytes = int8::quantise(&bytes).map_err(|reason| anyhow!("{}: {reason}", path.display()))?;
        entry.file = format!("fold-{}.safetensors.gz", entry.fold.number);
        (entry.bytes, entry.sha256) = (bytes.len(), sha256(&bytes));
        let classifier = entry.read(&bytes, &manifest.network, &Device::flex())?;
        members.push(Member::new(entry.fold.clone(), classifier, device));
        files.push((entry.file.clone(), bytes));
    }
    manifest.self_test = Some(scoring::self_test(&manifest, &members, device)?);
    files.push((MANIFEST.to_owned(), manifest.to_bytes()));
    store::write_all(&args.out, files.into_iter().map(Ok))?;
    Ok(manifest.folds.iter().map(|entry| entry.bytes).collect())
}

fn export_safetensors(args: &ExportArgs, manifest: &Manifest, classifiers: &[Classifier]) -> Result<Vec<usize>> {
    let mut sizes = Vec::new();
    let files = manifest.folds.iter().zip(classifiers).map(|(entry, classifier)| {
        let bytes = pytorch::to_safetensors(classifier)?;
        sizes.push(bytes.len());
        Ok((format!("fold-{}.safetensors", entry.fold.number), bytes))
    });
    store::write_all(&args.out, files)?;
    Ok(sizes)
}
