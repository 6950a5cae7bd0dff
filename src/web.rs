//! The WASM edge: what the page's workers call.
//!
//! Files, pixels, logits and scores cross as typed arrays, small structures as plain objects. Every error crosses as an
//! `Error` whose message is a sentence for visitors. Nothing here blocks on the device; reading files does block, and
//! is for workers only.

use std::{error::Error as StdError, fmt::Write};

use burn::tensor::Device;
use js_sys::{Array, Float32Array, Float64Array, Object, Reflect, Uint8Array, Uint16Array};
use serde::Serialize;
use wasm_bindgen::prelude::*;

use crate::{
    ensemble::{FoldOutputs, Member, Outputs, Score},
    error::{Error, Side},
    metrics::{self, Definition},
    odin::Odin,
    report::{IdSet, OodSet, Provenance, Report},
    self_test, synthetic,
    weights::{FoldEntry, Manifest},
};

mod files;

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

/// Images made on the spot: `{ images, classes }` of "uniform", "gaussian", "patterns" or "shapes".
///
/// `count` is the number of images; of shapes, the number of each class.
#[wasm_bindgen]
pub fn generate(kind: &str, count: usize, seed: u32) -> JsResult<Object> {
    let seed = u64::from(seed);
    let unlabelled = match kind {
        "uniform" => synthetic::uniform_noise,
        "gaussian" => synthetic::gaussian_noise,
        "patterns" => synthetic::patterns,
        "shapes" => {
            let set = synthetic::shapes(count, seed);
            let classes: Array =
                set.labels.iter().map(|&label| JsValue::from(&set.classes[usize::from(label)])).collect();
            return Ok(object(&[("images", bytes(&set.images)), ("classes", classes.into())]));
        }
        _ => {
            return Err(JsError::new(&format!(
                "Images: expected uniform, gaussian, patterns or shapes, found {kind}."
            )));
        }
    };
    Ok(object(&[("images", bytes(&unlabelled(count, seed).images)), ("classes", JsValue::UNDEFINED)]))
}

/// The networks on one device.
#[wasm_bindgen]
pub struct Detector {
    device: Device,
    manifest: Option<Manifest>,
    members: Vec<Member>,
}

#[wasm_bindgen]
impl Detector {
    /// Opens the device: "webgpu" or "cpu".
    pub async fn open(backend: &str) -> JsResult<Detector> {
        let device = match backend {
            "cpu" => Device::flex(),
            "webgpu" => Device::wgpu_options()
                .init_async()
                .await
                .map_err(|error| JsError::new(&format!("WebGPU could not be started: {error:?}.")))?,
            _ => return Err(JsError::new(&format!("Backend: expected webgpu or cpu, found {backend}."))),
        };
        Ok(Detector { device, manifest: None, members: Vec::new() })
    }

    /// Reads a manifest and forgets the folds of the one before.
    #[wasm_bindgen(js_name = setManifest)]
    pub fn set_manifest(&mut self, json: &[u8]) -> JsResult<()> {
        self.members.clear();
        self.manifest = Some(Manifest::from_bytes(json).map_err(sentence)?);
        Ok(())
    }

    /// Checks a fold's file against the manifest and loads it.
    #[wasm_bindgen(js_name = addFold)]
    pub fn add_fold(&mut self, fold: usize, bytes: &[u8]) -> JsResult<()> {
        let manifest = self.manifest()?;
        let entry = entry(manifest, fold)?;
        let classifier = entry.read(bytes, &manifest.network, &self.device).map_err(sentence)?;
        let member = Member { fold: entry.fold.clone(), classifier };
        self.members.retain(|member| member.fold.number != fold);
        self.members.push(member);
        Ok(())
    }

    /// `{ logits, perturbed }` of `images` `[n, 3, 32, 32]`, each `[n, kept classes]`.
    pub async fn outputs(&self, fold: usize, images: &[u8], odin: JsValue) -> JsResult<Object> {
        let odin: Odin = serde_wasm_bindgen::from_value(odin)?;
        let normalisation = &self.manifest()?.normalisation;
        let outputs = self.member(fold)?.outputs(images, &odin, normalisation, &self.device).await.map_err(sentence)?;
        Ok(object(&[("logits", floats(&outputs.logits)), ("perturbed", floats(&outputs.perturbed))]))
    }

    /// `{ logits, perturbed, gradient, step }` of one image `[3, 32, 32]`; see [`crate::ensemble::Explanation`].
    pub async fn explain(&self, fold: usize, image: &[u8], odin: JsValue) -> JsResult<Object> {
        let odin: Odin = serde_wasm_bindgen::from_value(odin)?;
        let normalisation = &self.manifest()?.normalisation;
        let found = self.member(fold)?.explain(image, &odin, normalisation, &self.device).await.map_err(sentence)?;
        Ok(object(&[
            ("logits", floats(&found.outputs.logits)),
            ("perturbed", floats(&found.outputs.perturbed)),
            ("gradient", floats(&found.gradient)),
            ("step", floats(&found.step)),
        ]))
    }

