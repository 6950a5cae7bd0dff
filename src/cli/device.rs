//! The choice of the device, made once and said aloud.

use std::fmt;

#[cfg(feature = "libtorch")]
use anyhow::ensure;
use anyhow::{Result, bail};
use burn::tensor::Device;
use clap::ValueEnum;

/// What `--device` takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DeviceChoice {
    /// A hardware GPU where there is one, else the CPU, with PyTorch's kernels where they were built in.
    Auto,
    /// Burn's CPU backend.
    Cpu,
    /// A hardware GPU through wgpu: Vulkan, Metal or DX12.
    Gpu,
    /// A software Vulkan adapter through wgpu, for tests of the GPU path.
    SoftwareGpu,
    /// PyTorch's CPU kernels; needs the `libtorch` feature.
    Libtorch,
    /// PyTorch's kernels on an NVIDIA GPU; needs the `libtorch` feature and a PyTorch with CUDA.
    LibtorchCuda,
    /// An NVIDIA GPU through CUDA; needs the `cuda` feature.
    Cuda,
}

/// A device and its name for people.
pub struct ChosenDevice {
    /// The device.
    pub device: Device,
    /// What it is.
    pub name: String,
    /// Whether kernels are chosen when they are first needed, which can take minutes.
    pub chooses_kernels: bool,
}

impl fmt::Display for ChosenDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl DeviceChoice {
    /// Opens the device.
    ///
    /// # Errors
    /// When a device was asked for by name and is not there or was not built in.
    pub fn open(self) -> Result<ChosenDevice> {
        match self {
            DeviceChoice::Auto => Ok(gpu::hardware().or_else(|| libtorch().ok()).unwrap_or_else(cpu)),
            DeviceChoice::Cpu => Ok(cpu()),
            DeviceChoice::Gpu => match gpu::hardware() {
                Some(device) => Ok(device),
                None => bail!("device gpu: expected a hardware GPU with Vulkan, Metal or DX12, found none"),
            },
            DeviceChoice::SoftwareGpu => match gpu::software() {
                Some(device) => Ok(device),
                None => bail!("device software-gpu: expected a software Vulkan adapter, found none"),
            },
            DeviceChoice::Libtorch => libtorch(),
            DeviceChoice::LibtorchCuda => libtorch_cuda(),
            DeviceChoice::Cuda => cuda(),
        }
    }
}

fn cpu() -> ChosenDevice {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    ChosenDevice {
        device: Device::flex(),
        name: format!("CPU ({threads} threads){}", processor()),
        chooses_kernels: false,
    }
}

/// The processor's name after a comma, where the system tells it.
fn processor() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    name.map_or_else(String::new, |(_, name)| format!(", {}", name.trim()))
}

#[cfg(feature = "libtorch")]
fn libtorch() -> Result<ChosenDevice> {
    #[expect(deprecated, reason = "twice as fast as Burn's own CPU backend")]
    let device = Device::libtorch();
    Ok(ChosenDevice { device, name: format!("CPU (libtorch){}", processor()), chooses_kernels: false })
}

#[cfg(not(feature = "libtorch"))]
fn libtorch() -> Result<ChosenDevice> {
    bail!("device libtorch: expected a build with `--features libtorch`, found one without")
}

#[cfg(feature = "libtorch")]
fn libtorch_cuda() -> Result<ChosenDevice> {
    ensure!(
        tch::Cuda::is_available(),
        "device libtorch-cuda: expected an NVIDIA GPU and a PyTorch that can use it, found none"
    );
    #[expect(deprecated, reason = "PyTorch's kernels for a GPU, beside Burn's own")]
    let device = Device::libtorch_cuda(0);
    Ok(ChosenDevice { device, name: "CUDA GPU 0 (libtorch)".to_owned(), chooses_kernels: false })
}

#[cfg(not(feature = "libtorch"))]
fn libtorch_cuda() -> Result<ChosenDevice> {
    bail!("device libtorch-cuda: expected a build with `--features libtorch`, found one without")
}

