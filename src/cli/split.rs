//! `eloc split`: which classes each fold leaves out.

use anyhow::Result;
use clap::{Args, builder::RangedU64ValueParser};
use eloc::fold;

use super::output;

/// What `eloc split` takes.
#[derive(Args, Debug)]
pub struct SplitArgs {
    /// Number of classes, at most as many as a data set can have.
    #[arg(long, value_parser = RangedU64ValueParser::<usize>::new().range(..=u64::from(u16::MAX)))]
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
        return output::line(serde_json::to_string(&folds)?);
    }
    let list = |classes: &[usize]| classes.iter().map(usize::to_string).collect::<Vec<_>>().join(" ");
    folds.iter().try_for_each(|fold| {
        let (left_out, kept) = (list(&fold.left_out), list(&fold.kept));
        output::line(format_args!("fold {}: leaves out {left_out}; logits {kept}", fold.number))
    })
}
