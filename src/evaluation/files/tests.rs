//! Tests of the readers: arrays as NumPy saved them, scores as NumPy computes them, and files that are refused.

use std::collections::HashMap;

use proptest::prelude::*;
use serde::Deserialize;

use super::*;
use crate::error::Error;

#[derive(Deserialize)]
struct Golden {
    logits: Vec<[f32; 4]>,
    one: HashMap<String, Named>,
    ensemble: HashMap<String, Named>,
}

/// Scores by name.
type Named = HashMap<String, Vec<f64>>;

fn golden() -> Golden {
    serde_json::from_str(include_str!("../../../tests/golden/files.json")).unwrap()
}

const LAYOUTS: &[u8] = include_bytes!("../../../tests/golden/files/layouts.npz");
const OPENOOD: &[u8] = include_bytes!("../../../tests/golden/files/openood.npz");
const ID: [&[u8]; 2] =
    [include_bytes!("../../../tests/golden/files/id-1.npy"), include_bytes!("../../../tests/golden/files/id-2.npy")];
const OOD: [&[u8]; 2] =
    [include_bytes!("../../../tests/golden/files/ood-1.npy"), include_bytes!("../../../tests/golden/files/ood-2.npy")];

fn contents(name: &str, bytes: &[u8]) -> (String, Contents) {
    (name.to_owned(), read(name, bytes, None).unwrap())
}

/// The message about a file.
fn refused(name: &str, bytes: &[u8], column: Option<&str>) -> String {
    let error = read(name, bytes, column).unwrap_err();
    assert!(matches!(error, Error::ScoreFile { .. }));
    error.to_string()
}

/// An `.npy` as NumPy writes it.
fn npy(descr: &str, shape: &str, values: &[u8]) -> Vec<u8> {
    let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n");
    let length = u16::try_from(header.len()).unwrap().to_le_bytes();
    [b"\x93NUMPY\x01\x00", &length[..], header.as_bytes(), values].concat()
}

