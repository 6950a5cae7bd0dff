//! `eloc tune`: the perturbation's epsilon and temperature, chosen on held-out training images.

use std::{ffi::OsString, path::PathBuf};

use anyhow::{Result, bail, ensure};
use clap::Args;
use eloc::{
    detection::{
        ensemble::Score,
        odin::{GradientMode, Odin},
    },
    evaluation::{
        metrics::{Definition, Metrics, metrics},
        report::{self, Provenance},
    },
};
use serde::{Deserialize, Serialize};

use super::{
    data::{self, DataArgs},
    device::DeviceChoice,
    odin::GradientChoice,
    output,
    scoring::{self, Cache},
    shell, store,
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
    ood: OsString,
    /// Epsilons to try at the weights' temperature, with commas between them.
    #[arg(long, value_delimiter = ',', allow_negative_numbers = true, default_values_t = [0.0, 0.0005, 0.001, 0.0015, 0.002, 0.003, 0.004])]
    epsilons: Vec<f64>,
    /// Losses whose gradients to follow, with commas between them, each with all epsilons [default: that of the weights].
    #[arg(long, value_enum, value_delimiter = ',')]
    gradients: Vec<GradientChoice>,
    /// Temperatures to try at the best of these, with commas between them.
    #[arg(long, value_delimiter = ',', allow_negative_numbers = true, default_values_t = [1.0, 10.0, 100.0, 1000.0])]
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
    store::check_writable(args.json.as_deref())?;
    let device = args.device.open()?;
    let (mut manifest, members) = store::read_ensemble(&args.weights, &device.device)?;
    let name = match &args.dataset {
        Some(name) => name,
        None => data::trained_on("--dataset", &manifest.dataset)?,
    };
    let data = data::training("--dataset", name, &args.data)?;
    let Some(recipe) = &manifest.recipe else {
        bail!(
            "{}: expected weights that eloc trained, found imported ones; what they held out is not known",
            args.weights.display()
        );
    };
    if manifest.images_sha256 != Some(data.sha256()) {
        bail!("--dataset {name}: expected the images that the weights were trained on, found others");
    }
    let (_, held_out) = data.train.hold_out(manifest.hold_out, recipe.seed);
    let mut ood = data::image_set(&args.ood, &args.data)?;
    let count = args.limit.unwrap_or(usize::MAX).min(ood.len());
    ensure!(count > 0, "--limit: expected a number of at least 1, found 0");
    let before = manifest.odin;
    let epsilons = args.epsilons.iter().map(|&epsilon| Odin { epsilon, ..before });
    let temperatures = args.temperatures.iter().map(|&temperature| Odin { temperature, ..before });
    if let Some((name, expected, found)) = epsilons.chain(temperatures).find_map(|odin| odin.refused()) {
        bail!("--{name}s: expected {expected}, found {found}");
    }
    ood.truncate(count);
    let ood = ood.load();

    let data_dir = args.data.dir();
    let cache = Cache::new(&data_dir, &device.name);
    let mut tuning = Tuning {
        provenance: Provenance::new(shell::command_line(), device.name.clone(), 0.0),
        id_images: held_out.len(),
        ood: (ood.name.clone(), count),
        trials: Vec::new(),
        best: before,
    };
    let mut best_scores = Vec::new();
    let mut try_out = |tuning: &mut Tuning, odin: Odin| -> Result<()> {
        if tuning.trials.iter().any(|trial| trial.odin == odin) {
            return Ok(());
        }
        manifest.odin = odin;
        let scores = |what: &str, images: &[u8]| -> Result<Vec<f64>> {
            let what = format!("{what}, {} gradient, epsilon {}, T {}", odin.gradient, odin.epsilon, odin.temperature);
            let outputs = scoring::outputs(&manifest, &members, &what, images, Some(&cache), &device.device)?;
            Ok(scoring::view(&manifest, &members, &outputs).scores(Score::Eloc))
        };
        let id_scores = scores("held-out images", &held_out.images)?;
        let metrics = metrics(&id_scores, &scores(&ood.name, &ood.images)?, Definition::Standard)?;
        if tuning.trials.iter().all(|trial| trial.metrics.auroc < metrics.auroc) {
            tuning.best = odin;
            best_scores = id_scores;
        }
        tuning.trials.push(Trial { odin, metrics });
        Ok(())
    };
    let gradients: Vec<GradientMode> = match args.gradients.is_empty() {
        true => vec![before.gradient],
        false => args.gradients.iter().map(|gradient| gradient.mode()).collect(),
    };
    for &gradient in &gradients {
        for &epsilon in &args.epsilons {
            // Without a step the gradient does not count.
            let gradient = if epsilon == 0.0 { gradients[0] } else { gradient };
            try_out(&mut tuning, Odin { epsilon, gradient, ..before })?;
        }
    }
    for &temperature in &args.temperatures {
        let odin = Odin { temperature, ..tuning.best };
        try_out(&mut tuning, odin)?;
    }
    tuning.provenance.seconds = cache.seconds();
    // Neither a file that cannot be written nor a reader who has gone should cost the other the results.
    let written = store::write_json(args.json.as_deref(), &tuning);
    let printed = output::line(tuning.text().trim_end());
    if args.write {
        manifest.odin = tuning.best;
        manifest.threshold = Some(super::train::threshold(&best_scores)?);
        manifest.self_test = Some(scoring::self_test(&manifest, &members, &device.device)?);
        store::update_manifest(&args.weights, &manifest, |found| {
            found.clone_from(&manifest);
            Ok(())
        })?;
        output::aside(format_args!("written into {}, with the threshold that goes with it", args.weights.display()))?;
    }
    written.and(printed)
}

impl Tuning {
    fn text(&self) -> String {
        let mut text = format!(
            "{} held-out training images against {} of {}, percent\n{:>15}{:>10}{:>10}{:>10}{:>10}\n",
            self.id_images, self.ood.1, self.ood.0, "gradient", "epsilon", "T", "AUROC", "FPR95"
        );
        for trial in &self.trials {
            let [fpr, _, auroc, ..] = report::cells(&trial.metrics);
            let Odin { epsilon, temperature, gradient } = trial.odin;
            text += &format!("{gradient:>15}{epsilon:>10}{temperature:>10}{auroc:>10}{fpr:>10}\n");
        }
        let Odin { epsilon, temperature, gradient } = self.best;
        text += &format!("best: --epsilon {epsilon} --temperature {temperature} --gradient {gradient}\n");
        let tried = || self.trials.iter().map(|trial| trial.odin.epsilon);
        if tried().any(|other| other < epsilon) && tried().all(|other| other <= epsilon) {
            text +=
                "that is the largest epsilon tried; a larger one may do better on these images and worse on others\n";
        }
        text
    }
}
