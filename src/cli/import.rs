//! `eloc import`: the published code's PyTorch checkpoints as a weights folder.

use std::{
    fs::File,
    io::{BufReader, Read},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, anyhow, bail, ensure};
use burn::tensor::Device;
use clap::Args;
use eloc::{
    detection::{ensemble::Member, odin::Odin},
    evaluation::report::Provenance,
    fold::{self, DEFAULT_FOLDS, DEFAULT_SEED},
    images::{dataset::Cifar, image::Normalisation},
    network::{Network, tensors},
    weights::{
        manifest::{FORMAT, FoldEntry, Manifest},
        pytorch::Checkpoint,
    },
};
use flate2::read::GzDecoder;
use tempfile::TempDir;

use super::{data::files_below, output, scoring, shell, store};

/// Files of a checkpoint folder, the one that the published code tests first.
const FILES: [&str; 2] = ["model_best.pth.tar", "checkpoint.pth.tar"];

/// Most bytes of a checkpoint in an archive; one of WRN-28-10 with its optimiser takes a third.
const MAX_CHECKPOINT: u64 = 1 << 30;

/// What `eloc import` takes.
#[derive(Args, Debug)]
pub struct ImportArgs {
    /// Folder or .tar.gz archive with DATASET_fold_N_dense_checkpoint/model_best.pth.tar, or wide, for N = 1 to 5.
    source: PathBuf,
    /// New weights folder.
    #[arg(long)]
    out: PathBuf,
    /// Which set to take where the source has more than one, such as cifar10_dense.
    #[arg(long, value_name = "NAME")]
    set: Option<String>,
    /// Store filters in half precision, as training does: half the size, and scores that differ a little.
    #[arg(long)]
    half: bool,
}

/// One checkpoint by its folder's name.
struct Found {
    fold: usize,
    /// `cifar10_dense` and the like.
    set: String,
    path: PathBuf,
}

/// Reads all folds, then writes them and at last the manifest.
pub fn run(args: &ImportArgs) -> Result<()> {
    store::check_new(&args.out)?;
    let source = args.source.display();
    let (found, _unpacked) = if args.source.is_dir() {
        (find(&args.source)?, None)
    } else {
        let folder = unpack(&args.source).with_context(|| source.to_string())?;
        (find(folder.path())?, Some(folder))
    };
    let found = choose(found, args.set.as_deref()).with_context(|| source.to_string())?;
    let (dataset, _) = found[0].set.split_once('_').expect("a set's name has a data set and a network");
    let classes = Cifar::named(dataset).expect("sets are of CIFAR").classes();
    let folds = fold::folds(classes.len(), DEFAULT_FOLDS, DEFAULT_SEED)?;

    let device = Device::flex();
    let mut manifest: Option<Manifest> = None;
    let (mut members, mut files) = (Vec::new(), Vec::new());
    for (found, fold) in found.iter().zip(folds) {
        let checkpoint = Checkpoint::inspect(&found.path)?;
        let says_dense = found.set.ends_with("_dense");
        let path = found.path.display();
        ensure!(
            says_dense == matches!(checkpoint.network, Network::DenseNetBc { .. }),
            "{path}: expected a {} network by its folder's name, found {}",
            if says_dense { "dense" } else { "wide" },
            checkpoint.network
        );
        ensure!(
            checkpoint.classes == fold.kept.len(),
            "{path}: expected {} logits, since a fold keeps so many classes of {dataset}, found {}",
            fold.kept.len(),
            checkpoint.classes
        );
        let manifest = manifest.get_or_insert_with(|| empty_manifest(dataset, &classes, &checkpoint.network));
        ensure!(
            manifest.network == checkpoint.network,
            "{path}: expected {} as in fold 1, found {}",
            manifest.network,
            checkpoint.network
        );
        let classifier = checkpoint.read(&found.path, &device)?;
        let to_bytes = if args.half { tensors::to_bytes } else { tensors::to_exact_bytes };
        let bytes = to_bytes(&classifier)?;
        let provenance = Provenance::new(shell::command_line(), "import".to_owned(), 0.0);
        let epoch = checkpoint.epoch.map_or(0, |before| before + 1);
        let entry = FoldEntry::new(fold.clone(), &bytes, epoch, Vec::new(), provenance);
        members.push(Member::new(fold, entry.read(&bytes, &manifest.network, &device)?, &device));
        manifest.folds.push(entry);
        files.push(bytes);
        output::aside(format_args!("fold {}: {} of {}", found.fold, checkpoint.network, found.path.display()))?;
    }
    let mut manifest = manifest.expect("there are five folds");
    manifest.self_test = Some(scoring::self_test(&manifest, &members, &device)?);
    store::write_ensemble(&args.out, &manifest, files)?;
    output::line(format_args!(
        "{}: {} folds of {}; they bring no threshold",
        args.out.display(),
        manifest.folds.len(),
        manifest.network
    ))
}