#[cfg(feature = "cuda")]
fn cuda() -> Result<ChosenDevice> {
    Ok(ChosenDevice { device: Device::cuda(0), name: "CUDA GPU 0".to_owned(), chooses_kernels: true })
}

#[cfg(not(feature = "cuda"))]
fn cuda() -> Result<ChosenDevice> {
    bail!("device cuda: expected a build with `--features cuda`, found one without")
}

/// Does `work`, meanwhile leaving the error stream to nobody: libraries that a driver loads complain there of what the user's
/// session lacks.
#[cfg(all(unix, feature = "wgpu"))]
fn quietly<T>(work: impl FnOnce() -> T) -> T {
    use std::os::fd::OwnedFd;

    /// The error stream, which comes back at the end, also that of a panic.
    struct Kept(OwnedFd);

    impl Drop for Kept {
        fn drop(&mut self) {
            // It was there before; nothing could be said of a failure.
            let _ = rustix::stdio::dup2_stderr(&self.0);
        }
    }

    let keep = || -> std::io::Result<Kept> {
        let nowhere = std::fs::File::options().write(true).open("/dev/null")?;
        let kept = Kept(rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stderr(), 3)?);
        rustix::stdio::dup2_stderr(nowhere)?;
        Ok(kept)
    };
    let _kept = keep();
    work()
}

#[cfg(all(not(unix), feature = "wgpu"))]
fn quietly<T>(work: impl FnOnce() -> T) -> T {
    work()
}

#[cfg(feature = "wgpu")]
mod gpu {
    use burn::tensor::{Device, DeviceKind, wgpu::wgpu};

    use super::{ChosenDevice, quietly};

    /// The first adapter that is hardware: a discrete one before an integrated one.
    pub fn hardware() -> Option<ChosenDevice> {
        find(&[
            (wgpu::DeviceType::DiscreteGpu, DeviceKind::DiscreteGpu(0)),
            (wgpu::DeviceType::IntegratedGpu, DeviceKind::IntegratedGpu(0)),
            (wgpu::DeviceType::VirtualGpu, DeviceKind::VirtualGpu(0)),
        ])
    }

    pub fn software() -> Option<ChosenDevice> {
        find(&[(wgpu::DeviceType::Cpu, DeviceKind::Cpu)])
    }

    fn find(kinds: &[(wgpu::DeviceType, DeviceKind)]) -> Option<ChosenDevice> {
        let infos: Vec<wgpu::AdapterInfo> = quietly(|| {
            let instance = wgpu::Instance::default();
            let adapters = pollster::block_on(instance.enumerate_adapters(wgpu::Backends::PRIMARY));
            adapters.iter().map(wgpu::Adapter::get_info).collect()
        });
        kinds.iter().find_map(|(device_type, kind)| {
            let info = infos.iter().find(|info| info.device_type == *device_type)?;
            let name = format!("{} ({})", info.name, info.backend);
            Some(ChosenDevice { device: Device::wgpu(kind.clone()), name, chooses_kernels: true })
        })
    }
}

#[cfg(not(feature = "wgpu"))]
mod gpu {
    use super::ChosenDevice;

    pub fn hardware() -> Option<ChosenDevice> {
        None
    }

    pub fn software() -> Option<ChosenDevice> {
        None
    }
}

#[cfg(all(test, target_os = "linux", feature = "wgpu"))]
mod tests {
    use super::*;

    #[test]
    fn error_stream_is_back_after_a_probe_also_after_a_panic() {
        let stream = || std::fs::read_link("/proc/self/fd/2").unwrap();
        let before = stream();
        assert_eq!(quietly(stream), std::path::Path::new("/dev/null"));
        assert_eq!(stream(), before);
        assert!(std::panic::catch_unwind(|| quietly(|| panic!("as a driver might"))).is_err());
        assert_eq!(stream(), before);
    }
}
