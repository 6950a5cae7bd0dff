//! Images a second of training, plain forward passes and five-fold scoring, for each network and backend.
//!
//! `cargo bench` measures the CPU backend, with `--features libtorch` also PyTorch's CPU kernels. Instead of these it measures
//! the device that `ELOC_BENCH_DEVICE` names: `gpu`, `software-gpu`, `libtorch-cuda` or `cuda`, the latter two with their features.
//! `tests/bench/compare.sh` runs it beside the same work in PyTorch.

#[cfg(feature = "wgpu")]
use burn::tensor::DeviceKind;
use burn::{module::Module, tensor::Device};
use divan::{Bencher, counter::ItemsCount};
use eloc::{
    detection::{ensemble::Member, odin::Odin},
    fold::{self, Fold},
    images::image::{Normalisation, PIXELS},
    network::{Network, TrainingMode},
    training::{
        learner::{Batch, Learner},
        recipe::Recipe,
    },
};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Network, images of a batch small enough for the large networks on a CPU, and of one on a GPU. compare.sh has the same.
const WORK: [(&str, usize, usize); 3] = [("compact", 32, 248), ("densenet-bc-100-12", 8, 100), ("wrn-28-10", 4, 100)];
const CLASSES: usize = 10;

fn main() {
    divan::main();
}

/// One line of the result: a backend and a network.
#[derive(Clone)]
struct Case {
    backend: &'static str,
    device: Device,
    network: &'static str,
    batch: usize,
}

impl std::fmt::Display for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} batch {}", self.backend, self.network, self.batch)
    }
}

fn cases() -> Vec<Case> {
    backends()
        .into_iter()
        .flat_map(|(backend, device)| {
            WORK.map(|(network, on_cpu, on_gpu)| {
                let batch = if ["gpu", "cuda", "libtorch-cuda"].contains(&backend) { on_gpu } else { on_cpu };
                Case { backend, device: device.clone(), network, batch }
            })
        })
        .collect()
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
            #[expect(deprecated, reason = "measured beside Burn's own CPU backend")]
            ("libtorch", Device::libtorch()),
        ],
    }
}

impl Case {
    fn network(&self) -> Network {
        self.network.parse().expect("the names are constants")
    }

    fn images(&self, count: usize) -> Vec<u8> {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        (0..count * PIXELS).map(|_| rng.random()).collect()
    }

    fn member(&self, fold: Fold) -> Member {
        let mut rng = ChaCha8Rng::seed_from_u64(fold.number as u64);
        let network = self.network().init(fold.kept.len(), TrainingMode::default(), &mut rng, &self.device);
        Member::new(fold, network.valid())
    }
}

fn folds() -> Vec<Fold> {
    fold::folds(CLASSES, fold::DEFAULT_FOLDS, fold::DEFAULT_SEED).expect("ten classes make five folds")
}

/// One step: a batch of kept and a quarter as many left-out images.
#[divan::bench(args = cases(), sample_count = 5)]
fn training_step(bencher: Bencher, case: &Case) {
    let left_out = case.batch / 4;
    let batch = Batch {
        kept: case.images(case.batch),
        labels: (0..case.batch as i64).map(|index| index % 8).collect(),
        left_out: Some(case.images(left_out)),
    };
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let recipe = Recipe::quick();
    let mut learner = Learner::new(&case.network(), 8, &recipe, Normalisation::default(), &mut rng, &case.device);
    bencher.counter(ItemsCount::new(case.batch + left_out)).bench_local(|| {
        learner.step(&batch, 1e-3);
        learner.take_totals().expect("the device works")
    });
}

/// One plain forward pass, read back.
#[divan::bench(args = cases(), sample_count = 5)]
fn forward(bencher: Bencher, case: &Case) {
    let images = case.images(case.batch);
    let member = case.member(folds().remove(0));
    bencher
        .counter(ItemsCount::new(case.batch))
        .bench_local(|| member.logits(&images, &Normalisation::default(), &case.device).expect("the device works"));
}

/// Forward pass, input gradient and second forward pass of five folds.
#[divan::bench(args = cases(), sample_count = 5)]
fn five_fold_scoring(bencher: Bencher, case: &Case) {
    let images = case.images(case.batch);
    let members: Vec<Member> = folds().into_iter().map(|fold| case.member(fold)).collect();
    bencher.counter(ItemsCount::new(case.batch)).bench_local(|| {
        members
            .iter()
            .map(|member| {
                pollster::block_on(member.outputs(&images, &Odin::default(), &Normalisation::default(), &case.device))
            })
            .collect::<Result<Vec<_>, _>>()
            .expect("the device works")
    });
}
