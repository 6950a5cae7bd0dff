//! Data sets from the disk, the network, or made on the spot.
//!
//! In: names, paths and the data folder. Out: labelled sets of images in memory, and unlabelled ones, of which those that are
//! made need not be there all at once ([`Set`]). Start with [`training`], what the commands call; below it [`cifar`], [`folder`]
//! and [`sets`] know the forms that data come in, [`images`] decodes many files at once, [`batches`] while others are worked on,
//! and [`download`] fetches public sets.

mod ahead;
mod args;
mod batches;
mod cifar;
mod download;
mod folder;
mod images;
mod set;
mod sets;
#[cfg(test)]
mod tests;
mod training;

pub use args::DataArgs;
pub use batches::{Batch, batches};
pub use download::fetch;
pub use images::files_below;
pub use set::Set;
pub use sets::unpacked;
pub use training::{SHAPES, TrainingData, image_set, is_built_in, train_and_held_out, trained_on, training};
