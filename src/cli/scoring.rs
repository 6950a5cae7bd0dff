//! Runs an ensemble over image sets, with progress, and keeps each fold's logits so that a run can be gone on with.

use std::{
    cell::Cell,
    fs,
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::{Context, Result};
use burn::tensor::Device;
use eloc::{
    detection::{
        ensemble::{FoldOutputs, Member, Outputs, Score, Scores},
        odin::Odin,
        self_test,
    },
    images::image::PIXELS,
    weights::manifest::{FoldEntry, Manifest, sha256},
};

use super::{data::Set, output, progress, store};

/// Images of one pass through a network.
pub const BATCH: usize = 100;

/// Images of a set that are made, and whose outputs are kept, at a time: all of a test set like CIFAR's, so that there is one
/// file for each of its folds.
const PIECE: usize = 10_000;

/// Length of a SHA-256 in hexadecimal.
const HASH: usize = 64;

/// Where the logits of finished folds are kept.
pub struct Cache<'a> {
    folder: PathBuf,
    /// Name of the device that computes.
    device: &'a str,
    /// Whether something could not be written.
    failed: Cell<bool>,
    used: Cell<bool>,
    seconds: Cell<f64>,
}

impl<'a> Cache<'a> {
    /// The cache in the data folder `data`, which need not exist, for what `device` computes.
    pub fn new(data: &Path, device: &'a str) -> Self {
        let folder = data.join("logits");
        Cache { folder, device, failed: Cell::default(), used: Cell::default(), seconds: Cell::default() }
    }

    /// Whether anything was found in it.
    pub fn was_used(&self) -> bool {
        self.used.get()
    }

    /// Seconds that the logits asked for so far took to compute, now or in an earlier run.
    pub fn seconds(&self) -> f64 {
        self.seconds.get()
    }

    /// One file for each fold's weights, images by their SHA-256 and perturbation, and for the code and the device that compute
    /// them.
    fn path(&self, manifest: &Manifest, entry: &FoldEntry, images: &str) -> PathBuf {
        let source = env!("ELOC_SOURCE");
        let Manifest { odin, normalisation, .. } = manifest;
        // Without a step the others do not count.
        let odin = if odin.epsilon == 0.0 { Odin { epsilon: 0.0, ..Odin::default() } } else { *odin };
        let key = format!("{} {images} {odin:?} {normalisation:?} {source} {}", entry.sha256, self.device);
        self.folder.join(format!("{}.f32", sha256(key.as_bytes())))
    }

    /// The outputs in `path`, where they are complete: seconds, logits before and after, and the SHA-256 of all that.
    fn read(&self, path: &Path, values: usize) -> Option<FoldOutputs> {
        let bytes = fs::read(path).ok()?;
        let (content, hash) = bytes.split_at_checked(bytes.len().checked_sub(HASH)?)?;
        let (seconds, logits) = content.split_first_chunk()?;
        if logits.len() != 8 * values || sha256(content).as_bytes() != hash {
            return None;
        }
        self.used.set(true);
        self.seconds.update(|total| total + f64::from_le_bytes(*seconds));
        let floats: Vec<f32> = logits.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
        let (logits, perturbed) = floats.split_at(values);
        Some(FoldOutputs { logits: logits.to_vec(), perturbed: perturbed.to_vec() })
    }

    /// Says once where that cannot be done.
    fn write(&self, path: &Path, outputs: &FoldOutputs, seconds: f64) {
        self.seconds.update(|total| total + seconds);
        let values = outputs.logits.iter().chain(&outputs.perturbed);
        let mut bytes: Vec<u8> = seconds.to_le_bytes().into();
        bytes.extend(values.flat_map(|value| value.to_le_bytes()));
        bytes.extend(sha256(&bytes).into_bytes());
        if let Err(error) = store::write(path, &bytes)
            && !self.failed.replace(true)
        {
            output::note(format_args!("{error:#}; going on without, but the next run will have to compute it again"));
        }
    }
}

/// Each member's logits of `images` `[n, 3, 32, 32]` u8, before and after the perturbation of the manifest.
pub fn outputs(
    manifest: &Manifest,
    members: &[Member],
    what: &str,
    images: &[u8],
    cache: Option<&Cache<'_>>,
    device: &Device,
) -> Result<Vec<FoldOutputs>> {
    let bar = progress::Images::new(images.len() / PIXELS * members.len(), what.to_owned());
    outputs_on(&bar, manifest, members, images, cache, device)
}

/// The same, as a part of what `bar` is over.
fn outputs_on(
    bar: &progress::Images,
    manifest: &Manifest,
    members: &[Member],
    images: &[u8],
    cache: Option<&Cache<'_>>,
    device: &Device,
) -> Result<Vec<FoldOutputs>> {
    let count = images.len() / PIXELS;
    let at_hand = cache.map(|cache| (cache, sha256(images)));
    let mut all = Vec::new();
    for (member, entry) in members.iter().zip(&manifest.folds) {
        let file = at_hand.as_ref().map(|(cache, images)| (cache, cache.path(manifest, entry, images)));
        let cached = file.as_ref().and_then(|(cache, path)| cache.read(path, count * member.fold.kept.len()));
        let outputs = match cached {
            Some(outputs) => {
                bar.skip(count);
                outputs
            }
            None => {
                let start = Instant::now();
                let mut outputs = FoldOutputs::default();
                for batch in images.chunks(BATCH * PIXELS) {
                    let part =
                        pollster::block_on(member.outputs(batch, &manifest.odin, &manifest.normalisation, device));
                    outputs.extend(&part.with_context(|| format!("{}, fold {}", bar.what(), member.fold.number))?);
                    bar.add(batch.len() / PIXELS);
                }
                if let Some((cache, path)) = &file {
                    cache.write(path, &outputs, start.elapsed().as_secs_f64());
                }
                outputs
            }
        };
        all.push(outputs);
    }
    Ok(all)
}

/// Every score of each image of `set`, with the perturbation of the manifest.
pub fn all_scores(
    manifest: &Manifest,
    members: &[Member],
    what: &str,
    set: &Set,
    cache: &Cache<'_>,
    device: &Device,
) -> Result<Scores> {
    let bar = progress::Images::new(set.len() * members.len(), what.to_owned());
    let mut scores = Scores::with_capacity(set.len());
    for images in set.pieces(PIECE) {
        let outputs = outputs_on(&bar, manifest, members, &images, Some(cache), device)?;
        scores.extend(&view(manifest, members, &outputs).all_scores());
    }
    Ok(scores)
}

/// The ensemble's own score of each of `images` `[n, 3, 32, 32]` u8.
pub fn scores(manifest: &Manifest, members: &[Member], what: &str, images: &[u8], device: &Device) -> Result<Vec<f64>> {
    let outputs = outputs(manifest, members, what, images, None, device)?;
    Ok(view(manifest, members, &outputs).scores(Score::Eloc))
}

/// The scores that a manifest keeps for the self-test.
pub fn self_test(manifest: &Manifest, members: &[Member], device: &Device) -> Result<Vec<f64>> {
    let manifest = Manifest { odin: self_test::odin(manifest.odin), ..manifest.clone() };
    scores(&manifest, members, "self-test", &self_test::images(), device)
}

/// The outputs with what is needed to turn them into scores.
pub fn view<'a>(manifest: &Manifest, members: &'a [Member], outputs: &'a [FoldOutputs]) -> Outputs<'a> {
    Outputs {
        classes: manifest.classes.len(),
        temperature: manifest.odin.temperature,
        folds: members.iter().map(|member| &member.fold).zip(outputs).collect(),
    }
}
