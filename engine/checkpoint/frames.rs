//! The container of opaque bytes (operator state, source logs): a described payload with a checksum per 64 KiB frame.
//!
//! ```text
//! 0   "tidemill"                      8 bytes
//! 8   format version                  u32, little endian like all numbers here
//! 12  length of the header            u32
//! 16  length of the payload           u64
//! 24  header                          JSON, padded with spaces so that the payload starts at a multiple of 64
//!     CRC32C of everything above      u32
//!     payload                         as it was given
//!     CRC32C of each payload frame    u32 each, over the frame's number (u64) and its bytes
//! ```
//! The payload is in one piece, so a reader slices it out of the file without a copy. Comes in: a header and a payload.
//! Goes out: both, verified before the header is parsed. Fails: CHECKPOINT_CORRUPT with the file and the frame,
//! CHECKPOINT_VERSION for a newer format.

use super::envelope::{self, FORMAT_VERSION, corrupt, too_new};
use crate::error::{Error, ErrorCode, Result};
use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

const MAGIC: &[u8; 8] = b"tidemill";
/// Payload bytes under one checksum: damage is located this closely.
const FRAME: usize = 64 * 1024;
/// Bytes before the header.
const PREFIX: usize = 24;
/// The payload's alignment in the file: Arrow's, so that mapped or aligned buffers can be used as they are.
const ALIGN: usize = 64;

/// Puts a payload and its description into a container.
pub(crate) fn encode<H: Serialize>(kind: &str, header: &H, payload: &[u8]) -> Result<Bytes> {
    let mut json = Value::Object(envelope::tag(kind, header)?).to_string().into_bytes();
    let start = (PREFIX + json.len() + 4).next_multiple_of(ALIGN);
    json.resize(start - PREFIX - 4, b' ');
    let version = FORMAT_VERSION as u32;
    let header_len = u32::try_from(json.len())
        .map_err(|e| Error::caused_by(ErrorCode::Internal, format!("the header of a {kind} file is too long"), e))?;
    let mut file = Vec::with_capacity(start + payload.len() + 4 * payload.len().div_ceil(FRAME));
    file.extend_from_slice(MAGIC);
    file.extend_from_slice(&version.to_le_bytes());
    file.extend_from_slice(&header_len.to_le_bytes());
    file.extend_from_slice(&(payload.len() as u64).to_le_bytes());
    file.extend_from_slice(&json);
    let crc = crc32c::crc32c(&file);
    file.extend_from_slice(&crc.to_le_bytes());
    file.extend_from_slice(payload);
    for (number, frame) in payload.chunks(FRAME).enumerate() {
        file.extend_from_slice(&frame_crc(number, frame).to_le_bytes());
    }
    Ok(file.into())
}

/// Verifies a container, then takes header and payload out.
pub(crate) fn decode<H: DeserializeOwned>(path: &str, kind: &str, file: &Bytes) -> Result<(H, Bytes)> {
    let cut = || corrupt(path, format!("{} bytes are too few: the file was cut off", file.len()));
    let magic = file.get(..8).ok_or_else(cut)?;
    if magic != MAGIC {
        let found = magic.escape_ascii();
        return Err(corrupt(path, format!("expected the first bytes `{}`, found `{found}`", MAGIC.escape_ascii())));
    }
    let version = u32_at(file, 8).ok_or_else(cut)?;
    let header_len = u32_at(file, 12).ok_or_else(cut)? as usize;
    let header_end = PREFIX.checked_add(header_len).ok_or_else(cut)?;
    let described = file.get(..header_end).ok_or_else(cut)?;
    // The checksum's place is the same in every format, so damage is told from a newer format.
    let found = u32_at(file, header_end).ok_or_else(cut)?;
    let expected = crc32c::crc32c(described);
    if found != expected {
        return Err(corrupt(path, format!("the header has CRC32C {expected:08x}, expected {found:08x}")));
    }
    if u64::from(version) > FORMAT_VERSION {
        return Err(too_new(path, version.into()));
    }
    if u64::from(version) != FORMAT_VERSION {
        return Err(corrupt(path, format!("expected format {FORMAT_VERSION}, found {version}")));
    }
    let mut length = [0; 8];
    length.copy_from_slice(described.get(16..PREFIX).ok_or_else(cut)?);
    let length = u64::from_le_bytes(length);
    let start = header_end + 4;
    let frames = length.div_ceil(FRAME as u64);
    let total = frames.checked_mul(4).and_then(|table| table.checked_add(length)?.checked_add(start as u64));
    if total != Some(file.len() as u64) {
        let total = total.map_or("more".to_string(), |t| t.to_string());
        return Err(corrupt(path, format!("expected {total} bytes, found {}", file.len())));
    }
    // Fits: it is less than the file's length.
    let end = start + length as usize;
    let payload = file.get(start..end).ok_or_else(cut)?;
    for (number, frame) in payload.chunks(FRAME).enumerate() {
        let expected = u32_at(file, end + 4 * number).ok_or_else(cut)?;
        let found = frame_crc(number, frame);
        if found != expected {
            let at = start + number * FRAME;
            return Err(corrupt(
                path,
                format!(
                    "frame {number} (bytes {at}..{}) has CRC32C {found:08x}, expected {expected:08x}",
                    at + frame.len()
                ),
            ));
        }
    }
    let header = envelope::untag(path, kind, described.get(PREFIX..).ok_or_else(cut)?)?;
    Ok((header, file.slice(start..end)))
}

/// The frame's number is part of its checksum, so exchanged frames are found.
fn frame_crc(number: usize, frame: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&(number as u64).to_le_bytes()), frame)
}

fn u32_at(file: &[u8], at: usize) -> Option<u32> {
    let bytes = file.get(at..at.checked_add(4)?)?;
    Some(u32::from_le_bytes(bytes.try_into().ok()?))
}
