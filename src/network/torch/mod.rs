//! Training through PyTorch's own layers, half as fast again for the compact network as Burn's over the same library: images
//! stay channels-last, activations keep the convolutions' number format, and gradients come from PyTorch's kernels.
//!
//! In: a network whose weights libtorch holds, and images. Out: logits as a leaf of Burn's graph, so that the loss is
//! Burn's; after its backward pass, the parameters' gradients.
//!
//! [`graph`] is a training step; the families' networks are written once more with [`layers`].
#![allow(deprecated, reason = "Burn announces the end of this backend, and has no other as fast on a CPU")]

pub(crate) mod graph;
pub(super) mod layers;
mod tensor;
