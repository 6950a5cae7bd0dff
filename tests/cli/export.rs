//! `eloc export`.

use super::tool::{FOLDS, Trained, eloc, evaluate, fold_file, json, manifest, path, refused, scratch, stdout};

#[test]
fn eight_bits_score_almost_the_same() {
    let Trained { images, weights, .. } = Trained::shared();
    let dir = scratch();
    let out = dir.path().join("int8");
    let export = || {
        let mut command = eloc();
        command.args(["export", "--format", "int8", "--weights", path(weights), "--out", path(&out)]);
        command
    };
    stdout(&mut export());
    let size = |folder| -> u64 {
        manifest(folder)["folds"].as_array().unwrap().iter().map(|fold| fold["bytes"].as_u64().unwrap()).sum()
    };
    assert!(size(&out) < size(weights), "{} {}", size(&out), size(weights));
    assert_eq!(manifest(&out)["folds"].as_array().unwrap().len(), FOLDS);
    assert_ne!(manifest(&out)["self_test"], manifest(weights)["self_test"]);

    let file = dir.path().join("report.json");
    let auroc = |weights| {
        stdout(evaluate(weights, images, dir.path(), &["uniform:50"]).args(["--json", path(&file)]));
        json(&file)["ood"][0]["scores"][0]["auroc"].as_f64().unwrap()
    };
    let (coarse, fine) = (auroc(&out), auroc(weights));
    // Of a few hundred pairs of images, by networks of a few steps.
    assert!((coarse - fine).abs() < 0.05, "{coarse} {fine}");

    refused(&mut export(), &["expected a new folder, found weights in it"]);
}

#[test]
fn safetensors_are_single_precision_under_pytorchs_names() {
    let Trained { weights, .. } = Trained::shared();
    let dir = scratch();
    let out = dir.path().join("pytorch");
    let mut command = eloc();
    command.args(["export", "--format", "safetensors", "--weights", path(weights), "--out", path(&out)]);
    stdout(&mut command);
    for fold in 1..=FOLDS {
        let bytes = fold_file(&out, fold);
        let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        assert!(file.tensors().iter().all(|(_, tensor)| tensor.dtype() == safetensors::Dtype::F32));
        // [classes, features], not Burn's [features, classes].
        assert_eq!(file.tensor("fc.weight").unwrap().shape(), [4, 4]);
        for name in ["block1.bn1.weight", "block1.bn1.bias", "block1.bn1.running_var", "stem.weight"] {
            assert!(file.tensor(name).is_ok(), "{name} in {:?}", file.names());
        }
    }
    refused(&mut command, &["expected a new folder, found weights in it"]);
}
