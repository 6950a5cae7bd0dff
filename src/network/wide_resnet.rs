//! Wide residual network for 32 x 32 images (Zagoruyko & Komodakis, "Wide Residual Networks", BMVC 2016).
//!
//! A 3 x 3 convolution of 16 channels, three groups of pre-activation basic blocks, batch normalisation, global
//! average, linear layer. Where a block changes the width, its 1 x 1 shortcut is fed with the activated input, as in
//! the PyTorch port that the method's published checkpoints were made with.

use burn::{
    module::Module,
    nn::{BatchNorm, Dropout, Linear},
    tensor::{Device, Tensor},
};

use super::layers::{Convolution, Init, activation, dropped, global_mean, linear};

/// Wide residual network.
#[derive(Module, Debug)]
pub struct WideResNet {
    conv1: Convolution,
    block1: Vec<BasicBlock>,
    block2: Vec<BasicBlock>,
    block3: Vec<BasicBlock>,
    bn1: BatchNorm,
    pub(super) fc: Linear,
}

/// BN - ReLU - conv 3 x 3 - BN - ReLU - dropout - conv 3 x 3, added to its input or to a 1 x 1 convolution of it.
#[derive(Module, Debug)]
struct BasicBlock {
    bn1: BatchNorm,
    conv1: Convolution,
    bn2: BatchNorm,
    conv2: Convolution,
    shortcut: Option<Convolution>,
    dropout: Dropout,
}

impl WideResNet {
    pub(crate) fn new(depth: usize, widen: usize, classes: usize, init: &mut Init) -> Self {
        let conv1 = init.conv([3, 16], 3, 1);
        let mut channels = 16;
        let mut group = |width: usize, stride: usize, init: &mut Init| -> Vec<BasicBlock> {
            (0..blocks(depth))
                .map(|index| {
                    let stride = if index == 0 { stride } else { 1 };
                    let block = BasicBlock::new([channels, width], stride, init);
                    channels = width;
                    block
                })
                .collect()
        };
        let block1 = group(16 * widen, 1, init);
        let block2 = group(32 * widen, 2, init);
        let block3 = group(64 * widen, 2, init);
        WideResNet {
            conv1,
            block1,
            block2,
            block3,
            bn1: init.batch_norm(64 * widen),
            fc: init.linear(64 * widen, classes, true),
        }
    }

    /// See [`super::Classifier::forward_counting`].
    pub fn forward(&self, images: Tensor<4>, counted: usize) -> Tensor<2> {
        let x = self.conv1.forward(images.permute([0, 2, 3, 1])); // [n, 32, 32, 16]
        let blocks = [&self.block1, &self.block2, &self.block3].into_iter().flatten();
        let x = blocks.fold(x, |x, block| block.forward(x, counted)); // [n, 8, 8, 64 widen]
        linear(&self.fc, global_mean(activation(&self.bn1, x, counted)))
    }

    /// [`WideResNet::forward`] in PyTorch's layers, while training.
    #[cfg(feature = "libtorch")]
    pub(super) fn torch(&self, images: &tch::Tensor, layers: &mut super::torch::layers::Layers) -> tch::Tensor {
        let x = layers.convolution(&self.conv1, images);
        let blocks = [&self.block1, &self.block2, &self.block3].into_iter().flatten();
        let x = blocks.fold(x, |x, block| block.torch(x, layers));
        let features = layers.activation(&self.bn1, &x).mean_dim([2_i64, 3].as_slice(), false, tch::Kind::Float);
        layers.linear(&self.fc, &features)
    }

    /// See [`super::Classifier::ready`].
    pub(super) fn ready(self, device: &Device) -> Self {
        let WideResNet { conv1, block1, block2, block3, bn1, fc } = self;
        let [block1, block2, block3] =
            [block1, block2, block3].map(|group| group.into_iter().map(|block| block.ready(device)).collect());
        WideResNet { conv1: conv1.ready(None, false, false, device), block1, block2, block3, bn1, fc }
    }

    pub(crate) fn batch_norms_mut(&mut self) -> Vec<&mut BatchNorm> {
        [&mut self.block1, &mut self.block2, &mut self.block3]
            .into_iter()
            .flatten()
            .flat_map(|block| [&mut block.bn1, &mut block.bn2])
            .chain([&mut self.bn1])
            .collect()
    }
}

impl BasicBlock {
    fn new(channels: [usize; 2], stride: usize, init: &mut Init) -> Self {
        let [from, to] = channels;
        BasicBlock {
            bn1: init.batch_norm(from),
            conv1: init.conv(channels, 3, stride),
            bn2: init.batch_norm(to),
            conv2: init.conv([to, to], 3, 1),
            shortcut: (from != to).then(|| init.conv(channels, 1, stride)),
            dropout: init.dropout(),
        }
    }

    fn forward(&self, input: Tensor<4>, counted: usize) -> Tensor<4> {
        let activated = activation(&self.bn1, input.clone(), counted);
        let shortcut = match &self.shortcut {
            Some(conv) => conv.forward(activated.clone()),
            None => input,
        };
        let x = self.conv1.normal(&self.bn2, false, activated, counted);
        shortcut + self.conv2.forward(dropped(&self.dropout, x))
    }

    fn ready(self, device: &Device) -> Self {
        let BasicBlock { bn1, conv1, bn2, conv2, shortcut, dropout } = self;
        BasicBlock {
            conv1: conv1.ready(Some(&bn2), false, true, device),
            conv2: conv2.ready(None, false, false, device),
            shortcut: shortcut.map(|conv| conv.ready(None, false, false, device)),
            bn1,
            bn2,
            dropout,
        }
    }

    #[cfg(feature = "libtorch")]
    fn torch(&self, input: tch::Tensor, layers: &mut super::torch::layers::Layers) -> tch::Tensor {
        let activated = layers.activation(&self.bn1, &input);
        let shortcut = match &self.shortcut {
            Some(conv) => layers.convolution(conv, &activated),
            None => input,
        };
        let x = layers.convolution(&self.conv1, &activated);
        let x = layers.activation(&self.bn2, &x);
        let x = layers.dropout(&self.dropout, x);
        shortcut + layers.convolution(&self.conv2, &x)
    }
}

/// Basic blocks in a group: each has two convolutions, and four more layers stand outside the groups.
fn blocks(depth: usize) -> usize {
    (depth - 4) / 6
}