    fn manifest(&self) -> JsResult<&Manifest> {
        self.manifest.as_ref().ok_or_else(|| JsError::new("Weights: expected a manifest first, found none."))
    }

    fn member(&self, fold: usize) -> JsResult<&Member> {
        let member = self.members.iter().find(|member| member.fold.number == fold);
        member.ok_or_else(|| JsError::new(&format!("Weights: expected fold {fold} to be loaded, found it missing.")))
    }
}

#[wasm_bindgen]
extern "C" {
    /// `{ fold, logits, perturbed }`: one fold's logits of some images.
    pub type JsOutputs;
    #[wasm_bindgen(method, getter)]
    fn fold(this: &JsOutputs) -> usize;
    #[wasm_bindgen(method, getter)]
    fn logits(this: &JsOutputs) -> Float32Array;
    #[wasm_bindgen(method, getter)]
    fn perturbed(this: &JsOutputs) -> Float32Array;

    /// `{ name, outputs, labels }`: an image set of a report.
    pub type JsSet;
    #[wasm_bindgen(method, getter)]
    fn name(this: &JsSet) -> String;
    #[wasm_bindgen(method, getter)]
    fn outputs(this: &JsSet) -> Vec<JsOutputs>;
    #[wasm_bindgen(method, getter)]
    fn labels(this: &JsSet) -> Option<Uint16Array>;

    /// `{ device, seconds, definition, odin, id, ood }`: what a report is made of.
    pub type JsReport;
    #[wasm_bindgen(method, getter)]
    fn device(this: &JsReport) -> String;
    #[wasm_bindgen(method, getter)]
    fn seconds(this: &JsReport) -> f64;
    #[wasm_bindgen(method, getter)]
    fn definition(this: &JsReport) -> JsValue;
    #[wasm_bindgen(method, getter)]
    fn odin(this: &JsReport) -> JsValue;
    #[wasm_bindgen(method, getter)]
    fn id(this: &JsReport) -> JsSet;
    #[wasm_bindgen(method, getter)]
    fn ood(this: &JsReport) -> Vec<JsSet>;
}

/// What the manifest says and the arithmetic on logits; needs no device.
#[wasm_bindgen]
pub struct Ensemble {
    manifest: Manifest,
}

#[wasm_bindgen]
impl Ensemble {
    /// Reads a manifest.
    #[wasm_bindgen(constructor)]
    pub fn new(manifest: &[u8]) -> JsResult<Ensemble> {
        Ok(Ensemble { manifest: Manifest::from_bytes(manifest).map_err(sentence)? })
    }

    /// `{ images, scores, odin }` of the self-test, where the weights have one.
    #[wasm_bindgen(getter, js_name = selfTest)]
    pub fn self_test(&self) -> JsResult<Option<Object>> {
        let Some(scores) = &self.manifest.self_test else { return Ok(None) };
        let odin = plain(&self_test::odin(self.manifest.odin))?;
        Ok(Some(object(&[("images", bytes(&self_test::images())), ("scores", doubles(scores)), ("odin", odin)])))
    }

    /// `{ scores, foldScores, classes, probabilities }` of `n` images from the outputs of one fold or more.
    pub fn scores(&self, outputs: Vec<JsOutputs>, temperature: f64) -> JsResult<Object> {
        let outputs = self.outputs(&outputs)?;
        let view = self.view(&outputs, temperature);
        let scores = Object::new();
        for score in Score::ALL {
            set(&scores, &id(score), &doubles(&view.scores(score)));
        }
        let fold_scores: Array = view.fold_scores().iter().map(|scores| doubles(scores)).collect();
        let classes: Vec<u16> = view.predictions().into_iter().map(|class| class as u16).collect();
        let probability = |image| view.class_probabilities(image).into_iter().fold(0.0, f64::max) as f32;
        let probabilities: Vec<f32> = (0..view.len()).map(probability).collect();
        Ok(object(&[
            ("scores", scores.into()),
            ("foldScores", fold_scores.into()),
            ("classes", Uint16Array::from(&classes[..]).into()),
            ("probabilities", floats(&probabilities)),
        ]))
    }

