//! The numbers of a CPU's tensor.

use std::ops::Deref;

use burn::backend::{Flex, tensor::FloatTensor};

/// The tensor's numbers in the order of its dimensions, single precision.
pub fn values(tensor: FloatTensor<Flex>) -> impl Deref<Target = [f32]> + Sync {
    Values(tensor.to_contiguous())
}

struct Values(FloatTensor<Flex>);

impl Deref for Values {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        self.0.as_slice().expect("the tensor was made contiguous")
    }
}
