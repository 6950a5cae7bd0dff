//! `eloc tune`: the perturbation's epsilon and temperature, chosen on held-out training images.

use std::{path::PathBuf, time::Instant};

use anyhow::{Result, bail, ensure};
use clap::Args;
use eloc::{
    ensemble::Score,
    metrics::{Definition, Metrics, metrics, threshold_at_tpr},
    odin::Odin,
    report::{self, Provenance},
    weights,
};
use serde::{Deserialize, Serialize};

use super::{
    data::{self, DataArgs},
    device::DeviceChoice,
    output,
    scoring::{self, Cache},
    store,
    train::THRESHOLD_TPR,
};

/// What `eloc tune` takes.
#[derive(Args, Debug)]
pub struct TuneArgs {
    /// Folder of the weights.
    #[arg(long)]
    weights: PathBuf,
    /// The data set that the weights were trained on, whose held-out images are taken [default: by the weights].
    #[arg(long)]
    dataset: Option<String>,
    /// Out-of-distribution images (name or path) that no test will use.
    #[arg(long)]
    ood: String,
    /// Epsilons to try at the weights' temperature.
    #[arg(long, value_delimiter = ',', default_values_t = [0.0, 0.0005, 0.001, 0.0015, 0.002, 0.003, 0.004])]
    epsilons: Vec<f64>,
    /// Temperatures to try at the best epsilon.
    #[arg(long, value_delimiter = ',', default_values_t = [1.0, 10.0, 100.0, 1000.0])]
    temperatures: Vec<f64>,
    /// Take only the first N out-of-distribution images.
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Write the best settings, with their threshold, into the weights' manifest.
    #[arg(long)]
    write: bool,
    /// Write the table as JSON to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    #[command(flatten)]
    data: DataArgs,
    /// Where to compute.
    #[arg(long, value_enum, default_value = "auto")]
    device: DeviceChoice,
}

/// What was tried, and how each did.
#[derive(Debug, Serialize, Deserialize)]
pub struct Tuning {
    /// Where the numbers come from.
    pub provenance: Provenance,
    /// Number of held-out training images.
    pub id_images: usize,
    /// Name and number of the out-of-distribution images.
    pub ood: (String, usize),
    /// Every setting that was tried.
    pub trials: Vec<Trial>,
    /// The one with the highest AUROC.
    pub best: Odin,
}

/// One setting.
#[derive(Debug, Serialize, Deserialize)]
pub struct Trial {
    /// The setting.
    #[serde(flatten)]
    pub odin: Odin,
    /// How the ensemble's score did with it.
    #[serde(flatten)]
    pub metrics: Metrics,
}

/// Tries, prints, and writes what was asked for.
pub fn run(args: &TuneArgs) -> Result<()> {
    let start = Instant::now();
    let device = args.device.open()?;
    let (mut manifest, members) = store::read_ensemble(&args.weights, &device.device)?;
    let name = args.dataset.as_deref().unwrap_or(&manifest.dataset);
    let images = data::training("--dataset", name, &args.data)?.train;
    let Some(recipe) = &manifest.recipe else {
        bail!(
            "{}: expected weights that eloc trained, found imported ones; what they held out is not known",
            args.weights.display()
        );
    };
    if manifest.images_sha256 != Some(weights::sha256(&images.images)) {
        bail!("--dataset {name}: expected the images that the weights were trained on, found others");
    }
    let (_, held_out) = images.hold_out(manifest.hold_out, recipe.seed);
    let mut ood = data::image_set(&args.ood, &args.data)?;
    let count = args.limit.unwrap_or(usize::MAX).min(ood.len());
    ensure!(count > 0, "--limit: expected a number of at least 1, found 0");
    ood.images.truncate(count * eloc::image::PIXELS);

    let cache = Cache::new(&args.data.dir().join("logits"));
    let mut tuning = Tuning {
        provenance: Provenance::new(super::command_line(), device.name, 0.0),
        id_images: held_out.len(),
        ood: (ood.name.clone(), count),
        trials: Vec::new(),
        best: manifest.odin,
    };
    let before = manifest.odin;
    let mut best: Option<(f64, Vec<f64>)> = None;
    for epsilon in args.epsilons.iter().map(Some).chain([None]) {
        // After the epsilons, the temperatures at the best of them.
        let trials: Vec<Odin> = match epsilon {
            Some(&epsilon) => vec![Odin { epsilon, ..before }],
            None => args.temperatures.iter().map(|&temperature| Odin { temperature, ..tuning.best }).collect(),
        };
        for odin in trials {
            if tuning.trials.iter().any(|trial| trial.odin == odin) {
                continue;
            }
            manifest.odin = odin;
            let scores = |what: &str, images: &[u8]| -> Result<Vec<f64>> {
                let what = format!("{what}, epsilon {}, T {}", odin.epsilon, odin.temperature);
                let outputs = scoring::outputs(&manifest, &members, &what, images, Some(&cache), &device.device)?;
                Ok(scoring::view(&manifest, &members, &outputs).scores(Score::Eloc))
            };
            let id_scores = scores("held-out images", &held_out.images)?;
            let metrics = metrics(&id_scores, &scores(&ood.name, &ood.images)?, Definition::Standard)?;
            if best.as_ref().is_none_or(|(auroc, _)| metrics.auroc > *auroc) {
                best = Some((metrics.auroc, id_scores));
                tuning.best = odin;
            }
            tuning.trials.push(Trial { odin, metrics });
        }
    }
    tuning.provenance.seconds = start.elapsed().as_secs_f64();
    output::line(tuning.text().trim_end())?;
    if let Some(path) = &args.json {
        store::write(path, &serde_json::to_vec_pretty(&tuning)?)?;
    }
    if let (true, Some((_, id_scores))) = (args.write, best) {
        manifest.odin = tuning.best;
        let self_test = scoring::self_test(&manifest, &members, &device.device)?;
        let start = manifest.clone();
        store::update_manifest(&args.weights, &start, |manifest| {
            manifest.odin = tuning.best;
            manifest.threshold = Some(threshold_at_tpr(&id_scores, THRESHOLD_TPR));
            manifest.self_test = Some(self_test);
            Ok(())
        })?;
    }
    Ok(())
}

impl Tuning {
    fn text(&self) -> String {
        let mut text = format!(
            "{} held-out training images against {} of {}, percent\n{:>10}{:>10}{:>10}{:>10}\n",
            self.id_images, self.ood.1, self.ood.0, "epsilon", "T", "AUROC", "FPR95"
        );
        for trial in &self.trials {
            let [fpr, _, auroc, ..] = report::cells(&trial.metrics);
            let Odin { epsilon, temperature, .. } = trial.odin;
            text += &format!("{epsilon:>10}{temperature:>10}{auroc:>10}{fpr:>10}\n");
        }
        text + &format!("best: --epsilon {} --temperature {}\n", self.best.epsilon, self.best.temperature)
    }
}
