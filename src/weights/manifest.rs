//! `manifest.json`: what a weights folder holds, how it was made, and each fold file's size and SHA-256.

use burn::{module::Module, tensor::Device};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::int8;
use crate::{
    detection::odin::Odin,
    error::{Error, Result},
    evaluation::report::Provenance,
    fold::{self, Fold},
    images::image::Normalisation,
    network::{Classifier, Network, TrainingMode, tensors},
    training::{checkpoint::EpochRecord, recipe::Recipe},
};

/// Version of the manifest and of the fold files. A reader takes this version only.
pub const FORMAT: u32 = 1;

/// Name of the manifest in a weights folder.
pub const MANIFEST: &str = "manifest.json";

/// What a weights folder holds and how it was made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`FORMAT`] of the writer.
    pub format: u32,
    /// Name of the training data set, such as `cifar10`.
    pub dataset: String,
    /// SHA-256 of the training images, `[n, 3, 32, 32]` u8, and where they came from a folder of the labels `[n]` u16 after
    /// them; none for weights that were trained elsewhere.
    pub images_sha256: Option<String>,
    /// Class names, in label order.
    pub classes: Vec<String>,
    /// The folds' network.
    pub network: Network,
    /// Number of folds of the split; fewer may have been trained so far.
    pub fold_count: usize,
    /// Seed of the class permutation.
    pub split_seed: u32,
    /// Whether every network was trained on all classes: a deep ensemble to compare with, without leave-out folds.
    #[serde(default)]
    pub all_classes: bool,
    /// Normalisation of the images.
    pub normalisation: Normalisation,
    /// Temperature, epsilon and gradient of the perturbation.
    pub odin: Odin,
    /// Ensemble score that 95% of the held-out training images reach; none until all folds are trained.
    pub threshold: Option<f64>,
    /// Ensemble scores of [`crate::detection::self_test::images`] with [`crate::detection::self_test::odin`] on the device that set the threshold.
    #[serde(default)]
    pub self_test: Option<Vec<f64>>,
    /// Share of the training images that was held out.
    pub hold_out: f64,
    /// SHA-256 of the images that the choice of the epoch looked at; none where these were the fold's own classes among
    /// the held-out images.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation_sha256: Option<String>,
    /// SHA-256 of the fold files' SHA-256 of the ensemble whose training was gone on with; none for a training of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_sha256: Option<String>,
    /// The same of the ensemble from whose weights the training started, at the beginning of its schedule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initial_sha256: Option<String>,
    /// The same of the ensemble whose probabilities were among the targets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub teacher_sha256: Option<String>,
    /// Whose weights these were averaged with, after their training.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub averaged: Option<Averaged>,
    /// How the folds were trained; none for weights that were trained elsewhere.
    pub recipe: Option<Recipe>,
    /// The folds that are there, by number.
    pub folds: Vec<FoldEntry>,
}

/// The other weights in an average.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Averaged {
    /// SHA-256 of the fold files' SHA-256 of the other ensemble.
    pub sha256: String,
    /// Its share, 0 to 1.
    pub share: f64,
}

/// One fold's file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FoldEntry {
    /// Its split of the classes.
    #[serde(flatten)]
    pub fold: Fold,
    /// File name inside the folder.
    pub file: String,
    /// Size of the file.
    pub bytes: usize,
    /// SHA-256 of the file, hexadecimal.
    pub sha256: String,
    /// The epoch whose weights these are, counted from 1; 0 where it is not known.
    pub epoch: usize,
    /// Every epoch of the training.
    pub history: Vec<EpochRecord>,
    /// How the file was made.
    pub provenance: Provenance,
}

