//! `eloc tune`.

use std::{path::Path, process::Command};

use super::tool::{CLASSES, Trained, eloc, evaluate, json, manifest, path, refused, scratch, stdout};

fn tune(weights: &Path, dataset: &Path, data: &Path) -> Command {
    let mut command = eloc();
    command.args(["tune", "--device", "cpu", "--weights", path(weights), "--dataset", path(dataset)]);
    command.args(["--data", path(data), "--epsilons", "0,0.002,0.004", "--temperatures", "1,1000"]);
    command.args(["--gradients", "cross-entropy,entropy"]);
    command
}

#[test]
fn a_setting_is_chosen_on_held_out_images_and_written_with_its_threshold() {
    let Trained { images, .. } = Trained::shared();
    let dir = scratch();
    let (weights, file) = (dir.path().join("weights"), dir.path().join("tuning.json"));
    Trained::shared().copy(&weights);
    let before = manifest(&weights);

    let table = stdout(tune(&weights, images, dir.path()).args(["--limit", "20", "--json", path(&file)]));
    assert_eq!(manifest(&weights), before, "nothing is written without --write");
    let tuning = json(&file);
    let trials = tuning["trials"].as_array().unwrap();
    // The paper's; two gradients with two epsilons each at T 1000, of which one is the paper's, and one without a step; then T 1 at
    // the best of them and without a step, which may be the same.
    assert!((6..=7).contains(&trials.len()), "{table}");
    let settings: Vec<_> =
        trials[..5].iter().map(|trial| (&trial["gradient"], trial["epsilon"].as_f64().unwrap())).collect();
    let (first, second) = ("cross-entropy", "entropy");
    for (found, expected) in
        settings.iter().zip([(first, 0.002), (first, 0.0), (first, 0.004), (second, 0.002), (second, 0.004)])
    {
        assert_eq!((found.0.as_str().unwrap(), found.1), expected);
    }
    // One image of each class was held out.
    assert_eq!(tuning["id_images"], CLASSES);
    let names: Vec<_> = tuning["ood"].as_array().unwrap().iter().map(|set| set[0].as_str().unwrap()).collect();
    assert_eq!(names, ["left-out classes", "uniform", "gaussian", "patterns", "fractals", "jigsaw", "point-sampled"]);
    let number = |value: &serde_json::Value| value.as_f64().unwrap();
    for trial in trials {
        let aurocs: Vec<f64> = trial["aurocs"].as_array().unwrap().iter().map(number).collect();
        assert!((aurocs.iter().sum::<f64>() / 7.0 - number(&trial["auroc"])).abs() < 1e-12);
    }
    // The highest is taken where it is better by more than the error, and the paper's otherwise.
    // The first of equal ones.
    let auroc = |trial: &serde_json::Value| number(&trial["auroc"]);
    let highest = trials.iter().rev().max_by(|a, b| auroc(a).total_cmp(&auroc(b))).unwrap();
    let [difference, error] = [0, 1].map(|index| number(&highest["difference"][index]));
    let chosen = if difference > error { highest } else { &trials[0] };
    for setting in ["epsilon", "temperature", "gradient"] {
        assert_eq!(chosen[setting], tuning["best"][setting], "{table}");
    }
    let (epsilon, gradient) = (number(&chosen["epsilon"]), chosen["gradient"].as_str().unwrap());
    assert!(table.contains(&format!(": --epsilon {epsilon} ")), "{table}");
    assert!(table.contains(&format!("--gradient {gradient}\n")), "{table}");
    assert_eq!(table.contains("the largest epsilon tried"), epsilon == 0.004, "{table}");

    stdout(tune(&weights, images, dir.path()).args(["--limit", "20", "--write"]));
    let after = manifest(&weights);
    assert_eq!(after["odin"], tuning["best"]);
    assert!(after["threshold"].is_f64() && after["self_test"].is_array());
    let report = dir.path().join("report.json");
    stdout(evaluate(&weights, images, dir.path(), &["uniform:5"]).args(["--json", path(&report)]));
    assert_eq!(json(&report)["odin"], tuning["best"]);
}

#[test]
fn sets_can_be_named_instead() {
    let Trained { images, weights, .. } = Trained::shared();
    let (dir, file) = (scratch(), scratch());
    let file = file.path().join("tuning.json");
    let mut command = tune(weights, images, dir.path());
    stdout(command.args(["--ood", "uniform:30", "gaussian:40", "--limit", "35", "--json", path(&file)]));
    assert_eq!(json(&file)["ood"], serde_json::json!([["uniform", 30], ["gaussian", 35]]));
}

#[test]
fn settings_out_of_range_are_refused_by_name() {
    let Trained { images, weights, .. } = Trained::shared();
    let dir = scratch();
    for (flag, value) in [("--epsilons", "0.001,-1"), ("--epsilons", "-1"), ("--temperatures", "0"), ("--limit", "0")] {
        let mut command = eloc();
        command.args(["tune", "--device", "cpu", "--weights", path(weights), "--dataset", path(images)]);
        command.args(["--data", path(dir.path()), "--ood", "uniform:5", flag, value]);
        refused(&mut command, &[flag, "expected"]);
    }
}

#[test]
fn images_that_the_weights_were_not_trained_on_are_refused() {
    let dir = scratch();
    let other = dir.path().join("other");
    super::pictures::class_folder(&other, CLASSES, 4);
    let weights = &Trained::shared().weights;
    refused(&mut tune(weights, &other, dir.path()), &["expected the images that the weights were trained on"]);
}

#[test]
fn folder_that_was_trained_on_has_to_be_given() {
    let mut command = eloc();
    command.args(["tune", "--device", "cpu", "--weights", path(&Trained::shared().weights), "--ood", "uniform:5"]);
    refused(&mut command, &["--dataset: expected the folder of pictures", "found no --dataset"]);
}
