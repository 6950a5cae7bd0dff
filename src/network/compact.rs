//! The compact network: small and quick enough to train on a CPU and to run in a browser.
//!
//! A fixed 2 x 2 stem whitens the image's patches; three blocks of two 3 x 3 convolutions, each with one max pooling,
//! follow; the maximum over the last 3 x 3 positions goes to a linear layer. The shape is the one of cifar10-airbench
//! (Jordan 2024), narrower and with ReLU. At widths 64-128-176 it has 0.77 M parameters and takes 58 M multiply-adds an
//! image; what it reached, in how many epochs and minutes, stands in `weights/README.md`.

use burn::{
    module::{Module, Param},
    nn::{BatchNorm, Dropout, Linear},
    tensor::{Device, Tensor, TensorData},
};
use rand_distr::Uniform;

use super::{
    kernels::{TRAINS, head::maximum},
    layers::{Convolution, Init, dropped, linear},
    whitening::{PATCH, whitening_filters},
};

/// The logits are scaled by this, so that training starts from nearly uniform output.
const LOGIT_SCALE: f64 = 1.0 / 9.0;

/// The compact network.
#[derive(Module, Debug)]
pub struct Compact {
    stem: Convolution,
    block1: Block,
    block2: Block,
    block3: Block,
    dropout: Dropout,
    pub(super) fc: Linear,
}

/// conv 3 x 3 - max pool 2 - BN - ReLU - conv 3 x 3 - BN - ReLU.
#[derive(Module, Debug)]
struct Block {
    conv1: Convolution,
    bn1: BatchNorm,
    conv2: Convolution,
    bn2: BatchNorm,
}

impl Compact {
    pub(crate) fn new(widths: [usize; 3], classes: usize, init: &mut Init) -> Self {
        let mut stem = init.conv_from([3, 2 * PATCH], 2, 1, uniform(PATCH));
        stem.weight = stem.weight.set_require_grad(false);
        stem.bias = Some(Param::from_data(TensorData::zeros::<f32, _>([2 * PATCH]), init.device));
        let [a, b, c] = widths;
        Compact {
            stem,
            block1: Block::new([2 * PATCH, a], init),
            block2: Block::new([a, b], init),
            block3: Block::new([b, c], init),
            dropout: init.dropout(),
            fc: init.linear(c, classes, false),
        }
    }

    /// See [`super::Classifier::forward_counting`].
    pub fn forward(&self, images: Tensor<4>, counted: usize) -> Tensor<2> {
        let x = self.stem.relu(images.permute([0, 2, 3, 1])); // [n, 31, 31, 24]
        let x = self.block1.forward(x, counted); // [n, 15, 15, a]
        let x = self.block2.forward(x, counted); // [n, 7, 7, b]
        let x = self.block3.forward(x, counted); // [n, 3, 3, c]
        let features = maximum(x); // [n, c]
        let logits = linear(&self.fc, dropped(&self.dropout, features));
        // Else the linear layer scales.
        if TRAINS && self.stem.ready.is_none() { logits * LOGIT_SCALE } else { logits }
    }

    /// [`Compact::forward`] in PyTorch's layers, while training.
    #[cfg(feature = "libtorch")]
    pub(super) fn torch(&self, images: &tch::Tensor, layers: &mut super::torch::layers::Layers) -> tch::Tensor {
        let x = layers.convolution(&self.stem, images).relu();
        let x = [&self.block1, &self.block2, &self.block3].into_iter().fold(x, |x, block| {
            let x = layers.convolution(&block.conv1, &x).max_pool2d([2, 2], [2, 2], [0, 0], [1, 1], false);
            let x = layers.activation(&block.bn1, &x);
            let x = layers.convolution(&block.conv2, &x);
            layers.activation(&block.bn2, &x)
        });
        let (features, _) = x.flatten(2, 3).to_kind(tch::Kind::Float).max_dim(2, false);
        layers.linear(&self.fc, &layers.dropout(&self.dropout, features)) * LOGIT_SCALE
    }

    /// See [`super::Classifier::ready`].
    pub(super) fn ready(self, device: &Device) -> Self {
        let Compact { stem, block1, block2, block3, dropout, fc } = self;
        let [block1, block2, block3] = [block1, block2, block3].map(|block| block.ready(device));
        let fc = Linear { weight: fc.weight.map(|weight| weight * LOGIT_SCALE), ..fc };
        Compact { stem: stem.ready(None, false, true, device), block1, block2, block3, dropout, fc }
    }

