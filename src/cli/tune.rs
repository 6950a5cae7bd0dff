//! `eloc tune`: the perturbation's epsilon and temperature, chosen without the out-of-distribution images of any test.
//!
//! What each setting is measured on: held-out training images of a fold's kept classes against those that it left out, and the
//! ensemble's score of held-out images against images that are made, in part of themselves. The mean of the AUROCs counts. The
//! paper's setting is kept unless another's mean is higher by more than the standard error of their paired difference.

use std::{ffi::OsString, path::PathBuf};

use anyhow::{Result, bail, ensure};
use clap::Args;
use eloc::{
    detection::{
        ensemble::{Member, Score},
        odin::{GradientMode, Odin},
    },
    evaluation::{
        metrics::{MeanAuroc, Scored},
        report::Provenance,
    },
    images::{dataset::Dataset, derived, image::PIXELS, synthetic},
    weights::manifest::Manifest,
};
use serde::{Deserialize, Serialize};

use super::{
    data::{self, DataArgs},
    device::{ChosenDevice, DeviceChoice},
    odin::GradientChoice,
    output,
    scoring::{self, Cache},
    shell, store,
};

/// Seed of the images that are made; no test set has it.
const SEED: u64 = 0x7e57;

/// What `eloc tune` takes.
#[derive(Args, Debug)]
pub struct TuneArgs {
    /// Folder of the weights.
    #[arg(long)]
    weights: PathBuf,
    /// The data set that the weights were trained on, whose held-out images are taken [default: by the weights].
    #[arg(long)]
    dataset: Option<String>,
    /// Sets of out-of-distribution images (names or paths) that no test will use [default: each fold's left-out classes, noise,
    /// patterns, fractals, and jigsawed and point-sampled held-out images].
    #[arg(long, num_args = 1..)]
    ood: Vec<OsString>,
    /// Epsilons to try at temperature 1000, with commas between them.
    #[arg(long, value_delimiter = ',', allow_negative_numbers = true, default_values_t = [0.0, 0.0005, 0.001, 0.0015, 0.002, 0.003, 0.004])]
    epsilons: Vec<f64>,
    /// Losses whose gradients to follow, with commas between them, each with all epsilons [default: that of the weights].
    #[arg(long, value_enum, value_delimiter = ',')]
    gradients: Vec<GradientChoice>,
    /// Temperatures to try at the best of these and without a step, with commas between them.
    #[arg(long, value_delimiter = ',', allow_negative_numbers = true, default_values_t = [1.0, 2.0, 5.0, 10.0, 100.0, 1000.0])]
    temperatures: Vec<f64>,
    /// Take only the first N out-of-distribution images of each set [default: 500 of those that are made, all of a set].
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Write the setting that was taken, with its threshold, into the weights' manifest.
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
    /// Name and number of the out-of-distribution images of each comparison.
    pub ood: Vec<(String, usize)>,
    /// Every setting that was tried, the paper's first.
    pub trials: Vec<Trial>,
    /// The one that is taken: the paper's, or one that is better by more than the standard error.
    pub best: Odin,
}

/// One setting.
#[derive(Debug, Serialize, Deserialize)]
pub struct Trial {
    /// The setting.
    #[serde(flatten)]
    pub odin: Odin,
    /// Mean AUROC of ELOC over the comparisons, as a fraction.
    pub auroc: f64,
    /// That of each comparison.
    pub aurocs: Vec<f64>,
    /// Mean AUROC of the pooled score over the comparisons of the whole ensemble.
    pub pooled_auroc: f64,
    /// The mean less that of the paper's setting, and the standard error of this difference.
    pub difference: (f64, f64),
}

/// In-distribution and out-of-distribution images.
type Comparison<'a> = [Scored<'a>; 2];

/// Name of the comparison by classes.
const LEFT_OUT: &str = "left-out classes";

/// Out-of-distribution images, and which held-out image each was made from, if it was.
struct Family {
    name: String,
    images: Vec<u8>,
    from_held_out: bool,
}

