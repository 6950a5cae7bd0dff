//! Training and scoring on a software adapter, against the CPU's.

use burn::{module::Module, tensor::Device};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{
    learner::{Batch, Learner},
    loss::MarginEntropy,
    recipe::Recipe,
};
use crate::{
    detection::{ensemble::Member, odin::Odin},
    fold::folds,
    images::image::{Normalisation, PIXELS},
    network::{Network, TrainingMode, kernels::on_gpu::software, launches::Launches},
};

/// Small members of the three families.
const NETWORKS: [&str; 3] = ["compact-8-8-8", "densenet-bc-10-4", "wrn-10-1"];

fn images(count: usize, seed: u64) -> Vec<u8> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..count)
        .flat_map(|index| (0..PIXELS).map(|_| (index * 37 % 190) as u8 + rng.random_range(0..60)).collect::<Vec<_>>())
        .collect()
}

fn batch(kept: usize, left_out: usize, seed: u64) -> Batch {
    let labels = (0..kept as i64).map(|index| index % 3).collect();
    Batch {
        kept: images(kept, seed),
        labels,
        targets: None,
        left_out: Some(images(left_out, seed + 1)),
        outliers: None,
    }
}

fn learner(network: &str, device: &Device) -> Learner {
    let network: Network = network.parse().unwrap();
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    // The paper's passes and loss: LogitNorm, and the statistics of a few kept images, make more of the last digits at each step.
    let recipe = Recipe { one_batch: false, loss: MarginEntropy::default(), ..Recipe::quick() };
    Learner::new(&network, 3, &recipe, Normalisation::default(), &mut rng, device)
}

/// The losses of each of some steps.
fn course(network: &str, steps: u64, device: &Device) -> Vec<f64> {
    let mut learner = learner(network, device);
    let step = |step| {
        learner.step(&batch(7, 3, step % 4), 0.01);
        learner.take_totals().unwrap().loss()
    };
    (0..steps).map(step).collect()
}

#[test]
fn a_hundred_steps_have_the_losses_of_the_cpu() {
    let Some(gpu) = software() else { return };
    for network in NETWORKS {
        let [cpu, gpu] = [&Device::flex(), &gpu.device].map(|device| course(network, 100, device));
        let first = cpu[0];
        let apart = cpu.iter().zip(&gpu).map(|(cpu, gpu)| (cpu - gpu).abs() / first);
        let largest = apart.fold(0.0, f64::max);
        println!("{network}: from {} to {}, at most {largest:e} apart", cpu[0], cpu[99]);
        assert!(cpu[99] < 0.9 * cpu[0], "{network}: {cpu:?}");
        // Of the first loss. Sums in another order are 1e-7 apart at first; the kinks of many layers make more of it at each step.
        assert!(largest < 3e-2, "{network}: {cpu:?} {gpu:?}");
    }
}

#[test]
fn scores_are_those_of_the_cpu() {
    let Some(gpu) = software() else { return };
    let fold = folds(10, 5, 3).unwrap().remove(0);
    for network in NETWORKS {
        let (parsed, images): (Network, _) = (network.parse().unwrap(), images(5, 9));
        let outputs = |device: &Device| {
            let mut rng = ChaCha8Rng::seed_from_u64(5);
            let classifier = parsed.init(fold.kept.len(), TrainingMode::default(), &mut rng, device).valid();
            let member = Member::new(fold.clone(), classifier, device);
            let of =
                || pollster::block_on(member.outputs(&images, &Odin::default(), &Normalisation::default(), device));
            let (first, again) = (of().unwrap(), of().unwrap());
            assert_eq!(first, again, "{network}");
            [first.logits, first.perturbed]
        };
        for (cpu, gpu) in outputs(&Device::flex()).concat().iter().zip(outputs(&gpu.device).concat()) {
            // Of the order of 1; the sign of a gradient next to 0 moves a pixel by twice the step.
            assert!((cpu - gpu).abs() < 1e-4, "{network}: {cpu} {gpu}");
        }
    }
}

/// How many kernels a batch may take; what is counted is printed, so that less can be asked for.
#[test]
fn kernels_do_not_grow_in_number() {
    let Some(gpu) = software() else { return };
    let device = &gpu.device;
    let mut learner = learner("compact", device);
    let mut step = || {
        learner.step(&batch(7, 3, 1), 0.01);
        learner.take_totals().unwrap();
    };
    step();
    let ((), training) = Launches::count(&mut step);

    let members: Vec<Member> = folds(10, 5, 3)
        .unwrap()
        .into_iter()
        .map(|fold| {
            let (network, mut rng): (Network, _) = ("compact".parse().unwrap(), ChaCha8Rng::seed_from_u64(5));
            let classifier = network.init(fold.kept.len(), TrainingMode::default(), &mut rng, device).valid();
            Member::new(fold, classifier, device)
        })
        .collect();
    let images = images(3, 9);
    let score = |epsilon| {
        let odin = Odin { epsilon, ..Odin::default() };
        for member in &members {
            pollster::block_on(member.outputs(&images, &odin, &Normalisation::default(), device)).unwrap();
        }
    };
    let ((), with) = Launches::count(|| score(0.002));
    let ((), without) = Launches::count(|| score(0.0));
    for (what, launches, [dispatches, pipelines]) in [
        ("training", &training, [300, 60]),
        ("scoring with the step", &with, [200, 24]),
        ("without", &without, [70, 24]),
    ] {
        println!(
            "{what}: {} dispatches of {} pipelines: {:#?}",
            launches.total(),
            launches.pipelines,
            launches.dispatches
        );
        assert!(launches.total() <= dispatches && launches.pipelines <= pipelines, "{what}");
    }
}

/// So small that a thousand steps take a minute.
#[test]
fn memory_stays_constant_over_a_thousand_steps() {
    let Some(gpu) = software() else { return };
    let mut learner = learner("compact-4-4-4", &gpu.device);
    let batch = batch(2, 1, 1);
    let mut used = Vec::new();
    for steps in 0..1000 {
        learner.step(&batch, 1e-3);
        if steps % 100 == 99 {
            learner.take_totals().unwrap();
            let usage = gpu.device.memory_pool_usage().unwrap();
            used.push((usage.bytes_in_use, usage.bytes_reserved));
        }
    }
    println!("bytes in use and reserved after each 100 steps: {used:?}");
    // What is kept of each step would take a byte a step at least; the device's own needs change by a few.
    let [[first, last], [first_reserved, last_reserved]] = [[used[0].0, used[9].0], [used[0].1, used[9].1]];
    assert!(first > 0 && last < first + 900 && last_reserved < first_reserved + (1 << 16), "{used:?}");
}
