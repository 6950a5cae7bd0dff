//! A fold in a manifest, or why it is not there.

use wasm_bindgen::prelude::*;

use super::js::JsResult;
use crate::weights::manifest::{FoldEntry, Manifest};

/// The manifest's entry of a fold.
pub(super) fn entry(manifest: &Manifest, fold: usize) -> JsResult<&FoldEntry> {
    let entry = manifest.folds.iter().find(|entry| entry.fold.number == fold);
    entry.ok_or_else(|| JsError::new(&format!("Weights: expected fold {fold} in the manifest, found it missing.")))
}