/// Tries, prints, and writes what was asked for.
pub fn run(args: &TuneArgs) -> Result<()> {
    store::check_writable(args.json.as_deref())?;
    ensure!(args.limit != Some(0), "--limit: expected a number of at least 1, found 0");
    let epsilons = args.epsilons.iter().map(|&epsilon| Odin { epsilon, ..Odin::default() });
    let temperatures = args.temperatures.iter().map(|&temperature| Odin { temperature, ..Odin::default() });
    if let Some((name, expected, found)) = epsilons.chain(temperatures).find_map(|odin| odin.refused()) {
        bail!("--{name}s: expected {expected}, found {found}");
    }
    let device = args.device.open()?;
    let (manifest, members) = store::read_ensemble(&args.weights, &device.device)?;
    let (_, held_out) = data::train_and_held_out(&args.weights, &manifest, args.dataset.as_deref(), &args.data)?;
    let paper = Odin { gradient: manifest.odin.gradient, ..Odin::default() };
    let families = match &args.ood[..] {
        [] => made(&held_out, args.limit.unwrap_or(500)),
        sets => sets.iter().map(|set| given(set, args)).collect::<Result<_>>()?,
    };

    let data_dir = args.data.dir();
    let mut trials = Trials {
        by_class: args.ood.is_empty() && manifest.folds.iter().any(|entry| !entry.fold.left_out.is_empty()),
        manifest: &manifest,
        members: &members,
        held_out: &held_out,
        families: &families,
        cache: Cache::new(&data_dir, &device.name),
        device: &device,
        done: Vec::new(),
    };
    let gradients: Vec<GradientMode> = match args.gradients.is_empty() {
        true => vec![paper.gradient],
        false => args.gradients.iter().map(|gradient| gradient.mode()).collect(),
    };
    trials.add(paper)?;
    for &gradient in &gradients {
        for &epsilon in &args.epsilons {
            // Without a step the gradient does not count.
            let gradient = if epsilon == 0.0 { gradients[0] } else { gradient };
            trials.add(Odin { epsilon, gradient, ..paper })?;
        }
    }
    let still = args.epsilons.contains(&0.0).then_some(Odin { epsilon: 0.0, gradient: gradients[0], ..paper });
    for start in [Some(trials.highest().odin), still].into_iter().flatten() {
        for &temperature in &args.temperatures {
            trials.add(Odin { temperature, ..start })?;
        }
    }
    let taken = trials.taken();
    let (best, scores) = (taken.odin, taken.id_scores.clone());
    let tuning = trials.into_tuning(best);
    // Neither a file that cannot be written nor a reader who has gone should cost the other the results.
    let written = store::write_json(args.json.as_deref(), &tuning);
    let printed = output::line(tuning.text().trim_end());
    if args.write {
        let tuned = Manifest { odin: best, threshold: Some(super::train::threshold(&scores)?), ..manifest };
        let self_test = scoring::self_test(&tuned, &members, &device.device)?;
        store::update_manifest(&args.weights, &tuned, |found| {
            (found.odin, found.threshold, found.self_test) = (best, tuned.threshold, Some(self_test));
            Ok(())
        })?;
        output::aside(format_args!("written into {}, with the threshold that goes with it", args.weights.display()))?;
    }
    written.and(printed)
}

/// What needs no other data set, `most` images of each.
fn made(held_out: &Dataset, most: usize) -> Vec<Family> {
    let family = |name: &str, images| Family { name: name.to_owned(), images, from_held_out: false };
    let of_held_out = |name: &str, make: fn(&[u8], u64) -> Vec<u8>| {
        let images = make(&held_out.images[..most.min(held_out.len()) * PIXELS], SEED);
        Family { name: name.to_owned(), images, from_held_out: true }
    };
    vec![
        family("uniform", synthetic::uniform_noise(0..most, SEED).images),
        family("gaussian", synthetic::gaussian_noise(0..most, SEED).images),
        family("patterns", synthetic::patterns(0..most, SEED).images),
        family("fractals", synthetic::fractals(0..most, SEED).images),
        of_held_out("jigsaw", derived::jigsaw),
        of_held_out("point-sampled", derived::point_sampled),
    ]
}

