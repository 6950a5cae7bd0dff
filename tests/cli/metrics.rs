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
    let found: Value = serde_json::from_str(&stdout(command.args(["--format", "json"]))).unwrap();
    let set = &found["sets"][0];
    assert_eq!(
        (&set["name"], &set["definition"], &set["id_images"], &set["ood_images"]),
        (&"ood".into(), &"standard".into(), &3.into(), &2.into())
    );
    let score = &set["scores"][0];
    assert_eq!(score["score"], "scores");
    let expected = [
        ("fpr_at_95_tpr", 0.5),
        ("detection_error", 0.25),
        ("auroc", 0.75),
        ("aupr_in", 29.0 / 36.0),
        ("aupr_out", 0.75),
    ];
    for (name, expected) in expected {
        let value = |value: &Value| value.as_f64().unwrap();
        // Sums of a few fractions, each right to half a unit in the last place.
        assert!((value(&score[name]) - expected).abs() < 1e-15, "{name}: {}", score[name]);
        let interval = &score["intervals"][name];
        assert!(value(&interval["low"]) <= expected && expected <= value(&interval["high"]), "{name}: {interval}");
    }
}

#[test]
fn metrics_for_people_are_in_percent_with_intervals_and_definitions_in_words() {
    let folder = scratch();
    let table = |flags: &[&str]| stdout(metrics(folder.path(), "4\n3\n2\n", "1\n3\n").args(flags));
    let plain = table(&["--resamples", "0"]);
    let last: Vec<&str> = plain.lines().last().unwrap().split_whitespace().collect();
    assert_eq!(last, ["scores", "50.00", "25.00", "75.00", "80.56", "75.00"]);
    assert!(
        plain.starts_with("Percent; 3 in-distribution and 2 out-of-distribution images.\nStandard definitions:"),
        "{plain}"
    );
    let with_intervals = table(&[]);
    assert!(with_intervals.starts_with("Percent, with 95% bootstrap intervals of 1000 resamples;"), "{with_intervals}");
    assert_eq!(with_intervals.lines().last().unwrap().matches('[').count(), 5, "{with_intervals}");
    assert_eq!(table(&["--seed", "0"]), with_intervals);
}

/// A threshold that rejects both 1 and 3 rejects 2 and the 3 beside it, two of three.
#[test]
fn openoods_definition_has_other_images_as_positives() {
    let folder = scratch();
    let table =
        stdout(metrics(folder.path(), "4\n3\n2\n", "1\n3\n").args(["--definition", "openood", "--resamples", "0"]));
    assert!(
        table.contains("\nOpenOOD's definitions: FPR95 is the share of in-distribution images rejected"),
        "{table}"
    );
    let last: Vec<&str> = table.lines().last().unwrap().split_whitespace().collect();
    assert_eq!(last[..4], ["scores", "66.67", "25.00", "75.00"]);
}

/// No threshold accepts between 94.95% and 95.05% of three scores, so the published code would divide by zero.
#[test]
fn reference_definition_says_where_it_is_not_defined() {
    let folder = scratch();
    let reference = |format: &str| {
        let flags = ["--definition", "reference", "--format", format, "--resamples", "0"];
        stdout(metrics(folder.path(), "4\n3\n2\n", "1\n3\n").args(flags))
    };
    let found: Value = serde_json::from_str(&reference("json")).unwrap();
    let score = &found["sets"][0]["scores"][0];
    assert_eq!(score["fpr_at_95_tpr"], Value::Null);
    assert!(score["auroc"].is_number());
    let table = reference("text");
    assert!(table.lines().last().unwrap().split_whitespace().nth(1) == Some("-"), "{table}");
    let line = "\n\"scores\",,0.16666666666666666,0.8333333333333334,";
    assert!(reference("csv").contains(line), "{}", reference("csv"));
}

#[test]
fn tables_come_in_markdown_latex_and_csv() {
    let folder = scratch();
    let table = |format| stdout(metrics(folder.path(), "4\n3\n2\n", "1\n3\n").args(["--format", format]));
    assert!(table("markdown").contains("\n| scores | 50.00 ("), "{}", table("markdown"));
    assert!(table("latex").contains("\nscores & 50.00 {\\small ["), "{}", table("latex"));
    assert!(table("csv").starts_with("score,fpr_at_95_tpr,detection_error,auroc,"), "{}", table("csv"));
}

/// `eloc metrics` on files that NumPy wrote.
fn metrics_of(flags: &[&str]) -> Command {
    resampled("0", flags)
}

/// The same with intervals.
fn resampled(resamples: &str, flags: &[&str]) -> Command {
    let mut command = eloc();
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/files");
    command.current_dir(golden).args(["metrics", "--resamples", resamples, "--id"]).args(flags);
    command
}

