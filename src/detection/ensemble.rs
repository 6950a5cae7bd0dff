//! The ensemble: images in, per-fold logits before and after the perturbation out, and from those every score.

use std::cell::OnceCell;

use burn::tensor::{Device, Tensor, TensorData};
use serde::{Deserialize, Serialize};

use crate::{
    detection::{
        odin::{Odin, perturb},
        scores,
    },
    error::Result,
    fold::Fold,
    images::image::{CHANNELS, Normalisation},
    network::{Classifier, input::image_tensor},
};

/// One fold's classifier, ready for scoring.
pub struct Member {
    /// Its split of the classes.
    pub fold: Fold,
    /// See [`Classifier::ready`].
    classifier: Classifier,
}

/// One member's logits for some images.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FoldOutputs {
    /// `[n, kept classes]`, of the images as given.
    pub logits: Vec<f32>,
    /// `[n, kept classes]`, of the perturbed images; empty where none were made, and their scores are those of the images as given.
    pub perturbed: Vec<f32>,
}

impl FoldOutputs {
    /// The logits that ELOC scores.
    fn scored(&self) -> &[f32] {
        if self.perturbed.is_empty() { &self.logits } else { &self.perturbed }
    }

    /// Appends another batch's outputs.
    pub fn extend(&mut self, other: &FoldOutputs) {
        self.logits.extend_from_slice(&other.logits);
        self.perturbed.extend_from_slice(&other.perturbed);
    }
}

/// What one member's perturbation does to one image.
#[derive(Clone, Debug, PartialEq)]
pub struct Explanation {
    /// Logits before and after.
    pub outputs: FoldOutputs,
    /// `[3, 32, 32]`, gradient of the loss with respect to the normalised image.
    pub gradient: Vec<f32>,
    /// `[3, 32, 32]`, what was added, in pixel space, where an image spans 0 to 1.
    pub step: Vec<f32>,
}

impl Member {
    /// Of a network made with [`burn::module::Module::valid`], for scoring on `device`; see [`Classifier::ready`].
    pub fn new(fold: Fold, classifier: Classifier, device: &Device) -> Self {
        Member { fold, classifier: classifier.ready(device) }
    }

    /// Logits of `images` `[n, 3, 32, 32]` u8, before and after the perturbation; an epsilon of 0 takes one forward pass.
    ///
    /// # Errors
    /// [`crate::error::Error::Device`] when the device fails.
    pub async fn outputs(
        &self,
        images: &[u8],
        odin: &Odin,
        normalisation: &Normalisation,
        device: &Device,
    ) -> Result<FoldOutputs> {
        let images = image_tensor(images, normalisation, device);
        if odin.epsilon == 0.0 {
            let logits = read(self.classifier.forward(images)).await?;
            return Ok(FoldOutputs { perturbed: logits.clone(), logits });
        }
        let perturbed = perturb(&self.classifier, images, odin, normalisation);
        let after = self.classifier.forward(perturbed.images);
        Ok(FoldOutputs { logits: read(perturbed.logits).await?, perturbed: read(after).await? })
    }

    /// The perturbation of one image `[3, 32, 32]` u8 in full.
    ///
    /// # Errors
    /// [`crate::error::Error::Device`] when the device fails.
    pub async fn explain(
        &self,
        image: &[u8],
        odin: &Odin,
        normalisation: &Normalisation,
        device: &Device,
    ) -> Result<Explanation> {
        let image = image_tensor(image, normalisation, device);
        let perturbed = perturb(&self.classifier, image.clone(), odin, normalisation);
        let std = Tensor::<1>::from_floats(normalisation.std, device).reshape([1, CHANNELS, 1, 1]);
        let step = (perturbed.images.clone() - image) * std;
        let after = self.classifier.forward(perturbed.images);
        Ok(Explanation {
            outputs: FoldOutputs { logits: read(perturbed.logits).await?, perturbed: read(after).await? },
            gradient: read(perturbed.gradient).await?,
            step: read(step).await?,
        })
    }

