//! The choice of the device, and that training and scores do not depend on it.

use std::{path::Path, thread};

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
        // The quicker of the two.
        Ok(gpu) => {
            assert!(auto.starts_with("CPU (") || auto.split(';').next() == gpu.split(';').next(), "{auto} {gpu}")
        }
        Err(_) => assert!(auto.starts_with("CPU ("), "{auto}"),
    }
}

#[test]
fn gpu_that_is_not_there_is_an_error() {
    if device("gpu").is_ok() {
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

/// Whether the tool finds a software adapter. The data set is none, so that nothing else is done on it.
fn has_software_gpu() -> bool {
    let dir = scratch();
    let out = dir.path().join("run");
    let mut command = eloc();
    command.args(training_args("nowhere", &out, &[("--device", "software-gpu")]));
    let message = refused(&mut command, &[]);
    !message.contains("expected a software Vulkan adapter, found none")
}

/// The scores of each fold at T = 1, where they are of the order of 1.
fn fold_scores(weights: &Path, choice: &str) -> Vec<[f64; 2]> {
    let mut command = eloc();
    command.args(["score", "--json", "--temperature", "1", "--device", choice, "--weights", path(weights)]);
    let lines = json_lines(&stdout(command.arg(&Trained::shared().images)));
    lines.iter().map(|line| [0, 1].map(|fold| line["fold_scores"][fold].as_f64().unwrap())).collect()
}

fn largest_difference(a: &[[f64; 2]], b: &[[f64; 2]]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().flatten().zip(b.iter().flatten()).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}

/// A software adapter compiles its kernels anew in every process, so that it trains one fold and scores once, side by side.
#[test]
fn software_gpu_trains_and_scores_as_the_cpu_does() {
    if !has_software_gpu() {
        println!("skipped: there is no software Vulkan adapter");
        return;
    }
    let Trained { images, .. } = Trained::shared();
    let dir = scratch();
    let (cpu, gpu) = (dir.path().join("cpu"), dir.path().join("gpu"));
    let trained = |out: &Path, fold: &str, choice: &str| {
        let settings = [("--epochs", "1"), ("--folds", "2"), ("--fold", fold), ("--device", choice)];
        stdout(&mut train(images, out, &settings));
    };
    trained(&cpu, "1", "cpu");
    trained(&cpu, "2", "cpu");
    let scores_on_gpu = thread::scope(|scope| {
        let scores = scope.spawn(|| fold_scores(&cpu, "software-gpu"));
        trained(&gpu, "1", "software-gpu");
        scores.join().unwrap()
    });
    trained(&gpu, "2", "cpu");

    let loss = |weights: &Path| manifest(weights)["folds"][0]["history"][0]["loss"].as_f64().unwrap();
    let loss = (loss(&cpu) - loss(&gpu)).abs();
    let scores_on_cpu = fold_scores(&cpu, "cpu");
    let same_weights = largest_difference(&scores_on_cpu, &scores_on_gpu);
    let own_weights = largest_difference(&scores_on_cpu, &fold_scores(&gpu, "cpu"));
    println!("apart: loss {loss:e}, scores {same_weights:e} with the same weights, {own_weights:e} with their own");
    let device = |weights: &Path| manifest(weights)["folds"][0]["provenance"]["device"].clone();
    assert_ne!(device(&cpu), device(&gpu), "the fold was trained where it was asked for");
    // Logits of the order of 1 in single precision: sums in another order are some 1e-7 apart, and 1e-7 was seen.
    // After a few steps this has hardly grown, but a weight next to the middle of two half-precision numbers may be
    // rounded to either, 5e-4 of its size apart. The scores of the images span 0.2.
    assert!(loss < 1e-4, "{loss}");
    assert!(same_weights < 1e-5, "{same_weights}");
    assert!(own_weights < 1e-3, "{own_weights}");
}

/// Libraries that a Vulkan driver loads complain of it.
#[test]
fn probing_for_a_gpu_says_nothing_of_the_session() {
    let dir = scratch();
    let mut command = eloc();
    command.args(training_args("nowhere", &dir.path().join("run"), &[("--device", "auto")]));
    refused(command.env_remove("XDG_RUNTIME_DIR"), &["--dataset: expected"]);
}
