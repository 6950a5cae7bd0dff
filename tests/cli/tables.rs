//! `eloc tables`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;

use super::tool::{Trained, eloc, evaluate, path, refused, scratch, stdout};

fn tables(file: &Path, flags: &[&str]) -> Command {
    let mut command = eloc();
    command.arg("tables").args(flags).arg(file);
    command
}

#[test]
fn tables_of_this_project_are_those_of_its_results() {
    for file in ["README.md", "weights/README.md"] {
        stdout(&mut tables(&Path::new(env!("CARGO_MANIFEST_DIR")).join(file), &["--check"]));
    }
}

/// A folder with a report, and a Markdown file with `tables` in it.
fn page(tables: &str) -> (TempDir, PathBuf) {
    let dir = scratch();
    let Trained { images, weights, .. } = Trained::shared();
    let report = dir.path().join("report.json");
    stdout(evaluate(weights, images, dir.path(), &["uniform:20"]).args(["--json", path(&report)]));
    Trained::shared().copy(&dir.path().join("weights"));
    let file = dir.path().join("page.md");
    fs::write(&file, format!("before\n{tables}after\n")).unwrap();
    (dir, file)
}

#[test]
fn tables_are_made_from_the_files_that_they_name() {
    let marks = ["metrics report.json", "scores report.json", "folds weights"]
        .map(|what| format!("<!-- eloc tables: {what} -->\n<!-- end of table -->\n"));
    let rows = "<!-- eloc tables: rows uniform\nthe method | report.json | eloc\nenergy | report.json | energy\n-->\nold\n\
                <!-- end of table -->\n";
    let many = rows.replace("rows uniform", "rows uniform uniform");
    let (_dir, file) = page(&format!("{}{rows}{many}", marks.concat()));
    refused(&mut tables(&file, &["--check"]), &[path(&file), "expected the tables that its results give"]);
    stdout(&mut tables(&file, &[]));
    let made = fs::read_to_string(&file).unwrap();
    assert!(made.starts_with("before\n<!-- eloc tables: metrics") && made.ends_with("<!-- end of table -->\nafter\n"));
    for part in [
        "| uniform | 20 | ",
        "| the method | ",
        "| energy | ",
        "AUROC / FPR95, percent",
        "| 1 | class-",
        "eloc evaluate",
    ] {
        assert!(made.contains(part), "{part} in {made}");
    }
    assert!(!made.contains("\nold\n"));
    fs::write(&file, made.replace('\n', "\r\n")).unwrap();
    stdout(&mut tables(&file, &["--check"]));
    fs::write(&file, format!("more\n{made}").replace('\n', "\r\n").replace("| uniform | 20 |", "| uniform | 21 |"))
        .unwrap();
    stdout(&mut tables(&file, &[]));
    assert!(fs::read_to_string(&file).unwrap() == format!("more\n{made}").replace('\n', "\r\n"));
    fs::write(&file, &made).unwrap();
    // A second time nothing changes.
    assert_eq!(stdout(&mut tables(&file, &[])), "");
    stdout(&mut tables(&file, &["--check"]));
    fs::write(&file, made.replacen("| uniform | 20 |", "| uniform | 21 |", 1)).unwrap();
    refused(&mut tables(&file, &["--check"]), &["expected the tables that its results give"]);
}

#[test]
fn other_gradients_and_definitions_are_named_and_not_mixed() {
    let table = |what: &str| format!("<!-- eloc tables: {what}\n-->\n<!-- end of table -->\n");
    let row = "rows uniform\na | other.json | eloc";
    let (dir, file) = page(&[table("metrics other.json"), table(row)].concat());
    let Trained { images, weights, .. } = Trained::shared();
    let mut command = evaluate(weights, images, dir.path(), &["uniform:20"]);
    command.args([
        "--gradient",
        "entropy",
        "--definition",
        "reference",
        "--json",
        path(&dir.path().join("other.json")),
    ]);
    stdout(&mut command);
    stdout(&mut tables(&file, &[]));
    let made = fs::read_to_string(&file).unwrap();
    assert!(made.contains(", entropy gradient;"), "{made}");
    assert_eq!(made.matches("Percent by the published code's definitions;").count(), 2, "{made}");

    let mixed = table(&format!("{row}\nb | report.json | eloc"));
    fs::write(&file, &mixed).unwrap();
    refused(&mut tables(&file, &[]), &["expected the same definitions and images in every report"]);
}

#[test]
fn tables_that_cannot_be_made_are_refused_and_the_file_stays() {
    for (table, parts) in [
        ("<!-- eloc tables: metrics nothing.json -->\n<!-- end of table -->\n", &["nothing.json"][..]),
        ("<!-- eloc tables: metrics weights/manifest.json -->\n<!-- end of table -->\n", &["manifest.json"]),
        ("<!-- eloc tables: pictures report.json -->\n<!-- end of table -->\n", &["expected metrics, scores"]),
        ("<!-- eloc tables: metrics report.json -->\n", &["expected `<!-- end of table -->`"]),
        (
            "<!-- eloc tables: metrics report.json -->\nwords\n<!-- eloc tables: scores report.json -->\n<!-- end of table -->\n",
            &["expected `<!-- end of table -->` after `<!-- eloc tables: metrics"],
        ),
        (
            "<!-- eloc tables: rows noise\na | report.json | eloc\n-->\n<!-- end of table -->\n",
            &["expected the set noise"],
        ),
    ] {
        let (_dir, file) = page(table);
        let before = fs::read(&file).unwrap();
        refused(&mut tables(&file, &[]), &[&[path(&file)][..], parts].concat());
        assert!(fs::read(&file).unwrap() == before);
    }
}
