//! `eloc metrics`: the five metrics of scores or logits that any program wrote.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use eloc::{
    detection::odin::Odin,
    evaluation::{
        files::{self, Contents, Known},
        table::Table,
    },
};

use super::{evaluate::DefinitionChoice, output};

/// What `eloc metrics` takes.
#[derive(Args, Debug)]
pub struct MetricsArgs {
    /// Scores or logits of in-distribution images: .txt (a score a line), .csv, .npy ([n] scores or [n, classes] logits) or .npz
    /// (a named array, or OpenOOD's conf, pred and label); several files of logits are an ensemble.
    #[arg(long, required = true, num_args = 1.., value_name = "FILE")]
    id: Vec<PathBuf>,
    /// The same of out-of-distribution images; none where OpenOOD's labels in the other file say which are (-1).
    #[arg(long, num_args = 1.., value_name = "FILE")]
    ood: Vec<PathBuf>,
    /// Column of a .csv or array of an .npz that holds the scores.
    #[arg(long, value_name = "NAME")]
    column: Option<String>,
    /// Which scores mean in-distribution.
    #[arg(long, value_enum, default_value = "higher")]
    known: KnownChoice,
    /// Temperature of ELOC's score of logits.
    #[arg(long, value_name = "T", default_value_t = Odin::default().temperature, value_parser = temperature)]
    temperature: f64,
    /// Definition of the metrics.
    #[arg(long, value_enum, default_value = "standard")]
    definition: DefinitionChoice,
    /// Resamples of the 95% bootstrap intervals; 0 for none.
    #[arg(long, value_name = "N", default_value_t = 1000)]
    resamples: usize,
    /// Seed of the resampling.
    #[arg(long, default_value_t = 0)]
    seed: u32,
    /// How to print the table; JSON and CSV hold fractions.
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

/// Which scores mean in-distribution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum KnownChoice {
    /// Higher ones, such as confidences.
    Higher,
    /// Lower ones, such as distances and outlier scores.
    Lower,
}

/// How to print a table.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    Text,
    Json,
    Markdown,
    Latex,
    Csv,
}

/// Prints the metrics.
pub fn run(args: &MetricsArgs) -> Result<()> {
    let read = |path: &PathBuf| read(path, args.column.as_deref());
    let id = args.id.iter().map(read).collect::<Result<Vec<_>>>()?;
    let ood = args.ood.iter().map(read).collect::<Result<Vec<_>>>()?;
    let known = match args.known {
        KnownChoice::Higher => Known::Higher,
        KnownChoice::Lower => Known::Lower,
    };
    let pairs = files::pairs(&id, &ood, known, args.temperature)?;
    let table = Table::new(&pairs, args.definition.definition(), args.resamples, args.seed)?;
    output::line(match args.format {
        Format::Text => table.text(),
        Format::Json => serde_json::to_string(&table)?,
        Format::Markdown => table.markdown(),
        Format::Latex => table.latex(),
        Format::Csv => table.csv(),
    })?;
    let advice = match (&id[0].1, args.known) {
        (Contents::Logits(_), _) => "higher logits and lower entropy should mean known",
        (_, KnownChoice::Higher) => "if lower scores mean known, say --known lower",
        (_, KnownChoice::Lower) => "if higher scores mean known, say --known higher",
    };
    for row in table.scores.iter().filter(|row| row.metrics.auroc < 0.5) {
        let auroc = 100.0 * row.metrics.auroc;
        output::note(format_args!("{}: an AUROC of {auroc:.2} is below chance, 50; {advice}", row.score));
    }
    Ok(())
}

fn read(path: &Path, column: Option<&str>) -> Result<(String, Contents)> {
    let name = path.display().to_string();
    let bytes = fs::read(path).with_context(|| name.clone())?;
    let contents = files::read(&name, &bytes, column)?;
    Ok((name, contents))
}

fn temperature(text: &str) -> Result<f64, String> {
    let temperature = text.parse().map_err(|_| "expected a number".to_owned())?;
    match (Odin { temperature, ..Odin::default() }).refused() {
        Some((_, expected, _)) => Err(format!("expected {expected}")),
        None => Ok(temperature),
    }
}
