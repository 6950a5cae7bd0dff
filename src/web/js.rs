//! Between Rust's values and JavaScript's.

use std::{error::Error as _, fmt::Write};

use js_sys::{Float32Array, Float64Array, Object, Reflect, Uint8Array};
use serde::Serialize;
use wasm_bindgen::prelude::*;

use crate::error::Error;

/// What the page gets: a value, or an error that is thrown.
pub(super) type JsResult<T> = std::result::Result<T, JsError>;

/// An error and its causes, to be thrown.
pub(super) fn sentence(error: Error) -> JsError {
    JsError::new(&message(error))
}

/// An error and its causes in one message.
pub(super) fn message(error: Error) -> String {
    let mut message = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        // Some causes go on with their own causes, or with where in the source they arose.
        let _ = write!(message, ": {}", error.to_string().lines().next().unwrap_or_default());
        cause = error.source();
    }
    message
}

/// A plain object; what is none becomes null.
pub(super) fn plain(value: &impl Serialize) -> JsResult<JsValue> {
    Ok(value.serialize(&serde_wasm_bindgen::Serializer::json_compatible())?)
}

/// A plain object of these entries.
pub(super) fn object(entries: &[(&str, JsValue)]) -> Object {
    let object = Object::new();
    entries.iter().for_each(|(key, value)| set(&object, key, value));
    object
}

/// Sets an entry of a plain object.
pub(super) fn set(object: &Object, key: &str, value: &JsValue) {
    Reflect::set(object, &key.into(), value).expect("a new object takes any key");
}

/// A copy as a `Uint8Array`.
pub(super) fn bytes(values: &[u8]) -> JsValue {
    Uint8Array::from(values).into()
}

/// A copy as a `Float32Array`.
pub(super) fn floats(values: &[f32]) -> JsValue {
    Float32Array::from(values).into()
}

/// A copy as a `Float64Array`.
pub(super) fn doubles(values: &[f64]) -> JsValue {
    Float64Array::from(values).into()
}
