//! `eloc metrics`.

use std::{fs, path::Path};

use serde_json::Value;
use std::process::Command;

use super::tool::{eloc, refused, scratch, stdout};

/// The tool on two files of scores in `folder`.
fn metrics(folder: &Path, id: &str, ood: &str) -> Command {
    fs::write(folder.join("id.txt"), id).unwrap();
    fs::write(folder.join("ood.txt"), ood).unwrap();
    let mut command = eloc();
    command.current_dir(folder).args(["metrics", "--id", "id.txt", "--ood", "ood.txt"]);
    command
}

/// In 4, 3, 2 and out 1, 3, with one tie.
///
/// AUROC: of the six pairs four are in order, one is tied and one is not, 4.5 / 6. All three in-distribution scores
/// are needed for 95%, which lets 3 in but not 1: 1/2. The least mean of both errors is at threshold 2:
/// (0 + 1/2) / 2. AUPR-in: precision 1, 2/3, 3/4 at recall 1/3, 2/3, 1, so 29/36. AUPR-out: precision 1 and 1/2 at
/// recall 1/2 and 1, so 3/4.
#[test]
fn metrics_are_those_worked_out_by_hand() {
    let folder = scratch();
    let command = &mut metrics(folder.path(), "4\n3\n2\n", "1\n\n 3 \n");
    let found: Value = serde_json::from_str(&stdout(command.arg("--json"))).unwrap();
    let expected = [
        ("fpr_at_95_tpr", 0.5),
        ("detection_error", 0.25),
        ("auroc", 0.75),
        ("aupr_in", 29.0 / 36.0),
        ("aupr_out", 0.75),
    ];
    assert_eq!(found.as_object().unwrap().len(), expected.len());
    for (name, expected) in expected {
        // Sums of a few fractions, each right to half a unit in the last place.
        assert!((found[name].as_f64().unwrap() - expected).abs() < 1e-15, "{name}: {}", found[name]);
    }
}

#[test]
fn metrics_for_people_are_in_percent() {
    let folder = scratch();
    let table = stdout(&mut metrics(folder.path(), "4\n3\n2\n", "1\n3\n"));
    let rows: Vec<Vec<&str>> = table.lines().map(|line| line.rsplitn(2, ' ').collect()).collect();
    let rows: Vec<(&str, &str)> = rows.iter().map(|row| (row[1].trim(), row[0])).collect();
    let expected =
        [("FPR95", "50.00"), ("det. err.", "25.00"), ("AUROC", "75.00"), ("AUPR-in", "80.56"), ("AUPR-out", "75.00")];
    assert_eq!(rows, expected);
}

/// No threshold accepts between 94.95% and 95.05% of three scores, so the published code would divide by zero.
#[test]
fn reference_definition_says_where_it_is_not_defined() {
    let folder = scratch();
    let reference = |format: &[&str]| {
        stdout(metrics(folder.path(), "4\n3\n2\n", "1\n3\n").args(["--definition", "reference"]).args(format))
    };
    let found: Value = serde_json::from_str(&reference(&["--json"])).unwrap();
    assert_eq!(found["fpr_at_95_tpr"], Value::Null);
    assert!(found["auroc"].is_number());
    let table = reference(&[]);
    assert!(table.starts_with("FPR95 ") && table.lines().next().unwrap().ends_with(" -"), "{table}");
}

#[test]
fn line_that_is_no_number_is_named() {
    let folder = scratch();
    let parts = ["ood.txt, line 3", "expected a finite number", "found high"];
    refused(&mut metrics(folder.path(), "1\n", "1\n2\nhigh\n"), &parts);
}

#[test]
fn score_that_is_not_finite_is_named_by_file_and_line() {
    let folder = scratch();
    refused(&mut metrics(folder.path(), "1\n\nNaN\n", "1\n"), &["id.txt, line 3", "expected a", "found NaN"]);
    refused(&mut metrics(folder.path(), "1\n", "1\n-inf\n"), &["ood.txt, line 2", "expected a", "found -inf"]);
}

#[test]
fn file_without_scores_is_named() {
    let folder = scratch();
    refused(&mut metrics(folder.path(), "1\n", "\n"), &["ood.txt", "expected at least 1", "found 0"]);
}

#[test]
fn missing_file_is_named() {
    refused(eloc().args(["metrics", "--id", "nowhere.txt", "--ood", "nowhere.txt"]), &["nowhere.txt"]);
}

/// Windows PowerShell redirects into such files.
#[test]
fn scores_with_a_byte_order_mark_are_read() {
    let folder = scratch();
    let plain = stdout(&mut metrics(folder.path(), "4\n3\n2\n", "1\n3\n"));
    let mut command = metrics(folder.path(), "\u{feff}4\r\n3\r\n2\r\n", "1\n3\n");
    assert_eq!(stdout(&mut command), plain);
    for unit in [u16::to_le_bytes, u16::to_be_bytes] {
        let utf16: Vec<u8> = "\u{feff}4\r\n3\r\n2\r\n".encode_utf16().flat_map(unit).collect();
        fs::write(folder.path().join("id.txt"), &utf16).unwrap();
        assert_eq!(stdout(&mut command), plain);
        fs::write(folder.path().join("id.txt"), &utf16[..utf16.len() - 1]).unwrap();
        refused(&mut command, &["id.txt: expected text in UTF-8"]);
    }
}
