//! ODIN's input perturbation (Liang et al. 2018): a small step that raises the network's confidence, more so for
//! in-distribution images.

use std::fmt;

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use crate::{
    images::image::Normalisation,
    network::{Classifier, kernels::head},
};

/// Which loss the step descends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GradientMode {
    /// Cross-entropy of softmax(z/T) to argmax z, as ODIN and the method's published code do.
    #[default]
    CrossEntropy,
    /// Entropy of softmax(z/T), as the paper writes it.
    Entropy,
}

impl fmt::Display for GradientMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            GradientMode::CrossEntropy => "cross-entropy",
            GradientMode::Entropy => "entropy",
        })
    }
}

/// Settings of the perturbation.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Odin {
    /// Softmax temperature T.
    pub temperature: f64,
    /// Magnitude of the step in pixel space, where an image spans 0 to 1.
    pub epsilon: f64,
    /// Which loss the step descends.
    pub gradient: GradientMode,
}

impl Default for Odin {
    /// T = 1000 and epsilon = 0.002, as in section 4.1 of Vyas et al. 2018.
    fn default() -> Self {
        Odin { temperature: 1000.0, epsilon: 0.002, gradient: GradientMode::default() }
    }
}

impl Odin {
    /// Name of the first setting with which no score tells images apart, what was expected, and what was found.
    pub fn refused(&self) -> Option<(&'static str, &'static str, f64)> {
        let Odin { temperature, epsilon, .. } = *self;
        if !(temperature.is_finite() && temperature >= 0.001) {
            Some(("temperature", "a number of at least 0.001", temperature))
        } else if !(0.0..=1.0).contains(&epsilon) {
            Some(("epsilon", "a number from 0 to 1", epsilon))
        } else {
            None
        }
    }
}

/// What [`perturb`] returns.
pub struct Perturbed {
    /// Logits `[n, c]` of the images as given.
    pub logits: Tensor<2>,
    /// The perturbed images `[n, 3, 32, 32]`, normalised, not clamped.
    pub images: Tensor<4>,
    /// Gradient of the loss with respect to the images, `[n, 3, 32, 32]`, up to a positive factor for each image.
    pub gradient: Tensor<4>,
}

/// Moves each image by epsilon / sigma_c against the sign of the loss gradient; the sign of 0 is +1.
///
/// `classifier` must come from [`burn::module::Module::valid`]; `images` are `[n, 3, 32, 32]`, normalised with
/// `normalisation`, on the same plain device and of the classifier's precision.
pub fn perturb(
    classifier: &Classifier,
    images: Tensor<4>,
    settings: &Odin,
    normalisation: &Normalisation,
) -> Perturbed {
    let input = images.clone().autodiff().require_grad();
    let logits = classifier.forward(input.clone());
    let is_entropy = settings.gradient == GradientMode::Entropy;
    let seed = head::descent(logits.clone().inner(), settings.temperature, is_entropy);
    let mut gradients = head::with_gradient(logits.clone(), seed.autodiff()).backward();
    let gradient = input.grad_remove(&mut gradients).expect("the logits depend on the input");
    let step = normalisation.std.map(|std| settings.epsilon as f32 / std);
    let step = Tensor::<1>::from_floats(step, &images.device());
    let images = head::step(images, gradient.clone(), step);
    Perturbed { logits: logits.inner(), images, gradient }
}

#[cfg(test)]
mod tests {
    use burn::{
        module::Module,
        tensor::{Device, TensorData, activation::softmax},
    };
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;
    use serde::Deserialize;

    use super::*;
    use crate::{
        images::image::PIXELS,
        network::{Network, input::image_tensor},
    };

    fn classifier() -> Classifier {
        let network: Network = "wrn-10-1".parse().unwrap();
        network.init(8, Default::default(), &mut ChaCha8Rng::seed_from_u64(3), &Device::flex()).valid()
    }

    fn images(count: usize) -> Vec<u8> {
        let mut rng = ChaCha8Rng::seed_from_u64(4);
        (0..count * PIXELS).map(|_| rng.random()).collect()
    }

    fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
        tensor.to_data().try_to_vec().unwrap()
    }

    /// Up to the positive factor that the sign does not see, both gradients are those of PyTorch in double precision.
    #[test]
    fn loss_gradients_are_those_of_pytorch() {
        #[derive(Deserialize)]
        struct Golden {
            odin: Vec<Case>,
        }
        #[derive(Deserialize)]
        struct Case {
            temperature: f64,
            logits: Vec<Vec<f64>>,
            cross_entropy_grad: Vec<Vec<f64>>,
            entropy_grad: Vec<Vec<f64>>,
        }
        let golden: Golden = serde_json::from_str(include_str!("../../tests/golden/loss.json")).unwrap();
        for case in golden.odin {
            let flat: Vec<f32> = case.logits.concat().into_iter().map(|value| value as f32).collect();
            let shape = [case.logits.len(), case.logits[0].len()];
            let logits = Tensor::<2>::from_data(TensorData::new(flat, shape), &Device::flex());
            for (gradient, expected) in
                [(GradientMode::CrossEntropy, &case.cross_entropy_grad), (GradientMode::Entropy, &case.entropy_grad)]
            {
                let found = values(head::descent(logits.clone(), case.temperature, gradient == GradientMode::Entropy));
                for (found, expected) in found.chunks(shape[1]).zip(expected) {
                    let largest = expected.iter().fold(0f64, |largest, value| largest.max(value.abs()));
                    let factor = expected
                        .iter()
                        .zip(found)
                        .find(|(expected, _)| expected.abs() == largest)
                        .map(|(expected, found)| expected / f64::from(*found))
                        .unwrap();
                    assert!(factor > 0.0);
                    for (found, expected) in found.iter().zip(expected) {
                        // Single precision relative to the largest component, of exponents that grow with 1 / T.
                        let error = (f64::from(*found) * factor - expected).abs();
                        assert!(
                            error < 2e-6 * largest * (1.0 / case.temperature).max(1.0),
                            "{gradient:?} {found} {expected}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn every_pixel_moves_by_epsilon_over_sigma() {
        let normalisation = Normalisation::default();
        for gradient in [GradientMode::CrossEntropy, GradientMode::Entropy] {
            let settings = Odin { gradient, ..Odin::default() };
            let input = image_tensor(&images(4), &normalisation, &Device::flex());
            let perturbed = perturb(&classifier(), input.clone(), &settings, &normalisation);
            let moved = values(perturbed.images - input);
            for (index, moved) in moved.into_iter().enumerate() {
                let step = settings.epsilon as f32 / normalisation.std[index / 1024 % 3];
                // Subtracting from values of order 1 rounds to about 1e-7.
                assert!((moved.abs() - step).abs() < 4e-7, "{moved} {step}");
            }
        }
    }

    /// Logits that do not depend on the image have gradient 0 everywhere, and the sign of 0 is +1.
    #[test]
    fn the_sign_of_zero_is_plus_one() {
        let normalisation = Normalisation::default();
        let network: Network = "compact-4-4-4".parse().unwrap();
        let device = Device::flex();
        let mut classifier = network.init(8, Default::default(), &mut ChaCha8Rng::seed_from_u64(3), &device).valid();
        for norm in classifier.batch_norms_mut() {
            norm.gamma = norm.gamma.clone().map(|gamma| gamma * 0.0);
        }
        let input = image_tensor(&images(2), &normalisation, &device);
        let perturbed = perturb(&classifier, input.clone(), &Odin::default(), &normalisation);
        assert!(values(perturbed.images - input).into_iter().all(|moved| moved < 0.0));
    }

    #[test]
    fn a_step_raises_the_confidence() {
        let normalisation = Normalisation::default();
        let classifier = classifier();
        let input = image_tensor(&images(16), &normalisation, &Device::flex());
        let perturbed = perturb(&classifier, input, &Odin::default(), &normalisation);
        let confidence = |logits: Tensor<2>| values(softmax(logits, 1).max_dim(1));
        let before = confidence(perturbed.logits);
        let after = confidence(classifier.forward(perturbed.images));
        assert!(before.iter().zip(&after).all(|(before, after)| before < after));
    }

    #[test]
    fn an_image_does_not_depend_on_its_batch() {
        let normalisation = Normalisation::default();
        let (classifier, images) = (classifier(), images(5));
        let perturbed = |images: &[u8]| {
            let input = image_tensor(images, &normalisation, &Device::flex());
            let perturbed = perturb(&classifier, input, &Odin::default(), &normalisation);
            values(classifier.forward(perturbed.images))
        };
        let together = perturbed(&images);
        for (image, expected) in images.chunks_exact(PIXELS).zip(together.chunks_exact(8)) {
            // Matrix products of another size may add in another order.
            let alone = perturbed(image);
            assert!(alone.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-5));
        }
    }
}