fn given(set: &OsString, args: &TuneArgs) -> Result<Family> {
    let mut set = data::image_set(set, &args.data)?;
    set.truncate(args.limit.unwrap_or(usize::MAX));
    let set = set.load();
    Ok(Family { name: set.name, images: set.images, from_held_out: false })
}

/// The settings that were tried.
struct Trials<'a> {
    /// Whether a fold's left-out classes are one of the comparisons.
    by_class: bool,
    manifest: &'a Manifest,
    members: &'a [Member],
    held_out: &'a Dataset,
    families: &'a [Family],
    cache: Cache<'a>,
    device: &'a ChosenDevice,
    done: Vec<Done>,
}

/// One of them.
struct Done {
    odin: Odin,
    mean: MeanAuroc,
    aurocs: Vec<f64>,
    pooled: MeanAuroc,
    /// ELOC of the held-out images.
    id_scores: Vec<f64>,
}

impl Trials<'_> {
    /// Measures a setting that was not tried yet.
    fn add(&mut self, odin: Odin) -> Result<()> {
        if self.done.iter().any(|trial| trial.odin == odin) {
            return Ok(());
        }
        let manifest = &Manifest { odin, ..self.manifest.clone() };
        let outputs = |what: &str, images: &[u8]| {
            let what = format!("{what}, {} gradient, epsilon {}, T {}", odin.gradient, odin.epsilon, odin.temperature);
            scoring::outputs(manifest, self.members, &what, images, Some(&self.cache), &self.device.device)
        };
        let known = outputs("held-out images", &self.held_out.images)?;
        let view = scoring::view(manifest, self.members, &known);
        let [id_scores, pooled_scores] = view.each([Score::Eloc, Score::ElocPooled]);
        let fold_scores = if self.by_class { view.fold_scores() } else { Vec::new() };
        let mut others = Vec::new();
        for family in self.families {
            let unknown = outputs(&family.name, &family.images)?;
            others.push(scoring::view(manifest, self.members, &unknown).each([Score::Eloc, Score::ElocPooled]));
        }

        let held_out: Vec<usize> = (0..self.held_out.len()).collect();
        let (mut pictures, mut next) = (Vec::new(), held_out.len());
        for (family, [scores, _]) in self.families.iter().zip(&others) {
            let first = if family.from_held_out { 0 } else { next };
            pictures.push((first..first + scores.len()).collect::<Vec<usize>>());
            next += scores.len();
        }
        let against = |score: usize| -> Vec<Vec<Comparison>> {
            let known = Scored { scores: [&id_scores, &pooled_scores][score], pictures: &held_out };
            let families = others.iter().zip(&pictures);
            families.map(|(scores, pictures)| vec![[known, Scored { scores: &scores[score], pictures }]]).collect()
        };
        // What a fold makes of its own classes and of those it left out.
        let mut by_fold: Vec<[(Vec<f64>, Vec<usize>); 2]> = Vec::new();
        for (member, scores) in self.members.iter().zip(&fold_scores) {
            let (kept, left_out) = member.fold.partition(&self.held_out.labels);
            if !(kept.is_empty() || left_out.is_empty()) {
                by_fold
                    .push([kept, left_out].map(|images| (images.iter().map(|&image| scores[image]).collect(), images)));
            }
        }
        let by_fold =
            by_fold.iter().map(|sides| sides.each_ref().map(|(scores, pictures)| Scored { scores, pictures }));
        let by_fold: Vec<Comparison> = by_fold.collect();
        let mut groups = if by_fold.is_empty() { Vec::new() } else { vec![by_fold] };
        groups.extend(against(0));
        let pooled = against(1);
        let aurocs = groups.iter().map(|group| mean(std::slice::from_ref(group), next).auroc).collect();
        self.done.push(Done { odin, mean: mean(&groups, next), aurocs, pooled: mean(&pooled, next), id_scores });
        Ok(())
    }

    fn highest(&self) -> &Done {
        self.done
            .iter()
            .reduce(|best, trial| if trial.mean.auroc > best.mean.auroc { trial } else { best })
            .expect("the paper's")
    }

    /// The highest, or the paper's where the difference may be chance.
    fn taken(&self) -> &Done {
        let (highest, paper) = (self.highest(), &self.done[0]);
        let difference = highest.mean.auroc - paper.mean.auroc;
        if difference > highest.mean.error_of_difference(&paper.mean) { highest } else { paper }
    }

    fn into_tuning(self, best: Odin) -> Tuning {
        let paper = self.done[0].mean.clone();
        let trial = |done: Done| Trial {
            odin: done.odin,
            auroc: done.mean.auroc,
            aurocs: done.aurocs,
            pooled_auroc: done.pooled.auroc,
            difference: (done.mean.auroc - paper.auroc, done.mean.error_of_difference(&paper)),
        };
        let by_class = self.by_class.then(|| (LEFT_OUT.to_owned(), self.held_out.len()));
        let families = self.families.iter().map(|family| (family.name.clone(), family.images.len() / PIXELS));
        Tuning {
            provenance: Provenance::new(shell::command_line(), self.device.name.clone(), self.cache.seconds()),
            id_images: self.held_out.len(),
            ood: by_class.into_iter().chain(families).collect(),
            trials: self.done.into_iter().map(trial).collect(),
            best,
        }
    }
}

