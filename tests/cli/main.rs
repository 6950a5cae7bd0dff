//! The command line tool from outside: every test runs the built program on tiny images that it makes itself.
//!
//! No test reads or writes the user's data folder, and none needs a network: where a download would be tried, the
//! mirror is a port that nobody listens on.

mod average;
mod bad_input;
mod bad_weights;
mod data;
mod devices;
mod evaluate;
mod export;
mod import;
mod killed;
mod metrics;
mod pictures;
mod score;
mod split;
mod tables;
mod tool;
mod train;
mod tune;
