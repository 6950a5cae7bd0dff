//! Every device gives the same logits, gradients, perturbations and scores: one check, run natively on the CPU backend
//! and in a browser's worker on the CPU backend and on WebGPU.
//!
//! The golden values are the native CPU backend's; `ELOC_WRITE_GOLDEN=1 cargo test --release --test parity` makes
//! them again, for which the weights' networks must be those of [`CASES`].

use burn::{module::Module, tensor::Device};
use eloc::{
    detection::{
        ensemble::{Explanation, FoldOutputs, Member, Outputs, Score},
        odin::{GradientMode, Odin},
        self_test,
    },
    fold,
    images::image::{Normalisation, PIXELS},
    network::TrainingMode,
    weights::manifest::{FoldEntry, Manifest},
};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

/// Small members of the large families; the compact network is the first fold of the shipped weights.
const CASES: [&str; 3] = ["shipped", "densenet-bc-10-4", "wrn-10-1"];

/// A shape, a pattern and noise.
const IMAGES: [usize; 3] = [0, 10, 20];

/// Every so many values of the gradient and the step are kept.
const STRIDE: usize = 7;

/// What a device finds for one image.
#[derive(Serialize, Deserialize)]
struct Found {
    network: String,
    gradient_mode: GradientMode,
    image: usize,
    logits: Vec<f32>,
    perturbed: Vec<f32>,
    gradient: Vec<f32>,
    step: Vec<f32>,
    score: f64,
}

fn member(network: &str, device: &Device) -> Member {
    if network == "shipped" {
        let manifest = Manifest::from_bytes(include_bytes!("../weights/cifar10-compact/manifest.json")).unwrap();
        let entry: &FoldEntry = &manifest.folds[0];
        let bytes = include_bytes!("../weights/cifar10-compact/fold-1.safetensors");
        let classifier = entry.read(bytes, &manifest.network, &Device::flex()).unwrap();
        return Member::new(entry.fold.clone(), classifier, device);
    }
    let fold = fold::folds(10, 5, fold::DEFAULT_SEED).unwrap().remove(0);
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let network: eloc::network::Network = network.parse().unwrap();
    let classifier = network.init(fold.kept.len(), TrainingMode::default(), &mut rng, device).valid();
    Member::new(fold, classifier, device)
}

async fn find(device: &Device) -> Vec<Found> {
    let images = self_test::images();
    let mut found = Vec::new();
    for network in CASES {
        let member = member(network, device);
        for gradient in [GradientMode::CrossEntropy, GradientMode::Entropy] {
            let odin = Odin { gradient, ..Odin::default() };
            for image in IMAGES {
                let pixels = &images[image * PIXELS..][..PIXELS];
                let normalisation = Normalisation::default();
                let Explanation { outputs, gradient: values, step } =
                    member.explain(pixels, &odin, &normalisation, device).await.unwrap();
                let score = score(&member, &outputs, &odin);
                found.push(Found {
                    network: network.to_owned(),
                    gradient_mode: gradient,
                    image,
                    logits: outputs.logits,
                    perturbed: outputs.perturbed,
                    gradient: values.into_iter().step_by(STRIDE).collect(),
                    step: step.into_iter().step_by(STRIDE).collect(),
                    score,
                });
            }
        }
    }
    found
}

fn score(member: &Member, outputs: &FoldOutputs, odin: &Odin) -> f64 {
    let folds = vec![(&member.fold, outputs)];
    Outputs { classes: 10, temperature: odin.temperature, folds }.scores(Score::Eloc)[0]
}

/// Holds a device against the golden values, twice: a kernel chosen by the first call may fail in the second.
async fn check(device: &Device) {
    let golden: Vec<Found> = serde_json::from_str(include_str!("golden/parity.json")).unwrap();
    for call in 1..=2 {
        let found = find(device).await;
        assert_eq!(found.len(), golden.len());
        for (found, golden) in found.iter().zip(&golden) {
            let what = format!("call {call}: {}, {:?}, image {}", golden.network, golden.gradient_mode, golden.image);
            // Sums of up to 1,152 products in another order differ in the last of single precision's 7 digits.
            assert_close(&what, "logits", &found.logits, &golden.logits, 2e-5);
            assert_close(&what, "gradient", &found.gradient, &golden.gradient, 1e-4);
            let largest = golden.gradient.iter().fold(0f32, |largest, value| largest.max(value.abs()));
            for ((found, golden), gradient) in found.step.iter().zip(&golden.step).zip(&golden.gradient) {
                // Rounding decides the sign of a gradient that is next to nothing.
                let decided = gradient.abs() > 1e-3 * largest;
                assert!(!decided || (found - golden).abs() < 1e-6, "{what}: step {found}, expected {golden}");
            }
            // A few flipped signs of such gradients are within this.
            assert_close(&what, "perturbed logits", &found.perturbed, &golden.perturbed, 1e-3);
            let difference = (found.score - golden.score).abs();
            assert!(difference < 1e-6, "{what}: score {}, expected {}", found.score, golden.score);
        }
    }
}

/// Differences stay below `tolerance` times the largest value.
fn assert_close(what: &str, name: &str, found: &[f32], golden: &[f32], tolerance: f32) {
    assert_eq!(found.len(), golden.len(), "{what}: {name}");
    let scale = golden.iter().fold(0f32, |largest, value| largest.max(value.abs()));
    let difference = found.iter().zip(golden).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max);
    assert!(difference <= tolerance * scale, "{what}: {name} differ by {difference}, the largest is {scale}");
}

#[cfg(not(target_family = "wasm"))]
#[test]
fn the_cpu_backend_agrees() {
    if std::env::var_os("ELOC_WRITE_GOLDEN").is_some() {
        let found = pollster::block_on(find(&Device::flex()));
        std::fs::write("tests/golden/parity.json", serde_json::to_string(&found).unwrap()).unwrap();
    } else {
        pollster::block_on(check(&Device::flex()));
    }
}

#[cfg(target_family = "wasm")]
mod browser {
    use std::sync::Once;

    use wasm_bindgen_test::{wasm_bindgen_test, wasm_bindgen_test_configure};

    use super::*;

    wasm_bindgen_test_configure!(run_in_dedicated_worker);

    /// The page's module starts by itself, a test's has to be started.
    fn start() {
        static ONCE: Once = Once::new();
        ONCE.call_once(eloc::web::start);
    }

    #[wasm_bindgen_test]
    async fn the_cpu_backend_agrees_in_a_browser() {
        start();
        check(&Device::flex()).await;
    }

    #[wasm_bindgen_test]
    async fn webgpu_agrees() {
        start();
        check(&Device::wgpu_options().init_async().await.unwrap()).await;
    }
}
