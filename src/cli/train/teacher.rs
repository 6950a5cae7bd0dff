//! An ensemble from whose probabilities another learns.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use eloc::{
    detection::odin::Odin,
    images::{derived::mirrored, image::PIXELS},
    weights::manifest::Manifest,
};

use super::claim::weights_sha256;
use crate::cli::{
    data::DataArgs,
    device::ChosenDevice,
    scoring::{self, Cache},
    store,
};

/// A trained ensemble.
pub struct Teacher {
    folder: PathBuf,
    /// Hash of its weights.
    pub sha256: String,
}

impl Teacher {
    /// The one in `folder`, which has to know the classes of `run`, and must not have seen the images that it holds out.
    pub fn new(folder: &Path, run: &Manifest) -> Result<Self> {
        let manifest = store::complete_manifest(folder)?;
        ensure!(
            manifest.images_sha256 == run.images_sha256 && manifest.classes == run.classes,
            "--teacher {}: expected weights that were trained on the same images, found others",
            folder.display()
        );
        let held_out = |manifest: &Manifest| (manifest.hold_out, manifest.recipe.as_ref().map(|recipe| recipe.seed));
        ensure!(
            held_out(&manifest) == held_out(run),
            "--teacher {}: expected weights that held out the same images, by --hold-out and --seed, found others",
            folder.display()
        );
        Ok(Teacher { folder: folder.to_owned(), sha256: weights_sha256(&manifest) })
    }

    /// Probabilities `[n, classes]` of `images` `[n, 3, 32, 32]` u8: the mean of those of each image and of its mirror image.
    pub fn probabilities(&self, images: &[u8], data: &DataArgs, device: &ChosenDevice) -> Result<Vec<f32>> {
        let (mut manifest, members) = store::read_ensemble(&self.folder, &device.device)?;
        manifest.odin = Odin { epsilon: 0.0, ..manifest.odin };
        let (folder, classes) = (data.dir(), manifest.classes.len());
        let cache = Cache::new(&folder, &device.name);
        let mut all = vec![0.0; images.len() / PIXELS * classes];
        for (what, images) in [("teacher", images), ("teacher, mirrored", &mirrored(images))] {
            let outputs = scoring::outputs(&manifest, &members, what, images, Some(&cache), &device.device)?;
            let view = scoring::view(&manifest, &members, &outputs);
            for (image, row) in all.chunks_exact_mut(classes).enumerate() {
                for (sum, probability) in row.iter_mut().zip(view.class_probabilities(image)) {
                    *sum += 0.5 * probability as f32;
                }
            }
        }
        Ok(all)
    }
}
