//! Messages off the wire.
//!
//! Comes in: the bytes of a message. Goes out: the message. Fails: bytes that are no such message, and messages that are nested so deep that
//! who takes them apart, one call in another, would run out of stack.

use prost::Message;
use prost::bytes::Buf;
use std::marker::PhantomData;
use tonic::Status;
use tonic::codec::{Codec, DecodeBuf, Decoder};
use tonic_prost::{ProstCodec, ProstEncoder};

/// Messages that may stand in one another. A step of a program is two: a relation, and what it does. Python's own limits end at about a
/// thousand.
const DEPTH: usize = 4_000;

/// Bytes of stack that a thread needs for messages as deep as may be, and for the plans that are made of them.
pub const STACK_BYTES: usize = 64 << 20;

/// Takes a message apart.
///
/// # Errors
/// As the module says, in words.
pub fn decode<M: Message + Default>(bytes: &[u8]) -> Result<M, String> {
    match is_deeper_than(DEPTH, bytes) {
        true => Err(format!(
            "it nests more than {DEPTH} messages; keep what the first steps come to with localCheckpoint(), and go on from there"
        )),
        false => M::decode(bytes).map_err(|cause| cause.to_string()),
    }
}

/// Whether messages stand in one another more than `limit` times, if every field that can be read as a message is one. Texts and rows can,
/// too, but only on purpose a thousand times.
fn is_deeper_than(limit: usize, bytes: &[u8]) -> bool {
    let mut ends = vec![bytes.len()];
    let mut at = 0;
    while let Some(&end) = ends.last() {
        if at == end {
            ends.pop();
            continue;
        }
        match field(bytes.get(..end).unwrap_or_default(), &mut at) {
            Some(Field::Scalar) => {}
            Some(Field::Nested(length)) => ends.push(at + length),
            // No message: what it is in goes on behind it.
            None => {
                at = end;
                ends.pop();
            }
        }
        if ends.len() > limit {
            return true;
        }
    }
    false
}

enum Field {
    Scalar,
    Nested(usize),
}

/// Reads a field up to its content if that may be a message, else past it.
fn field(bytes: &[u8], at: &mut usize) -> Option<Field> {
    let key = varint(bytes, at)?;
    if key >> 3 == 0 {
        return None;
    }
    let left = bytes.len() - *at;
    let fixed = match key & 7 {
        0 => {
            varint(bytes, at)?;
            0
        }
        1 => 8,
        2 => {
            let length = usize::try_from(varint(bytes, at)?).ok()?;
            return (length <= bytes.len() - *at).then_some(Field::Nested(length));
        }
        5 => 4,
        _ => return None,
    };
    (fixed <= left).then(|| {
        *at += fixed;
        Field::Scalar
    })
}

/// An unsigned number of seven bits a byte, the lowest first.
fn varint(bytes: &[u8], at: &mut usize) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = *bytes.get(*at)?;
        *at += 1;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// [`ProstCodec`] with [`decode`].
pub struct BoundedCodec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for BoundedCodec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T: Message + Send + 'static, U: Message + Default + Send + 'static> Codec for BoundedCodec<T, U> {
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = BoundedDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstCodec::<T, U>::default().encoder()
    }

    fn decoder(&mut self) -> Self::Decoder {
        BoundedDecoder(PhantomData)
    }
}

/// The half of [`BoundedCodec`] that reads.
pub struct BoundedDecoder<U>(PhantomData<U>);

impl<U: Message + Default> Decoder for BoundedDecoder<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        // No copy: the bytes of a message are in one piece already.
        let bytes = buffer.copy_to_bytes(buffer.remaining());
        decode(&bytes).map(Some).map_err(|why| Status::invalid_argument(format!("the message cannot be read: {why}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use spark_connect_proto::relation::RelType;
    use spark_connect_proto::{Range, Relation};

    /// A range under this many filters, which is two messages more than twice as many.
    fn filters(count: usize) -> Vec<u8> {
        let range = Range { start: Some(0), end: 3, step: 1, num_partitions: None };
        let innermost = Relation { common: None, rel_type: Some(RelType::Range(range)) };
        (0..count).fold(innermost.encode_to_vec(), |below, _| {
            // The tags of Relation.filter and Filter.input, each before its length.
            let wrap = |tag: u32, content: Vec<u8>| {
                let mut bytes = Vec::with_capacity(content.len() + 8);
                prost::encoding::encode_key(tag, prost::encoding::WireType::LengthDelimited, &mut bytes);
                prost::encoding::encode_varint(content.len() as u64, &mut bytes);
                bytes.extend(content);
                bytes
            };
            wrap(4, wrap(1, below))
        })
    }

    #[test]
    fn depth_has_a_limit() {
        // Both sides of the limit on as much stack as a server's threads have.
        let decoding = std::thread::Builder::new().stack_size(STACK_BYTES).spawn(|| {
            let deepest = (DEPTH - 2) / 2;
            let mut relation: Relation = decode(&filters(deepest)).unwrap();
            let mut found = 0;
            while let Some(RelType::Filter(filter)) = relation.rel_type.take() {
                found += 1;
                relation = *filter.input.unwrap();
            }
            assert_eq!(found, deepest);
            let error = decode::<Relation>(&filters(deepest + 1)).unwrap_err();
            assert!(error.starts_with("it nests more than 4000 messages"), "{error}");
            decode::<Relation>(&filters(10_000)).unwrap_err();
        });
        decoding.unwrap().join().unwrap();
    }

    #[test]
    fn what_is_no_message_is_not_deep() {
        let texts =
            [vec![b'b'; 1 << 16], vec![b'\n'; 1 << 16], vec![0x0b; 1 << 16], vec![0xff; 1 << 16], vec![0; 1 << 16]];
        for text in texts {
            assert!(!is_deeper_than(200, &text), "{:?}", text.first());
        }
        assert!(!is_deeper_than(1, &[]));
        // A length beyond the end, and a number that does not end.
        assert!(!is_deeper_than(1, &[0x0a, 0x7f, 0x0a]));
        assert!(!is_deeper_than(1, &[0x0a, 0xff]));
    }
}
