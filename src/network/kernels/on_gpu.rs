//! What kernels compute on a software adapter, against the CPU's.

use std::sync::{Mutex, MutexGuard, PoisonError};

use burn::tensor::{Device, DeviceKind, Distribution, Tensor, TensorData, Tolerance, wgpu::wgpu};

use super::{
    activation::activation,
    convolution::{Geometry, convolution},
    layer::Layer,
    normal::{Moments, normal},
    pool::{max_pool, mean_pool},
};

/// What `compute` finds on a CPU, and twice on the software adapter, must be the same but for `tolerance`.
fn compare(gpu: &Device, tolerance: f32, compute: impl Fn(&Device) -> Vec<TensorData>) {
    let [expected, found @ ..] = [Device::flex(), gpu.clone(), gpu.clone()].map(|device| compute(&device));
    for found in &found {
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(&expected) {
            found.assert_approx_eq::<f32>(expected, Tolerance::rel_abs(tolerance, tolerance));
        }
    }
}

/// A software adapter, for one test at a time, so that what it is sent can be counted.
pub struct Software {
    pub device: Device,
    _alone: MutexGuard<'static, ()>,
}

static ALONE: Mutex<()> = Mutex::new(());

/// The software adapter; that there is none is said.
pub fn software() -> Option<Software> {
    let adapters = pollster::block_on(wgpu::Instance::default().enumerate_adapters(wgpu::Backends::PRIMARY));
    let is_there = adapters.iter().any(|adapter| adapter.get_info().device_type == wgpu::DeviceType::Cpu);
    if !is_there {
        println!("skipped: there is no software Vulkan adapter");
    }
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    is_there.then(|| Software { device: Device::wgpu(DeviceKind::Cpu), _alone })
}

/// Numbers from -1 to 1, of no pattern.
pub fn numbers<const D: usize>(shape: [usize; D]) -> TensorData {
    let device = Device::flex();
    Tensor::<D>::random(shape, Distribution::Uniform(-1.0, 1.0), &device).into_data()
}

#[test]
fn convolutions_and_their_gradients_are_those_of_the_cpu() {
    let Some(gpu) = software() else { return };
    for (input, outputs, kernel, stride, padding) in [
        ([1, 1, 1, 1], 1, 1, 1, 0),
        ([1, 1, 1, 1], 1, 3, 1, 1),
        ([3, 32, 32, 3], 24, 2, 1, 0),
        ([37, 3, 3, 5], 7, 3, 1, 1),
        ([1, 15, 15, 24], 64, 3, 1, 1),
        ([5, 7, 7, 64], 65, 3, 1, 1),
        ([3, 3, 3, 176], 176, 3, 1, 1),
        ([2, 8, 8, 12], 48, 1, 1, 0),
        ([2, 9, 8, 48], 12, 3, 1, 1),
        ([1, 2, 9, 4], 33, 3, 1, 1),
        ([3, 8, 8, 8], 17, 3, 2, 1),
        ([2, 7, 9, 6], 20, 3, 2, 1),
        ([2, 8, 8, 16], 48, 1, 2, 0),
        ([2, 6, 5, 9], 10, 3, 1, 0),
        ([1, 4, 4, 2], 3, 3, 1, 2),
        ([2, 10, 11, 3], 6, 4, 3, 1),
    ] {
        let geometry = Geometry { stride, padding, pooled: false };
        let (x, w) = (numbers(input), numbers([outputs, input[3], kernel, kernel]));
        // Sums of up to 1,600 terms of the order of 1, in another order.
        compare(&gpu.device, 1e-4, |device| {
            let device = device.clone().autodiff();
            let (x, w) = (leaf(&x, &device), leaf(&w, &device));
            let y = convolution(x.clone(), w.clone(), geometry);
            let gradients = (y.clone() * pattern(y.dims(), &device)).sum().backward();
            vec![y.into_data(), x.grad(&gradients).unwrap().into_data(), w.grad(&gradients).unwrap().into_data()]
        });
    }
}

fn leaf<const D: usize>(data: &TensorData, device: &Device) -> Tensor<D> {
    Tensor::from_data(data.clone(), device).require_grad()
}

