//! Metrics, intervals and curves of any two sets of scores, and comparisons of two scores.

use js_sys::{Array, Object};
use wasm_bindgen::prelude::*;

use super::js::{JsResult, object, plain, sentence};
use crate::{detection::ensemble::Score, error::Side, evaluation::metrics};

/// `{ id, label }` of every score, in the order of the tables.
#[wasm_bindgen(js_name = scoreNames)]
pub fn score_names() -> Array {
    let name = |score: Score| object(&[("id", id(score).into()), ("label", score.label().into())]);
    Score::ALL.into_iter().map(name).collect()
}

/// The five metrics, as fractions.
#[wasm_bindgen(js_name = metrics)]
pub fn metrics_of(id: &[f64], ood: &[f64], definition: JsValue) -> JsResult<JsValue> {
    plain(&metrics::metrics(id, ood, serde_wasm_bindgen::from_value(definition)?).map_err(sentence)?)
}

/// Their 95% bootstrap intervals.
#[wasm_bindgen]
pub fn intervals(id: &[f64], ood: &[f64], definition: JsValue, resamples: usize, seed: u32) -> JsResult<JsValue> {
    let definition = serde_wasm_bindgen::from_value(definition)?;
    plain(&metrics::bootstrap(id, ood, definition, resamples, seed, 0.95).map_err(sentence)?)
}

/// How a score differs from another, the baseline, of the same images in the same order: `{ differences, delong }`.
///
/// `differences` are those of the five metrics, the baseline's being subtracted, with 95% paired bootstrap intervals; `delong` is
/// DeLong's test of the AUROC.
#[wasm_bindgen]
pub fn compare(
    id: &[f64],
    baseline_id: &[f64],
    ood: &[f64],
    baseline_ood: &[f64],
    definition: JsValue,
    resamples: usize,
    seed: u32,
) -> JsResult<Object> {
    let (id, ood) = ([id, baseline_id], [ood, baseline_ood]);
    let definition = serde_wasm_bindgen::from_value(definition)?;
    let differences = metrics::paired_bootstrap(id, ood, definition, resamples, seed, 0.95).map_err(sentence)?;
    let delong = metrics::delong(id, ood).map_err(sentence)?;
    Ok(object(&[("differences", plain(&differences)?), ("delong", plain(&delong)?)]))
}

/// What the plots of two sets of scores need: at most `points` points a curve, `bins` bins over both sets' range.
#[wasm_bindgen]
pub fn curves(id: &[f64], ood: &[f64], bins: usize, points: usize) -> JsResult<Object> {
    let all = || id.iter().chain(ood).copied();
    let (low, high) = (all().fold(f64::INFINITY, f64::min), all().fold(f64::NEG_INFINITY, f64::max));
    // Equal scores still need a bin to be in.
    let range = if low < high { (low, high) } else { (low - 0.5, low + 0.5) };
    let histogram = |scores| metrics::histogram(scores, bins, range).map_err(sentence);
    Ok(object(&[
        ("roc", plain(&metrics::roc_curve(id, ood, points).map_err(sentence)?)?),
        ("prIn", plain(&metrics::pr_curve(id, ood, Side::Id, points).map_err(sentence)?)?),
        ("prOut", plain(&metrics::pr_curve(id, ood, Side::Ood, points).map_err(sentence)?)?),
        ("idHistogram", plain(&histogram(id)?)?),
        ("oodHistogram", plain(&histogram(ood)?)?),
        ("thresholdAt95Tpr", metrics::threshold_at_tpr(id, 0.95).into()),
    ]))
}

/// A score's name in objects, as serde writes it.
pub(super) fn id(score: Score) -> String {
    match serde_json::to_value(score) {
        Ok(serde_json::Value::String(name)) => name,
        _ => unreachable!("a score is written as a string"),
    }
}
