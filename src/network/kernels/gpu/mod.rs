//! The kernels of a GPU, written once for Vulkan, Metal, DX12, CUDA and the browser.
//!
//! [`correlation`] is the convolution with what follows it, and the gradient of its input; [`sums`] is the gradient of its
//! weights. Each keeps a tile of sums in registers and shares what it reads through at most 16 KiB of a workgroup's memory; tiles
//! follow from the shape alone, so that nothing is tried out and every device runs the same. No more is asked of a device than
//! WebGPU's default limits. Maps are `[images, height, width, channels]` throughout, single precision.

pub(super) mod correlation;
pub(super) mod head;
pub(super) mod losses;
pub(super) mod normal;
pub(super) mod packed;
pub(super) mod pool;
pub(super) mod sums;
mod tensors;
pub(super) mod updates;