    /// Logits of `images` `[n, 3, 32, 32]` u8, `[n, kept classes]`; not for a browser, where reading has to wait.
    ///
    /// # Errors
    /// [`crate::error::Error::Device`] when the device fails.
    pub fn logits(&self, images: &[u8], normalisation: &Normalisation, device: &Device) -> Result<Vec<f32>> {
        Ok(values(self.classifier.forward(image_tensor(images, normalisation, device)).try_into_data()?))
    }
}

async fn read<const D: usize>(tensor: Tensor<D>) -> Result<Vec<f32>> {
    Ok(values(tensor.into_data_async().await?))
}

fn values(data: TensorData) -> Vec<f32> {
    data.try_to_vec().expect("logits and gradients are single precision")
}

/// A score of the ensemble or of its networks; higher is more in-distribution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Score {
    /// Sum over folds of max softmax minus entropy of the perturbed image (Vyas et al. 2018, algorithm 2).
    Eloc,
    /// Max softmax minus entropy of the folds' [pooled logits](scores::pooled_logits) of the perturbed image.
    ///
    /// Departs from algorithm 2, which sums the scores of all folds: of a known image always one fold has left out the class, and
    /// its score is low. Here a class is judged by the folds that know it.
    ElocPooled,
    /// The same without perturbation.
    ElocUnperturbed,
    /// ODIN on the first fold: max softmax of the perturbed image at temperature T (Liang et al. 2018).
    OdinFold1,
    /// Maximum of the folds' mean softmax (Hendrycks & Gimpel 2017; Lakshminarayanan et al. 2017).
    MaxSoftmax,
    /// Mean over folds of the largest logit (Hendrycks et al. 2022).
    MaxLogit,
    /// Mean over folds of logsumexp of the logits (Liu et al. 2020).
    Energy,
    /// Negative entropy of the folds' mean softmax.
    Entropy,
    /// Generalised entropy of the folds' mean softmax (Liu et al. 2023).
    Gen,
}

impl Score {
    /// Every score, the ensemble's own first.
    pub const ALL: [Score; 9] = [
        Score::Eloc,
        Score::ElocPooled,
        Score::ElocUnperturbed,
        Score::OdinFold1,
        Score::MaxSoftmax,
        Score::MaxLogit,
        Score::Energy,
        Score::Entropy,
        Score::Gen,
    ];

    /// Name in tables.
    pub fn label(self) -> &'static str {
        match self {
            Score::Eloc => "ELOC",
            Score::ElocPooled => "ELOC, pooled",
            Score::ElocUnperturbed => "ELOC, epsilon 0",
            Score::OdinFold1 => "ODIN, first fold",
            Score::MaxSoftmax => "max softmax",
            Score::MaxLogit => "max logit",
            Score::Energy => "energy",
            Score::Entropy => "entropy",
            Score::Gen => "GEN",
        }
    }
}

/// Every score of some images.
#[derive(Clone, Debug, PartialEq)]
pub struct Scores([Vec<f64>; Score::ALL.len()]);

impl Scores {
    /// No scores, with room for those of so many images.
    pub fn with_capacity(images: usize) -> Self {
        Scores(Score::ALL.map(|_| Vec::with_capacity(images)))
    }

    /// One score, `[n]`.
    pub fn of(&self, score: Score) -> &[f64] {
        // Scores are declared in the order of `ALL`.
        &self.0[score as usize]
    }

    /// Appends other images' scores.
    pub fn extend(&mut self, other: &Scores) {
        self.0.iter_mut().zip(&other.0).for_each(|(scores, others)| scores.extend_from_slice(others));
    }
}

