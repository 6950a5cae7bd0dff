//! The command line tool. `eloc --help` says what it does.

mod cli;

use std::process::ExitCode;

use clap::Parser;

/// Keeps freed tensors' pages instead of giving them back to the system at every step.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The exit code for arguments that make no sense.
const MISUSE: u8 = 2;

fn main() -> ExitCode {
    let cli = match cli::Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) if error.use_stderr() => {
            // Names of files may have been taken for flags.
            cli::output::usage(error.render());
            return ExitCode::from(MISUSE);
        }
        Err(help) => help.exit(),
    };
    match cli.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            cli::output::note(format_args!("eloc: {error:#}"));
            ExitCode::FAILURE
        }
    }
}
