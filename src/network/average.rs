//! Networks between two networks of one shape, for averages of weights.

use std::collections::VecDeque;

use burn::{
    module::{Module, ModuleMapper, ModuleVisitor, Param},
    tensor::{Tensor, TensorData},
};

/// The network whose parameters are `share` of the way from those of `start` to those of `end`, a network of the same shape.
pub(super) fn between<M: Module>(start: M, end: &M, share: f64) -> M {
    let mut parameters = Parameters(VecDeque::new());
    end.visit(&mut parameters);
    start.map(&mut MoveTowards { parameters: parameters.0, share: share as f32 })
}

/// Collects the values of all parameters, in the order in which they are visited.
struct Parameters(VecDeque<TensorData>);

impl ModuleVisitor for Parameters {
    fn visit_float<const D: usize>(&mut self, parameter: &Param<Tensor<D>>) {
        self.0.push_back(parameter.val().into_data());
    }
}

/// Moves each parameter to the next of the collected ones.
struct MoveTowards {
    parameters: VecDeque<TensorData>,
    share: f32,
}

impl ModuleMapper for MoveTowards {
    fn map_float<const D: usize>(&mut self, parameter: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let end = self.parameters.pop_front().expect("networks of one shape have the same parameters");
        let (id, start, mapper) = parameter.consume();
        let device = start.device();
        let values: Vec<f32> =
            start.to_data().iter::<f32>().zip(end.iter::<f32>()).map(|(a, b)| a + self.share * (b - a)).collect();
        let value = Tensor::from_data(TensorData::new(values, start.shape()), &device)
            .set_require_grad(start.is_require_grad());
        Param::from_mapped_value(id, value, mapper)
    }
}
