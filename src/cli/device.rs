//! The choice of the device, made once and said aloud.

use std::{
    fmt,
    panic::{self, AssertUnwindSafe},
};

#[cfg(feature = "libtorch")]
use anyhow::ensure;
use anyhow::{Result, bail};
use burn::tensor::Device;
use clap::ValueEnum;
use eloc::{network::Network, training::recipe::Recipe};

use super::{output, progress};

/// Kept-class images and classes of a trial step.
const TRIAL_IMAGES: usize = 64;
const TRIAL_CLASSES: usize = 8;
/// How far the losses of two devices that compute the same may be apart, of the loss.
const TRIAL_TOLERANCE: f64 = 0.01;

/// What `--device` takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DeviceChoice {
    /// A hardware GPU where there is one and it is quicker than the CPU in a trial step, else the CPU, with PyTorch's kernels where
    /// they were built in.
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
            DeviceChoice::Auto => {
                let cpu = libtorch().unwrap_or_else(|_| cpu());
                Ok(match gpu::hardware() {
                    Some(gpu) => quicker(gpu, cpu),
                    None => cpu,
                })
            }
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

/// The device that is through first with a training step of the compact network, which is said; the CPU where the other fails or does
/// not compute the same.
fn quicker(gpu: ChosenDevice, cpu: ChosenDevice) -> ChosenDevice {
    let found = trial(&gpu);
    let of_cpu = trial(&cpu);
    let (takes_gpu, sentence) = verdict(&gpu.name, found, of_cpu);
    output::note(sentence);
    if takes_gpu { gpu } else { cpu }
}

/// Images a second and the loss of a step, or why there are none.
type Trial = std::result::Result<(f64, f64), String>;

/// A step of the compact network, after one that makes the device ready.
fn trial(chosen: &ChosenDevice) -> Trial {
    let recipe = Recipe { batch: TRIAL_IMAGES, left_out_batch: TRIAL_IMAGES / 4, outlier_batch: 0, ..Recipe::quick() };
    // Drivers' failures come as panics.
    let tried = panic::catch_unwind(AssertUnwindSafe(|| {
        progress::step_time(&Network::COMPACT, &recipe, TRIAL_CLASSES, &chosen.device)
    }));
    match tried {
        Ok(Ok((time, loss))) => Ok(((recipe.batch + recipe.left_out_batch) as f64 / time.as_secs_f64(), loss)),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("its driver gave up".to_owned()),
    }
}

/// Whether to take the GPU, and a sentence that says why.
fn verdict(gpu: &str, found: Trial, cpu: Trial) -> (bool, String) {
    let (speed, loss) = match found {
        Ok(found) => found,
        Err(error) => return (false, format!("device auto: {gpu} failed a trial step ({error}); taking the CPU")),
    };
    if !loss.is_finite() {
        return (false, format!("device auto: {gpu} computes numbers that are not finite; taking the CPU"));
    }
    let Ok((cpu_speed, cpu_loss)) = cpu else {
        return (true, format!("device auto: {gpu}, since the CPU failed a trial step"));
    };
    if (loss - cpu_loss).abs() > TRIAL_TOLERANCE * cpu_loss.abs() {
        return (
            false,
            format!("device auto: {gpu} has a loss of {loss} where the CPU has {cpu_loss}; taking the CPU"),
        );
    }
    let speeds = format!("{gpu} {speed:.0} images/s, the CPU {cpu_speed:.0} in a trial step");
    match speed > cpu_speed {
        true => (true, format!("device auto: {speeds}; taking the GPU")),
        false => (false, format!("device auto: {speeds}; taking the CPU")),
    }
}

fn cpu() -> ChosenDevice {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    ChosenDevice { device: Device::flex(), name: format!("CPU ({threads} threads){}", processor()) }
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
    Ok(ChosenDevice { device, name: format!("CPU (libtorch){}", processor()) })
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
    Ok(ChosenDevice { device, name: "CUDA GPU 0 (libtorch)".to_owned() })
}

#[cfg(not(feature = "libtorch"))]
fn libtorch_cuda() -> Result<ChosenDevice> {
    bail!("device libtorch-cuda: expected a build with `--features libtorch`, found one without")
}

#[cfg(feature = "cuda")]
fn cuda() -> Result<ChosenDevice> {
    Ok(ChosenDevice { device: Device::cuda(0), name: "CUDA GPU 0".to_owned() })
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
            Some(ChosenDevice { device: Device::wgpu(kind.clone()), name })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auto_takes_the_quicker_device_that_computes() {
        let taken = |gpu: Trial, cpu: Trial| verdict("X", gpu, cpu);
        let (is_gpu, sentence) = taken(Ok((300.0, 2.0)), Ok((200.0, 2.001)));
        assert!(is_gpu && sentence == "device auto: X 300 images/s, the CPU 200 in a trial step; taking the GPU");
        for (gpu, reason) in [
            (Ok((100.0, 2.0)), "X 100 images/s, the CPU 200"),
            (Ok((300.0, f64::NAN)), "numbers that are not finite"),
            (Ok((300.0, 2.5)), "a loss of 2.5 where the CPU has 2"),
            (Err("lost".to_owned()), "failed a trial step (lost)"),
        ] {
            let (is_gpu, sentence) = taken(gpu, Ok((200.0, 2.0)));
            assert!(!is_gpu && sentence.contains(reason) && sentence.ends_with("taking the CPU"), "{sentence}");
        }
        assert!(taken(Ok((1.0, 2.0)), Err("broken".to_owned())).0);
    }

    #[cfg(feature = "wgpu")]
    #[test]
    fn a_software_adapter_has_the_loss_of_the_cpu_in_a_trial_step() {
        if let Some(gpu) = gpu::software() {
            let (speed, loss) = trial(&gpu).unwrap();
            let (_, expected) = trial(&cpu()).unwrap();
            assert!(speed > 0.0 && (loss - expected).abs() < TRIAL_TOLERANCE * expected, "{loss} {expected}");
        } else {
            println!("skipped: there is no software Vulkan adapter");
        }
    }

    #[cfg(all(target_os = "linux", feature = "wgpu"))]
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
