//! The networks on one device: what a worker that computes logits holds.

use burn::tensor::Device;
use js_sys::Object;
use wasm_bindgen::prelude::*;

use super::{
    entry::entry,
    js::{JsResult, floats, object, sentence},
};
use crate::{
    detection::{ensemble::Member, odin::Odin},
    weights::manifest::Manifest,
};

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
        let classifier = entry.read(bytes, &manifest.network, &Device::flex()).map_err(sentence)?;
        let member = Member::new(entry.fold.clone(), classifier, &self.device);
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

    /// `{ logits, perturbed, gradient, step }` of one image `[3, 32, 32]`; see [`crate::detection::ensemble::Explanation`].
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
