//! `eloc metrics`: the five metrics of scores or logits that any program wrote.

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail, ensure};
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches, ValueEnum, value_parser};
use eloc::{
    detection::odin::Odin,
    evaluation::{
        benchmark::{Benchmark, Compared, Group, Measured},
        files::{self, Contents, Known, Pair},
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
    #[command(flatten)]
    sets: Sets,
    /// Column of a .csv or array of an .npz that holds the scores; other files beside them are taken as they are.
    #[arg(long, value_name = "NAME")]
    column: Option<String>,
    /// Which scores mean in-distribution.
    #[arg(long, value_enum, default_value = "higher")]
    known: KnownChoice,
    /// Temperature of ELOC's score of logits.
    #[arg(long, value_name = "T", default_value_t = Odin::default().temperature, value_parser = temperature)]
    temperature: f64,
    /// Compare every score of logits with this one, such as "max softmax", on the same images.
    #[arg(long, value_name = "SCORE")]
    baseline: Option<String>,
    /// Compare with another detector: its scores or logits of the same in-distribution images in the same order.
    #[arg(long, num_args = 1.., value_name = "FILE", conflicts_with = "baseline")]
    baseline_id: Vec<PathBuf>,
    /// The other detector's scores or logits of the out-of-distribution images; none where the other file has both.
    #[arg(long, num_args = 1.., value_name = "FILE", requires = "baseline_id")]
    baseline_ood: Vec<PathBuf>,
    /// Definition of the metrics.
    #[arg(long, value_enum, default_value = "standard")]
    definition: DefinitionChoice,
    /// Resamples of the 95% bootstrap intervals; 0 for none.
    #[arg(long, value_name = "N", default_value_t = 1000)]
    resamples: usize,
    /// Seed of the resampling.
    #[arg(long, default_value_t = 0)]
    seed: u32,
    /// How to print the table; JSON and CSV hold fractions, and leaderboard is the row that OpenOOD's asks for.
    #[arg(long, value_enum, default_value = "text")]
    format: MetricsFormat,
}

/// Out-of-distribution sets: the files of each, which follow one flag.
#[derive(Clone, Debug)]
struct Sets(Vec<(Option<Group>, Vec<PathBuf>)>);

/// The flags that sets follow.
const FLAGS: [(&str, Option<Group>, &str); 3] = [
    (
        "ood",
        None,
        "The same of out-of-distribution images, once for each set, or none where OpenOOD's labels in the other file say which are \
         (-1); NAME=FILE names the set",
    ),
    ("near", Some(Group::Near), "The same, of a set that is near; the means of near and far sets are printed, too"),
    ("far", Some(Group::Far), "The same, of a set that is far"),
];

impl Args for Sets {
    fn augment_args(command: Command) -> Command {
        command.args(FLAGS.map(|(flag, _, help)| {
            Arg::new(flag)
                .long(flag)
                .value_name("FILE")
                .help(help)
                .num_args(1..)
                .action(ArgAction::Append)
                .value_parser(value_parser!(PathBuf))
        }))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Sets {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let of = |(flag, group, _): &(&str, Option<Group>, &str)| {
            let sets = matches.get_occurrences::<PathBuf>(flag).into_iter().flatten();
            sets.map(|files| (*group, files.cloned().collect())).collect::<Vec<_>>()
        };
        Ok(Sets(FLAGS.iter().flat_map(of).collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
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
pub enum Format {
    Text,
    Json,
    Markdown,
    Latex,
    Csv,
}

/// How to print the table of metrics.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum MetricsFormat {
    Text,
    Json,
    Markdown,
    Latex,
    Csv,
    /// Near and far AUROC and accuracy, as OpenOOD's leaderboard asks for them.
    Leaderboard,
}

/// Prints the metrics.
pub fn run(args: &MetricsArgs) -> Result<()> {
    let id = args.read(&args.id)?;
    let mut sets = Vec::new();
    let without_ood = [(None, Vec::new())];
    let given = if args.sets.0.is_empty() { &without_ood[..] } else { &args.sets.0 };
    for (group, files) in given {
        let (name, files) = named(files);
        let pairs = args.pairs(&id, &files)?;
        let table = Table::new(&pairs, args.definition.definition(), args.resamples, args.seed)?;
        let name = name.unwrap_or_else(|| stem(files.first().unwrap_or(&args.id[0])));
        let differences = args.differences(&pairs, given.len())?;
        sets.push(Measured { name, group: *group, table, differences });
    }
    let accuracy = match &id[..] {
        [(_, Contents::OpenOod { accuracy, .. })] => *accuracy,
        _ => None,
    };
    let benchmark = Benchmark::new(accuracy, sets);
    output::line(match args.format {
        MetricsFormat::Text => benchmark.text(),
        MetricsFormat::Json => serde_json::to_string(&benchmark)?,
        MetricsFormat::Markdown => benchmark.markdown(),
        MetricsFormat::Latex => benchmark.latex(),
        MetricsFormat::Csv => benchmark.csv(),
        MetricsFormat::Leaderboard => benchmark
            .leaderboard()
            .context("--format leaderboard: expected --near and --far sets, found none of one of these")?,
    })?;
    let advice = match (&id[0].1, args.known) {
        (Contents::Logits(_), _) => "higher logits and lower entropy should mean known",
        (_, KnownChoice::Higher) => "if lower scores mean known, say --known lower",
        (_, KnownChoice::Lower) => "if higher scores mean known, say --known higher",
    };
    for set in &benchmark.sets {
        for row in set.table.scores.iter().filter(|row| row.metrics.auroc < 0.5) {
            let (set, score, auroc) = (&set.name, &row.score, 100.0 * row.metrics.auroc);
            output::note(format_args!("{set}, {score}: an AUROC of {auroc:.2} is below chance, 50; {advice}"));
        }
    }
    Ok(())
}

impl MetricsArgs {
    fn read(&self, paths: &[PathBuf]) -> Result<Vec<(String, Contents)>> {
        let is_mixed = self.column.is_some() && self.is_mixed();
        let read = |path: &PathBuf| {
            let name = path.display().to_string();
            let bytes = fs::read(path).with_context(|| name.clone())?;
            let column = self.column.as_deref().filter(|_| !is_mixed || has_columns(&name, &bytes));
            let contents = files::read(&name, &bytes, column)?;
            Ok((name, contents))
        };
        paths.iter().map(read).collect()
    }

    /// Whether one of the files has columns, so that those without any are taken as they are; where none has, the reader says so.
    fn is_mixed(&self) -> bool {
        let sets = self.sets.0.iter().flat_map(|(_, files)| named(files).1);
        let mut given = self.id.iter().chain(&self.baseline_id).chain(&self.baseline_ood).cloned().chain(sets);
        given.any(|path| fs::read(&path).is_ok_and(|bytes| has_columns(&path.display().to_string(), &bytes)))
    }

    /// The scores of both sides.
    fn pairs(&self, id: &[(String, Contents)], ood: &[PathBuf]) -> Result<Vec<Pair>> {
        let known = match self.known {
            KnownChoice::Higher => Known::Higher,
            KnownChoice::Lower => Known::Lower,
        };
        Ok(files::pairs(id, &self.read(ood)?, known, self.temperature)?)
    }

    /// How far the scores of one of so many sets differ from what they are to be compared with.
    fn differences(&self, pairs: &[Pair], sets: usize) -> Result<Vec<Compared>> {
        let compared = |pair: &Pair, name: &str, baseline: &Pair| {
            ensure!(self.resamples > 0, "--resamples: expected 1 or more to compare scores, found 0");
            let definition = self.definition.definition();
            Ok(Compared::new(pair, (name, baseline), definition, self.resamples, self.seed)?)
        };
        if let Some(name) = &self.baseline {
            let Some(baseline) = pairs.iter().find(|pair| pair.score.eq_ignore_ascii_case(name)) else {
                let found = pairs.iter().map(|pair| pair.score).collect::<Vec<_>>().join(", ");
                bail!("--baseline: expected one of the scores, {found}; found {name}");
            };
            let others = pairs.iter().filter(|pair| pair.score != baseline.score);
            return others.map(|pair| compared(pair, baseline.score, baseline)).collect();
        }
        let Some(first) = self.baseline_id.first() else { return Ok(Vec::new()) };
        ensure!(sets == 1, "--baseline-id: expected one out-of-distribution set, found {sets}");
        let theirs = self.pairs(&self.read(&self.baseline_id)?, &self.baseline_ood)?;
        let name = format!("that of {}", first.display());
        ensure!(
            pairs.len() == theirs.len(),
            "{}: expected scores or logits as in the files to compare, found the other",
            first.display()
        );
        let of_both = pairs.iter().zip(&theirs).map(|(ours, theirs)| compared(ours, &name, theirs));
        of_both.collect::<Result<_>>().with_context(|| first.display().to_string())
    }
}

/// A set's name where the first file is given as NAME=FILE, and its files.
fn named(files: &[PathBuf]) -> (Option<String>, Vec<PathBuf>) {
    let mut files = files.to_vec();
    let Some(first) = files.first_mut().filter(|first| !first.exists()) else { return (None, files) };
    let given = first.to_string_lossy().into_owned();
    match given.split_once('=') {
        Some((name, file)) if !name.is_empty() && !name.contains('/') => {
            *first = PathBuf::from(file);
            (Some(name.to_owned()), files)
        }
        _ => (None, files),
    }
}

/// The name of a file without its folder and extension.
fn stem(path: &Path) -> String {
    path.file_stem().unwrap_or(OsStr::new("scores")).to_string_lossy().into_owned()
}

/// Whether a file has columns, or arrays, of which one is taken.
fn has_columns(name: &str, bytes: &[u8]) -> bool {
    files::columns(name, bytes).is_ok_and(|columns| !columns.is_empty())
}

fn temperature(text: &str) -> Result<f64, String> {
    let temperature = text.parse().map_err(|_| "expected a number".to_owned())?;
    match (Odin { temperature, ..Odin::default() }).refused() {
        Some((_, expected, _)) => Err(format!("expected {expected}")),
        None => Ok(temperature),
    }
}
