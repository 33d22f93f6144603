//! The envelope of a record: one line of JSON, then a line with its checksum.
//!
//! ```text
//! {"format":1,"kind":"commit","batch":7,...}
//! crc32c:1f2e3d4c
//! ```
//! Comes in: a record. Goes out: its bytes, and the record again once every byte of it has been verified: the checksum
//! is compared before anything is parsed. Fails: CHECKPOINT_CORRUPT with the file, what was expected and what is there;
//! CHECKPOINT_VERSION for a record of a newer engine.

use crate::error::{Error, ErrorCode, Result};
use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// The newest format of checkpoint files that this engine reads, and the one it writes.
pub(crate) const FORMAT_VERSION: u64 = 1;

/// Length of `crc32c:xxxxxxxx\n`.
const TRAILER: usize = 16;

/// What to do about a damaged file, for the end of a message.
const WAY_OUT: &str = "restore the file from a backup, or start the query with a new checkpointLocation";

/// CHECKPOINT_CORRUPT: `path` is not what was written there.
pub(crate) fn corrupt(path: &str, what: impl std::fmt::Display) -> Error {
    Error::new(ErrorCode::CheckpointCorrupt, format!("{path}: {what}; {WAY_OUT}"))
}

/// The record as a JSON object that opens with its format and kind.
pub(crate) fn tag<T: Serialize>(kind: &str, record: &T) -> Result<Map<String, Value>> {
    let body = serde_json::to_value(record)
        .map_err(|e| Error::caused_by(ErrorCode::Internal, format!("a {kind} record is not JSON: {e}"), e))?;
    let Value::Object(fields) = body else {
        return Err(Error::internal(format!("a {kind} record is not a JSON object")));
    };
    let mut object = Map::new();
    object.insert("format".into(), FORMAT_VERSION.into());
    object.insert("kind".into(), kind.into());
    object.extend(fields);
    Ok(object)
}

/// The record in `json`, which must be of `kind` and of a known format.
pub(crate) fn untag<T: DeserializeOwned>(path: &str, kind: &str, json: &[u8]) -> Result<T> {
    let mut object: Map<String, Value> =
        serde_json::from_slice(json).map_err(|e| corrupt(path, format!("not a JSON object: {e}")))?;
    match object.shift_remove("format").as_ref().and_then(Value::as_u64) {
        Some(FORMAT_VERSION) => {}
        Some(newer) if newer > FORMAT_VERSION => return Err(too_new(path, newer)),
        _ => return Err(corrupt(path, format!("expected \"format\":{FORMAT_VERSION}"))),
    }
    match object.shift_remove("kind") {
        Some(Value::String(found)) if found == kind => {}
        found => return Err(corrupt(path, format!("expected a record of kind {kind}, found {found:?}"))),
    }
    serde_json::from_value(Value::Object(object)).map_err(|e| corrupt(path, format!("not a {kind} record: {e}")))
}

/// CHECKPOINT_VERSION for a file of format `found`.
pub(crate) fn too_new(path: &str, found: u64) -> Error {
    Error::new(
        ErrorCode::CheckpointVersion,
        format!(
            "{path} has format {found}, and this engine ({}) reads formats up to {FORMAT_VERSION}: run the newer \
             engine, or start with a new checkpointLocation",
            env!("CARGO_PKG_VERSION")
        ),
    )
}

/// Puts a record into its envelope.
pub(crate) fn encode<T: Serialize>(kind: &str, record: &T) -> Result<Bytes> {
    let mut bytes = Value::Object(tag(kind, record)?).to_string().into_bytes();
    bytes.push(b'\n');
    let trailer = trailer(&bytes);
    bytes.extend_from_slice(trailer.as_bytes());
    Ok(bytes.into())
}

/// Verifies an envelope, then takes the record out.
pub(crate) fn decode<T: DeserializeOwned>(path: &str, kind: &str, bytes: &[u8]) -> Result<T> {
    let Some((line, found)) = bytes.len().checked_sub(TRAILER).and_then(|at| bytes.split_at_checked(at)) else {
        return Err(corrupt(path, format!("{} bytes are too few for a record: the file was cut off", bytes.len())));
    };
    let expected = trailer(line);
    if found != expected.as_bytes() {
        let found = match bytes.iter().all(|b| *b == 0) {
            true => "zeros only, as a file system leaves them after a power failure".to_string(),
            false => format!("`{}`", String::from_utf8_lossy(found).trim_end().escape_debug()),
        };
        return Err(corrupt(path, format!("expected the last line `{}`, found {found}", expected.trim_end())));
    }
    match line.strip_suffix(b"\n") {
        Some(json) if !json.contains(&b'\n') => untag(path, kind, json),
        _ => Err(corrupt(path, "expected one line of JSON and a checksum line")),
    }
}

fn trailer(line: &[u8]) -> String {
    format!("crc32c:{:08x}\n", crc32c::crc32c(line))
}
