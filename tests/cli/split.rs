//! `eloc split`.

use serde_json::Value;

use super::tool::{eloc, refused, stdout};

#[test]
fn ten_classes_are_split_as_published() {
    let expected = "\
        fold 1: leaves out 5 4; logits 1 2 9 6 7 0 3 8\n\
        fold 2: leaves out 1 2; logits 5 4 9 6 7 0 3 8\n\
        fold 3: leaves out 9 6; logits 5 4 1 2 7 0 3 8\n\
        fold 4: leaves out 7 0; logits 5 4 1 2 9 6 3 8\n\
        fold 5: leaves out 3 8; logits 5 4 1 2 9 6 7 0\n";
    assert_eq!(stdout(eloc().args(["split", "--classes", "10"])), expected);
}

#[test]
fn json_holds_the_same_folds() {
    let folds: Value = serde_json::from_str(&stdout(eloc().args(["split", "--classes", "10", "--json"]))).unwrap();
    let left_out: Vec<&Value> = folds.as_array().unwrap().iter().map(|fold| &fold["left_out"]).collect();
    assert_eq!(
        Value::from_iter(left_out.into_iter().cloned()),
        serde_json::json!([[5, 4], [1, 2], [9, 6], [7, 0], [3, 8]])
    );
    assert_eq!(folds[1], serde_json::json!({"number": 2, "left_out": [1, 2], "kept": [5, 4, 9, 6, 7, 0, 3, 8]}));
}

#[test]
fn a_hundred_classes_follow_numpy() {
    let folds: Value = serde_json::from_str(&stdout(eloc().args(["split", "--classes", "100", "--json"]))).unwrap();
    let first = [93, 67, 6, 64, 96, 83, 98, 42, 25, 15, 77, 9, 71, 97, 34, 75, 82, 23, 59, 45];
    assert_eq!(folds[0]["left_out"], serde_json::json!(first));
    assert_eq!(
        folds[4]["left_out"].as_array().unwrap()[11..],
        serde_json::json!([41, 74, 19, 21, 0, 72, 56, 3, 24]).as_array().unwrap()[..]
    );
}

#[test]
fn folds_and_seed_are_flags() {
    let three = stdout(eloc().args(["split", "--classes", "10", "--folds", "3"]));
    assert_eq!(three.lines().count(), 3);
    assert!(three.starts_with("fold 1: leaves out 5 4 1; "), "{three}");
    let other = stdout(eloc().args(["split", "--classes", "10", "--folds", "3", "--seed", "4"]));
    assert_ne!(three, other);
}

#[test]
fn more_folds_than_classes_are_refused() {
    let parts = ["11 folds of 10 classes", "expected between 2 folds and one per class"];
    refused(eloc().args(["split", "--classes", "10", "--folds", "11"]), &parts);
}

#[test]
fn more_classes_than_labels_have_room_for_are_refused() {
    let output = eloc().args(["split", "--classes", "65536"]).output().unwrap();
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{message}");
    assert!(message.contains("--classes") && message.contains("65536 is not in"), "{message}");
}

#[cfg(target_os = "linux")]
#[test]
fn full_disk_behind_the_output_is_an_error() {
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output =
        std::process::Command::new(super::tool::ELOC).args(["split", "--classes", "10"]).stdout(full).output().unwrap();
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(message.starts_with("eloc: ") && message.lines().count() == 1, "{message}");
}
