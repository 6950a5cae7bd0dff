//! One training step through PyTorch.

use burn::{
    optim::GradientsParams,
    tensor::{Gradients, Tensor},
};
use tch::Kind;

use super::{
    layers::Layers,
    tensor::{burn_tensor, channels_last, torch},
};
use crate::network::Classifier;

/// The forward passes of one training step.
pub(crate) struct Graph<'a> {
    net: &'a Classifier,
    layers: Layers,
    /// Each pass's logits, as PyTorch and as Burn have them.
    passes: Vec<(tch::Tensor, Tensor<2>)>,
}

impl<'a> Graph<'a> {
    /// None where something else than libtorch holds the weights of `net`.
    pub(crate) fn new(net: &'a Classifier) -> Option<Self> {
        let weight = match net {
            Classifier::Compact(net) => net.fc.weight.val(),
            Classifier::DenseNet(net) => net.fc.weight.val(),
            Classifier::WideResNet(net) => net.fc.weight.val(),
        };
        torch(weight).map(|_| Graph { net, layers: Layers::default(), passes: Vec::new() })
    }

    /// Logits `[n, classes]` in training mode of `images` `[n, 3, 32, 32]`, normalised, with the batch statistics of the first
    /// `counted`; also moves the running statistics.
    pub(crate) fn forward(&mut self, images: Tensor<4>, counted: usize) -> Tensor<2> {
        self.layers.counted = counted as i64;
        let images = channels_last(&torch(images).expect("images are where the weights are"));
        let logits = match self.net {
            Classifier::Compact(net) => net.torch(&images, &mut self.layers),
            Classifier::DenseNet(net) => net.torch(&images, &mut self.layers),
            Classifier::WideResNet(net) => net.torch(&images, &mut self.layers),
        };
        let leaf = burn_tensor::<2>(&logits).autodiff().require_grad();
        self.passes.push((logits, leaf.clone()));
        leaf
    }

    /// Gradients of the parameters, from those of the logits of all passes.
    pub(crate) fn gradients(self, gradients: &Gradients) -> GradientsParams {
        for (logits, leaf) in &self.passes {
            let gradient = leaf.grad(gradients).expect("the loss depends on the logits of each pass");
            (logits * torch(gradient).expect("gradients are where the logits are")).sum(Kind::Float).backward();
        }
        let mut result = GradientsParams::new();
        for (id, parameter) in self.layers.parameters.iter().filter(|(_, parameter)| parameter.requires_grad()) {
            let gradient = parameter.grad();
            match gradient.dim() {
                1 => result.register(*id, burn_tensor::<1>(&gradient)),
                2 => result.register(*id, burn_tensor::<2>(&gradient)),
                _ => result.register(*id, burn_tensor::<4>(&gradient)),
            }
        }
        result
    }
}
