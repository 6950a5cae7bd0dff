//! `eloc average`: the mean of the weights of two ensembles of which one was trained on from the other.

use std::{path::PathBuf, time::Instant};

use anyhow::{Result, bail, ensure};
use clap::Args;
use eloc::{
    detection::ensemble::Member,
    evaluation::report::Provenance,
    network::tensors,
    training::{
        data::FoldData,
        recipe::{Recipe, Statistics},
        train::average_fold,
    },
    weights::manifest::{Averaged, FoldEntry, Manifest},
};

use super::{
    data::{DataArgs, train_and_held_out},
    device::DeviceChoice,
    output, scoring, shell, store,
    train::{are_joined, check_kin, threshold, weights_sha256},
};

/// What `eloc average` takes.
#[derive(Args, Debug)]
pub struct AverageArgs {
    /// Folder of the weights.
    #[arg(long)]
    weights: PathBuf,
    /// Folder of the weights that they were trained on from, or the other way round.
    #[arg(long, value_name = "DIR")]
    with: PathBuf,
    /// Part of the mean that the weights of --with are, 0 to 1; at 0 only the batch-norm statistics change.
    #[arg(long, default_value_t = 0.5)]
    share: f64,
    /// New weights folder.
    #[arg(long)]
    out: PathBuf,
    /// The data set that both were trained on [default: by the weights].
    #[arg(long)]
    dataset: Option<String>,
    #[command(flatten)]
    data: DataArgs,
    /// Where to compute.
    #[arg(long, value_enum, default_value = "auto")]
    device: DeviceChoice,
}

/// Averages all folds, then writes them and at last the manifest.
pub fn run(args: &AverageArgs) -> Result<()> {
    store::check_new(&args.out)?;
    ensure!((0.0..=1.0).contains(&args.share), "--share: expected a number from 0 to 1, found {}", args.share);
    let (manifest, other) = (store::complete_manifest(&args.weights)?, store::complete_manifest(&args.with)?);
    let weights = args.weights.display();
    let Some(recipe @ Recipe { statistics: Statistics::Recomputed(_), .. }) = &manifest.recipe else {
        bail!("{weights}: expected weights whose batch-norm statistics were recomputed, found others; means have none");
    };
    ensure!(
        manifest.validation_sha256.is_none(),
        "{weights}: expected folds that were validated by the classes that they leave out, found other images"
    );
    check_kin("--with", &args.with, &other, &manifest)?;
    ensure!(
        args.share == 0.0 || are_joined(&manifest, &other),
        "--with {}: expected weights that {weights} was trained on from, or the other way round, found a training of its own; \
         the mean of two such knows nothing",
        args.with.display()
    );
    let device = args.device.open()?;
    let (train, held_out) = train_and_held_out(&args.weights, &manifest, args.dataset.as_deref(), &args.data)?;

    let mut average = Manifest {
        averaged: Some(Averaged { sha256: weights_sha256(&other), share: args.share }),
        threshold: None,
        self_test: None,
        folds: Vec::new(),
        ..manifest.clone()
    };
    let (mut members, mut files) = (Vec::new(), Vec::new());
    for (entry, other_entry) in manifest.folds.iter().zip(&other.folds) {
        let start = Instant::now();
        let (kept, left_out) = entry.fold.partition(&held_out.labels);
        let images = FoldData {
            fold: &entry.fold,
            train: &train,
            validation: &held_out.subset(&kept),
            validation_ood: &held_out.subset(&left_out).images,
            teacher: None,
            normalisation: manifest.normalisation,
        };
        let networks = [
            store::read_classifier(&args.weights, &manifest, entry, &device.device)?,
            store::read_classifier(&args.with, &other, other_entry, &device.device)?,
        ];
        let (classifier, validation) =
            average_fold(&manifest.network, recipe, &images, networks, args.share, &device.device)?;
        output::aside(format_args!(
            "fold {}: held-out accuracy {:.1}%, AUROC {:.2}%",
            entry.fold.number,
            100.0 * validation.accuracy,
            100.0 * validation.auroc
        ))?;
        let mut history = entry.history.clone();
        if let Some(epoch) = history.get_mut(entry.epoch.wrapping_sub(1)) {
            epoch.validation = validation;
        }
        let bytes = tensors::to_bytes(&classifier)?;
        let provenance = Provenance::new(shell::command_line(), device.name.clone(), start.elapsed().as_secs_f64());
        let entry = FoldEntry::new(entry.fold.clone(), &bytes, entry.epoch, history, provenance);
        let classifier = entry.read(&bytes, &average.network, &device.device)?;
        members.push(Member::new(entry.fold.clone(), classifier, &device.device));
        average.folds.push(entry);
        files.push(bytes);
    }
    let scores = scoring::scores(&average, &members, "held-out images", &held_out.images, &device.device)?;
    average.threshold = Some(threshold(&scores)?);
    average.self_test = Some(scoring::self_test(&average, &members, &device.device)?);
    store::write_ensemble(&args.out, &average, files)?;
    output::line(format_args!("{}: {} folds; `eloc tune` chooses their step", args.out.display(), average.folds.len()))
}
