//! How well scores tell known from unknown images.
//!
//! In: the scores of an in-distribution and of an out-of-distribution set. Out: metrics, curves, intervals, and reports of them.
//! Start with [`metrics`]; [`report`] is one structure for terminal, JSON, Markdown and page, and [`protocol`] the published code's
//! choice of images and magnitudes. [`files`] reads scores and logits of other programs, [`table`] measures these, [`benchmark`] several sets of
//! them, and [`runs`] says how far several runs differ.

pub mod benchmark;
pub mod files;
pub mod metrics;
pub mod protocol;
pub mod report;
pub mod runs;
pub mod table;