    pub(crate) fn batch_norms_mut(&mut self) -> Vec<&mut BatchNorm> {
        [&mut self.block1, &mut self.block2, &mut self.block3]
            .into_iter()
            .flat_map(|block| [&mut block.bn1, &mut block.bn2])
            .collect()
    }

    /// Sets the stem to the whitening filters of the 2 x 2 patches of `images` and to their negatives.
    ///
    /// `images` is `[n, 3, 32, 32]`, normalised, in one slice.
    pub(crate) fn whiten(mut self, images: &[f32]) -> Self {
        let filters = whitening_filters(images);
        let both = [1.0, -1.0].map(|sign| filters.as_flattened().iter().map(move |value| sign * value));
        let filters: Vec<f32> = both.into_iter().flatten().collect();
        let device = self.stem.weight.device();
        let filters = TensorData::new(filters, [2 * PATCH, 3, 2, 2]);
        self.stem.weight = Param::from_data(filters, &device).set_require_grad(false);
        self
    }
}

impl Block {
    fn new(channels: [usize; 2], init: &mut Init) -> Self {
        let [from, to] = channels;
        Block {
            conv1: identity_conv([from, to], init),
            bn1: fixed_scale_batch_norm(to, init),
            conv2: identity_conv([to, to], init),
            bn2: fixed_scale_batch_norm(to, init),
        }
    }

    fn forward(&self, input: Tensor<4>, counted: usize) -> Tensor<4> {
        let x = self.conv1.normal(&self.bn1, true, input, counted);
        self.conv2.normal(&self.bn2, false, x, counted)
    }

    fn ready(self, device: &Device) -> Self {
        let Block { conv1, bn1, conv2, bn2 } = self;
        let (conv1, conv2) =
            (conv1.ready(Some(&bn1), true, true, device), conv2.ready(Some(&bn2), false, true, device));
        Block { conv1, bn1, conv2, bn2 }
    }
}

/// A 3 x 3 convolution whose first filters pass their channel through; the others are PyTorch's default.
fn identity_conv(channels: [usize; 2], init: &mut Init) -> Convolution {
    let [from, to] = channels;
    let mut weights = init.values(to * from * 9, uniform(9 * from));
    for channel in 0..from.min(to) {
        let filter = &mut weights[channel * from * 9..][..from * 9];
        filter.fill(0.0);
        filter[channel * 9 + 4] = 1.0;
    }
    init.conv_of(channels, 3, 1, weights)
}

/// Uniform in +-1/sqrt(fan in): PyTorch's default for convolutions.
fn uniform(fan_in: usize) -> Uniform<f64> {
    let bound = 1.0 / (fan_in as f64).sqrt();
    Uniform::new(-bound, bound).expect("finite bounds")
}

/// Batch normalisation whose scale stays 1; the convolution after it can scale as well.
fn fixed_scale_batch_norm(channels: usize, init: &Init) -> BatchNorm {
    let mut norm = init.batch_norm(channels);
    norm.gamma = norm.gamma.set_require_grad(false);
    norm
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    /// Half of the stem's responses to the images it was fitted to have unit power and no correlation.
    #[test]
    fn the_stem_whitens_the_images_it_was_fitted_to() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let images: Vec<f32> = (0..20)
            .flat_map(|_| {
                let mut level = 0.0;
                (0..3072)
                    .map(|_| {
                        level = 0.9 * level + rng.random_range(-1.0..1.0);
                        level
                    })
                    .collect::<Vec<f32>>()
            })
            .collect();
        let device = Device::flex();
        let init = &mut Init { mode: Default::default(), rng: &mut rng, device: &device };
        let net = Compact::new([8, 8, 8], 8, init).whiten(&images);
        let input = Tensor::from_data(TensorData::new(images, [20, 3, 32, 32]), &device);
        let response = net.stem.forward(input.permute([0, 2, 3, 1])); // [20, 31, 31, 24]
        let response = response.permute([3, 0, 1, 2]).flatten::<2>(1, 3);
        let n = response.dims()[1] as f32;
        let gram: Vec<f32> =
            response.clone().matmul(response.transpose()).div_scalar(n).into_data().try_to_vec().unwrap();
        for a in 0..PATCH {
            for b in 0..PATCH {
                let expected = if a == b { 1.0 } else { 0.0 };
                // The regularised eigenvalue shrinks the power of the weakest directions.
                assert!((gram[a * 24 + b] - expected).abs() < 0.02, "{a} {b}");
            }
        }
    }
}
