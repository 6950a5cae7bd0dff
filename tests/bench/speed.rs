//! Images a second of training, plain forward passes and five-fold scoring, for each network and backend, and on a CPU which
//! share of its peak the convolutions reach.
//!
//! One JSON line for each batch, a [`Row`]; its speed is the median of several samples. `cargo bench` measures the CPU backend,
//! with `--features libtorch` also PyTorch's CPU kernels; `cargo bench -- forward compact` those whose line begins with such words
//! alone. Instead of these it measures the device that `ELOC_BENCH_DEVICE` names: `gpu`, `software-gpu`, `libtorch-cuda` or `cuda`, the
//! latter two with their features; of Burn's GPUs also the first step's time, the kernels of a step and their pipelines, and with
//! `ELOC_BENCH_KERNELS=1` what each kernel takes. `tests/bench/compare.sh` runs it beside the same work elsewhere.

mod multiply_adds;
mod peak;

use std::time::{Duration, Instant};

#[cfg(feature = "wgpu")]
use burn::tensor::DeviceKind;
use burn::{module::Module, tensor::Device};
use eloc::{
    detection::{ensemble::Member, odin::Odin},
    fold::{self, Fold},
    images::image::{Normalisation, PIXELS},
    network::{Network, TrainingMode},
    training::{
        learner::{Batch, Learner},
        loss::MarginEntropy,
        recipe::Recipe,
    },
};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

/// The tool's own: figures are of what people run.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const CLASSES: usize = 10;
/// How long samples of a row are taken, and how many there are at least.
const TIME: Duration = Duration::from_secs(4);
const LEAST_SAMPLES: usize = 3;

/// What is done with a batch.
#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "lowercase")]
enum Work {
    /// One plain forward pass, read back.
    Forward,
    /// Forward pass, input gradient and second forward pass of five folds.
    Score,
    /// One step: a batch of kept and a quarter as many left-out images.
    Train,
}

/// Network, work, and the sizes of batches: on a CPU, of which the best counts, and on a GPU.
const WORK: [(&str, Work, &[usize], usize); 9] = [
    ("compact", Work::Forward, &[24, 32, 48, 96], 248),
    ("densenet-bc-100-12", Work::Forward, &[8, 16, 32], 100),
    ("wrn-28-10", Work::Forward, &[4, 8], 100),
    ("compact", Work::Score, &[24, 48, 96], 248),
    ("densenet-bc-100-12", Work::Score, &[8, 16], 100),
    ("wrn-28-10", Work::Score, &[4], 100),
    ("compact", Work::Train, &[32], 248),
    ("densenet-bc-100-12", Work::Train, &[32], 100),
    ("wrn-28-10", Work::Train, &[16], 100),
];

/// A line of the result; tests/bench/pytorch.py does the same work, given these lines.
#[derive(Serialize)]
struct Row {
    work: Work,
    network: &'static str,
    backend: &'static str,
    batch: usize,
    /// Left-out images of a step besides.
    left_out: usize,
    images_per_second: f64,
    samples: usize,
    threads: usize,
    /// Multiply-adds of the convolutions for an image.
    multiply_adds: u64,
    /// Of the processor, in GFLOP/s, measured just before and after, and the convolutions' share of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    peak_gflops: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    share: Option<f64>,
    /// Seconds of the first step, in which a GPU's kernels are compiled unless an earlier row had them.
    first_seconds: f64,
    /// Kernels that a step sends to a GPU, and how many programs these are.
    #[serde(skip_serializing_if = "Option::is_none")]
    dispatches: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pipelines: Option<usize>,
}

fn main() {
    // Cargo itself says --bench.
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    for (backend, device) in backends() {
        let on_cpu = ["cpu", "libtorch"].contains(&backend);
        for (network, work, batches, on_gpu) in WORK {
            let batches = if on_cpu { batches } else { &[on_gpu] };
            for &batch in batches {
                let case = Case { work, network, batch, device: device.clone() };
                if words.iter().all(|word| case.name().contains(word.as_str()) || *word == backend) {
                    let row = case.measured(backend, on_cpu);
                    println!("{}", serde_json::to_string(&row).expect("a row has no map"));
                }
            }
        }
    }
}

fn backends() -> Vec<(&'static str, Device)> {
    match std::env::var("ELOC_BENCH_DEVICE").as_deref() {
        #[cfg(feature = "wgpu")]
        Ok("gpu") => vec![("gpu", Device::wgpu(DeviceKind::DiscreteGpu(0)))],
        #[cfg(feature = "wgpu")]
        Ok("software-gpu") => vec![("software-gpu", Device::wgpu(DeviceKind::Cpu))],
        #[cfg(feature = "libtorch")]
        #[expect(deprecated, reason = "measured beside the other GPU backends")]
        Ok("libtorch-cuda") => vec![("libtorch-cuda", Device::libtorch_cuda(0))],
        #[cfg(feature = "cuda")]
        Ok("cuda") => vec![("cuda", Device::cuda(0))],
        Ok(other) => {
            panic!("ELOC_BENCH_DEVICE: expected gpu, software-gpu, libtorch-cuda or cuda, built in, found {other}")
        }
        Err(_) => vec![
            ("cpu", Device::flex()),
            #[cfg(feature = "libtorch")]
            #[expect(deprecated, reason = "measured beside the kernels of our own")]
            ("libtorch", Device::libtorch()),
        ],
    }
}