fn empty_manifest(dataset: &str, classes: &[String], network: &Network) -> Manifest {
    Manifest {
        format: FORMAT,
        dataset: dataset.to_owned(),
        images_sha256: None,
        classes: classes.to_vec(),
        network: network.clone(),
        fold_count: DEFAULT_FOLDS,
        split_seed: DEFAULT_SEED,
        all_classes: false,
        normalisation: Normalisation::default(),
        odin: Odin::default(),
        threshold: None,
        self_test: None,
        hold_out: 0.0,
        validation_sha256: None,
        start_sha256: None,
        initial_sha256: None,
        teacher_sha256: None,
        averaged: None,
        recipe: None,
        folds: Vec::new(),
    }
}

/// The checkpoints below a folder; of two in one folder the one that the published code tests.
fn find(folder: &Path) -> Result<Vec<Found>> {
    let mut all: Vec<Found> = Vec::new();
    for file in FILES {
        for (_, path) in files_below(folder)? {
            let Some((set, fold)) = set_and_fold(&path, file) else { continue };
            match all.iter().find(|other| other.set == set && other.fold == fold) {
                Some(other) if path.parent() != other.path.parent() => {
                    bail!("expected fold {fold} of {set} once, found {} and {}", other.path.display(), path.display())
                }
                Some(_) => {}
                None => all.push(Found { fold, set, path }),
            }
        }
    }
    Ok(all)
}

/// `cifar10_dense` and 1 for a path that ends in `cifar10_fold_1_dense_checkpoint/FILE`.
fn set_and_fold(path: &Path, file: &str) -> Option<(String, usize)> {
    let name = path.parent()?.file_name()?.to_str()?.strip_suffix("_checkpoint")?;
    let (dataset, rest) = name.split_once("_fold_")?;
    let (fold, kind) = rest.split_once('_')?;
    let known = Cifar::named(dataset).is_some() && ["dense", "wide"].contains(&kind);
    let found = (format!("{dataset}_{kind}"), fold.parse().ok()?);
    (known && path.file_name()? == file).then_some(found)
}

/// The five folds of one set, in order.
fn choose(mut found: Vec<Found>, wanted: Option<&str>) -> Result<Vec<Found>> {
    let mut sets: Vec<String> = found.iter().map(|found| found.set.clone()).collect();
    sets.sort();
    sets.dedup();
    let set = match (wanted, &sets[..]) {
        (_, []) => bail!("expected folders like cifar10_fold_1_dense_checkpoint with {}, found none", FILES[0]),
        (Some(set), sets) if sets.iter().any(|found| found == set) => set.to_owned(),
        (None, [set]) => set.clone(),
        (Some(set), sets) => bail!("--set: expected one of {}, found {set}", sets.join(", ")),
        (None, sets) => bail!("expected one set of checkpoints, found {}; name one with --set", sets.join(", ")),
    };
    found.retain(|found| found.set == set);
    found.sort_by_key(|found| found.fold);
    let numbers: Vec<usize> = found.iter().map(|found| found.fold).collect();
    ensure!(
        numbers.iter().copied().eq(1..=DEFAULT_FOLDS),
        "expected the folds 1 to {DEFAULT_FOLDS} of {set}, found {numbers:?}"
    );
    Ok(found)
}

/// The checkpoints of an archive in a temporary folder.
fn unpack(archive: &Path) -> Result<TempDir> {
    let folder = TempDir::new()?;
    let mut head = [0; 2];
    let empty = |_| anyhow!("expected a .tar.gz archive of checkpoints, found an empty file");
    File::open(archive)?.read_exact(&mut head).map_err(empty)?;
    let file = BufReader::new(File::open(archive)?);
    let input: Box<dyn Read> = if head == [0x1f, 0x8b] { Box::new(GzDecoder::new(file)) } else { Box::new(file) };
    let mut entries = 0;
    for entry in tar::Archive::new(input).entries()? {
        // The cause may quote the bytes that it found.
        let mut entry =
            entry.map_err(|_| anyhow!("expected a .tar.gz archive of checkpoints, found none or a damaged one"))?;
        let path = entry.path()?.into_owned();
        let is_checkpoint = FILES.iter().any(|file| set_and_fold(&path, file).is_some());
        if is_checkpoint && entry.header().entry_type().is_file() {
            let size = entry.size();
            ensure!(
                size <= MAX_CHECKPOINT,
                "{}: expected at most {MAX_CHECKPOINT} bytes, found {size}",
                path.display()
            );
            // Refuses paths that lead out of the folder.
            ensure!(entry.unpack_in(folder.path())?, "expected paths inside the archive, found {}", path.display());
            entries += 1;
        }
    }
    ensure!(entries > 0, "expected folders like cifar10_fold_1_dense_checkpoint with {}, found none", FILES[0]);
    Ok(folder)
}
