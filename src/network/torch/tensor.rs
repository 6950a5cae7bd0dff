//! Tensors between Burn and PyTorch, which share their memory.

use burn::{
    backend::{BackendTensor, DispatchAutodiffContext, DispatchTensor, DispatchTensorKind, libtorch::TchTensor},
    tensor::Tensor,
};

/// The tensor as libtorch holds it, cut off from Burn's graph.
pub(super) fn torch<const D: usize>(tensor: Tensor<D>) -> Option<tch::Tensor> {
    let tensor = if tensor.is_autodiff() { tensor.inner() } else { tensor };
    match tensor.into_dispatch().kind {
        DispatchTensorKind::LibTorch(tensor) => Some(tensor.float().tensor),
        #[allow(unreachable_patterns, reason = "other backends are features")]
        _ => None,
    }
}

/// A tensor of PyTorch's as a leaf of Burn's.
pub(super) fn burn_tensor<const D: usize>(tensor: &tch::Tensor) -> Tensor<D> {
    let tensor = BackendTensor::Float(TchTensor::new(tensor.detach().contiguous()));
    Tensor::from_dispatch(DispatchTensor {
        kind: DispatchTensorKind::LibTorch(tensor),
        autodiff: DispatchAutodiffContext::Disabled,
    })
}

/// The same `[n, c, h, w]` values with all channels of a pixel side by side.
pub(super) fn channels_last(tensor: &tch::Tensor) -> tch::Tensor {
    tensor.permute([0, 2, 3, 1]).contiguous().permute([0, 3, 1, 2])
}
