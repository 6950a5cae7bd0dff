//! `eloc metrics`: the five metrics of two files of scores.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use clap::Args;
use eloc::{metrics::metrics, report};

use super::evaluate::DefinitionChoice;

/// What `eloc metrics` takes.
#[derive(Args, Debug)]
pub struct MetricsArgs {
    /// Scores of in-distribution images, one a line; higher is more in-distribution.
    #[arg(long)]
    id: PathBuf,
    /// Scores of out-of-distribution images, one a line.
    #[arg(long)]
    ood: PathBuf,
    /// Definition of the metrics.
    #[arg(long, value_enum, default_value = "standard")]
    definition: DefinitionChoice,
    /// Print fractions as JSON.
    #[arg(long)]
    json: bool,
}

/// Prints the metrics.
pub fn run(args: &MetricsArgs) -> Result<()> {
    let metrics = metrics(&read(&args.id)?, &read(&args.ood)?, args.definition.definition())?;
    if args.json {
        println!("{}", serde_json::to_string(&metrics)?);
    } else {
        for (name, value) in report::COLUMNS.iter().zip(report::cells(&metrics)) {
            println!("{name:<10}{value:>8}");
        }
    }
    Ok(())
}

fn read(path: &Path) -> Result<Vec<f64>> {
    let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(index, line)| {
            line.trim()
                .parse()
                .with_context(|| format!("{}, line {}: expected a number, found {line}", path.display(), index + 1))
        })
        .collect()
}
