//! `eloc score`: a line for each image, with its score, verdict and class.

use std::path::PathBuf;

use anyhow::{Error, Result};
use clap::Args;
use eloc::detection::ensemble::{Score, argmax};
use serde::Serialize;

use super::{
    data::{self, Batch},
    device::DeviceChoice,
    odin::OdinArgs,
    output, scoring, store,
};

/// What `eloc score` takes.
#[derive(Args, Debug)]
pub struct ScoreArgs {
    /// Folder of the weights.
    #[arg(long)]
    weights: PathBuf,
    /// Images, files of CIFAR's binary version, or folders or .zip, .tar and .tar.gz archives of them.
    #[arg(required = true)]
    images: Vec<PathBuf>,
    /// Print a JSON object for each image.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    odin: OdinArgs,
    /// Where to compute.
    #[arg(long, value_enum, default_value = "auto")]
    device: DeviceChoice,
}

/// One image's line.
#[derive(Serialize)]
struct Line<'a> {
    /// The argument, and the path below it where that is a folder or an archive.
    image: &'a str,
    /// Higher is more in-distribution.
    score: f64,
    /// Whether the score reaches the weights' threshold; none where it was set with another temperature or perturbation.
    in_distribution: Option<bool>,
    class: &'a str,
    /// Probability of the class, the mean over folds.
    probability: f64,
    /// The folds' own scores, by fold number.
    fold_scores: Vec<f64>,
}

/// Scores and prints.
pub fn run(args: &ScoreArgs) -> Result<()> {
    let device = args.device.open()?;
    let (mut manifest, members) = store::read_ensemble(&args.weights, &device.device)?;
    let calibrated = manifest.odin;
    manifest.odin = args.odin.over(calibrated)?;
    // Scores of another temperature or perturbation lie elsewhere.
    let threshold = manifest.threshold.filter(|_| manifest.odin == calibrated);
    if !args.json {
        output::line("score\tverdict\tclass\tprobability\timage")?;
    }
    let mut unreadable = None;
    // The others are scored all the same.
    let mut skip = |error: Error| {
        if let Some(before) = unreadable.replace(error) {
            output::note(format_args!("eloc: {before:#}"));
        }
    };
    // The lines of a batch are printed before the next one is computed.
    for batch in data::batches(args.images.clone(), scoring::BATCH) {
        let Batch { images, sources } = match batch {
            Ok(batch) => batch,
            Err(error) => {
                skip(error);
                continue;
            }
        };
        let outputs = scoring::outputs(&manifest, &members, &sources[0], &images, None, &device.device)?;
        let view = scoring::view(&manifest, &members, &outputs);
        let fold_scores = view.fold_scores();
        for (index, (image, score)) in sources.iter().zip(view.scores(Score::Eloc)).enumerate() {
            let probabilities = view.class_probabilities(index);
            let class = argmax(&probabilities);
            let line = Line {
                image,
                score,
                in_distribution: threshold.map(|threshold| score >= threshold),
                class: &manifest.classes[class],
                probability: probabilities[class],
                fold_scores: fold_scores.iter().map(|scores| scores[index]).collect(),
            };
            output::line(if args.json { serde_json::to_string(&line)? } else { line.text() })?;
        }
    }
    unreadable.map_or(Ok(()), Err)
}

impl Line<'_> {
    /// Nine decimals of the score: at T = 1000 it varies in the fifth and beyond.
    fn text(&self) -> String {
        let Line { image, score, class, probability, .. } = self;
        let verdict = match self.in_distribution {
            Some(true) => "known",
            Some(false) => "unknown",
            None => "-",
        };
        let [class, image] = [class, image].map(|text| output::in_one_line(text));
        format!("{score:.9}\t{verdict}\t{class}\t{probability:.3}\t{image}")
    }
}
