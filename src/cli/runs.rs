//! `eloc runs`: the mean and the standard deviation of several runs' results.

use std::{fs, path::PathBuf};

use anyhow::{Context, Result};
use clap::Args;
use eloc::evaluation::runs::{Run, Runs};

use super::{metrics::Format, output};

/// What `eloc runs` takes.
#[derive(Args, Debug)]
pub struct RunsArgs {
    /// Results of `eloc metrics --format json` or `eloc evaluate --json`, one file a run; sets and scores of the same names are put
    /// together.
    #[arg(required = true, num_args = 1.., value_name = "FILE")]
    files: Vec<PathBuf>,
    /// How to print the table; JSON and CSV hold fractions.
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

/// Prints the table.
pub fn run(args: &RunsArgs) -> Result<()> {
    let read = |path: &PathBuf| -> Result<(String, Run)> {
        let name = path.display().to_string();
        let bytes = fs::read(path).with_context(|| name.clone())?;
        let run = Run::read(&name, &bytes)?;
        Ok((name, run))
    };
    let runs = Runs::new(&args.files.iter().map(read).collect::<Result<Vec<_>>>()?)?;
    output::line(match args.format {
        Format::Text => runs.text(),
        Format::Json => serde_json::to_string(&runs)?,
        Format::Markdown => runs.markdown(),
        Format::Latex => runs.latex(),
        Format::Csv => runs.csv(),
    })
}
