//! The WASM edge: what the page's workers call.
//!
//! Files, pixels, logits and scores cross as typed arrays, small structures as plain objects. Every error crosses as an
//! `Error` whose message is a sentence for visitors. Nothing here blocks on the device; reading files does block, and
//! is for workers only.
//!
//! In: typed arrays and files of the browser. Out: the same and plain objects. Start with [`detector`], which holds the networks,
//! and [`ensemble`], which makes scores of their logits; [`files`] reads what was dropped, [`measure`] compares sets of scores, and
//! [`scorefiles`] those that other programs wrote.

use wasm_bindgen::prelude::*;

use crate::evaluation::report::Provenance;

mod detector;
mod ensemble;
mod entry;
mod files;
mod generate;
mod js;
mod measure;
mod scorefiles;

unsafe extern "C" {
    /// Made by the linker: runs the static constructors of all crates.
    fn __wasm_call_ctors();
}

/// Runs once, when the module has been loaded.
///
/// Calling the constructors here keeps the linker from wrapping every export into a call of them, which makes each
/// call from JavaScript 150 times dearer.
#[wasm_bindgen(start)]
pub fn start() {
    // SAFETY: the linker defines it, and nothing else calls it.
    unsafe { __wasm_call_ctors() };
    console_error_panic_hook::set_once();
}

/// Version and commit of this build.
#[wasm_bindgen]
pub fn version() -> String {
    let Provenance { version, commit, .. } = Provenance::new(String::new(), String::new(), 0.0);
    commit.map_or(version.clone(), |commit| format!("{version} ({commit})"))
}