/// What a row measures.
struct Case {
    work: Work,
    network: &'static str,
    batch: usize,
    device: Device,
}

impl Case {
    fn name(&self) -> String {
        let work = match self.work {
            Work::Forward => "forward",
            Work::Score => "score",
            Work::Train => "train",
        };
        format!("{work} {} {}", self.network, self.batch)
    }

    fn network(&self) -> Network {
        self.network.parse().expect("the names are constants")
    }

    fn measured(&self, backend: &'static str, on_cpu: bool) -> Row {
        let peak = || on_cpu.then(peak::gflops);
        // As many passes as there are, gradients counted as one each.
        let (left_out, passes, mut step): (_, _, Box<dyn FnMut()>) = match self.work {
            Work::Forward => (0, 1, Box::new(self.forward())),
            Work::Score => (0, 3 * fold::DEFAULT_FOLDS, Box::new(self.score())),
            Work::Train => (self.batch / 4, 3, Box::new(self.train())),
        };
        // The first one makes ready what later ones find ready.
        let start = Instant::now();
        step();
        let first_seconds = start.elapsed().as_secs_f64();
        let launches = launches(&mut step);
        let before = peak();
        let mut seconds = Vec::new();
        let start = Instant::now();
        while seconds.len() < LEAST_SAMPLES || start.elapsed() < TIME {
            let start = Instant::now();
            step();
            seconds.push(start.elapsed().as_secs_f64());
        }
        let peak_gflops = before.zip(peak()).map(|(before, after)| (before + after) / 2.0);

        let images_per_second = (self.batch + left_out) as f64 / median(&mut seconds);
        let multiply_adds = multiply_adds::multiply_adds(&self.network());
        let gflops = 2e-9 * images_per_second * (multiply_adds * passes as u64) as f64;
        Row {
            work: self.work,
            network: self.network,
            backend,
            batch: self.batch,
            left_out,
            images_per_second,
            samples: seconds.len(),
            threads: rayon::current_num_threads(),
            multiply_adds,
            peak_gflops,
            share: peak_gflops.map(|peak| gflops / peak),
            first_seconds,
            dispatches: launches.map(|[dispatches, _]| dispatches),
            pipelines: launches.map(|[_, pipelines]| pipelines),
        }
    }

    fn forward(&self) -> impl FnMut() + use<> {
        let (images, device) = (self.images(self.batch), self.device.clone());
        let member = self.member(folds().remove(0));
        move || {
            member.logits(&images, &Normalisation::default(), &device).expect("the device works");
        }
    }

    fn score(&self) -> impl FnMut() + use<> {
        let (images, device) = (self.images(self.batch), self.device.clone());
        let members: Vec<Member> = folds().into_iter().map(|fold| self.member(fold)).collect();
        let (odin, normalisation) = (Odin::default(), Normalisation::default());
        move || {
            for member in &members {
                let outputs = pollster::block_on(member.outputs(&images, &odin, &normalisation, &device));
                outputs.expect("the device works");
            }
        }
    }

    fn train(&self) -> impl FnMut() + use<> {
        let batch = Batch {
            kept: self.images(self.batch),
            labels: (0..self.batch as i64).map(|index| index % 8).collect(),
            targets: None,
            left_out: Some(self.images(self.batch / 4)),
            outliers: None,
        };
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        // The paper's passes and loss, as PyTorch takes them.
        let recipe = Recipe { one_batch: false, loss: MarginEntropy::default(), ..Recipe::quick() };
        let mut learner = Learner::new(&self.network(), 8, &recipe, Normalisation::default(), &mut rng, &self.device);
        move || {
            learner.step(&batch, 1e-3);
            learner.take_totals().expect("the device works");
        }
    }

    fn images(&self, count: usize) -> Vec<u8> {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        (0..count * PIXELS).map(|_| rng.random()).collect()
    }

    fn member(&self, fold: Fold) -> Member {
        let mut rng = ChaCha8Rng::seed_from_u64(fold.number as u64);
        let network = self.network().init(fold.kept.len(), TrainingMode::default(), &mut rng, &self.device);
        Member::new(fold, network.valid(), &self.device)
    }
}

fn folds() -> Vec<Fold> {
    fold::folds(CLASSES, fold::DEFAULT_FOLDS, fold::DEFAULT_SEED).expect("ten classes make five folds")
}

/// Kernels of a step and their programs, where it runs on one of Burn's GPUs.
#[cfg(any(feature = "wgpu", feature = "cuda"))]
fn launches(step: &mut dyn FnMut()) -> Option<[usize; 2]> {
    use eloc::network::launches::{Launches, times};

    let ((), launches) = Launches::count(&mut *step);
    if launches.total() > 0 && std::env::var_os("ELOC_BENCH_KERNELS").is_some() {
        for (name, count, seconds) in times(step) {
            eprintln!("{seconds:9.4} s {count:5} x {name}");
        }
    }
    (launches.total() > 0).then_some([launches.total(), launches.pipelines])
}

#[cfg(not(any(feature = "wgpu", feature = "cuda")))]
fn launches(_: &mut dyn FnMut()) -> Option<[usize; 2]> {
    None
}

/// The middle one of some numbers, of an even number of them the upper one.
fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
