//! Stochastic gradient descent as PyTorch defines it, with a factor on the learning rate of a group of parameters.

use burn::{
    optim::{
        LearningRate, Optimizer, RecordState, SgdConfig, SgdState, StateSink, StateSource, decay::WeightDecayConfig,
        momentum::MomentumConfig,
    },
    tensor::{Device, Tensor},
};

/// `d = gradient + weight_decay p; v = momentum v + d; p -= factor rate (d + momentum v if Nesterov else v)`, with
/// `v = d` at the first step.
#[derive(Clone)]
pub(crate) struct Sgd {
    factor: f64,
    sgd: burn::optim::Sgd,
}

impl Sgd {
    pub fn new(factor: f64, momentum: f64, nesterov: bool, weight_decay: f64) -> Self {
        // PyTorch's dampening is 0, Burn's default is not.
        let momentum = MomentumConfig { momentum, dampening: 0.0, nesterov };
        let config = SgdConfig::new()
            .with_momentum(Some(momentum))
            .with_weight_decay(Some(WeightDecayConfig::new(weight_decay as f32)));
        Sgd { factor, sgd: config.build() }
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
        let state = state.map(|velocity| velocity.0);
        let (parameter, state) = self.sgd.step(self.factor * learning_rate, parameter, gradient, state);
        (parameter, state.map(Velocity))
    }

    fn to_device<const D: usize>(state: Self::State<D>, device: &Device) -> Self::State<D> {
        Velocity(burn::optim::Sgd::to_device(state.0, device))
    }
}

/// The velocity of one parameter.
#[derive(Clone)]
pub(crate) struct Velocity<const D: usize>(SgdState<D>);

impl<const D: usize> RecordState for Velocity<D> {
    fn state_flatten(&self, prefix: &str, out: &mut StateSink) {
        self.0.state_flatten(prefix, out);
    }

    /// Rebuilt in memory, from where the next step takes it to its device. Burn offers its default device here, a GPU
    /// that a CPU training must not touch and that need not exist.
    fn state_unflatten(prefix: &str, source: &mut StateSource, _default: &Device) -> Option<Self> {
        SgdState::state_unflatten(prefix, source, &Device::flex()).map(Velocity)
    }
}
