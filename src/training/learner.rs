//! One network in training: a batch in, an updated network out.

use burn::{
    module::ParamGroup,
    optim::{GradientsParams, ModuleOptimizer},
    tensor::{Device, Int, Tensor, TensorData},
};
use rand_chacha::ChaCha8Rng;

#[cfg(feature = "libtorch")]
use crate::network::torch::graph::Graph;
use crate::{
    error::Result,
    images::image::{Normalisation, PIXELS},
    network::{Classifier, Network, input::image_tensor},
    training::{
        loss::{margin_entropy_loss, one_hot},
        recipe::Recipe,
        sgd::Sgd,
    },
};

/// One step's images and labels.
#[derive(Clone, Debug)]
pub struct Batch {
    /// `[n, 3, 32, 32]` u8 images of kept classes.
    pub kept: Vec<u8>,
    /// `[n]` logit indices.
    pub labels: Vec<i64>,
    /// `[n, kept classes]` probabilities that take the labels' place in the cross-entropy, where there is a teacher.
    pub targets: Option<Vec<f32>>,
    /// `[m, 3, 32, 32]` u8 images of left-out classes; none where the recipe does without.
    pub left_out: Option<Vec<u8>>,
    /// `[k, 3, 32, 32]` u8 images that are made, of no class.
    pub outliers: Option<Vec<u8>>,
}

/// A network with its optimiser and the sums since they were last read.
pub struct Learner {
    /// The network, on an autodiff device.
    pub model: Classifier,
    /// Its optimiser.
    pub optimizer: ModuleOptimizer,
    recipe: Recipe,
    normalisation: Normalisation,
    device: Device,
    /// `[1]`, kept on the device until they are read.
    total_loss: Tensor<1>,
    correct: Tensor<1>,
    images: usize,
    steps: usize,
}

impl Learner {
    /// A fresh network with `classes` logits on the plain device `device`, its weights drawn from `rng`.
    pub fn new(
        network: &Network,
        classes: usize,
        recipe: &Recipe,
        normalisation: Normalisation,
        rng: &mut ChaCha8Rng,
        device: &Device,
    ) -> Self {
        let autodiff = device.clone().autodiff();
        let mut model = network.init(classes, recipe.mode(), rng, &autodiff);
        for norm in model.batch_norms_mut() {
            norm.momentum = recipe.batch_norm_momentum;
        }
        let sgd = |factor: f64| Sgd::new(factor, recipe.momentum, recipe.nesterov, recipe.weight_decay / factor);
        let biases = ParamGroup::from_predicate("beta");
        Learner {
            model,
            optimizer: ModuleOptimizer::from(sgd(1.0)).with_group(biases, sgd(recipe.bias_factor), None),
            recipe: recipe.clone(),
            normalisation,
            total_loss: Tensor::zeros([1], device),
            correct: Tensor::zeros([1], device),
            images: 0,
            steps: 0,
            device: autodiff,
        }
    }

    /// One update, after forward passes that each have their own batch statistics, or one of all images with those of the kept ones.
    pub fn step(&mut self, batch: &Batch, learning_rate: f64) {
        let labels = Tensor::<1, Int>::from_data(TensorData::from(batch.labels.as_slice()), &self.device);
        let (loss, kept, gradients) = self.gradients(batch);
        self.add(loss.inner(), kept.inner(), labels.inner());
        self.model = self.optimizer.step(learning_rate, self.model.clone(), gradients);
    }

    /// Loss, kept-class logits and the parameters' gradients of one batch.
    fn gradients(&self, batch: &Batch) -> (Tensor<1>, Tensor<2>, GradientsParams) {
        #[cfg(feature = "libtorch")]
        if let Some(mut graph) = Graph::new(&self.model) {
            let (loss, kept) = self.loss(batch, |images, counted| graph.forward(self.tensor(images), counted));
            return (loss.clone(), kept, graph.gradients(&loss.backward()));
        }
        let (loss, kept) =
            self.loss(batch, |images, counted| self.model.forward_counting(self.tensor(images), counted));
        (loss.clone(), kept, GradientsParams::from_grads(loss.backward(), &self.model))
    }

