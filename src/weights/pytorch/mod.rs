//! PyTorch checkpoints of the published code, read without running what is in them, and its names for our tensors.
//!
//! In: a file that `torch.save` wrote, zip or legacy, with a state dict of the DenseNet-BC or WideResNet of the unofficial
//! PyTorch implementation (YU1ut/Ensemble-of-Leave-out-Classifiers). Out: which network it is, and a [`Classifier`].
//! [`pickle`] first refuses a file that does more than a state dict needs; then Burn's reader takes the tensors.

use std::{collections::BTreeMap, path::Path};

use burn::{module::Module, tensor::Device};
use burn_store::{BurnToPyTorchAdapter, ModuleSnapshot, PytorchStore};
use pytorch_reader::{DType, PickleValue, PytorchReader};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use safetensors::SafeTensors;

use crate::{
    error::{Error, Result},
    network::{Classifier, Network, TrainingMode, tensors},
};

pub mod pickle;

/// Where the published code keeps the network in its checkpoints, beside `epoch`, `best_prec1` and `opt`.
const STATE_DICT: &str = "state_dict";

/// Counts batches for a momentum that no network here uses.
const BATCHES_TRACKED: &str = ".num_batches_tracked";

/// Our names from PyTorch's, in this order: pairs of a regular expression and what replaces it.
const TO_OURS: [(&str, &str); 3] = [(r"^module\.", ""), (r"\.layer\.", "."), (r"\.convShortcut\.", ".shortcut.")];
/// And back, for the two published families.
const TO_THEIRS: [(&str, &str); 2] = [(r"^(block\d)\.(\d+)\.", "$1.layer.$2."), (r"\.shortcut\.", ".convShortcut.")];

/// What a checkpoint holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Recognised from the tensors' names and shapes.
    pub network: Network,
    /// Number of logits.
    pub classes: usize,
    /// Its epoch, counted from 0, where it says so.
    pub epoch: Option<usize>,
    /// Whether the state dict is an entry of a larger one.
    nested: bool,
}

impl Checkpoint {
    /// Looks into a file; no tensor is read yet.
    ///
    /// # Errors
    /// [`Error::Pytorch`] for a file that is no checkpoint, asks for anything that a state dict does not need, or holds
    /// another network.
    pub fn inspect(path: &Path) -> Result<Self> {
        inspect(path).map_err(|reason| Error::Pytorch { file: path.display().to_string(), reason })
    }

    /// The classifier of the file that [`inspect`](Self::inspect) looked into, ready for scoring.
    ///
    /// # Errors
    /// [`Error::Pytorch`] where its tensors are not those of the network.
    pub fn read(&self, path: &Path, device: &Device) -> Result<Classifier> {
        self.load(path, device).map_err(|reason| Error::Pytorch { file: path.display().to_string(), reason })
    }

    fn load(&self, path: &Path, device: &Device) -> std::result::Result<Classifier, String> {
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        let mut classifier = self.network.init(self.classes, TrainingMode::default(), &mut rng, device);
        let mut store = PytorchStore::from_file(path);
        for (from, to) in TO_OURS {
            store = store.with_key_remapping(from, to);
        }
        if self.nested {
            store = store.with_top_level_key(STATE_DICT);
        }
        let applied = classifier.load_from(&mut store).map_err(unreadable)?;
        if let Some(name) = applied.unused.iter().find(|name| !name.ends_with(BATCHES_TRACKED)) {
            return Err(format!("expected the tensors of {}, found also {name}", self.network));
        }
        let classifier = classifier.valid();
        match not_finite(&tensors::to_exact_bytes(&classifier).map_err(unreadable)?) {
            Some(name) => Err(format!("expected finite numbers, found others in {name}")),
            None => Ok(classifier),
        }
    }
}

fn inspect(path: &Path) -> std::result::Result<Checkpoint, String> {
    pickle::check_file(path)?;
    let nested = matches!(
        PytorchReader::read_pickle_data(path, None).map_err(unreadable)?,
        PickleValue::Dict(entries) if entries.contains_key(STATE_DICT)
    );
    let reader = match nested {
        true => PytorchReader::with_top_level_key(path, STATE_DICT),
        false => PytorchReader::new(path),
    }
    .map_err(unreadable)?;
    let mut shapes = BTreeMap::new();
    for (name, tensor) in reader.tensors() {
        let name = name.strip_prefix("module.").unwrap_or(name);
        if tensor.dtype() != DType::F32 && !name.ends_with(BATCHES_TRACKED) {
            return Err(format!("expected single precision, found {:?} in {name}", tensor.dtype()));
        }
        shapes.insert(name.to_owned(), tensor.shape().to_vec());
    }
    let (network, classes) = recognise(&shapes)?;
    let epoch = match PytorchReader::read_pickle_data(path, Some("epoch")) {
        Ok(PickleValue::Int(epoch)) => usize::try_from(epoch).ok(),
        _ => None,
    };
    Ok(Checkpoint { network, classes, epoch, nested })
}

/// Our name of a tensor of a single-precision safetensors file that holds something else than finite numbers.
fn not_finite(file: &[u8]) -> Option<String> {
    let file = SafeTensors::deserialize(file).expect("the file was written here");
    let is_finite = |bytes: &[u8]| f32::from_le_bytes(bytes.try_into().expect("chunks of 4")).is_finite();
    let found = file.iter().find(|(_, tensor)| !tensor.data().chunks_exact(4).all(is_finite));
    found.map(|(name, _)| name.to_owned())
}

fn unreadable(error: impl std::fmt::Display) -> String {
    format!("expected a sound checkpoint of the published networks, found: {error}")
}

/// The network and its number of logits, from the shapes of the tensors that differ between members of a family.
fn recognise(shapes: &BTreeMap<String, Vec<usize>>) -> std::result::Result<(Network, usize), String> {
    let channels = |name: &str| -> std::result::Result<usize, String> {
        match shapes.get(name).map(|shape| shape.as_slice()) {
            Some([channels, ..]) => Ok(*channels),
            _ => Err(format!(
                "expected a DenseNet-BC or WideResNet of the published code, found no tensor {name} among {}",
                shapes.len()
            )),
        }
    };
    let classes = channels("fc.weight")?;
    let first = channels("conv1.weight")?;
    let block = channels("block1.layer.0.conv1.weight")?;
    let layers = (0..).take_while(|layer| shapes.contains_key(&format!("block1.layer.{layer}.conv1.weight"))).count();
    let depth = 6 * layers + 4;
    let network = if shapes.contains_key("trans1.conv1.weight") {
        Network::DenseNetBc { depth, growth: first / 2 }
    } else {
        Network::WideResNet { depth, widen: block / 16 }
    };
    // Sizes that do not divide give a name that no network has.
    let network = network.to_string().parse().map_err(|error: Error| error.to_string())?;
    Ok((network, classes))
}

/// The classifier as a safetensors file with PyTorch's names and layouts, in single precision.
///
/// `load_state_dict` of the published code's networks takes the tensors of the two families as they are; the compact
/// network keeps its own names.
///
/// # Errors
/// [`Error::Weights`] where the tensors cannot be read back from their device.
pub fn to_safetensors(classifier: &Classifier) -> Result<Vec<u8>> {
    let mut store = tensors::empty_store().with_to_adapter(BurnToPyTorchAdapter);
    if !matches!(classifier, Classifier::Compact(_)) {
        for (from, to) in TO_THEIRS {
            store = store.with_key_remapping(from, to);
        }
    }
    tensors::write(classifier, store)
}