impl Manifest {
    /// Reads a manifest.
    ///
    /// # Errors
    /// [`Error::Manifest`] for bytes that are no manifest, [`Error::WeightsVersion`] for another version's,
    /// [`Error::ManifestValue`] for one that no training writes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        #[derive(Deserialize)]
        struct Version {
            format: u32,
        }
        let no_manifest = |source| Error::Manifest { format: FORMAT, source };
        let version: Version = serde_json::from_slice(bytes).map_err(no_manifest)?;
        if version.format != FORMAT {
            return Err(Error::WeightsVersion { expected: FORMAT, found: version.format });
        }
        let manifest: Manifest = serde_json::from_slice(bytes).map_err(no_manifest)?;
        manifest.check()?;
        Ok(manifest)
    }

    /// Refuses what would make a reader index or divide by what is not there.
    fn check(&self) -> Result<()> {
        let refused = |expected, found: String| Err(Error::ManifestValue { expected, found });
        let classes = self.classes.len();
        if classes == 0 {
            return refused("at least one class", "none".to_owned());
        }
        if !(0.0..1.0).contains(&self.hold_out) {
            return refused("a hold_out from 0 to below 1", self.hold_out.to_string());
        }
        let Normalisation { mean, std } = &self.normalisation;
        if !mean.iter().all(|mean| (0.0..=1.0).contains(mean)) || !std.iter().all(|std| (0.001..=1.0).contains(std)) {
            let found = format!("{mean:?} and {std:?}");
            return refused("means from 0 to 1 and standard deviations from 0.001 to 1", found);
        }
        if !(1..=fold::MAX_FOLDS).contains(&self.fold_count) {
            return refused("a fold_count from 1 to 1000", self.fold_count.to_string());
        }
        let folds = || self.folds.iter().map(|entry| &entry.fold);
        if let Some((before, fold)) = folds().zip(folds().skip(1)).find(|(before, fold)| before.number >= fold.number) {
            return refused("folds by number", format!("fold {} after fold {}", fold.number, before.number));
        }
        let split = match self.all_classes {
            true => fold::ordinary(classes, self.fold_count),
            false => fold::folds(classes, self.fold_count, self.split_seed)?,
        };
        if let Some(fold) = folds().find(|fold| !split.contains(fold)) {
            let Fold { number, kept, left_out } = fold;
            let found = format!("{kept:?} and {left_out:?} in fold {number} of {}", self.fold_count);
            return refused("the classes that split_seed gives each fold to keep and to leave out", found);
        }
        if self.odin.refused().is_some() {
            let found = format!("{} and {}", self.odin.temperature, self.odin.epsilon);
            return refused("a temperature of at least 0.001 and an epsilon from 0 to 1", found);
        }
        Ok(())
    }

    /// The manifest as JSON.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec_pretty(self).expect("a manifest has no maps with keys other than strings")
    }
}

impl FoldEntry {
    /// Describes the file `bytes` of a fold.
    pub fn new(fold: Fold, bytes: &[u8], epoch: usize, history: Vec<EpochRecord>, provenance: Provenance) -> Self {
        FoldEntry {
            file: format!("fold-{}.safetensors", fold.number),
            fold,
            bytes: bytes.len(),
            sha256: sha256(bytes),
            epoch,
            history,
            provenance,
        }
    }

    /// Checks the file's size and hash, then reads the classifier, ready for scoring.
    ///
    /// # Errors
    /// [`Error::WeightsHash`] for a file of another size or hash, [`Error::Weights`] for one whose tensors do not fit
    /// `network`.
    pub fn read(&self, bytes: &[u8], network: &Network, device: &Device) -> Result<Classifier> {
        let found = sha256(bytes);
        if bytes.len() != self.bytes || found != self.sha256 {
            return Err(Error::WeightsHash {
                file: self.file.clone(),
                expected: format!("{} bytes, {}", self.bytes, self.sha256),
                found: format!("{} bytes, {found}", bytes.len()),
            });
        }
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        let classifier = network.init(self.fold.kept.len(), TrainingMode::default(), &mut rng, device);
        int8::expand(bytes, classifier.num_params())
            .and_then(|bytes| tensors::load(classifier, bytes, network))
            .map_err(|reason| Error::Weights { file: self.file.clone(), reason: shortened(reason) })
    }
}

