//! A classifier as the bytes of a safetensors file, and back.
//!
//! Tensors of rank 2 and more are half precision; vectors stay single, since a running variance would underflow.

use burn::{module::Module, tensor::DType};
use burn_store::{
    FloatCastAdapter, ModuleAdapter, ModuleContext, ModuleSnapshot, SafetensorsStore, burn_pack::Tensor as PackTensor,
};

use super::classifier::{Classifier, Network};
use crate::error::{Error, Result};

/// The compact file of a classifier.
///
/// # Errors
/// [`Error::Weights`] where its tensors cannot be read from the device or written.
pub fn to_bytes(classifier: &Classifier) -> Result<Vec<u8>> {
    write(classifier, empty_store().with_to_adapter(HalfMatrices))
}

/// The same in single precision throughout.
///
/// # Errors
/// As for [`to_bytes`].
pub fn to_exact_bytes(classifier: &Classifier) -> Result<Vec<u8>> {
    write(classifier, empty_store())
}

/// A store for [`write`] without entries.
pub(crate) fn empty_store() -> SafetensorsStore {
    // The default metadata come in another order in every run, and with them another hash.
    SafetensorsStore::from_bytes(None).clear_metadata().skip_enum_variants(true)
}

/// The bytes of a classifier as `store` shapes them.
pub(crate) fn write(classifier: &Classifier, mut store: SafetensorsStore) -> Result<Vec<u8>> {
    let written = classifier.save_into(&mut store).and_then(|()| store.get_bytes());
    written.map_err(|error| Error::Weights { file: "new weights".to_owned(), reason: error.to_string() })
}

/// `classifier` with the values of a file of [`to_bytes`] or [`to_exact_bytes`], ready for scoring.
///
/// # Errors
/// What does not fit, in words: a file that is none, or tensors other than those of `network`, which `classifier` is a member of.
pub fn load(mut classifier: Classifier, bytes: Vec<u8>, network: &Network) -> std::result::Result<Classifier, String> {
    let mut store = SafetensorsStore::from_bytes(Some(bytes))
        .skip_enum_variants(true)
        .with_from_adapter(FloatCastAdapter::to(DType::F32));
    let applied = classifier.load_from(&mut store).map_err(|error| error.to_string())?;
    if !applied.unused.is_empty() {
        return Err(format!("expected the tensors of {network}, found also {}", applied.unused.join(", ")));
    }
    Ok(classifier.valid())
}

/// Casts matrices and filters to half precision and leaves vectors as they are.
#[derive(Clone)]
struct HalfMatrices;

impl ModuleAdapter for HalfMatrices {
    fn adapt(&self, tensor: PackTensor, context: ModuleContext<'_>) -> PackTensor {
        match tensor.shape.num_dims() {
            0 | 1 => tensor,
            _ => FloatCastAdapter::to(DType::F16).adapt(tensor, context),
        }
    }

    fn clone_box(&self) -> Box<dyn ModuleAdapter> {
        Box::new(self.clone())
    }
}