fn bytes_of(values: &[f64]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

#[test]
fn every_layout_of_the_same_logits_is_read() {
    let expected = Contents::Logits(Logits { classes: 4, values: golden().logits.concat() });
    for kind in ["<f2", "<f4", "<f8", ">f2", ">f4", ">f8"] {
        for order in ["C", "F"] {
            let column = format!("{kind} {order}");
            assert_eq!(read("layouts.npz", LAYOUTS, Some(&column)).unwrap(), expected, "{column}");
        }
    }
}

#[test]
fn whole_numbers_are_read() {
    let bytes = include_bytes!("../../../tests/golden/files/whole.npz");
    for kind in ["i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8"] {
        for order in ["<", ">"] {
            let found = read("whole.npz", bytes, Some(&format!("{order}{kind}"))).unwrap();
            assert_eq!(found, Contents::Scores(vec![0.0, 1.0, 2.0]), "{order}{kind}");
        }
    }
}

#[test]
fn one_file_of_openoods_is_both_sides() {
    let files = [contents("openood.npz", OPENOOD)];
    assert!(matches!(files[0].1, Contents::OpenOod { accuracy: Some(accuracy), .. } if accuracy == 2.0 / 3.0));
    let expected = Pair { score: "conf", id: vec![0.5, 0.75, 1.0], ood: vec![0.25, 0.125] };
    assert_eq!(pairs(&files, &[], Known::Higher, 1.0).unwrap(), std::slice::from_ref(&expected));
    let negated = |scores: &[f64]| scores.iter().map(|score| -score).collect();
    let expected = Pair { score: "conf", id: negated(&expected.id), ood: negated(&expected.ood) };
    assert_eq!(pairs(&files, &[], Known::Lower, 1.0).unwrap(), [expected]);
    let message = pairs(&files, &files, Known::Higher, 1.0).unwrap_err().to_string();
    assert!(message.contains("openood.npz: expected in-distribution images only"), "{message}");
    assert!(message.contains("found 3 in-distribution and 2 out-of-distribution images"), "{message}");
}

#[test]
fn openoods_files_of_one_side_stand_beside_any_other() {
    let side = |id: &[f64], ood: &[f64]| {
        ("a".to_owned(), Contents::OpenOod { id: id.to_vec(), ood: ood.to_vec(), accuracy: None })
    };
    let text = contents("b.txt", b"1\n2\n");
    let expected = |score| Pair { score, id: vec![3.0], ood: vec![1.0, 2.0] };
    let of = |id: &(String, Contents), ood: &(String, Contents)| {
        pairs(std::slice::from_ref(id), std::slice::from_ref(ood), Known::Higher, 1.0)
    };
    assert_eq!(of(&side(&[3.0], &[]), &text).unwrap(), [expected("conf")]);
    assert_eq!(of(&side(&[3.0], &[]), &side(&[], &[1.0, 2.0])).unwrap(), [expected("conf")]);
    assert_eq!(of(&contents("c.txt", b"3"), &side(&[1.0, 2.0], &[])).unwrap(), [expected("scores")]);
    let message = of(&side(&[], &[3.0]), &text).unwrap_err().to_string();
    assert_eq!(message, "a: expected at least 1 in-distribution image by `label`, found 0");
}

#[test]
fn labels_say_which_images_are_other() {
    let message = by_label(&[1.0, 2.0], &[0.0, -2.0]);
    assert!(
        message.starts_with("x.npz, array `label`, index 1 (counted from 0): expected a class, or -1"),
        "{message}"
    );
    assert!(by_label(&[1.0, 2.0], &[0.0]).contains("expected 2 as in `conf`, found 1"));
}

/// The message about an OpenOOD file.
fn by_label(conf: &[f64], label: &[f64]) -> String {
    let arrays = [("conf", conf), ("label", label)]
        .map(|(name, values)| (format!("{name}.npy"), npy("<f8", &format!("({},)", values.len()), &bytes_of(values))));
    refused("x.npz", &zipped(&arrays), None)
}

fn zipped(files: &[(String, Vec<u8>)]) -> Vec<u8> {
    use std::io::Write;
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, bytes) in files {
        zip.start_file(name, zip::write::SimpleFileOptions::default()).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

/// Sums of a few terms in another order; the scores at T = 1000 are near -1, the others below 20.
#[test]
fn scores_of_logits_equal_numpys() {
    let golden = golden();
    for (networks, expected) in [(1, &golden.one), (2, &golden.ensemble)] {
        let files =
            |bytes: [&[u8]; 2]| bytes[..networks].iter().map(|bytes| contents("x.npy", bytes)).collect::<Vec<_>>();
        let found = pairs(&files(ID), &files(OOD), Known::Higher, 1000.0).unwrap();
        assert_eq!(found.len(), expected["id"].len());
        for pair in found {
            for (found, side) in [(&pair.id, "id"), (&pair.ood, "ood")] {
                let expected = &expected[side][pair.score];
                assert_eq!(found.len(), expected.len());
                for (found, expected) in found.iter().zip(expected) {
                    assert!((found - expected).abs() < 1e-13, "{}: {found} is not {expected}", pair.score);
                }
            }
        }
    }
}

#[test]
fn logits_of_one_ensemble_have_one_shape() {
    let logits = |name: &str, rows: usize, classes: usize| {
        (name.to_owned(), Contents::Logits(Logits { classes, values: vec![0.0; rows * classes] }))
    };
    let (a, other, scores) = (logits("a", 3, 4), logits("c", 2, 4), contents("s.txt", b"1"));
    for (id, ood, message) in [
        (vec![a.clone()], vec![], "a: expected logits of the same networks on both sides, found 1 and 0 files"),
        (
            vec![a.clone(), logits("b", 2, 4)],
            vec![other.clone(), other.clone()],
            "b: expected logits of shape [3, 4], found [2, 4]",
        ),
        (vec![a.clone()], vec![logits("c", 2, 5)], "c: expected logits of shape [2, 4], found [2, 5]"),
        (
            vec![a.clone()],
            vec![scores.clone()],
            "s.txt: expected logits [n, classes], as in the first file, found scores",
        ),
        (vec![scores.clone()], vec![a.clone()], "a: expected scores, as in the other side's file, found logits"),
        (
            vec![scores.clone(), scores.clone()],
            vec![scores.clone()],
            "s.txt: expected one file of scores a side, or several of logits, found scores",
        ),
        (
            vec![scores.clone()],
            vec![],
            "s.txt: expected OpenOOD's `conf` and `label`, or a file for each side, found scores",
        ),
    ] {
        assert_eq!(pairs(&id, &ood, Known::Higher, 1.0).unwrap_err().to_string(), message);
    }
    let message = pairs(&[a], &[other], Known::Lower, 1.0).unwrap_err().to_string();
    assert_eq!(message, "a: expected scores, of which lower ones are known, found logits");
}

#[test]
fn arrays_that_are_no_scores_are_refused() {
    let objects = include_bytes!("../../../tests/golden/files/objects.npy");
    assert!(refused("a.npy", objects, None).contains("a.npy: expected numbers of type f2, f4 or f8"));
    assert!(refused("a.npy", objects, None).ends_with("found Python objects, as a pickle, which can run code"));
    let values = bytes_of(&[1.0, f64::NAN, 2.0, f64::INFINITY]);
    for (descr, shape, message) in [
        ("<f8", "(4,)", "a.npy, index 1 (counted from 0): expected a finite number, found NaN"),
        (
            "<f8",
            "(2, 2)",
            "a.npy, row 0, column 1 (counted from 0): expected a finite number in single precision, found NaN",
        ),
        ("<f8", "(4, 1)", "a.npy: expected scores [n], or logits [n, classes] of 2 classes or more, found [4, 1]"),
        ("<f8", "()", "a.npy: expected scores [n], or logits [n, classes] of 2 classes or more, found []"),
        ("<f8", "(0,)", "a.npy: expected at least 1 score, found 0"),
        ("<f8", "(5,)", "found 32 bytes"),
        ("<f8", "(4294967296, 4294967296, 4)", "found 32 bytes"),
        ("<c8", "(4,)", "a.npy: expected numbers of type f2, f4 or f8"),
        ("|b1", "(4,)", "a.npy: expected numbers of type f2, f4 or f8"),
    ] {
        let found = refused("a.npy", &npy(descr, shape, &values), None);
        assert!(found.contains(message), "{descr} {shape}: {found}");
    }
    let structured =
        npy("<f8", "(4,)", &values).iter().map(|&byte| if byte == b'<' { b'[' } else { byte }).collect::<Vec<_>>();
    assert!(refused("a.npy", &structured, None).ends_with("found [f8"));
    for cut in [7, 30] {
        let message = refused("a.npy", &npy("<f8", "(4,)", &values)[..cut], None);
        assert_eq!(message, "a.npy: expected a sound .npy, found another header or none");
    }
    let other = npy("<f8", "4", &values);
    assert!(
        refused("a.npy", &other, None).starts_with("a.npy: expected a header with the array's shape, found {'descr'")
    );
}

#[test]
fn pickles_are_refused_by_name() {
    for (name, bytes) in [("a.npy", &b"\x80\x04\x95"[..]), ("a.pkl", b"(lp0"), ("a.PKL", b"1\n")] {
        let message = refused(name, bytes, None);
        assert!(message.starts_with(&format!("{name}: expected")) && message.contains("found a pickle"), "{message}");
    }
    let checkpoint = zipped(&[("archive/data.pkl".to_owned(), vec![0x80, 2])]);
    assert!(refused("a.pt", &checkpoint, None).contains("found a file of PyTorch's, a pickle"));
}

#[test]
fn arrays_go_by_their_names() {
    let array = |name: &str| (format!("{name}.npy"), npy("<f8", "(1,)", &bytes_of(&[2.0])));
    let two = zipped(&[array("b"), array("a")]);
    let expected = Contents::Scores(vec![2.0]);
    assert_eq!(read("x.npz", &two, Some("b")).unwrap(), expected);
    assert_eq!(read("x.npz", &zipped(&[array("b")]), None).unwrap(), expected);
    assert_eq!(read("x.npz", &zipped(&[array("conf"), array("pred")]), None).unwrap(), expected);
    assert_eq!(refused("x.npz", &two, Some("c")), "x.npz: expected an array `c`, found `a`, `b`");
    assert_eq!(
        refused("x.npz", &two, None),
        "x.npz: expected OpenOOD's `conf`, one array, or the name of one, found `a`, `b`"
    );
    assert!(refused("x.npz", &zipped(&[]), None).ends_with("found no array"));
    assert!(refused("x.npz", &two[..two.len() / 2], None).starts_with("x.npz: expected a sound .npz"));
}

#[test]
fn columns_go_by_their_names() {
    let csv = b"image,\"a, b\",c\nx.png,1,2\n\"y, z\", 3 ,4\n";
    assert_eq!(read("x.csv", csv, Some("a, b")).unwrap(), Contents::Scores(vec![1.0, 3.0]));
    assert_eq!(read("x.CSV", b"score\r\n1\r\n", None).unwrap(), Contents::Scores(vec![1.0]));
    for (bytes, column, message) in [
        (&csv[..], None, "x.csv: expected one column, or the name of one, found `image`, `a, b`, `c`"),
        (csv, Some("d"), "x.csv: expected a column `d`, found `image`, `a, b`, `c`"),
        (csv, Some("image"), "x.csv, line 2, column `image`: expected a finite number, found x.png"),
        (b"s\n1\n\ninf\n", None, "x.csv, line 4, column `s`: expected a finite number, found inf"),
        (b"0.5\n1\n", None, "x.csv, line 1: expected names of columns, found 0.5"),
        (b"s\n", None, "x.csv: expected at least 1 score, found 0"),
        (b"s,t\n1\n", Some("s"), "x.csv, line 2: expected 2 columns, found 1"),
        (b"s\r\n\r\n1\r\nx\r\n", None, "x.csv, line 4, column `s`: expected a finite number, found x"),
        (b"s\n\"1\n", None, "x.csv: expected a second quote for each, found one that does not end"),
        (b"\n", None, "x.csv: expected a line of column names, found none"),
    ] {
        let found = refused("x.csv", bytes, column);
        assert!(found.starts_with(message), "{found}");
    }
    assert!(refused("x.txt", b"1\n", Some("s")).starts_with("x.txt: expected a .csv or .npz to take `s` from"));
}

#[test]
fn columns_are_those_that_a_file_names() {
    let names = |name: &str, bytes: &[u8]| columns(name, bytes).unwrap();
    assert_eq!(names("s.csv", b"msp,\"a, b\"\n1,2\n"), ["msp", "a, b"]);
    // What follows the header is not looked at.
    assert_eq!(names("s.csv", b"a,b\n\"1\n"), ["a", "b"]);
    assert_eq!(names("s.npz", OPENOOD), ["conf", "label", "pred"]);
    assert_eq!(names("s.txt", b"1\n"), [""; 0]);
    assert_eq!(names("s.npy", ID[0]), [""; 0]);
    assert!(columns("s.csv", b"").unwrap_err().to_string().contains("a line of column names"));
}

proptest! {
    #[test]
    fn scores_are_the_same_in_every_format(scores in prop::collection::vec(-1e9..1e9, 1..20)) {
        let lines: String = scores.iter().map(|score| format!("{score}\n")).collect();
        let array = npy("<f8", &format!("({},)", scores.len()), &bytes_of(&scores));
        let expected = Contents::Scores(scores);
        prop_assert_eq!(&read("a.txt", lines.as_bytes(), None).unwrap(), &expected);
        prop_assert_eq!(&read("a.csv", format!("score\n{lines}").as_bytes(), Some("score")).unwrap(), &expected);
        prop_assert_eq!(&read("a.npy", &array, None).unwrap(), &expected);
        prop_assert_eq!(&read("a.npz", &zipped(&[("s.npy".to_owned(), array)]), None).unwrap(), &expected);
    }

    #[test]
    fn damaged_arrays_are_refused_or_read(at in 0usize..400, value: u8, cut in 0usize..400) {
        for bytes in [ID[0], OPENOOD] {
            let mut bytes = bytes.to_vec();
            let at = at % bytes.len();
            bytes[at] = value;
            let _ = read("a", &bytes, None);
            let _ = read("a", &bytes[..cut.min(bytes.len())], None);
        }
    }
}
