//! The choice of the device, and that training and scores do not depend on it.

use std::path::Path;

use super::tool::{Trained, eloc, files, json_lines, manifest, path, refused, scratch, stdout, train, training_args};

/// The name of the device that a flag chooses, or why there is none.
fn device(choice: &str) -> Result<String, String> {
    let dir = scratch();
    let out = dir.path().join("run");
    let args = training_args(
        path(&Trained::shared().images),
        &out,
        &[("--device", choice), ("--fold", "1"), ("--epochs", "1")],
    );
    let output = eloc().args(args).output().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    match printed.lines().find_map(|line| line.strip_prefix("device ")) {
        Some(line) => Ok(line.to_owned()),
        None => Err(String::from_utf8(output.stderr).unwrap()),
    }
}

#[test]
fn auto_is_a_hardware_gpu_or_the_cpu() {
    let auto = device("auto").expect("there is always a CPU");
    match device("gpu") {
        Ok(gpu) => assert_eq!(auto.split(';').next(), gpu.split(';').next()),
        Err(_) => assert!(auto.starts_with("CPU ("), "{auto}"),
    }
}

#[test]
fn gpu_that_is_not_there_is_an_error() {
    if !device("auto").unwrap().starts_with("CPU (") {
        println!("skipped: there is a hardware GPU");
        return;
    }
    let dir = scratch();
    let out = dir.path().join("run");
    let parts = ["device gpu: expected a hardware GPU", "found none"];
    refused(&mut train(&Trained::shared().images, &out, &[("--device", "gpu")]), &parts);
    assert!(files(&out).is_empty());
}

#[cfg(not(feature = "libtorch"))]
#[test]
fn device_that_was_not_built_in_is_an_error() {
    let dir = scratch();
    let out = dir.path().join("run");
    let parts = ["device libtorch: expected a build with `--features libtorch`", "found one without"];
    refused(&mut train(&Trained::shared().images, &out, &[("--device", "libtorch")]), &parts);
}

const LOSS_TOLERANCE: f64 = 1e-2;
const SCORE_TOLERANCE: f64 = 1e-2;
const TRAINED_TOLERANCE: f64 = 1e-1;

/// The tiny network with few epochs: a software adapter compiles every kernel on the CPU first.
const SETTINGS: [(&str, &str); 2] = [("--epochs", "1"), ("--folds", "2")];

/// The scores at T = 1, where they are of the order of 1, on a device.
fn scores(weights: &Path, choice: &str) -> Vec<f64> {
    let mut command = eloc();
    command.args(["score", "--json", "--temperature", "1", "--device", choice, "--weights", path(weights)]);
    let lines = json_lines(&stdout(command.arg(&Trained::shared().images)));
    lines.iter().map(|line| line["score"].as_f64().unwrap()).collect()
}

fn largest_difference(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}

#[test]
fn software_gpu_trains_and_scores_as_the_cpu_does() {
    if device("software-gpu").is_err_and(|reason| reason.contains("expected a software Vulkan adapter, found none")) {
        println!("skipped: there is no software Vulkan adapter");
        return;
    }
    let Trained { images, .. } = Trained::shared();
    let dir = scratch();
    let trained = |choice: &str| {
        let out = dir.path().join(choice);
        stdout(&mut train(images, &out, &[SETTINGS[0], SETTINGS[1], ("--device", choice)]));
        out
    };
    let (cpu, gpu) = (trained("cpu"), trained("software-gpu"));

    for fold in 0..2 {
        let loss = |weights: &Path| manifest(weights)["folds"][fold]["history"][0]["loss"].as_f64().unwrap();
        let difference = loss(&cpu) - loss(&gpu);
        println!("loss of fold {}: {} on the CPU, {difference:e} more than on the GPU", fold + 1, loss(&cpu));
        assert!(difference.abs() < LOSS_TOLERANCE, "{difference}");
    }
    let on_cpu = scores(&cpu, "cpu");
    let same_weights = largest_difference(&on_cpu, &scores(&cpu, "software-gpu"));
    let own_weights = largest_difference(&on_cpu, &scores(&gpu, "software-gpu"));
    println!("scores: {same_weights:e} apart with the same weights, {own_weights:e} with those of each device");
    let spread = on_cpu.iter().copied().fold(f64::MIN, f64::max) - on_cpu.iter().copied().fold(f64::MAX, f64::min);
    println!("spread {spread}");
    assert!(same_weights < SCORE_TOLERANCE && own_weights < TRAINED_TOLERANCE);
}
