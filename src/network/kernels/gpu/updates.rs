//! What a training step changes: parameters, and the running moments of normalisations.

use burn::backend::TensorMetadata;
use burn_cubecl::{
    cubecl::{self, prelude::*},
    tensor::CubeTensor,
};

use super::tensors::{arg, each, numbers, position};

/// A parameter and its velocity after a step of gradient descent with momentum.
pub fn descended(
    parameter: CubeTensor,
    gradient: CubeTensor,
    velocity: CubeTensor,
    [rate, kept, momentum, weight_decay]: [f32; 4],
    nesterov: bool,
) -> (CubeTensor, CubeTensor) {
    let shape = parameter.shape();
    let count = shape.num_elements();
    let [moved, speed] = [(); 2].map(|()| numbers(&parameter, shape.clone()));
    let (client, (cubes, dim)) = (parameter.client.clone(), each(count));
    if count > 0 {
        // SAFETY: an invocation beyond the last number does nothing.
        unsafe {
            update::launch_unchecked(
                &client,
                cubes,
                dim,
                arg(parameter, 1),
                arg(gradient, 1),
                arg(velocity, 1),
                arg(moved.clone(), 1),
                arg(speed.clone(), 1),
                count as u32,
                rate,
                kept,
                momentum,
                weight_decay,
                nesterov,
            );
        }
    }
    (moved, speed)
}

#[cube(launch_unchecked)]
fn update(
    parameter: &[f32],
    gradient: &[f32],
    velocity: &[f32],
    moved: &mut [f32],
    speed: &mut [f32],
    count: u32,
    rate: f32,
    kept: f32,
    momentum: f32,
    weight_decay: f32,
    #[comptime] nesterov: bool,
) {
    let at = position();
    if at < count {
        let at = at as usize;
        let direction = gradient[at] + weight_decay * parameter[at];
        let new = direction + kept * velocity[at];
        let mut along = new;
        if comptime!(nesterov) {
            along = direction + momentum * new;
        }
        speed[at] = new;
        moved[at] = parameter[at] - rate * along;
    }
}

/// Running mean and variance `[channels]`, of which a batch's take `momentum`; its variance is multiplied by `unbiased` first.
pub fn mixed(
    running: [CubeTensor; 2],
    batch: [CubeTensor; 2],
    momentum: f32,
    unbiased: f32,
) -> (CubeTensor, CubeTensor) {
    let shape = running[0].shape();
    let count = shape.num_elements();
    let [mean, variance] = [(); 2].map(|()| numbers(&running[0], shape.clone()));
    let (client, (cubes, dim)) = (running[0].client.clone(), each(count));
    let ([running_mean, running_variance], [batch_mean, batch_variance]) = (running, batch);
    // SAFETY: an invocation beyond the last channel does nothing.
    unsafe {
        mix::launch_unchecked(
            &client,
            cubes,
            dim,
            arg(running_mean, 1),
            arg(running_variance, 1),
            arg(batch_mean, 1),
            arg(batch_variance, 1),
            arg(mean.clone(), 1),
            arg(variance.clone(), 1),
            count as u32,
            momentum,
            unbiased,
        );
    }
    (mean, variance)
}

#[cube(launch_unchecked)]
fn mix(
    running_mean: &[f32],
    running_variance: &[f32],
    batch_mean: &[f32],
    batch_variance: &[f32],
    mean: &mut [f32],
    variance: &mut [f32],
    count: u32,
    momentum: f32,
    unbiased: f32,
) {
    let at = position();
    if at < count {
        let at = at as usize;
        mean[at] = running_mean[at] * (1.0f32 - momentum) + batch_mean[at] * momentum;
        variance[at] = running_variance[at] * (1.0f32 - momentum) + batch_variance[at] * (unbiased * momentum);
    }
}
