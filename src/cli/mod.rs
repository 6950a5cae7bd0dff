//! The native edge: the command line, files and the terminal.
//!
//! In: arguments, files and folders. Out: lines, tables and files. Each command is a file of its name, and what several of them do
//! stands beside: [`data`] finds images, `device` opens a device, `store` reads and writes weights folders, `scoring` runs images
//! through an ensemble, `progress` and [`output`] talk to the terminal. Start with a small command, such as `score`.

use anyhow::Result;
use clap::{Args, Parser, Subcommand};

mod average;
mod compare;
mod data;
mod device;
mod evaluate;
mod exclude;
mod export;
mod import;
mod log;
mod metrics;
mod odin;
pub mod output;
mod progress;
mod runs;
mod score;
mod scoring;
mod shell;
mod split;
mod store;
mod tables;
mod train;
mod tune;

/// Out-of-distribution detection with an ensemble of self-supervised leave-out classifiers.
#[derive(Parser, Debug)]
#[command(version, max_term_width = 120)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Train an ensemble, or go on with one.
    Train(Box<train::TrainArgs>),
    /// Measure an ensemble on an in-distribution set and out-of-distribution sets.
    Evaluate(evaluate::EvaluateArgs),
    /// Score images, folders and archives.
    Score(score::ScoreArgs),
    /// Turn the published code's PyTorch checkpoints into a weights folder.
    Import(import::ImportArgs),
    /// Write an ensemble's weights in another form.
    Export(export::ExportArgs),
    /// Average the weights of two ensembles of which one was trained on from the other.
    Average(average::AverageArgs),
    /// Try epsilons and temperatures on held-out training images.
    Tune(tune::TuneArgs),
    /// Make the tables in Markdown files anew from the results that they name.
    Tables(tables::TablesArgs),
    /// Print which classes each fold leaves out.
    Split(split::SplitArgs),
    /// Compute the five metrics of scores or logits that any program wrote.
    Metrics(metrics::MetricsArgs),
    /// Compute means and standard deviations of several runs' results.
    Runs(runs::RunsArgs),
    /// Fetch and verify public data sets.
    Data(FetchArgs),
}

/// What `eloc data` takes.
#[derive(Args, Debug)]
struct FetchArgs {
    /// cifar10, cifar100, Imagenet, Imagenet_resize, LSUN, LSUN_resize, iSUN.
    #[arg(required = true)]
    names: Vec<String>,
    #[command(flatten)]
    data: data::DataArgs,
}

impl Cli {
    /// Does what was asked for. Output that its reader has had enough of is no error.
    pub fn run(&self) -> Result<()> {
        match self.dispatch() {
            Err(error) if output::is_closed_pipe(&error) => Ok(()),
            result => result,
        }
    }

    fn dispatch(&self) -> Result<()> {
        match &self.command {
            Command::Train(args) => train::run(args),
            Command::Evaluate(args) => evaluate::run(args),
            Command::Score(args) => score::run(args),
            Command::Import(args) => import::run(args),
            Command::Export(args) => export::run(args),
            Command::Average(args) => average::run(args),
            Command::Tune(args) => tune::run(args),
            Command::Tables(args) => tables::run(args),
            Command::Split(args) => split::run(args),
            Command::Metrics(args) => metrics::run(args),
            Command::Runs(args) => runs::run(args),
            Command::Data(args) => args.names.iter().try_for_each(|name| {
                let dir = args.data.dir();
                let path = match data::unpacked(name, &dir)? {
                    Some(folder) => folder,
                    None => data::fetch(name, &dir, args.data.mirror.as_deref())?,
                };
                output::line(format_args!("{name}: {}", path.display()))
            }),
        }
    }
}
