//! The numbers of a CPU's tensor.

use std::ops::Deref;

use burn::{
    backend::{Flex, tensor::FloatTensor},
    tensor::{Shape, TensorData},
};

/// The tensor's numbers in the order of its dimensions, single precision.
pub fn values(tensor: FloatTensor<Flex>) -> impl Deref<Target = [f32]> + Sync {
    Values(tensor.to_contiguous())
}

/// A tensor of these numbers.
pub fn tensor(values: Vec<f32>, shape: impl Into<Shape>) -> FloatTensor<Flex> {
    FloatTensor::<Flex>::from_data(TensorData::new(values, shape))
}

/// A tensor of these numbers, `[n]`.
pub fn numbers(values: Vec<f32>) -> FloatTensor<Flex> {
    let count = values.len();
    tensor(values, [count])
}

struct Values(FloatTensor<Flex>);

impl Deref for Values {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        self.0.as_slice().expect("the tensor was made contiguous")
    }
}
