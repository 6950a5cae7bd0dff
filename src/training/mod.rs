//! Training of one leave-out classifier.
//!
//! In: a network's name, a [`recipe`](recipe::Recipe), images and a fold ([`data`]). Out: a trained classifier, and after each
//! epoch a [`checkpoint`] to go on from. Start with [`train`]; it takes batches ([`augment`] moves their images) to a [`learner`],
//! which knows the [`loss`], and measures each epoch on held-out images. [`trial`] tells how long that will take.

pub mod augment;
mod batches;
mod calibration;
pub mod checkpoint;
pub mod data;
pub mod learner;
pub mod loss;
#[cfg(all(test, feature = "wgpu"))]
mod on_gpu;
mod outliers;
pub mod recipe;
mod sgd;
pub mod train;
pub mod trial;
pub mod validation;
