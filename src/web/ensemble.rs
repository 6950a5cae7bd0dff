//! The arithmetic on logits that needs no device: scores, probabilities, reports.

use js_sys::{Array, Float32Array, Object, Uint16Array};
use wasm_bindgen::prelude::*;

use super::{
    entry::entry,
    js::{JsResult, bytes, doubles, floats, object, plain, sentence, set},
    measure::id,
};
use crate::{
    detection::{
        ensemble::{FoldOutputs, Outputs, Score},
        odin::Odin,
        self_test,
    },
    evaluation::{
        metrics::Definition,
        report::{IdSet, OodSet, Provenance, Report},
    },
    weights::manifest::{FoldEntry, Manifest},
};

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
        let id_scores = id.all_scores();
        let ood = input.ood().into_iter().map(|set| {
            let outputs = self.outputs(&set.outputs())?;
            let scores = self.view(&outputs, odin.temperature).all_scores();
            OodSet::new(&set.name(), &id_scores, &scores, definition).map_err(sentence)
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