    /// Loss and kept-class logits of one batch; `forward` gives the logits of images with the batch statistics of the first so many.
    fn loss(&self, batch: &Batch, mut forward: impl FnMut(&[u8], usize) -> Tensor<2>) -> (Tensor<1>, Tensor<2>) {
        let Batch { kept, labels, targets, left_out, outliers } = batch;
        let sides = [Some(kept), left_out.as_ref(), outliers.as_ref()].into_iter().flatten().map(Vec::as_slice);
        let logits = match self.recipe.one_batch {
            true => forward(&sides.collect::<Vec<_>>().concat(), labels.len()),
            false => Tensor::cat(sides.map(|images| forward(images, images.len() / PIXELS)).collect(), 0),
        };
        let [_, classes] = logits.dims();
        let targets = targets.clone().unwrap_or_else(|| one_hot(labels, classes));
        let targets = Tensor::from_data(TensorData::new(targets, [labels.len(), classes]), &self.device);
        let left_out = left_out.as_ref().map_or(0, |images| images.len() / PIXELS);
        let kept = logits.clone().narrow(0, 0, labels.len());
        (margin_entropy_loss(logits, targets, left_out, self.recipe.loss), kept)
    }

    /// Logits `[n, classes]` of `images` `[n, 3, 32, 32]` u8 from `model` in training mode, which also moves its batch
    /// statistics.
    pub fn forward(&self, model: &Classifier, images: &[u8]) -> Tensor<2> {
        #[cfg(feature = "libtorch")]
        if let Some(mut graph) = Graph::new(model) {
            return tch::no_grad(|| graph.forward(self.tensor(images), images.len() / PIXELS));
        }
        model.forward(self.tensor(images))
    }

    fn tensor(&self, images: &[u8]) -> Tensor<4> {
        image_tensor(images, &self.normalisation, &self.device)
    }

    /// Reads the sums over the steps since the last reading, which waits for the device, and starts anew.
    ///
    /// # Errors
    /// [`crate::error::Error::Device`] when the device fails.
    pub fn take_totals(&mut self) -> Result<Totals> {
        let zero = Tensor::zeros_like(&self.total_loss);
        let read = |sum: &mut Tensor<1>| -> Result<f64> {
            let data = std::mem::replace(sum, zero.clone()).try_into_data()?;
            let values: Vec<f32> = data.try_to_vec().expect("sums are single precision");
            Ok(f64::from(values[0]))
        };
        Ok(Totals {
            loss: read(&mut self.total_loss)?,
            correct: read(&mut self.correct)?,
            images: std::mem::take(&mut self.images) as f64,
            steps: std::mem::take(&mut self.steps) as f64,
        })
    }

    fn add(&mut self, loss: Tensor<1>, logits: Tensor<2>, labels: Tensor<1, Int>) {
        let [images, _] = logits.dims();
        let correct = logits.argmax(1).squeeze_dim::<1>(1).equal(labels);
        self.total_loss = self.total_loss.clone() + loss;
        self.correct = self.correct.clone() + correct.float().sum();
        self.images += images;
        self.steps += 1;
    }
}

/// Sums over steps.
#[derive(Clone, Copy, Debug, Default)]
pub struct Totals {
    loss: f64,
    correct: f64,
    images: f64,
    steps: f64,
}

impl Totals {
    /// Mean loss of a step.
    pub fn loss(&self) -> f64 {
        self.loss / self.steps
    }

    /// Accuracy on the kept-class images, 0 to 1.
    pub fn accuracy(&self) -> f64 {
        self.correct / self.images
    }

    /// Adds later steps.
    pub fn add(&mut self, later: &Totals) {
        self.loss += later.loss;
        self.correct += later.correct;
        self.images += later.images;
        self.steps += later.steps;
    }
}

#[cfg(test)]
mod tests {
    use burn::module::Module;
    use rand::{Rng, SeedableRng};
    use safetensors::SafeTensors;

    use super::*;

    fn learner(seed: u64) -> Learner {
        learner_of("compact-8-8-8", &Device::flex(), seed)
    }

