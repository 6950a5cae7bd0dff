//! `eloc tables`: the tables in Markdown files, made anew from the results that they name, so that no number is typed.

use std::{
    fmt::Write,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use eloc::{
    detection::{ensemble::Score, odin::GradientMode},
    evaluation::{
        metrics::{Definition, Metrics},
        report::{self, COLUMNS, OodSet, Provenance, Report, ScoreMetrics, markdown_header, markdown_row},
    },
    training::recipe::Averaging,
    weights::manifest::{Averaged, Manifest},
};
use serde::de::DeserializeOwned;

use super::{output, store, tune::Tuning};

const START: &str = "<!-- eloc tables: ";
const START_END: &str = "-->\n";
const END: &str = "<!-- end of table -->";

/// How a Markdown file says what it wants.
const SYNTAX: &str = "\
A table stands between two comments. The first says which kind of table it is, and from which files; paths are relative to
the Markdown file:

  <!-- eloc tables: metrics cifar10-compact/results.json -->
  ...
  <!-- end of table -->

Kinds:
  metrics REPORT          the five metrics of the ensemble's score on each set of a report
  scores REPORT           AUROC and FPR95 of every score on each set of a report
  folds WEIGHTS           how the training of each fold went
  tuning FILE             what `eloc tune` tried
  rows SET                the five metrics on one set; a line `label | REPORT | score` for each row follows
  rows SET SET ...        AUROC and FPR95 on each set, with the same lines
  published FILE DATASET  what others published, for the sets of that name";

/// What `eloc tables` takes.
#[derive(Args, Debug)]
#[command(after_help = SYNTAX)]
pub struct TablesArgs {
    /// Markdown files.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Write nothing, and fail where a table is not what its results give.
    #[arg(long)]
    check: bool,
}

/// Rewrites or checks.
pub fn run(args: &TablesArgs) -> Result<()> {
    for file in &args.files {
        let name = file.display();
        let old = fs::read_to_string(file).with_context(|| name.to_string())?;
        let has_crlf = old.contains("\r\n");
        let mut new = rebuilt(&old.replace("\r\n", "\n"), file.parent().unwrap_or(Path::new("")))
            .with_context(|| name.to_string())?;
        if has_crlf {
            new = new.replace('\n', "\r\n");
        }
        if new == old {
            continue;
        }
        ensure!(!args.check, "{name}: expected the tables that its results give, found others; run eloc tables {name}");
        store::write(file, new.as_bytes())?;
        output::line(format_args!("{name}: tables made anew"))?;
    }
    Ok(())
}

/// The text with every table made anew; files are relative to `folder`.
fn rebuilt(text: &str, folder: &Path) -> Result<String> {
    let mut new = String::new();
    let mut rest = text;
    while let Some(start) = rest.find(START) {
        let (before, from_start) = rest.split_at(start);
        let table = from_start.find(START_END).map(|at| at + START_END.len());
        let is_right = |&(table, end): &(usize, usize)| table <= end && !from_start[table..end].contains(START);
        let Some((table, end)) = table.zip(from_start.find(END)).filter(is_right) else {
            bail!("expected `{END}` after `{}`, found none", from_start.lines().next().unwrap_or_default());
        };
        let what = from_start[START.len()..table - START_END.len()].trim();
        let made =
            table_of(what, folder).with_context(|| format!("table `{}`", what.lines().next().unwrap_or(what)))?;
        let _ = write!(new, "{before}{}\n{}\n", &from_start[..table], made.trim_end());
        rest = &from_start[end..];
    }
    new += rest;
    Ok(new)
}

fn table_of(what: &str, folder: &Path) -> Result<String> {
    let mut lines = what.lines();
    let words: Vec<&str> = lines.next().unwrap_or_default().split_whitespace().collect();
    match words[..] {
        ["metrics", file] => {
            let report: Report = read(folder, file)?;
            Ok(format!("{}\n{}", report.metrics_table(), settings(&report)))
        }
        ["scores", file] => Ok(read::<Report>(folder, file)?.scores_table()),
        ["folds", weights] => folds(&folder.join(weights)),
        ["tuning", file] => Ok(tuning(&read(folder, file)?)),
        ["published", file, dataset] => published(&read(folder, file)?, dataset),
        ["rows", ref sets @ ..] if !sets.is_empty() => rows(sets, lines, folder),
        _ => bail!("expected metrics, scores, folds, tuning, rows or published and what it takes"),
    }
}

fn read<T: DeserializeOwned>(folder: &Path, file: &str) -> Result<T> {
    let path = folder.join(file);
    let bytes = fs::read(&path).with_context(|| path.display().to_string())?;
    serde_json::from_slice(&bytes).with_context(|| path.display().to_string())
}

/// What the numbers of a report are and where they come from.
fn settings(report: &Report) -> String {
    let accuracy = report.id.accuracy.map_or(String::new(), |share| format!(", accuracy {}", percent(share)));
    let gradient = match report.odin.gradient {
        GradientMode::CrossEntropy => String::new(),
        other => format!(", {other} gradient"),
    };
    format!(
        "Percent{}; {} folds of `{}`, T {}, {}{gradient}; {} test images of {}{accuracy}. {}",
        by(report.definition),
        report.folds,
        report.network,
        report.odin.temperature,
        report.epsilon(),
        report.id.images,
        report.id.name,
        made_by(&report.provenance),
    )
}

/// Which definitions of the metrics were taken, where they are not the standard ones.
fn by(definition: Definition) -> &'static str {
    match definition {
        Definition::Standard => "",
        Definition::Reference => " by the published code's definitions",
        Definition::OpenOod => " by OpenOOD's definitions",
    }
}

