//! The choice of the epoch: how a network does on the validation images, and whether that beats the one chosen so far.

use burn::tensor::Device;
use serde::{Deserialize, Serialize};

use crate::{
    detection::ensemble::{FoldOutputs, Member, Outputs, Score},
    error::{Error, Result},
    evaluation::metrics::{Definition, metrics},
    images::image::{Normalisation, PIXELS},
    training::{calibration, data::FoldData, recipe::Selection},
};

/// Temperature of the fold score; the method's default.
const TEMPERATURE: f64 = 1000.0;
/// How much accuracy an epoch may lose against the best one and still be selected (Vyas et al. 2018).
const ACCURACY_SLACK: f64 = 0.02;
/// Images a forward pass.
const BATCH: usize = 250;
/// Training images of each side, about, that [`margin_scale`] looks at.
const MARGIN_IMAGES: usize = 2000;

/// How a network does on the validation images.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Validation {
    /// Accuracy on the images of kept classes, 0 to 1.
    #[serde(rename = "validation_accuracy")]
    pub accuracy: f64,
    /// AUROC of the fold score, 0 to 1.
    #[serde(rename = "validation_auroc")]
    pub auroc: f64,
    /// Detection error of the fold score, 0 to 1.
    #[serde(rename = "validation_error")]
    pub detection_error: f64,
    /// AUROC of the max softmax, 0 to 1.
    #[serde(rename = "validation_max_softmax_auroc")]
    pub max_softmax_auroc: f64,
}

/// Measures a network; `member` is ready for scoring.
///
/// # Errors
/// [`Error::Device`] when the device fails, [`Error::NoValidation`] without images of kept classes, and those of
/// [`metrics`].
pub(crate) fn validate(member: &Member, data: &FoldData, device: &Device) -> Result<Validation> {
    let id = logits(member, &data.validation.images, &data.normalisation, device)?;
    let ood = logits(member, data.validation_ood, &data.normalisation, device)?;
    let [id, ood] = [&id, &ood].map(|outputs| Outputs {
        classes: data.train.classes.len(),
        temperature: TEMPERATURE,
        folds: vec![(&member.fold, outputs)],
    });
    let measured = |score| metrics(&id.scores(score), &ood.scores(score), Definition::Standard);
    let detection = measured(Score::ElocUnperturbed)?;
    let Some(accuracy) = id.fold_accuracies(&data.validation.labels)[0] else {
        return Err(Error::NoValidation { fold: data.fold.number });
    };
    Ok(Validation {
        accuracy,
        auroc: detection.auroc,
        detection_error: detection.detection_error,
        max_softmax_auroc: measured(Score::MaxSoftmax)?.auroc,
    })
}

/// The factor that calibrates the network's logits by the validation images of its kept classes, of which there are some.
///
/// # Errors
/// [`Error::Device`] when the device fails.
pub(crate) fn logit_scale(member: &Member, data: &FoldData, device: &Device) -> Result<f64> {
    let label = |(index, &class): (usize, &u16)| Some((index, member.fold.logit(usize::from(class))?));
    let (kept, labels): (Vec<usize>, Vec<usize>) = data.validation.labels.iter().enumerate().filter_map(label).unzip();
    let outputs = logits(member, &data.validation.subset(&kept).images, &data.normalisation, device)?;
    Ok(calibration::logit_scale(&outputs.logits, &labels, member.fold.kept.len()))
}

/// The factor that brings the network's logits to the length that the entropy term of the loss, whose margin is `margin`, gives
/// them in training, by the training images: the validation images of a fold may be all of kept classes.
///
/// # Errors
/// [`Error::Device`] when the device fails.
pub(crate) fn margin_scale(member: &Member, data: &FoldData, margin: f64, device: &Device) -> Result<f64> {
    let of = |indices: Vec<usize>| {
        let some: Vec<usize> = indices.iter().copied().step_by(indices.len().div_ceil(MARGIN_IMAGES).max(1)).collect();
        logits(member, &data.train.subset(&some).images, &data.normalisation, device)
    };
    let (kept, left_out) = member.fold.partition(&data.train.labels);
    let (kept, left_out) = (of(kept)?, of(left_out)?);
    Ok(calibration::margin_scale(&kept.logits, &left_out.logits, member.fold.kept.len(), margin))
}

fn logits(member: &Member, images: &[u8], normalisation: &Normalisation, device: &Device) -> Result<FoldOutputs> {
    let mut outputs = FoldOutputs::default();
    for batch in images.chunks(BATCH * PIXELS) {
        outputs.logits.extend(member.logits(batch, normalisation, device)?);
    }
    Ok(outputs)
}

/// The epoch selected after `candidate`, counted from 1, given the epochs before it and the one selected among them.
pub(crate) fn select(
    selection: Selection,
    before: &[Validation],
    selected: Option<usize>,
    candidate: &Validation,
) -> usize {
    let new = before.len() + 1;
    let Some(old) = selected else { return new };
    let chosen = &before[old - 1];
    let best_accuracy = before.iter().map(|epoch| epoch.accuracy).fold(candidate.accuracy, f64::max);
    let accurate = |epoch: &Validation| epoch.accuracy >= best_accuracy - ACCURACY_SLACK;
    let takes_over = |detects_better: bool| accurate(candidate) && (detects_better || !accurate(chosen));
    let better = match selection {
        Selection::Last => true,
        Selection::Reference => candidate.max_softmax_auroc > chosen.max_softmax_auroc,
        Selection::Best => takes_over(candidate.auroc > chosen.auroc),
        Selection::Paper => takes_over(candidate.detection_error < chosen.detection_error),
    };
    if better { new } else { old }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The epoch selected from epochs of (accuracy, AUROC); detection errors fall as AUROCs rise.
    fn selected(selection: Selection, epochs: &[(f64, f64)]) -> usize {
        let epochs: Vec<Validation> = epochs
            .iter()
            .map(|&(accuracy, auroc)| Validation {
                accuracy,
                auroc,
                detection_error: 1.0 - auroc,
                max_softmax_auroc: auroc,
            })
            .collect();
        let mut chosen = None;
        for (index, epoch) in epochs.iter().enumerate() {
            chosen = Some(select(selection, &epochs[..index], chosen, epoch));
        }
        chosen.unwrap()
    }

    #[test]
    fn the_last_epoch_is_the_last() {
        assert_eq!(selected(Selection::Last, &[(0.9, 0.9), (0.1, 0.1)]), 2);
    }

    #[test]
    fn the_reference_looks_at_detection_alone() {
        assert_eq!(selected(Selection::Reference, &[(0.5, 0.9), (0.9, 0.8)]), 1);
    }

    #[test]
    fn an_accurate_epoch_replaces_one_that_falls_behind() {
        for selection in [Selection::Best, Selection::Paper] {
            assert_eq!(selected(selection, &[(0.5, 0.9), (0.9, 0.8)]), 2);
        }
    }

    #[test]
    fn among_accurate_epochs_detection_decides() {
        for selection in [Selection::Best, Selection::Paper] {
            assert_eq!(selected(selection, &[(0.9, 0.8), (0.89, 0.9), (0.905, 0.85)]), 2);
            assert_eq!(selected(selection, &[(0.9, 0.8), (0.85, 0.9)]), 1);
        }
    }
}
