//! Operations that are ours to write: how each device computes them.
//!
//! In: Burn's tensors on any device. Out: the same, with gradients where they are asked for. Each file is one operation: the
//! function that the layers call, what it computes, and a Burn backend extension with an implementation for each kind of device.
//! Start with [`convolution`]; [`cpu`] and `gpu` have the loops.

pub(super) mod activation;
pub(super) mod convolution;
mod cpu;
pub(super) mod dense;
#[cfg(any(feature = "wgpu", feature = "cuda", target_family = "wasm"))]
mod gpu;
pub(crate) mod head;
pub(super) mod layer;
pub(super) mod linear;
pub(super) mod normal;
#[cfg(all(test, feature = "wgpu"))]
pub(crate) mod on_gpu;
pub(super) mod pool;
mod values;

/// Whether networks train. The page's do not, which it is smaller for: they are all made ready for scoring.
pub(super) const TRAINS: bool = cfg!(feature = "native");