/// The logits of every fold for one image set, from which all scores follow.
pub struct Outputs<'a> {
    /// Number of classes of the data set.
    pub classes: usize,
    /// Softmax temperature T of the perturbed scores.
    pub temperature: f64,
    /// Each fold and its logits; all of the same images.
    pub folds: Vec<(&'a Fold, &'a FoldOutputs)>,
}

impl Outputs<'_> {
    /// Number of images.
    pub fn len(&self) -> usize {
        self.folds.first().map_or(0, |(fold, outputs)| outputs.logits.len() / fold.kept.len())
    }

    /// Whether there is no image.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// One score for each image.
    pub fn scores(&self, score: Score) -> Vec<f64> {
        let [scores] = self.each([score]);
        scores
    }

    /// Every score of each image.
    pub fn all_scores(&self) -> Scores {
        Scores(self.each(Score::ALL))
    }

    /// Some scores, each of all images.
    pub fn each<const N: usize>(&self, scores: [Score; N]) -> [Vec<f64>; N] {
        let mut all = scores.map(|_| Vec::with_capacity(self.len()));
        for index in 0..self.len() {
            let image = Image { outputs: self, index, mean_softmax: OnceCell::new() };
            all.iter_mut().zip(scores).for_each(|(all, score)| all.push(image.score(score)));
        }
        all
    }

    /// Each fold's own score, `[folds][n]`; their sum is [`Score::Eloc`].
    pub fn fold_scores(&self) -> Vec<Vec<f64>> {
        let scores = |&(fold, outputs): &(&Fold, &FoldOutputs)| {
            let rows = outputs.scored().chunks_exact(fold.kept.len());
            rows.map(|logits| scores::eloc(logits, self.temperature)).collect()
        };
        self.folds.iter().map(scores).collect()
    }

    /// Probability of each class, `[classes]`, of one image as given: softmax of the folds' [pooled
    /// logits](scores::pooled_logits).
    pub fn class_probabilities(&self, image: usize) -> Vec<f64> {
        let logits: Vec<(&Fold, &[f32])> = self.logits(image).collect();
        scores::softmax(&scores::pooled_logits(&logits, self.classes), 1.0)
    }

    /// Most probable class of each image.
    pub fn predictions(&self) -> Vec<usize> {
        (0..self.len()).map(|image| argmax(&self.class_probabilities(image))).collect()
    }

    /// Accuracy of each fold, 0 to 1, on the images of its kept classes, where there are any; `labels` are the images'
    /// classes.
    pub fn fold_accuracies(&self, labels: &[u16]) -> Vec<Option<f64>> {
        let accuracy = |&(fold, outputs): &(&Fold, &FoldOutputs)| {
            let (mut kept, mut correct) = (0, 0);
            for (image, &label) in labels.iter().enumerate() {
                if let Some(expected) = fold.logit(usize::from(label)) {
                    kept += 1;
                    correct += u32::from(argmax(row(&outputs.logits, fold.kept.len(), image)) == expected);
                }
            }
            (kept > 0).then(|| f64::from(correct) / f64::from(kept))
        };
        self.folds.iter().map(accuracy).collect()
    }

    fn logits(&self, image: usize) -> impl Iterator<Item = (&Fold, &[f32])> {
        self.folds.iter().map(move |(fold, outputs)| (*fold, row(&outputs.logits, fold.kept.len(), image)))
    }

    fn perturbed(&self, image: usize) -> impl Iterator<Item = (&Fold, &[f32])> {
        self.folds.iter().map(move |(fold, outputs)| (*fold, row(outputs.scored(), fold.kept.len(), image)))
    }
}

/// One of the images, and what several of its scores begin with.
struct Image<'a> {
    outputs: &'a Outputs<'a>,
    index: usize,
    mean_softmax: OnceCell<Vec<f64>>,
}