    /// `{ before, after }`: class probabilities of one image, as given and perturbed, `[classes]` each.
    pub fn probabilities(&self, outputs: Vec<JsOutputs>) -> JsResult<Object> {
        let before = self.outputs(&outputs)?;
        let swap = |(entry, outputs): &(_, FoldOutputs)| {
            let (logits, perturbed) = (outputs.perturbed.clone(), outputs.logits.clone());
            (*entry, FoldOutputs { logits, perturbed })
        };
        let after: Vec<_> = before.iter().map(swap).collect();
        let [before, after] = [&before, &after].map(|outputs| doubles(&self.view(outputs, 1.0).class_probabilities(0)));
        Ok(object(&[("before", before), ("after", after)]))
    }

    /// The report of an evaluation, of the same structure as the command line's.
    pub fn report(&self, input: &JsReport) -> JsResult<JsValue> {
        let odin: Odin = serde_wasm_bindgen::from_value(input.odin())?;
        let definition: Definition = serde_wasm_bindgen::from_value(input.definition())?;
        let id_outputs = self.outputs(&input.id().outputs())?;
        let id = self.view(&id_outputs, odin.temperature);
        let labels = input.id().labels().map_or(Vec::new(), |labels| labels.to_vec());
        let ood = input.ood().into_iter().map(|set| {
            let outputs = self.outputs(&set.outputs())?;
            let ood = self.view(&outputs, odin.temperature);
            OodSet::new(&set.name(), &id, &ood, definition).map_err(sentence)
        });
        plain(&Report {
            provenance: Provenance::new("page".to_owned(), input.device(), input.seconds()),
            trained_on: self.manifest.dataset.clone(),
            network: self.manifest.network.to_string(),
            folds: id_outputs.len(),
            odin,
            definition,
            ood: ood.collect::<JsResult<_>>()?,
            id: IdSet::new(&input.id().name(), &labels, &id),
        })
    }

    /// The outputs with their folds, checked to be whole and of the same number of images.
    fn outputs(&self, outputs: &[JsOutputs]) -> JsResult<Vec<(&FoldEntry, FoldOutputs)>> {
        let mut images = None;
        let read = |outputs: &JsOutputs| {
            let entry = entry(&self.manifest, outputs.fold())?;
            let (logits, perturbed) = (outputs.logits().to_vec(), outputs.perturbed().to_vec());
            let kept = entry.fold.kept.len();
            let expected = *images.get_or_insert(logits.len() / kept);
            if logits.len() != expected * kept || perturbed.len() != expected * kept {
                return Err(JsError::new(&format!(
                    "Fold {}: expected {kept} logits for each of {expected} images, found {} and {}.",
                    entry.fold.number,
                    logits.len(),
                    perturbed.len()
                )));
            }
            Ok((entry, FoldOutputs { logits, perturbed }))
        };
        outputs.iter().map(read).collect()
    }

    fn view<'a>(&self, outputs: &'a [(&'a FoldEntry, FoldOutputs)], temperature: f64) -> Outputs<'a> {
        let folds = outputs.iter().map(|(entry, outputs)| (&entry.fold, outputs)).collect();
        Outputs { classes: self.manifest.classes.len(), temperature, folds }
    }
}

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

type JsResult<T> = std::result::Result<T, JsError>;

/// The manifest's entry of a fold.
fn entry(manifest: &Manifest, fold: usize) -> JsResult<&FoldEntry> {
    let entry = manifest.folds.iter().find(|entry| entry.fold.number == fold);
    entry.ok_or_else(|| JsError::new(&format!("Weights: expected fold {fold} in the manifest, found it missing.")))
}

/// A score's name in objects, as serde writes it.
fn id(score: Score) -> String {
    match serde_json::to_value(score) {
        Ok(serde_json::Value::String(name)) => name,
        _ => unreachable!("a score is written as a string"),
    }
}

/// An error and its causes, to be thrown.
fn sentence(error: Error) -> JsError {
    JsError::new(&message(error))
}

/// An error and its causes in one message.
fn message(error: Error) -> String {
    let mut message = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        // Some causes go on with their own causes, or with where in the source they arose.
        let _ = write!(message, ": {}", error.to_string().lines().next().unwrap_or_default());
        cause = error.source();
    }
    message
}

/// A plain object; what is none becomes null.
fn plain(value: &impl Serialize) -> JsResult<JsValue> {
    Ok(value.serialize(&serde_wasm_bindgen::Serializer::json_compatible())?)
}

fn object(entries: &[(&str, JsValue)]) -> Object {
    let object = Object::new();
    entries.iter().for_each(|(key, value)| set(&object, key, value));
    object
}

fn set(object: &Object, key: &str, value: &JsValue) {
    Reflect::set(object, &key.into(), value).expect("a new object takes any key");
}

fn bytes(values: &[u8]) -> JsValue {
    Uint8Array::from(values).into()
}

fn floats(values: &[f32]) -> JsValue {
    Float32Array::from(values).into()
}

fn doubles(values: &[f64]) -> JsValue {
    Float64Array::from(values).into()
}