    fn learner_of(network: &str, device: &Device, seed: u64) -> Learner {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let network = network.parse().unwrap();
        Learner::new(&network, 3, &Recipe::quick(), Normalisation::default(), &mut rng, device)
    }

    fn batch() -> Batch {
        let mut rng = ChaCha8Rng::seed_from_u64(9);
        let mut image = |level: u8| -> Vec<u8> { (0..PIXELS).map(|_| level + rng.random_range(0..60)).collect() };
        Batch {
            kept: (0..12).flat_map(|index| image(30 + 80 * (index % 3) as u8)).collect(),
            labels: (0..12).map(|index| index % 3).collect(),
            targets: None,
            left_out: Some((0..6).flat_map(|_| image(5)).collect()),
            outliers: None,
        }
    }

    #[test]
    fn some_steps_lower_the_loss() {
        let (mut learner, batch) = (learner(1), batch());
        let mut losses = Vec::new();
        for _ in 0..30 {
            learner.step(&batch, 0.1);
            losses.push(learner.take_totals().unwrap().loss());
        }
        assert!(losses[29] < 0.5 * losses[0], "{losses:?}");
    }

    #[test]
    fn totals_are_means_over_the_steps_since_the_last_reading() {
        let (mut learner, batch) = (learner(1), batch());
        learner.step(&batch, 0.0);
        let one = learner.take_totals().unwrap();
        learner.step(&batch, 0.0);
        learner.step(&batch, 0.0);
        let two = learner.take_totals().unwrap();
        // Without an update each step sees the same network; batch statistics do not depend on the running ones.
        assert!((one.loss() - two.loss()).abs() < 1e-6);
        assert_eq!(one.accuracy(), two.accuracy());
    }

    /// Others are normalised by their own statistics, as in the published code, or in one batch by those of the kept images, which
    /// they do not change.
    #[test]
    fn kept_images_are_normalised_by_themselves() {
        let (mut learner, both) = (learner(1), batch());
        let kept_alone = Batch { left_out: None, ..batch() };
        let outliers = Batch { outliers: both.left_out.clone(), ..kept_alone.clone() };
        let [one_batch, separate] = [true, false].map(|one_batch| {
            learner.recipe.one_batch = one_batch;
            let found = [&kept_alone, &both, &outliers].map(|batch| {
                let (loss, kept, _) = learner.gradients(batch);
                (loss.into_data(), kept.into_data())
            });
            assert!(found.iter().all(|(_, kept)| *kept == found[0].1));
            found.map(|(loss, _)| loss)
        });
        assert_eq!(one_batch[0], separate[0]);
        assert!(one_batch[1] != separate[1] && one_batch[2] != separate[2]);
    }

    /// What the first step of `recipe` adds to each tensor.
    fn first_step(recipe: Recipe) -> Vec<(String, Vec<f64>)> {
        let mut learner = Learner::new(
            &"compact-8-8-8".parse().unwrap(),
            3,
            &recipe,
            Normalisation::default(),
            &mut ChaCha8Rng::seed_from_u64(1),
            &Device::flex(),
        );
        let tensors = |model: &Classifier| -> Vec<(String, Vec<f64>)> {
            let bytes = crate::network::tensors::to_exact_bytes(&model.clone().valid()).unwrap();
            let file = SafeTensors::deserialize(&bytes).unwrap();
            let value = |bytes: &[u8]| f64::from(f32::from_le_bytes(bytes.try_into().unwrap()));
            let mut tensors: Vec<_> = file
                .tensors()
                .into_iter()
                .map(|(name, tensor)| (name, tensor.data().chunks_exact(4).map(value).collect()))
                .collect();
            tensors.sort_by(|a: &(String, Vec<f64>), b| a.0.cmp(&b.0));
            tensors
        };
        let before = tensors(&learner.model);
        learner.step(&batch(), 0.01);
        let after = tensors(&learner.model);
        let added = |(before, after): (Vec<f64>, Vec<f64>)| before.iter().zip(after).map(|(b, a)| a - b).collect();
        before.into_iter().zip(after).map(|((name, before), (_, after))| (name, added((before, after)))).collect()
    }