impl Image<'_> {
    fn score(&self, score: Score) -> f64 {
        let &Image { outputs, index, .. } = self;
        let mean = |of: fn(&[f32]) -> f64| -> f64 {
            outputs.logits(index).map(|(_, logits)| of(logits)).sum::<f64>() / outputs.folds.len() as f64
        };
        let eloc = |logits: &[f32]| scores::eloc(logits, outputs.temperature);
        match score {
            Score::Eloc => outputs.perturbed(index).map(|(_, logits)| eloc(logits)).sum(),
            Score::ElocPooled => {
                let logits: Vec<(&Fold, &[f32])> = outputs.perturbed(index).collect();
                scores::eloc(&scores::pooled_logits(&logits, outputs.classes), outputs.temperature)
            }
            Score::ElocUnperturbed => outputs.logits(index).map(|(_, logits)| eloc(logits)).sum(),
            Score::OdinFold1 => {
                let first = outputs.perturbed(index).next();
                first.map_or(0.0, |(_, logits)| scores::max_softmax(logits, outputs.temperature))
            }
            Score::MaxSoftmax => self.mean_softmax().iter().copied().fold(0.0, f64::max),
            Score::MaxLogit => mean(scores::max_logit),
            Score::Energy => mean(|logits| scores::energy(logits, 1.0)),
            Score::Entropy => -scores::entropy(self.mean_softmax()),
            Score::Gen => scores::gen_score(self.mean_softmax()),
        }
    }

    fn mean_softmax(&self) -> &[f64] {
        self.mean_softmax.get_or_init(|| {
            let logits: Vec<(&Fold, &[f32])> = self.outputs.logits(self.index).collect();
            scores::mean_softmax(&logits, self.outputs.classes)
        })
    }
}

/// Index of the largest value, the first of equal ones.
pub fn argmax<T: PartialOrd>(values: &[T]) -> usize {
    (0..values.len()).fold(0, |best, index| if values[index] > values[best] { index } else { best })
}

fn row(values: &[f32], width: usize, index: usize) -> &[f32] {
    &values[index * width..][..width]
}

#[cfg(test)]
mod tests {
    use burn::module::Module;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::{images::synthetic, network::Network};

    fn fold(number: usize, left_out: usize, kept: [usize; 2]) -> Fold {
        Fold { number, left_out: vec![left_out], kept: kept.to_vec() }
    }

    /// Two images and two folds of three classes; logits before and after the perturbation.
    fn with_outputs(check: impl Fn(&Outputs)) {
        let folds = [fold(1, 2, [1, 0]), fold(2, 0, [2, 1])];
        let outputs = [
            FoldOutputs { logits: vec![0.0, 3.0, 1.0, 1.0], perturbed: vec![0.0, 4.0, 1.0, 2.0] },
            FoldOutputs { logits: vec![1.0, 0.0, 0.0, 2.0], perturbed: vec![2.0, 0.0, 0.0, 3.0] },
        ];
        check(&Outputs { classes: 3, temperature: 10.0, folds: folds.iter().zip(&outputs).collect() });
    }

    #[test]
    fn an_epsilon_of_0_leaves_the_logits_as_they_are() {
        let device = Device::flex();
        let network: Network = "compact-4-4-4".parse().unwrap();
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let classifier = network.init(2, Default::default(), &mut rng, &device).valid();
        let member = Member::new(fold(1, 2, [1, 0]), classifier, &device);
        let (images, normalisation) = (synthetic::uniform_noise(0..3, 1).images, Normalisation::default());
        let outputs = |epsilon| {
            let odin = Odin { epsilon, ..Odin::default() };
            pollster::block_on(member.outputs(&images, &odin, &normalisation, &device)).unwrap()
        };
        let (without, with) = (outputs(0.0), outputs(0.01));
        assert_eq!(without.logits, member.logits(&images, &normalisation, &device).unwrap());
        assert_eq!(without.perturbed, without.logits);
        assert!(with.logits.iter().zip(&without.logits).all(|(a, b)| (a - b).abs() < 1e-5));
        assert_ne!(with.perturbed, with.logits);
    }

