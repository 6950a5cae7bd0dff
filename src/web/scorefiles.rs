//! Files of scores and logits that other programs wrote in; the scores of both sides, and tables of their metrics, out.

use js_sys::{Array, Object, Uint8Array};
use wasm_bindgen::prelude::*;

use super::js::{JsResult, doubles, object, plain, sentence};
use crate::{
    detection::odin::Odin,
    error::Result,
    evaluation::{
        files::{self, Contents, Known, Logits},
        metrics::Definition,
        table::Table,
    },
};

#[wasm_bindgen]
extern "C" {
    /// `{ name, bytes, column }`: a file, and where it has several columns or arrays, which of them.
    pub type JsScoreFile;
    #[wasm_bindgen(method, getter)]
    fn name(this: &JsScoreFile) -> String;
    #[wasm_bindgen(method, getter)]
    fn bytes(this: &JsScoreFile) -> Uint8Array;
    #[wasm_bindgen(method, getter)]
    fn column(this: &JsScoreFile) -> Option<String>;
}

/// What a file holds: `{ kind, id, ood, classes, columns }`.
///
/// `kind` is "scores", "logits", "openood", or "columns" where one of the `columns` has to be chosen first. `id` is the number of
/// images, of "openood" those of the in-distribution side; `ood` and `classes` are 0 where there are none.
#[wasm_bindgen(js_name = scoreFile)]
pub fn score_file(name: &str, bytes: &[u8]) -> JsResult<Object> {
    let columns = files::columns(name, bytes).map_err(sentence)?;
    let (kind, id, ood, classes) = match files::read(name, bytes, None) {
        Ok(Contents::Scores(scores)) => ("scores", scores.len(), 0, 0),
        Ok(Contents::Logits(Logits { classes, values })) => ("logits", values.len() / classes, 0, classes),
        Ok(Contents::OpenOod { id, ood, .. }) => ("openood", id.len(), ood.len(), 0),
        // Which column is meant is for the visitor to say.
        Err(_) if columns.len() > 1 => ("columns", 0, 0, 0),
        Err(error) => return Err(sentence(error)),
    };
    let columns: Array = columns.iter().map(|column| JsValue::from(column.as_str())).collect();
    Ok(object(&[
        ("kind", kind.into()),
        ("id", id.into()),
        ("ood", ood.into()),
        ("classes", classes.into()),
        ("columns", columns.into()),
    ]))
}

/// `[{ score, id, ood }]`: every score of both sides' files, of which the in-distribution side has one at least.
///
/// `known` is "higher" or "lower". Of logits, ELOC's score has the command line's temperature.
#[wasm_bindgen(js_name = scorePairs)]
pub fn score_pairs(id: Vec<JsScoreFile>, ood: Vec<JsScoreFile>, known: &str) -> JsResult<Array> {
    let known = match known {
        "lower" => Known::Lower,
        _ => Known::Higher,
    };
    let read = |file: &JsScoreFile| {
        let (name, bytes) = (file.name(), file.bytes().to_vec());
        let contents = files::read(&name, &bytes, file.column().as_deref())?;
        Ok((name, contents))
    };
    let all = |files: &[JsScoreFile]| files.iter().map(read).collect::<Result<Vec<_>>>().map_err(sentence);
    let (id, ood) = (all(&id)?, all(&ood)?);
    if id.is_empty() {
        return Err(JsError::new("In-distribution: expected a file, found none."));
    }
    let pairs = files::pairs(&id, &ood, known, Odin::default().temperature).map_err(sentence)?;
    let pair = |pair: files::Pair| {
        object(&[("score", pair.score.into()), ("id", doubles(&pair.id)), ("ood", doubles(&pair.ood))])
    };
    Ok(pairs.into_iter().map(pair).collect())
}

/// A table of metrics, as the command line writes it: "text", "markdown", "latex" or "csv".
///
/// `table` is `{ definition, id_images, ood_images, scores: [{ score, fpr_at_95_tpr, .., intervals }] }`.
#[wasm_bindgen(js_name = tableAs)]
pub fn table_as(table: JsValue, format: &str) -> JsResult<String> {
    let table: Table = serde_wasm_bindgen::from_value(table)?;
    Ok(match format {
        "markdown" => table.markdown(),
        "latex" => table.latex(),
        "csv" => table.csv(),
        _ => table.text(),
    })
}

/// `[{ id, words }]` of every definition of the metrics.
#[wasm_bindgen]
pub fn definitions() -> JsResult<Array> {
    let definition =
        |definition: Definition| Ok(object(&[("id", plain(&definition)?), ("words", definition.in_words().into())]));
    Definition::ALL.into_iter().map(definition).collect()
}