fn made_by(provenance: &Provenance) -> String {
    let Provenance { command, commit, device, seconds, .. } = provenance;
    let commit = commit.as_deref().unwrap_or("unknown");
    format!("Made by `{command}` (commit {commit}) on {device} in {}.", minutes(*seconds))
}

fn minutes(seconds: f64) -> String {
    match (seconds / 60.0).round() {
        minutes if minutes < 1.0 => "less than a minute".to_owned(),
        1.0 => "a minute".to_owned(),
        minutes => format!("{minutes} minutes"),
    }
}

fn percent(share: f64) -> String {
    format!("{:.2}", 100.0 * share)
}

fn folds(folder: &Path) -> Result<String> {
    let manifest = store::existing_manifest(folder)?;
    let Manifest { recipe: Some(recipe), classes, .. } = &manifest else {
        bail!("{}: expected weights that eloc trained, found imported ones", folder.display());
    };
    let mut text = markdown_header(&["fold", "leaves out"], &["epoch", "accuracy", "AUROC", "minutes"]);
    let mut seconds = 0.0;
    for entry in &manifest.folds {
        let left_out: Vec<&str> = entry.fold.left_out.iter().map(|&class| classes[class].as_str()).collect();
        let left_out = if left_out.len() > 5 { format!("{} classes", left_out.len()) } else { left_out.join(", ") };
        let chosen = entry.history.get(entry.epoch.wrapping_sub(1));
        let cell = |value: Option<f64>| value.map_or("-".to_owned(), percent);
        text += &markdown_row(&[
            entry.fold.number.to_string(),
            left_out,
            entry.epoch.to_string(),
            cell(chosen.map(|epoch| epoch.validation.accuracy)),
            cell(chosen.map(|epoch| epoch.validation.auroc)),
            format!("{:.0}", entry.provenance.seconds / 60.0),
        ]);
        seconds += entry.provenance.seconds;
    }
    let first = manifest.folds.first().map(|entry| made_with(&entry.provenance)).unwrap_or_default();
    let _ = write!(
        text,
        "\nAccuracy on {}, at the epoch that was taken; {} epochs,{} beta {}, margin {},{}{}{}{}{} seed {}; {} in all. {first}",
        match manifest.validation_sha256 {
            None =>
                "held-out images of the kept classes, and AUROC of the fold's score against those of the left-out ones",
            Some(_) =>
                "images of the kept classes, and AUROC of the fold's score against the images of --validation-ood",
        },
        recipe.total_epochs(),
        recipe.averaging.map(averaged).unwrap_or_default(),
        recipe.loss.beta,
        recipe.loss.margin,
        recipe.loss.logit_norm.map(|temperature| format!(" LogitNorm {temperature},")).unwrap_or_default(),
        match recipe.outlier_batch {
            0 => String::new(),
            images => format!(" {images} made outliers a step,"),
        },
        if recipe.one_batch { " one batch a step," } else { "" },
        match recipe.teacher_share {
            0.0 => String::new(),
            share => format!(" a teacher's probabilities for {share} of the targets,"),
        },
        match &manifest.averaged {
            Some(Averaged { share, .. }) if *share > 0.0 => {
                format!(" averaged with other weights, which are {share} of the mean,")
            }
            _ => String::new(),
        },
        recipe.seed,
        minutes(seconds),
    );
    Ok(text)
}

