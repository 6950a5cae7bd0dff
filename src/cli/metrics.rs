//! `eloc metrics`: the five metrics of two files of scores.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use eloc::evaluation::{metrics::metrics, report};

use super::{evaluate::DefinitionChoice, output};

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
        return output::line(serde_json::to_string(&metrics)?);
    }
    let mut rows = report::COLUMNS.iter().zip(report::cells(&metrics));
    rows.try_for_each(|(name, value)| output::line(format_args!("{name:<10}{value:>8}")))
}

fn read(path: &Path) -> Result<Vec<f64>> {
    let bytes = fs::read(path).with_context(|| path.display().to_string())?;
    let text =
        text(&bytes).with_context(|| format!("{}: expected text in UTF-8, found other bytes", path.display()))?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let score = |(index, line): (usize, &str)| match line.trim().parse::<f64>() {
        Ok(score) if score.is_finite() => Ok(score),
        _ => bail!("{}, line {}: expected a finite number, found {line}", path.display(), index + 1),
    };
    let scores = lines.map(score).collect::<Result<Vec<f64>>>()?;
    ensure!(!scores.is_empty(), "{}: expected at least 1 score, found 0", path.display());
    Ok(scores)
}

/// Text in UTF-8, or in UTF-16 with a byte-order mark, as Windows PowerShell writes it.
fn text(bytes: &[u8]) -> Option<String> {
    let utf16 = |bytes: &[u8], unit: fn([u8; 2]) -> u16| {
        let (units, rest) = bytes.as_chunks();
        rest.is_empty().then_some(())?;
        char::decode_utf16(units.iter().map(|&bytes| unit(bytes))).collect::<std::result::Result<String, _>>().ok()
    };
    match bytes {
        [0xff, 0xfe, rest @ ..] => utf16(rest, u16::from_le_bytes),
        [0xfe, 0xff, rest @ ..] => utf16(rest, u16::from_be_bytes),
        [0xef, 0xbb, 0xbf, rest @ ..] | rest => String::from_utf8(rest.to_vec()).ok(),
    }
}
