//! The kernels of a GPU, written once for Vulkan, Metal, DX12, CUDA and the browser.
//!
//! [`correlation`] is the convolution with what follows it, and the gradient of its input; [`sums`] is the gradient of its
//! weights. Each keeps a tile of sums in registers and shares what it reads through at most 16 KiB of a workgroup's memory; tiles
//! follow from the shape alone, so that nothing is tried out and every device runs the same. No more is asked of a device than
//! WebGPU's default limits. Maps are `[images, height, width, channels]` throughout, single precision.

pub(super) mod correlation;
pub(super) mod packed;
pub(super) mod sums;
mod tensors;

#[cfg(all(test, feature = "wgpu"))]
pub(super) mod tests {
    use burn::tensor::{Device, DeviceKind, Distribution, Tensor, TensorData, Tolerance, wgpu::wgpu};

    use crate::network::kernels::convolution::{Geometry, convolution};

    /// A software adapter, or none, which is said.
    pub fn software() -> Option<Device> {
        let adapters = pollster::block_on(wgpu::Instance::default().enumerate_adapters(wgpu::Backends::PRIMARY));
        let is_there = adapters.iter().any(|adapter| adapter.get_info().device_type == wgpu::DeviceType::Cpu);
        if !is_there {
            println!("skipped: there is no software Vulkan adapter");
        }
        is_there.then(|| Device::wgpu(DeviceKind::Cpu))
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
            let weights = numbers(convolution(Tensor::from_data(x.clone(), &Device::flex()), Tensor::from_data(w.clone(), &Device::flex()), geometry).dims());
            let results = [Device::flex(), gpu.clone(), gpu.clone()].map(|device| {
                let device = device.autodiff();
                let of = |data: &TensorData| Tensor::<4>::from_data(data.clone(), &device);
                let (x, w) = (of(&x).require_grad(), of(&w).require_grad());
                let y = convolution(x.clone(), w.clone(), geometry);
                let gradients = (y.clone() * of(&weights)).sum().backward();
                [y.into_data(), x.grad(&gradients).unwrap().into_data(), w.grad(&gradients).unwrap().into_data()]
            });
            for found in &results[1..] {
                for (what, (found, expected)) in found.iter().zip(&results[0]).enumerate() {
                    println!("{input:?} {outputs} {kernel} {stride} {padding}: {what}");
                    // Sums of up to 1,600 terms of the order of 1, in another order.
                    found.assert_approx_eq::<f32>(expected, Tolerance::rel_abs(1e-4, 1e-4));
                }
            }
        }
    }
}