fn averaged(Averaging { epochs, learning_rate, start }: Averaging) -> String {
    let before = if start > 0 { format!(", with those before them {start} times") } else { String::new() };
    format!(" the weights at the ends of the last {epochs} (learning rate {learning_rate}) averaged{before},")
}

fn made_with(provenance: &Provenance) -> String {
    let Provenance { command, commit, device, .. } = provenance;
    format!("Fold 1: `{command}` (commit {}) on {device}.", commit.as_deref().unwrap_or("unknown"))
}

fn tuning(tuning: &Tuning) -> String {
    let columns = tuning.columns();
    let mut text = markdown_header(&["gradient"], &columns.iter().map(String::as_str).collect::<Vec<_>>());
    for trial in &tuning.trials {
        let best = if trial.odin == tuning.best { "**" } else { "" };
        let cells = [trial.odin.gradient.to_string()].into_iter().chain(trial.cells());
        text += &markdown_row(&cells.map(|cell| format!("{best}{cell}{best}")).collect::<Vec<_>>());
    }
    let sets: Vec<String> = tuning.ood.iter().map(|(name, images)| format!("{images} of {name}")).collect();
    text + &format!(
        "\nAUROC in percent; {} held-out training images against {}. {}",
        tuning.id_images,
        sets.join(", "),
        made_by(&tuning.provenance)
    )
}

fn rows<'a>(sets: &[&str], lines: impl Iterator<Item = &'a str>, folder: &Path) -> Result<String> {
    type Cells = fn(&Metrics) -> Vec<String>;
    let (what, columns, cells): (_, _, Cells) = match sets {
        [_] => ("Percent", &COLUMNS[..], |metrics| report::cells(metrics).to_vec()),
        _ => ("AUROC / FPR95, percent", sets, |metrics| vec![report::pair(metrics)]),
    };
    let mut text = markdown_header(&[""], &[&["accuracy"][..], columns].concat());
    let mut sizes = Vec::new();
    for line in lines {
        let [label, file, score] = line.split('|').map(str::trim).collect::<Vec<_>>()[..] else {
            bail!("expected `label | REPORT | score`, found `{line}`");
        };
        let score: Score = serde_json::from_value(score.into()).with_context(|| line.to_owned())?;
        let report: Report = read(folder, file)?;
        let mut line = vec![label.to_owned(), report.id.accuracy.map_or("-".to_owned(), percent)];
        for set in sets {
            let Some((set, row)) = find(&report, set, score) else {
                bail!("{file}: expected the set {set} in it, found none");
            };
            line.extend(cells(&row.metrics));
            sizes.push((report.definition, report.id.name.clone(), report.id.images, set.images));
        }
        text += &markdown_row(&line);
    }
    let Some((definition, id, id_images, images)) = sizes.first() else { bail!("expected rows, found none") };
    ensure!(
        sizes.iter().all(|size| *size == sizes[0]),
        "expected the same definitions and images in every report, found {sizes:?}"
    );
    Ok(text
        + &format!(
            "\n{what}{}; {id_images} test images of {id} against {images} of {}.",
            by(*definition),
            sets.join(", ")
        ))
}

fn find<'a>(report: &'a Report, set: &str, score: Score) -> Option<(&'a OodSet, &'a ScoreMetrics)> {
    let set = report.ood.iter().find(|found| found.name == set)?;
    Some((set, set.scores.iter().find(|row| row.score == score)?))
}

/// web/published.json.
#[derive(serde::Deserialize)]
struct Published {
    methods: std::collections::BTreeMap<String, String>,
    networks: Vec<PublishedNetwork>,
}

#[derive(serde::Deserialize)]
struct PublishedNetwork {
    id: String,
    network: String,
    sets: Vec<PublishedSet>,
}

#[derive(serde::Deserialize)]
struct PublishedSet {
    name: String,
    /// Percent, in the order of [`COLUMNS`].
    results: std::collections::BTreeMap<String, Vec<f64>>,
}

fn published(published: &Published, dataset: &str) -> Result<String> {
    let mut text = markdown_header(&["out-of-distribution set", "network", "method"], &COLUMNS);
    let rows_before = text.len();
    for network in published.networks.iter().filter(|network| network.id == dataset) {
        for set in &network.sets {
            for (method, values) in &set.results {
                let label = published.methods.get(method).unwrap_or(method);
                let cells = [&set.name, &network.network, label].map(String::clone).into_iter();
                text +=
                    &markdown_row(&cells.chain(values.iter().map(|value| format!("{value:.2}"))).collect::<Vec<_>>());
            }
        }
    }
    ensure!(text.len() > rows_before, "expected results for {dataset}, found none");
    Ok(text)
}
