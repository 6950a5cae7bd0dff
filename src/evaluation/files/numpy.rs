//! Scores and logits in NumPy's arrays.

use std::{
    borrow::Cow,
    io::{Cursor, Read},
};

use zip::{ZipArchive, result::ZipError};

use super::{
    contents::{Contents, Logits, some, wrong},
    npy::{self, Array},
};
use crate::error::{Error, Result};

/// Most bytes of an array in an `.npz`, which may be far larger than the file.
const MAX_ARRAY: u64 = 1 << 30;

impl Array {
    /// Scores, or logits.
    pub fn contents(self, place: &str) -> Result<Contents> {
        match self.shape[..] {
            [_] => self.scores(place).map(Contents::Scores),
            [images, classes] if images > 0 && classes > 1 => {
                let values: Vec<f32> = self.values.iter().map(|&value| value as f32).collect();
                if let Some(index) = values.iter().position(|value| !value.is_finite()) {
                    let place =
                        format!("{place}, row {}, column {} (counted from 0)", index / classes, index % classes);
                    return Err(wrong(&place, "a finite number in single precision", self.values[index]));
                }
                Ok(Contents::Logits(Logits { classes, values }))
            }
            _ => Err(wrong(
                place,
                "scores [n], or logits [n, classes] of 2 classes or more",
                format!("{:?}", self.shape),
            )),
        }
    }

    fn scores(self, place: &str) -> Result<Vec<f64>> {
        if self.shape.len() != 1 {
            return Err(wrong(place, "an array [n]", format!("{:?}", self.shape)));
        }
        if let Some(index) = self.values.iter().position(|value| !value.is_finite()) {
            let place = format!("{place}, index {index} (counted from 0)");
            return Err(wrong(&place, "a finite number", self.values[index]));
        }
        some(place, self.values)
    }
}

fn open<'a>(name: &str, bytes: &'a [u8]) -> Result<ZipArchive<Cursor<&'a [u8]>>> {
    ZipArchive::new(Cursor::new(bytes)).map_err(|error| damaged(name, error))
}

fn damaged(name: &str, error: ZipError) -> Error {
    wrong(name, "a sound .npz", error)
}

/// Names of the arrays in an `.npz`, sorted.
pub fn arrays(name: &str, bytes: &[u8]) -> Result<Vec<String>> {
    listed(name, &open(name, bytes)?)
}

fn listed(name: &str, archive: &ZipArchive<Cursor<&[u8]>>) -> Result<Vec<String>> {
    let entries = archive.file_names().map(|entry| entry.map(Cow::into_owned));
    let entries = entries.collect::<std::result::Result<Vec<_>, _>>().map_err(|error| damaged(name, error))?;
    if entries.iter().any(|entry| entry.ends_with("/data.pkl")) {
        let found = "a file of PyTorch's, a pickle, which can run code; save the tensor with numpy.save";
        return Err(wrong(name, "an .npz", found));
    }
    let mut names: Vec<String> =
        entries.iter().filter_map(|entry| entry.strip_suffix(".npy")).map(str::to_owned).collect();
    names.sort_unstable();
    Ok(names)
}

/// Reads an `.npz`: the array named `column`, or OpenOOD's, or the only one.
pub fn npz(name: &str, bytes: &[u8], column: Option<&str>) -> Result<Contents> {
    let mut archive = open(name, bytes)?;
    let names = listed(name, &archive)?;
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let listed = names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    let listed = if listed.is_empty() { "no array".to_owned() } else { listed };
    let is_there = |array: &str| names.contains(&array);
    let place = |array: &str| format!("{name}, array `{array}`");
    let mut read = |array: &str| -> Result<Array> {
        let entry = archive.by_name(&format!("{array}.npy")).map_err(|error| damaged(name, error))?;
        let mut bytes = Vec::new();
        let read = entry.take(MAX_ARRAY + 1).read_to_end(&mut bytes);
        read.map_err(|error| wrong(&place(array), "sound contents", error))?;
        if bytes.len() as u64 > MAX_ARRAY {
            return Err(wrong(&place(array), "at most 1 GiB", "more"));
        }
        npy::read(&place(array), &bytes)
    };
    match (column, &names[..]) {
        (Some(column), _) if is_there(column) => read(column)?.contents(&place(column)),
        (Some(column), _) => Err(wrong(name, &format!("an array `{column}`"), listed)),
        (None, _) if is_there("conf") && is_there("label") => {
            let mut array = |array| read(array)?.scores(&place(array));
            let predictions = if is_there("pred") { Some(array("pred")?) } else { None };
            by_label(name, &array("conf")?, &array("label")?, predictions.as_deref())
        }
        (None, _) if is_there("conf") => read("conf")?.contents(&place("conf")),
        (None, [only]) => read(only)?.contents(&place(only)),
        (None, _) => Err(wrong(name, "OpenOOD's `conf`, one array, or the name of one", listed)),
    }
}

/// OpenOOD's scores, by whether their label is -1.
fn by_label(name: &str, conf: &[f64], labels: &[f64], predictions: Option<&[f64]>) -> Result<Contents> {
    for (array, count) in [("label", Some(labels.len())), ("pred", predictions.map(<[f64]>::len))] {
        if let Some(count) = count.filter(|count| *count != conf.len()) {
            return Err(wrong(&format!("{name}, array `{array}`"), &format!("{} as in `conf`", conf.len()), count));
        }
    }
    if let Some(index) = labels.iter().position(|&label| label < 0.0 && label != -1.0) {
        let place = format!("{name}, array `label`, index {index} (counted from 0)");
        return Err(wrong(&place, "a class, or -1 for out-of-distribution", labels[index]));
    }
    let of_side = |is_ood: bool| -> Vec<f64> {
        let scores = conf.iter().zip(labels).filter(|(_, label)| (**label == -1.0) == is_ood);
        scores.map(|(score, _)| *score).collect()
    };
    let (id, ood) = (of_side(false), of_side(true));
    let accuracy = predictions.filter(|_| !id.is_empty()).map(|predictions| {
        let right = predictions.iter().zip(labels).filter(|(class, label)| **label != -1.0 && class == label).count();
        right as f64 / id.len() as f64
    });
    Ok(Contents::OpenOod { id, ood, accuracy })
}
