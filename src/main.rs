//! The command line tool. `eloc --help` says what it does.

mod cli;

use std::process::ExitCode;

use clap::Parser;

/// Keeps freed tensors' pages instead of giving them back to the system at every step.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match cli::Cli::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            cli::output::note(format_args!("eloc: {error:#}"));
            ExitCode::FAILURE
        }
    }
}
