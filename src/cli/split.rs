//! `eloc split`: which classes each fold leaves out.

use anyhow::Result;
use clap::Args;
use eloc::fold;

/// What `eloc split` takes.
#[derive(Args, Debug)]
pub struct SplitArgs {
    /// Number of classes.
    #[arg(long)]
    classes: usize,
    /// Number of folds.
    #[arg(long, default_value_t = fold::DEFAULT_FOLDS)]
    folds: usize,
    /// Seed of the class permutation.
    #[arg(long, default_value_t = fold::DEFAULT_SEED)]
    seed: u32,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Prints the folds.
pub fn run(args: &SplitArgs) -> Result<()> {
    let folds = fold::folds(args.classes, args.folds, args.seed)?;
    if args.json {
        println!("{}", serde_json::to_string(&folds)?);
        return Ok(());
    }
    let list = |classes: &[usize]| classes.iter().map(usize::to_string).collect::<Vec<_>>().join(" ");
    for fold in &folds {
        println!("fold {}: leaves out {}; logits {}", fold.number, list(&fold.left_out), list(&fold.kept));
    }
    Ok(())
}