    /// PyTorch's velocity begins as the gradient: Nesterov's momentum makes the first step 1 + m times as long. The factor is
    /// for the biases of the batch norms alone.
    #[test]
    fn momentum_and_bias_factor_scale_the_first_step() {
        let recipe = Recipe { momentum: 0.9, nesterov: false, bias_factor: 1.0, ..Recipe::quick() };
        let plain = first_step(recipe.clone());
        let scaled = first_step(Recipe { nesterov: true, bias_factor: 16.0, ..recipe });
        let is_moved = |step: &[f64]| step.iter().any(|value| value.abs() > 1e-6);
        for beta in [true, false] {
            assert!(
                plain
                    .iter()
                    .any(|(name, step)| name.contains("bn") && name.ends_with("beta") == beta && is_moved(step))
            );
        }
        for ((name, plain), (_, scaled)) in plain.iter().zip(&scaled) {
            let factor = match name {
                name if name.contains("running") => 1.0,
                name if name.ends_with("beta") => 1.9 * 16.0,
                _ => 1.9,
            };
            let largest = scaled.iter().map(|value| value.abs()).fold(1e-6, f64::max);
            for (plain, scaled) in plain.iter().zip(scaled) {
                assert!((factor * plain - scaled).abs() < 1e-3 * largest, "{name}: {plain} {scaled}");
            }
        }
    }

    /// The losses of some steps, which are PyTorch's, as are the statistics and logits after them; its kernels sum in another order.
    #[cfg(feature = "libtorch")]
    #[allow(deprecated, reason = "as in model/torch.rs")]
    fn losses_as_in_pytorch(network: &str, one_batch: bool, rate: f64, steps: usize) -> Vec<f64> {
        use burn::tensor::Tolerance;

        use crate::training::loss::MarginEntropy;

        let course = |device: &Device| {
            let (mut learner, batch) = (learner_of(network, device, 1), batch());
            (learner.recipe.one_batch, learner.recipe.loss) = (one_batch, MarginEntropy::default());
            let losses: Vec<f64> = (0..steps)
                .map(|_| {
                    learner.step(&batch, rate);
                    learner.take_totals().unwrap().loss()
                })
                .collect();
            let statistics: Vec<TensorData> = learner
                .model
                .batch_norms_mut()
                .into_iter()
                .flat_map(|norm| [&norm.running_mean, &norm.running_var].map(|state| state.value_sync().into_data()))
                .collect();
            (losses, statistics, learner.forward(&learner.model, &batch.kept).into_data())
        };
        let (losses, statistics, logits) = course(&Device::flex());
        let (torch_losses, torch_statistics, torch_logits) = course(&Device::libtorch());
        for (loss, torch) in losses.iter().zip(&torch_losses) {
            assert!((loss - torch).abs() < 1e-4 * loss, "{network}: {losses:?} {torch_losses:?}");
        }
        for (state, torch) in statistics.iter().zip(&torch_statistics) {
            state.assert_approx_eq::<f32>(torch, Tolerance::rel_abs(1e-3, 1e-4));
        }
        logits.assert_approx_eq::<f32>(&torch_logits, Tolerance::rel_abs(1e-3, 1e-4));
        losses
    }

    #[cfg(feature = "libtorch")]
    #[test]
    fn pytorch_takes_the_same_steps() {
        // The kinks of many layers soon make more of the last digits.
        for (network, rate, steps) in [("compact-8-8-8", 0.3, 8), ("densenet-bc-10-4", 0.03, 3), ("wrn-10-1", 0.03, 3)]
        {
            let losses = losses_as_in_pytorch(network, false, rate, steps);
            assert!(losses[steps - 1] < 0.9 * losses[0], "{network}: {losses:?}");
        }
    }

    /// The statistics of the kept images alone make more of the last digits.
    #[cfg(feature = "libtorch")]
    #[test]
    fn pytorch_takes_the_same_steps_of_one_batch() {
        for network in ["compact-8-8-8", "densenet-bc-10-4", "wrn-10-1"] {
            let losses = losses_as_in_pytorch(network, true, 0.01, 2);
            assert!(losses[1] < losses[0], "{network}: {losses:?}");
        }
    }
}
