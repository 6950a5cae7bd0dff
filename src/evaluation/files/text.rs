//! Scores as text.

use std::iter;

use csv_core::ReadRecordResult;

use super::contents::{some, wrong};
use crate::error::Result;

const NUMBER: &str = "a finite number";

/// One score a line; empty lines are passed over.
pub fn lines(name: &str, bytes: &[u8]) -> Result<Vec<f64>> {
    let text = text(name, bytes)?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let scores = lines.map(|(index, line)| number(line, || format!("{name}, line {}", index + 1)));
    some(name, scores.collect::<Result<_>>()?)
}

/// Names of the columns.
pub fn columns(name: &str, bytes: &[u8]) -> Result<Vec<String>> {
    first(name, &mut records(name, &text(name, bytes)?))
}

/// The scores of a column.
pub fn csv(name: &str, bytes: &[u8], column: Option<&str>) -> Result<Vec<f64>> {
    let mut records = records(name, &text(name, bytes)?);
    let columns = first(name, &mut records)?;
    let names = || columns.iter().map(|column| format!("`{column}`")).collect::<Vec<_>>().join(", ");
    let index = match column {
        Some(column) => columns
            .iter()
            .position(|name| name == column)
            .ok_or_else(|| wrong(name, &format!("a column `{column}`"), names()))?,
        None if columns.len() == 1 => 0,
        None => return Err(wrong(name, "one column, or the name of one", names())),
    };
    let column = &columns[index];
    if column.parse::<f64>().is_ok() {
        return Err(wrong(&format!("{name}, line 1"), "names of columns", column));
    }
    let scores = records.map(|record| {
        let (line, record) = record?;
        let place = || format!("{name}, line {line}");
        if record.len() != columns.len() {
            return Err(wrong(&place(), &format!("{} columns", columns.len()), record.len()));
        }
        number(&record[index], || format!("{}, column `{column}`", place()))
    });
    some(name, scores.collect::<Result<_>>()?)
}

fn first(name: &str, records: &mut impl Iterator<Item = Result<Record>>) -> Result<Vec<String>> {
    let record = records.next().unwrap_or_else(|| Err(wrong(name, "a line of column names", "none")));
    record.map(|(_, columns)| columns)
}

/// The number of a line, and its fields.
type Record = (u64, Vec<String>);

/// Each line that is not empty; quotes may hold commas and line breaks.
fn records<'a>(name: &'a str, text: &str) -> impl Iterator<Item = Result<Record>> + use<'a> {
    // The reader takes a carriage return for the end, and counts line feeds. A line at the end is whole, too.
    let text = text.replace("\r\n", "\n") + "\n";
    let (mut fields, mut ends) = (vec![0; text.len()], vec![0; text.len()]);
    let (mut reader, mut start) = (csv_core::Reader::new(), 0);
    iter::from_fn(move || {
        let (result, read, written, count) = reader.read_record(&text.as_bytes()[start..], &mut fields, &mut ends);
        start += read;
        match result {
            ReadRecordResult::Record => {
                let starts = [0].into_iter().chain(ends[..count].iter().copied());
                let field =
                    |(start, &end): (usize, &usize)| String::from_utf8_lossy(&fields[start..end]).trim().to_owned();
                Some(Ok((reader.line() - 1, starts.zip(&ends[..count]).map(field).collect())))
            }
            _ if written == 0 && count == 0 => None,
            _ => Some(Err(wrong(name, "a second quote for each", "one that does not end"))),
        }
    })
}

fn number(text: &str, place: impl Fn() -> String) -> Result<f64> {
    let number = text.trim().parse().ok().filter(|number: &f64| number.is_finite());
    number.ok_or_else(|| wrong(&place(), NUMBER, text))
}

/// Text in UTF-8, or in UTF-16 with a byte-order mark, as Windows PowerShell writes it.
fn text(name: &str, bytes: &[u8]) -> Result<String> {
    let utf16 = |bytes: &[u8], unit: fn([u8; 2]) -> u16| {
        let (units, rest) = bytes.as_chunks();
        rest.is_empty().then_some(())?;
        char::decode_utf16(units.iter().map(|&bytes| unit(bytes))).collect::<std::result::Result<String, _>>().ok()
    };
    let text = match bytes {
        [0xff, 0xfe, rest @ ..] => utf16(rest, u16::from_le_bytes),
        [0xfe, 0xff, rest @ ..] => utf16(rest, u16::from_be_bytes),
        [0xef, 0xbb, 0xbf, rest @ ..] | rest => String::from_utf8(rest.to_vec()).ok(),
    };
    text.ok_or_else(|| wrong(name, "text in UTF-8, .npy or .npz", "other bytes"))
}
