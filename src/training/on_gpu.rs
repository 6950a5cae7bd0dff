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

/// A few images of each kind that the recipe has.
fn batch(recipe: &Recipe, seed: u64) -> Batch {
    let (kept, left_out, outliers) = (7, 3, 2.min(recipe.outlier_batch));
    let labels = (0..kept as i64).map(|index| index % 3).collect();
    Batch {
        kept: images(kept, seed),
        labels,
        targets: None,
        left_out: Some(images(left_out, seed + 1)),
        outliers: (outliers > 0).then(|| images(outliers, seed + 2)),
    }
}

/// The paper's passes and loss.
fn paper() -> Recipe {
    Recipe { outlier_batch: 0, one_batch: false, loss: MarginEntropy::default(), ..Recipe::quick() }
}

fn learner(network: &str, recipe: &Recipe, device: &Device) -> Learner {
    let network: Network = network.parse().unwrap();
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    Learner::new(&network, 3, recipe, Normalisation::default(), &mut rng, device)
}

/// The losses of each of some steps.
fn course(network: &str, recipe: &Recipe, steps: u64, rate: f64, device: &Device) -> Vec<f64> {
    let mut learner = learner(network, recipe, device);
    let step = |step| {
        learner.step(&batch(recipe, step % 4), rate);
        learner.take_totals().unwrap().loss()
    };
    (0..steps).map(step).collect()
}

/// How far apart losses are at most, in parts of the first.
fn apart(these: &[f64], others: &[f64]) -> f64 {
    these.iter().zip(others).map(|(this, other)| (this - other).abs() / these[0]).fold(0.0, f64::max)
}

/// Sums in another order are 1e-7 apart at first, and the kinks of many layers make more of it at each step: how much is seen on
/// the CPU alone, from learning rates that differ as little.
#[test]
fn a_hundred_steps_have_the_losses_of_the_cpu() {
    let Some(gpu) = software() else { return };
    for network in NETWORKS {
        let course = |rate, device: &Device| course(network, &paper(), 100, rate, device);
        let cpu = course(0.01, &Device::flex());
        let found = course(0.01, &gpu.device);
        let most = apart(&cpu, &found);
        let rounding = [1e-6, -1e-6, 2e-6].map(|less| apart(&cpu, &course(0.01 * (1.0 - less), &Device::flex())));
        println!("{network}: from {} to {}, at most {most:e} apart, the CPU's own {rounding:?}", cpu[0], cpu[99]);
        assert!(cpu[99] < 0.9 * cpu[0], "{network}: {cpu:?}");
        let bound = (1e-4 + 4.0 * rounding.into_iter().fold(0.0, f64::max)).min(3e-2);
        assert!(most < bound, "{network}: {bound}");
    }
}

/// LogitNorm, and the statistics of a few kept images, make so much more of the last digits that few steps are compared.
#[test]
fn steps_of_one_batch_have_the_losses_of_the_cpu() {
    let Some(gpu) = software() else { return };
    for network in NETWORKS {
        let [cpu, gpu] =
            [&Device::flex(), &gpu.device].map(|device| course(network, &Recipe::quick(), 5, 0.01, device));
        let apart = apart(&cpu, &gpu);
        println!("{network}: at most {apart:e} apart");
        assert!(apart < 1e-3, "{network}: {cpu:?} {gpu:?}");
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
    let [papers, training] = [paper(), Recipe::quick()].map(|recipe| {
        let mut learner = learner("compact", &recipe, device);
        let mut step = || {
            learner.step(&batch(&recipe, 1), 0.01);
            learner.take_totals().unwrap();
        };
        step();
        Launches::count(&mut step).1
    });

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
        ("the paper's training", &papers, [300, 60]),
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
    let mut learner = learner("compact-4-4-4", &Recipe::quick(), &gpu.device);
    let batch = batch(&Recipe::quick(), 1);
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