/// In .5, .75, 1 and out .25, .125.
#[test]
fn one_file_of_openoods_is_both_sides() {
    let table = stdout(&mut metrics_of(&["openood.npz"]));
    assert!(table.contains(" 3 in-distribution and 2 out-of-distribution images."), "{table}");
    let row: Vec<&str> = table.lines().find(|line| line.contains("conf")).unwrap().split_whitespace().collect();
    assert_eq!(row, ["conf", "0.00", "0.00", "100.00", "100.00", "100.00"]);
    // Of the classes predicted for the three, two are right.
    assert!(table.ends_with("\nin-distribution accuracy 66.67\n"), "{table}");
}

#[test]
fn logits_of_an_ensemble_give_every_score() {
    let names = |table: String| -> Vec<String> {
        table.lines().skip(1).map(|line| line.split("\",").next().unwrap()[1..].to_owned()).collect()
    };
    let one = stdout(&mut metrics_of(&["id-1.npy", "--ood", "ood-1.npy", "--format", "csv"]));
    let files = ["id-1.npy", "id-2.npy", "--ood", "ood-1.npy", "ood-2.npy", "--format", "csv"];
    let ensemble = stdout(&mut metrics_of(&files));
    assert_ne!(one, ensemble);
    let scores = ["max softmax", "max logit", "energy", "entropy", "GEN", "ELOC, epsilon 0", "ELOC, pooled"];
    assert_eq!(names(one), scores);
    assert_eq!(names(ensemble.clone()), scores);
    let tempered = stdout(metrics_of(&files).args(["--temperature", "1"]));
    let (last, others) = (
        |table: &str| table.lines().last().unwrap().to_owned(),
        |table: &str| table.lines().nth(5).unwrap().to_owned(),
    );
    assert_ne!(last(&tempered), last(&ensemble));
    assert_eq!(others(&tempered), others(&ensemble));
    let named = ["layouts.npz", "--ood", "layouts.npz", "--column", ">f2 F", "--format", "csv"];
    assert!(stdout(&mut metrics_of(&named)).contains("\n\"energy\",1,0.5,0.5,"));
}

#[test]
fn files_that_do_not_fit_are_named() {
    refused(&mut metrics_of(&["id-1.npy", "id-2.npy", "--ood", "ood-1.npy"]), &["id-1.npy", "found 2 and 1 files"]);
    refused(
        &mut metrics_of(&["objects.npy", "--ood", "ood-1.npy"]),
        &["objects.npy", "found Python objects, as a pickle"],
    );
    refused(&mut metrics_of(&["layouts.npz"]), &["layouts.npz", "the name of one", "`<f2 C`"]);
    refused(&mut metrics_of(&["id-1.npy", "--ood", "openood.npz", "--known", "lower"]), &["id-1.npy", "found logits"]);
}

/// In .5, .75, 1, of two classifiers' scores against .25, .125 and against 3, 0.6.
#[test]
fn near_and_far_sets_have_means_and_a_row_of_the_leaderboard() {
    let folder = scratch();
    fs::write(folder.path().join("other.txt"), "3\n0.6\n").unwrap();
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/files/openood.npz");
    fs::copy(golden, folder.path().join("conf.npz")).unwrap();
    fs::write(folder.path().join("low.txt"), "0.25\n0.125\n").unwrap();
    fs::write(folder.path().join("known.txt"), "0.5\n0.75\n1\n").unwrap();
    let run = |flags: &[&str]| {
        let mut command = eloc();
        command.current_dir(folder.path()).args(["metrics", "--resamples", "0", "--id", "known.txt"]).args(flags);
        command
    };
    let sets = ["--near", "low.txt", "--near", "mixed=other.txt", "--far", "low.txt"];
    let table = stdout(&mut run(&sets));
    let rows: Vec<&str> = table.lines().filter(|line| line.trim_start().starts_with("scores ")).collect();
    // Of the six pairs with 3 and 0.6 two are in order; the mean with the other set is 66.67.
    let aurocs: Vec<&str> = rows.iter().map(|row| row.split_whitespace().nth(3).unwrap()).collect();
    assert_eq!(aurocs, ["100.00", "33.33", "100.00", "66.67", "100.00"], "{table}");
    assert!(table.contains("\nmixed (near-OOD, 2 images)") && table.contains("\nmean of 2 near-OOD sets"), "{table}");
    let row = stdout(run(&sets).args(["--format", "leaderboard"]));
    assert!(row.ends_with("\n,\"scores\",66.67,100.00,,,,\n"), "{row}");
    refused(run(&sets[..4]).args(["--format", "leaderboard"]), &["--near and --far", "found none"]);
}

