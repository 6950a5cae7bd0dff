//! What a training run leaves after each epoch, so that a later call goes on to the same weights.

use burn::{
    module::Module,
    store::{ModuleRecord, RecordError},
    tensor::{Bytes, Device},
};
use serde::{Deserialize, Serialize};

use super::{
    data::FoldData,
    recipe::Recipe,
    validation::{Validation, margin_scale},
};
use crate::{
    detection::ensemble::Member,
    error::{Error, Result},
    network::Classifier,
};

/// What one epoch gave.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EpochRecord {
    /// 1-based.
    pub epoch: usize,
    /// Mean training loss.
    pub loss: f64,
    /// Accuracy on the augmented kept-class training images, 0 to 1.
    pub accuracy: f64,
    /// How the network did on the validation images.
    #[serde(flatten)]
    pub validation: Validation,
    /// Seconds the epoch took.
    pub seconds: f64,
}

/// All that a training run needs to go on after an epoch.
#[derive(Clone, Default)]
pub struct Checkpoint {
    /// The epochs so far.
    pub history: Vec<EpochRecord>,
    /// The epoch selected so far, 1-based.
    pub selected: Option<usize>,
    /// Burnpack bytes of the network; none where the first epoch starts from fresh weights.
    pub model: Vec<u8>,
    /// Burnpack bytes of the optimiser; none before its first step.
    pub optimizer: Option<Vec<u8>>,
    /// Burnpack bytes of the network with the mean of the weights so far, in the epochs that are averaged.
    pub average: Option<Vec<u8>>,
    /// Burnpack bytes of the selected epoch's network, ready for scoring.
    pub best: Vec<u8>,
}

/// The checkpoint of a fold for the beginning of `recipe`, with the weights of another training.
///
/// `classifier` is that training's network, made with [`Module::valid`]. With LogitNorm its logits, which were scaled in the end, get
/// about the length that they have in training.
///
/// # Errors
/// [`Error::Device`] when the device fails, [`Error::Checkpoint`] where the network cannot be written.
pub fn before_schedule(
    mut classifier: Classifier,
    recipe: &Recipe,
    data: &FoldData,
    device: &Device,
) -> Result<Checkpoint> {
    if recipe.loss.logit_norm.is_some() && recipe.loss.beta > 0.0 && recipe.uses_left_out(data.fold) {
        let member = Member::new(data.fold.clone(), classifier.clone(), device);
        classifier = classifier.with_logits_scaled(margin_scale(&member, data, recipe.loss.margin, device)?);
    }
    Ok(Checkpoint { model: record_bytes(classifier)?, ..Checkpoint::default() })
}

/// The checkpoint of a fold that another training has taken through the schedule of `recipe`, for the epochs that are averaged:
/// that of [`before_schedule`] with that training's epochs, `history`, and the one whose weights these are, `selected`.
///
/// # Errors
/// Those of [`before_schedule`].
pub fn after_schedule(
    classifier: Classifier,
    history: Vec<EpochRecord>,
    selected: usize,
    recipe: &Recipe,
    data: &FoldData,
    device: &Device,
) -> Result<Checkpoint> {
    let best = record_bytes(classifier.clone())?;
    let begun = before_schedule(classifier, recipe, data, device)?;
    Ok(Checkpoint { history, selected: Some(selected), best, ..begun })
}

pub(super) fn record_bytes(model: Classifier) -> Result<Vec<u8>> {
    Ok(model.into_record().into_bytes().map_err(checkpoint_error)?.to_vec())
}

pub(super) fn load_model(model: Classifier, bytes: &[u8]) -> Result<Classifier> {
    let record = ModuleRecord::from_bytes(Bytes::from_bytes_vec(bytes.to_vec())).map_err(checkpoint_error)?;
    model.try_load_record(record).map_err(checkpoint_error)
}

pub(super) fn checkpoint_error(source: RecordError) -> Error {
    Error::Checkpoint { reason: source.to_string() }
}