/// Numbers that differ from one another, the same at each call.
fn pattern<const D: usize>(shape: [usize; D], device: &Device) -> Tensor<D> {
    let count = shape.iter().product::<usize>() as u64;
    let values: Vec<f32> = (0..count).map(|index| (index * 2_654_435_761 % 1000) as f32 / 500.0 - 0.9).collect();
    Tensor::from_data(TensorData::new(values, shape), device)
}

/// With and without a gradient; scales of both signs and of 0.
#[test]
fn layers_are_those_of_the_cpu() {
    let Some(gpu) = software() else { return };
    for (input, outputs, kernel, stride, padding, pooled, relu) in [
        ([3, 9, 7, 5], 20, 3, 1, 1, true, true),
        ([2, 9, 9, 16], 32, 3, 1, 1, false, true),
        ([40, 3, 3, 8], 12, 3, 1, 1, true, false),
        ([33, 15, 15, 8], 64, 3, 1, 1, true, true),
        ([7, 8, 8, 6], 64, 3, 2, 1, false, true),
        ([1, 6, 6, 4], 17, 1, 2, 0, false, false),
        ([2, 32, 32, 3], 24, 2, 1, 0, false, true),
    ] {
        let (x, w) = (numbers(input), numbers([outputs, input[3], kernel, kernel]));
        compare(&gpu.device, 1e-4, |device| {
            let [mut scale, shift] =
                [7, 3].map(|step| (0..outputs).map(|o| (o * step % 5) as f32 - 1.8).collect::<Vec<_>>());
            scale[outputs / 2] = 0.0;
            let geometry = Geometry { stride, padding, pooled };
            let [scale, shift] = [scale, shift].map(|values| Tensor::from_floats(&values[..], device));
            let layer = Layer::new(Tensor::from_data(w.clone(), device), scale, shift, geometry, relu);
            let plain = layer.forward(Tensor::from_data(x.clone(), device));
            let x = leaf(&x, &device.clone().autodiff());
            let y = layer.forward(x.clone());
            let gradients = (y.clone() * pattern(y.dims(), &device.clone().autodiff())).sum().backward();
            vec![plain.into_data(), y.into_data(), x.grad(&gradients).unwrap().into_data()]
        });
    }
}

#[test]
fn normalisations_and_pools_are_those_of_the_cpu() {
    let Some(gpu) = software() else { return };
    for shape in [[5, 7, 9, 20], [2, 1, 3, 3], [300, 2, 2, 16], [7, 16, 15, 84], [2, 5, 6, 300], [1, 2, 2, 1]] {
        let counted = (2_usize * shape[0]).div_ceil(3);
        let x = numbers(shape);
        compare(&gpu.device, 2e-4, |device| {
            let device = device.clone().autodiff();
            // A mean far from 0.
            let x = (leaf(&x, &device) + 3.0).inner().autodiff().require_grad();
            let [gamma, beta] =
                [0.7, 0.1].map(|by| (pattern([shape[3]], &device) * by).inner().autodiff().require_grad());
            let (y, moments) =
                normal(x.clone(), gamma.clone(), beta.clone(), Moments { images: counted, epsilon: 1e-5 });
            let gradients = (y.clone() * pattern(shape, &device)).sum().backward();
            let mut found = vec![y.into_data(), x.grad(&gradients).unwrap().into_data()];
            found.extend([&gamma, &beta].map(|tensor| tensor.grad(&gradients).unwrap().into_data()));
            found.extend(moments.map(|moment| moment.into_data()));
            let y = activation(x.clone(), gamma.inner(), beta.inner());
            let gradients = (y.clone() * pattern(shape, &device)).sum().backward();
            found.extend([y.into_data(), x.grad(&gradients).unwrap().into_data()]);
            if shape[1] > 1 {
                // With equal numbers.
                let x = (x * 2.0).round().inner().autodiff().require_grad();
                for pool in [max_pool, mean_pool] {
                    let y = pool(x.clone());
                    let gradients = (y.clone() * pattern(y.dims(), &device)).sum().backward();
                    found.extend([y.into_data(), x.grad(&gradients).unwrap().into_data()]);
                }
            }
            found
        });
    }
}