/// The mean over groups of comparisons, in each of which all count alike.
fn mean(groups: &[Vec<Comparison>], pictures: usize) -> MeanAuroc {
    let mut comparisons = Vec::new();
    for group in groups {
        let weight = 1.0 / (groups.len() * group.len()) as f64;
        comparisons.extend(group.iter().map(|&sides| (weight, sides)));
    }
    MeanAuroc::new(&comparisons, pictures)
}

impl Tuning {
    fn text(&self) -> String {
        let mut text = format!("{} held-out training images, AUROC in percent\n", self.id_images);
        for (name, images) in &self.ood {
            text += &format!("  against {images} of {name}\n");
        }
        text += &format!("{:>15}", "gradient");
        for column in self.columns() {
            text += &format!("{column:>18}");
        }
        text.push('\n');
        for trial in &self.trials {
            text += &format!("{:>15}", trial.odin.gradient);
            for cell in trial.cells() {
                text += &format!("{cell:>18}");
            }
            text.push('\n');
        }
        let Odin { epsilon, temperature, gradient } = self.best;
        let why = if self.best == self.trials[0].odin {
            "no other is better by more than the standard error"
        } else {
            "best"
        };
        text += &format!("{why}: --epsilon {epsilon} --temperature {temperature} --gradient {gradient}\n");
        let tried = || self.trials.iter().map(|trial| trial.odin.epsilon);
        if tried().any(|other| other < epsilon) && tried().all(|other| other <= epsilon) {
            text +=
                "that is the largest epsilon tried; a larger one may do better on these images and worse on others\n";
        }
        text
    }

    /// Names of the columns behind that of the gradient.
    pub fn columns(&self) -> Vec<String> {
        let before = ["epsilon", "T", "mean", "above the paper's"];
        let families = self.ood.iter().map(|(name, _)| name.as_str());
        before.into_iter().chain(families).chain(["pooled"]).map(str::to_owned).collect()
    }
}

impl Trial {
    /// What stands in those columns.
    pub fn cells(&self) -> Vec<String> {
        let (difference, error) = self.difference;
        let percent = |share: &f64| format!("{:.2}", 100.0 * share);
        let before = [
            self.odin.epsilon.to_string(),
            self.odin.temperature.to_string(),
            percent(&self.auroc),
            format!("{:+.2} +-{:.2}", 100.0 * difference, 100.0 * error),
        ];
        before.into_iter().chain(self.aurocs.iter().map(percent)).chain([percent(&self.pooled_auroc)]).collect()
    }
}
