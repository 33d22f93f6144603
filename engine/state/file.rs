//! State files: Arrow IPC streams of a table's rows, with the dropped windows in the schema's metadata.
//!
//! Comes in: selected groups of a [`Table`]. Goes out: bytes for the checkpoint, which frames and checks them. Fails: bytes that are
//! not a state file of this query.

use super::table::{Selection, Table};
use crate::error::{Error, ErrorCode, Result};
use arrow::datatypes::Schema;
use arrow::ipc::CompressionType;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::{IpcWriteOptions, StreamWriter};
use bytes::Bytes;
use std::sync::Arc;

const DROPPED_KEY: &str = "tidemill.dropped";

/// Writes selected groups and the dropped windows.
pub fn write(table: &Table, selections: &[Selection], dropped: &[i64]) -> Result<Bytes> {
    let batch = table.encode(selections)?;
    let dropped: Vec<String> = dropped.iter().map(i64::to_string).collect();
    let metadata = [(DROPPED_KEY.to_string(), dropped.join(","))].into();
    let schema = Schema::new(table.state_schema().fields().clone()).with_metadata(metadata);
    let options = IpcWriteOptions::default().try_with_compression(Some(CompressionType::LZ4_FRAME))?;
    let mut writer = StreamWriter::try_new_with_options(Vec::new(), &schema, options)?;
    writer.write(&batch.with_schema(Arc::new(schema.clone()))?)?;
    Ok(Bytes::from(writer.into_inner()?))
}

/// Applies a file to a table; a snapshot must be applied to an empty one.
pub fn apply(table: &mut Table, bytes: &[u8]) -> Result<()> {
    let unreadable = |e: arrow::error::ArrowError| {
        Error::caused_by(ErrorCode::CheckpointCorrupt, format!("a state file is not an Arrow stream: {e}"), e)
    };
    let reader = StreamReader::try_new(bytes, None).map_err(unreadable)?;
    let schema = reader.schema();
    let dropped = schema.metadata().get(DROPPED_KEY).map(String::as_str).unwrap_or_default();
    let starts: Vec<i64> = dropped
        .split(',')
        .filter(|text| !text.is_empty())
        .map(|text| {
            text.parse().map_err(|_| {
                Error::new(ErrorCode::CheckpointCorrupt, format!("dropped window {text:?} is not a number"))
            })
        })
        .collect::<Result<_>>()?;
    for batch in reader {
        table.apply(&batch.map_err(unreadable)?)?;
    }
    table.forget(&starts);
    Ok(())
}