#[test]
fn scores_of_the_same_images_are_compared() {
    let files = ["id-1.npy", "--ood", "ood-1.npy"];
    let table = stdout(resampled("50", &files).args(["--baseline", "Max Softmax"]));
    let (_, differences) = table.split_once("\nood-1: each score minus max softmax on the same images").unwrap();
    assert_eq!(differences.lines().filter(|line| line.contains('[')).count(), 6, "{table}");
    refused(metrics_of(&files).args(["--baseline", "best"]), &["--baseline", "max softmax", "found best"]);

    let folder = scratch();
    fs::write(folder.path().join("theirs.txt"), "4\n1\n2\n").unwrap();
    fs::write(folder.path().join("few.txt"), "4\n1\n").unwrap();
    let run = |file, resamples| {
        let mut command = metrics(folder.path(), "4\n3\n2\n", "1\n3\n");
        let flags = ["--baseline-id", file, "--baseline-ood", "ood.txt", "--format", "json", "--resamples", resamples];
        command.args(flags);
        command
    };
    let found: Value = serde_json::from_str(&stdout(&mut run("theirs.txt", "50"))).unwrap();
    let difference = &found["sets"][0]["differences"][0];
    assert_eq!(difference["baseline"], "that of theirs.txt");
    // 4.5 and 3.5 of six pairs.
    assert!((difference["delong"]["difference"].as_f64().unwrap() - 1.0 / 6.0).abs() < 1e-15, "{difference}");
    assert!((difference["auroc"]["value"].as_f64().unwrap() - 1.0 / 6.0).abs() < 1e-15, "{difference}");
    refused(&mut run("few.txt", "50"), &["few.txt", "two scores of each image", "found 3 and 2"]);
    refused(&mut run("theirs.txt", "0"), &["--resamples"]);
}

#[test]
fn runs_are_put_together() {
    let folder = scratch();
    for (name, ood) in [("a.json", "1\n3\n"), ("b.json", "1\n1\n")] {
        let json = stdout(metrics(folder.path(), "4\n3\n2\n", ood).args(["--format", "json"]));
        fs::write(folder.path().join(name), json).unwrap();
    }
    let run = |files: &[&str]| {
        let mut command = eloc();
        command.current_dir(folder.path()).arg("runs").args(files);
        command
    };
    // AUROC 75 and 100.
    assert!(stdout(&mut run(&["a.json", "b.json"])).contains(" 87.50 ± 17.68 "));
    assert!(stdout(&mut run(&["a.json", "b.json", "--format", "markdown"])).contains("| ood | scores | "));
    refused(&mut run(&["a.json"]), &["a.json", "two runs or more"]);
    fs::write(folder.path().join("c.json"), "{}").unwrap();
    refused(&mut run(&["a.json", "c.json"]), &["c.json", "expected results of"]);
}

#[test]
fn a_column_is_of_the_files_that_have_some() {
    let folder = scratch();
    let write = |name: &str, contents: &str| fs::write(folder.path().join(name), contents).unwrap();
    write("id.csv", "index,score\n1,4\n2,3\n3,2\n");
    write("ood.txt", "1\n3\n");
    let run = |flags: &[&str]| {
        let mut command = eloc();
        command.current_dir(folder.path()).args(["metrics", "--resamples", "0", "--column", "score"]).args(flags);
        command
    };
    let table = stdout(&mut run(&["--id", "id.csv", "--ood", "ood.txt"]));
    assert!(table.lines().last().unwrap().contains(" 75.00 "), "{table}");
    refused(&mut run(&["--id", "ood.txt", "--ood", "ood.txt"]), &["ood.txt", "a .csv or .npz to take `score` from"]);
}

/// In 1, 2 and out 3, which is the wrong way round.
#[test]
fn scores_below_chance_offer_the_switch() {
    let folder = scratch();
    let run = |known: &[&str]| {
        let output = metrics(folder.path(), "1\n2\n", "3\n").args(["--resamples", "0"]).args(known).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (text(output.stdout), text(output.stderr))
    };
    let (table, note) = run(&[]);
    assert!(table.lines().last().unwrap().contains(" 0.00 "), "{table}");
    assert_eq!(
        note,
        "ood, scores: an AUROC of 0.00 is below chance, 50; if lower scores mean known, say --known lower\n"
    );
    let (table, note) = run(&["--known", "lower"]);
    assert!(table.lines().last().unwrap().contains(" 100.00 ") && note.is_empty(), "{table}{note}");
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
        refused(&mut command, &["id.txt: expected text in UTF-8, .npy or .npz"]);
    }
}