/// Lower-case hexadecimal SHA-256.
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The start of a reason that may list every tensor of a network.
fn shortened(reason: String) -> String {
    match reason.char_indices().nth(300) {
        Some((end, _)) => format!("{} ...", &reason[..end]),
        None => reason,
    }
}

#[cfg(test)]
mod tests {
    use crate::network::tensors::to_bytes;
    use burn::tensor::Tensor;

    use super::*;
    use crate::fold::folds;

    const NETWORK: &str = "compact-8-12-16";

    fn classifier(seed: u64) -> Classifier {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let network: Network = NETWORK.parse().unwrap();
        network.init(8, TrainingMode::default(), &mut rng, &Device::flex()).valid()
    }

    fn entry(bytes: &[u8]) -> FoldEntry {
        let provenance = Provenance::new("test".to_owned(), "CPU".to_owned(), 0.0);
        FoldEntry::new(folds(10, 5, 3).unwrap().remove(0), bytes, 1, Vec::new(), provenance)
    }

    fn read(entry: &FoldEntry, bytes: &[u8], network: &str) -> Result<Classifier> {
        entry.read(bytes, &network.parse().unwrap(), &Device::flex())
    }

    fn logits(classifier: &Classifier) -> Vec<f32> {
        let image = Tensor::ones([1, 3, 32, 32], &Device::flex());
        classifier.forward(image).to_data().try_to_vec().unwrap()
    }

    #[test]
    fn a_classifier_comes_back_up_to_half_precision() {
        let before = classifier(1);
        let bytes = to_bytes(&before).unwrap();
        let after = read(&entry(&bytes), &bytes, NETWORK).unwrap();
        let (before, after) = (logits(&before), logits(&after));
        // Half precision keeps 11 bits of each weight; the errors of a sum mostly cancel.
        let scale = before.iter().fold(0f32, |largest, value| largest.max(value.abs()));
        assert!(before.iter().zip(&after).all(|(a, b)| (a - b).abs() < 2e-3 * scale), "{before:?} {after:?}");
        assert_ne!(before, after, "the weights were stored in half precision");
    }

    #[test]
    fn matrices_take_two_bytes_a_value() {
        let classifier = classifier(1);
        let bytes = to_bytes(&classifier).unwrap().len();
        let values = classifier.num_params();
        assert!(bytes > 2 * values && bytes < 3 * values, "{bytes} {values}");
    }

    #[test]
    fn weights_with_a_wrong_hash_are_rejected() {
        let bytes = to_bytes(&classifier(1)).unwrap();
        let entry = entry(&bytes);
        let mut flipped = bytes.clone();
        *flipped.last_mut().unwrap() ^= 1;
        for damaged in [&flipped[..], &bytes[..bytes.len() - 1], &[]] {
            assert!(matches!(read(&entry, damaged, NETWORK), Err(Error::WeightsHash { .. })));
        }
    }

    #[test]
    fn weights_of_another_network_are_rejected() {
        let bytes = to_bytes(&classifier(1)).unwrap();
        for other in ["compact-8-12-8", "wrn-10-1"] {
            let error = read(&entry(&bytes), &bytes, other).unwrap_err();
            assert!(matches!(error, Error::Weights { .. }) && error.to_string().len() < 400, "{error}");
        }
        let no_weights = b"no safetensors";
        assert!(matches!(read(&entry(no_weights), no_weights, NETWORK), Err(Error::Weights { .. })));
    }

    #[test]
    fn other_manifests_are_rejected() {
        assert!(matches!(Manifest::from_bytes(b"{}"), Err(Error::Manifest { .. })));
        assert!(matches!(Manifest::from_bytes(b"{\"format\": 1}"), Err(Error::Manifest { .. })));
        let found = Manifest::from_bytes(b"{\"format\": 99, \"more\": true}");
        assert!(matches!(found, Err(Error::WeightsVersion { expected: FORMAT, found: 99 })));
    }
}
