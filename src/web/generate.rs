//! Images made on the spot.

use js_sys::{Array, Object};
use wasm_bindgen::prelude::*;

use super::js::{JsResult, bytes, object};
use crate::images::synthetic;

/// Images made on the spot: `{ images, classes }` of "uniform", "gaussian", "patterns", "fractals" or "shapes".
///
/// `count` is the number of images; of shapes, the number of each class.
#[wasm_bindgen]
pub fn generate(kind: &str, count: usize, seed: u32) -> JsResult<Object> {
    let seed = u64::from(seed);
    let unlabelled = match kind {
        "uniform" => synthetic::uniform_noise,
        "gaussian" => synthetic::gaussian_noise,
        "patterns" => synthetic::patterns,
        "fractals" => synthetic::fractals,
        "shapes" => {
            let set = synthetic::shapes(count, seed);
            let classes: Array =
                set.labels.iter().map(|&label| JsValue::from(&set.classes[usize::from(label)])).collect();
            return Ok(object(&[("images", bytes(&set.images)), ("classes", classes.into())]));
        }
        _ => {
            return Err(JsError::new(&format!(
                "Images: expected uniform, gaussian, patterns, fractals or shapes, found {kind}."
            )));
        }
    };
    Ok(object(&[("images", bytes(&unlabelled(0..count, seed).images)), ("classes", JsValue::UNDEFINED)]))
}
