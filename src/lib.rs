//! Out-of-distribution detection with an ensemble of self-supervised leave-out classifiers (Vyas et al., ECCV 2018).

pub mod archive;
pub mod augment;
mod batches;
pub mod dataset;
pub mod ensemble;
pub mod error;
pub mod fold;
pub mod image;
pub mod loss;
pub mod metrics;
pub mod model;
pub mod odin;
pub mod recipe;
pub mod report;
pub mod scores;
mod sgd;
pub mod synthetic;
pub mod train;
pub mod weights;
