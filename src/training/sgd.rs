//! Stochastic gradient descent as PyTorch defines it, with a factor on the learning rate of a group of parameters.

use burn::{
    optim::{LearningRate, Optimizer, RecordState, StateSink, StateSource},
    tensor::{Device, Tensor},
};

use crate::network::kernels::head::{self, Descent};

/// Where a parameter's velocity stands among the optimiser's tensors.
const LEAF: &str = "momentum.velocity";

/// `d = gradient + weight_decay p; v = momentum v + d; p -= factor rate (d + momentum v if Nesterov else v)`, with
/// `v = d` at the first step.
#[derive(Clone)]
pub(crate) struct Sgd {
    factor: f64,
    momentum: f64,
    nesterov: bool,
    weight_decay: f64,
}

impl Sgd {
    pub fn new(factor: f64, momentum: f64, nesterov: bool, weight_decay: f64) -> Self {
        Sgd { factor, momentum, nesterov, weight_decay }
    }
}

impl Optimizer for Sgd {
    type State<const D: usize> = Velocity<D>;

    fn step<const D: usize>(
        &self,
        learning_rate: LearningRate,
        parameter: Tensor<D>,
        gradient: Tensor<D>,
        state: Option<Self::State<D>>,
    ) -> (Tensor<D>, Option<Self::State<D>>) {
        let Sgd { factor, momentum, nesterov, weight_decay } = *self;
        let rate = factor * learning_rate;
        if head::has_kernels(&parameter) {
            let (velocity, kept) = match state {
                Some(Velocity(velocity)) => (velocity, momentum),
                // Any numbers, of which nothing is kept.
                None => (gradient.clone(), 0.0),
            };
            let [rate, kept, momentum, weight_decay] = [rate, kept, momentum, weight_decay].map(|value| value as f32);
            let descent = Descent { rate, kept, momentum, weight_decay, nesterov };
            let [parameter, velocity] = head::descended(parameter, gradient, velocity, descent);
            return (parameter, Some(Velocity(velocity)));
        }
        self.composed(rate, parameter, gradient, state)
    }

    fn to_device<const D: usize>(state: Self::State<D>, device: &Device) -> Self::State<D> {
        Velocity(state.0.to_device(device))
    }
}

impl Sgd {
    /// By Burn's operations.
    fn composed<const D: usize>(
        &self,
        rate: f64,
        parameter: Tensor<D>,
        gradient: Tensor<D>,
        state: Option<Velocity<D>>,
    ) -> (Tensor<D>, Option<Velocity<D>>) {
        let direction = gradient + parameter.clone() * self.weight_decay as f32;
        let velocity = match state {
            Some(Velocity(velocity)) => direction.clone() + velocity * self.momentum as f32,
            None => direction.clone(),
        };
        let along = if self.nesterov { velocity.clone() * self.momentum as f32 + direction } else { velocity.clone() };
        (parameter - along * rate, Some(Velocity(velocity)))
    }
}

/// The velocity of one parameter.
#[derive(Clone)]
pub(crate) struct Velocity<const D: usize>(Tensor<D>);

impl<const D: usize> RecordState for Velocity<D> {
    fn state_flatten(&self, prefix: &str, out: &mut StateSink) {
        out.push_tensor(prefix, LEAF, self.0.to_data());
    }

    /// Rebuilt in memory, from where the next step takes it to its device. Burn offers its default device here, a GPU
    /// that a CPU training must not touch and that need not exist.
    fn state_unflatten(prefix: &str, source: &mut StateSource, _default: &Device) -> Option<Self> {
        let data = source.take_tensor(prefix, LEAF)?;
        Some(Velocity(Tensor::from_data(data, &Device::flex())))
    }
}