    #[test]
    fn the_score_is_the_sum_of_the_folds_scores_of_the_perturbed_image() {
        with_outputs(|outputs| {
            let expected = [
                scores::eloc(&[0.0, 4.0], 10.0) + scores::eloc(&[2.0, 0.0], 10.0),
                scores::eloc(&[1.0, 2.0], 10.0) + scores::eloc(&[0.0, 3.0], 10.0),
            ];
            assert_eq!(outputs.scores(Score::Eloc), expected);
            let folds = outputs.fold_scores();
            assert_eq!([folds[0][0] + folds[1][0], folds[0][1] + folds[1][1]], expected);
        });
    }

    #[test]
    fn all_scores_are_each_score_of_all_images() {
        with_outputs(|outputs| {
            let mut twice = Scores::with_capacity(2 * outputs.len());
            (0..2).for_each(|_| twice.extend(&outputs.all_scores()));
            for score in Score::ALL {
                assert_eq!(twice.of(score), outputs.scores(score).repeat(2), "{score:?}");
            }
        });
    }

    #[test]
    fn probabilities_are_those_of_the_folds_that_know_a_class() {
        with_outputs(|outputs| {
            // Logits 0, 3 of the classes 1, 0 and 1, 0 of the classes 2, 1.
            let [a, b] = [3.0f64, 1.0].map(|x| ((1.0 + (-x).exp()).recip(), (1.0 + x.exp()).recip()));
            let unscaled = [a.0, (a.1 * b.1).sqrt(), b.0];
            let sum: f64 = unscaled.iter().sum();
            for (found, expected) in outputs.class_probabilities(0).into_iter().zip(unscaled) {
                assert!((found - expected / sum).abs() < 1e-14);
            }
            assert_eq!(outputs.predictions(), [0, 1]);
        });
    }

    #[test]
    fn the_pooled_score_is_the_score_of_the_pooled_logits_of_the_perturbed_image() {
        with_outputs(|outputs| {
            let ln_sigmoid = |x: f64| -(-x).exp().ln_1p();
            // Of the first image 0, 4 and 2, 0.
            let pooled = [ln_sigmoid(4.0), (ln_sigmoid(-4.0) + ln_sigmoid(-2.0)) / 2.0, ln_sigmoid(2.0)];
            let expected = scores::eloc(&pooled, 10.0);
            assert!((outputs.scores(Score::ElocPooled)[0] - expected).abs() < 1e-14);
        });
    }

    #[test]
    fn a_fold_is_measured_on_its_kept_classes() {
        // Fold 1 never saw class 2, fold 2 never saw class 0.
        with_outputs(|outputs| assert_eq!(outputs.fold_accuracies(&[0, 1]), [Some(1.0), Some(1.0)]));
        with_outputs(|outputs| assert_eq!(outputs.fold_accuracies(&[1, 2]), [Some(0.0), Some(0.0)]));
        with_outputs(|outputs| assert_eq!(outputs.fold_accuracies(&[2, 2]), [None, Some(0.5)]));
    }

    #[test]
    fn the_other_scores_are_their_formulas() {
        with_outputs(|outputs| {
            let p = scores::mean_softmax(&outputs.logits(1).collect::<Vec<_>>(), outputs.classes);
            for (score, expected) in [
                (Score::MaxSoftmax, p.iter().copied().fold(0.0, f64::max)),
                (Score::OdinFold1, scores::max_softmax(&[1.0, 2.0], 10.0)),
                (Score::MaxLogit, (1.0 + 2.0) / 2.0),
                (Score::Energy, (scores::energy(&[1.0, 1.0], 1.0) + scores::energy(&[0.0, 2.0], 1.0)) / 2.0),
                (Score::Entropy, -scores::entropy(&p)),
                (Score::Gen, scores::gen_score(&p)),
            ] {
                assert_eq!(outputs.scores(score)[1], expected, "{score:?}");
            }
        });
    }
}
