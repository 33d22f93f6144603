//! Numbers and texts as PySpark's workers write and read them, and calls as pickles.
//!
//! Comes in: values to write, and a stream to read from. Goes out: bytes in network order, and values. Fails: a text of more than 2 GB, a stream
//! that ends.

use crate::error::{Error, ErrorCode, Result};
use std::io::{self, Read};

pub(super) const END_OF_DATA_SECTION: i32 = -1;
pub(super) const PYTHON_EXCEPTION_THROWN: i32 = -2;
pub(super) const TIMING_DATA: i32 = -3;
pub(super) const END_OF_STREAM: i32 = -4;
pub(super) const START_ARROW_STREAM: i32 = -6;
pub(super) const START_OF_INIT_MESSAGE: i32 = -8;

/// Bytes for a worker.
#[derive(Debug, Default)]
pub(super) struct Message(Vec<u8>);

impl Message {
    pub fn int(&mut self, value: i32) -> &mut Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    pub fn long(&mut self, value: i64) -> &mut Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    pub fn flag(&mut self, value: bool) -> &mut Self {
        self.0.push(u8::from(value));
        self
    }

    /// A number of things that follow.
    pub fn count(&mut self, value: usize) -> Result<&mut Self> {
        Ok(self.int(size(value)?))
    }

    /// Bytes after their number.
    pub fn bytes(&mut self, value: &[u8]) -> Result<&mut Self> {
        self.count(value.len())?.0.extend_from_slice(value);
        Ok(self)
    }

    pub fn text(&mut self, value: &str) -> Result<&mut Self> {
        self.bytes(value.as_bytes())
    }

    pub fn take(self) -> Vec<u8> {
        self.0
    }
}

fn size(value: usize) -> Result<i32> {
    i32::try_from(value).map_err(|_| {
        Error::new(
            ErrorCode::UnsupportedOperation,
            format!("a message of {value} bytes is too long for a Python worker, which takes 2 GB"),
        )
    })
}

pub(super) fn read_int(stream: &mut impl Read) -> io::Result<i32> {
    let mut bytes = [0; 4];
    stream.read_exact(&mut bytes)?;
    Ok(i32::from_be_bytes(bytes))
}

pub(super) fn read_long(stream: &mut impl Read) -> io::Result<i64> {
    let mut bytes = [0; 8];
    stream.read_exact(&mut bytes)?;
    Ok(i64::from_be_bytes(bytes))
}

/// Bytes after their number.
pub(super) fn read_bytes(stream: &mut impl Read) -> io::Result<Vec<u8>> {
    let length = u64::try_from(read_int(stream)?)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "a negative length from the Python worker"))?;
    let mut bytes = Vec::new();
    if stream.take(length).read_to_end(&mut bytes)? as u64 != length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(bytes)
}

/// An argument of a [`call`].
pub(super) enum Argument<'a> {
    Bytes(&'a [u8]),
    Text(&'a str),
    Texts(&'a [&'a str]),
}

/// A pickle that is, where it is read, the result of `function` of this project's worker module.
pub(super) fn call(function: &str, arguments: &[Argument<'_>]) -> Result<Vec<u8>> {
    let mut pickle = b"\x80\x03ctidemill_worker\n".to_vec();
    pickle.extend_from_slice(function.as_bytes());
    pickle.extend_from_slice(b"\n(");
    for argument in arguments {
        match argument {
            Argument::Bytes(bytes) => sized(&mut pickle, b'B', bytes)?,
            Argument::Text(text) => sized(&mut pickle, b'X', text.as_bytes())?,
            Argument::Texts(texts) => {
                pickle.push(b'(');
                for text in *texts {
                    sized(&mut pickle, b'X', text.as_bytes())?;
                }
                pickle.push(b'l');
            }
        }
    }
    pickle.extend_from_slice(b"tR.");
    Ok(pickle)
}

fn sized(pickle: &mut Vec<u8>, code: u8, bytes: &[u8]) -> Result<()> {
    pickle.push(code);
    pickle.extend(size(bytes.len())?.to_le_bytes());
    pickle.extend_from_slice(bytes);
    Ok(())
}
