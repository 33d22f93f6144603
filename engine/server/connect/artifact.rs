//! Artifacts: files and blocks of rows that a client sends beside its plans.
//!
//! Comes in: named bytes, whole or in chunks, each with a checksum. Goes out: the bytes under their name, or under `cache/` their hash. Fails: a checksum
//! that does not fit is reported to the client by name; chunks without a beginning, and more than [`LIMIT`] bytes of a session.

use crate::error::{Error, ErrorCode, Result};
use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt};
use parking_lot::Mutex;
use spark_connect_proto::AddArtifactsRequest;
use spark_connect_proto::add_artifacts_request::{ArtifactChunk, Payload};
use spark_connect_proto::add_artifacts_response::ArtifactSummary;
use std::collections::BTreeMap;
use tonic::Status;

/// Bytes that a session may send.
const LIMIT: usize = 1 << 30;

/// What a client has sent, by name.
#[derive(Default)]
pub struct Artifacts {
    named: Mutex<BTreeMap<String, Bytes>>,
}

impl Artifacts {
    /// The bytes under a name.
    pub fn get(&self, name: &str) -> Option<Bytes> {
        self.named.lock().get(name).cloned()
    }

    /// Begins with what `other` has.
    pub fn copy_from(&self, other: &Artifacts) {
        self.named.lock().clone_from(&other.named.lock());
    }

    fn put(&self, name: &str, bytes: Bytes) -> Result<()> {
        let mut named = self.named.lock();
        let others: usize = named.iter().filter(|(n, _)| *n != name).map(|(_, bytes)| bytes.len()).sum();
        if others + bytes.len() > LIMIT {
            return Err(too_large(name));
        }
        named.insert(name.to_string(), bytes);
        Ok(())
    }
}

/// An artifact that comes in chunks.
struct Begun {
    name: String,
    left: i64,
    bytes: BytesMut,
    sound: bool,
}

/// A call that sends artifacts.
#[derive(Default)]
pub struct Upload {
    begun: Option<Begun>,
    summaries: Vec<ArtifactSummary>,
}

impl Upload {
    /// Takes in what the client sends, to the end.
    ///
    /// # Errors
    /// A broken connection as [`Ok`] of nothing more; chunks that do not belong together; too many bytes.
    pub async fn run(
        mut self,
        first: AddArtifactsRequest,
        mut rest: impl Stream<Item = Result<AddArtifactsRequest, Status>> + Unpin,
        artifacts: &Artifacts,
    ) -> Result<Vec<ArtifactSummary>> {
        let mut next = Some(first);
        while let Some(request) = next {
            if let Some(payload) = request.payload {
                self.take(payload, artifacts)?;
            }
            next = rest
                .next()
                .await
                .transpose()
                .map_err(|status| Error::new(ErrorCode::Io, format!("the artifacts did not arrive: {status}")))?;
        }
        match self.begun {
            Some(begun) => Err(incomplete(&begun.name)),
            None => Ok(self.summaries),
        }
    }

    fn take(&mut self, payload: Payload, artifacts: &Artifacts) -> Result<()> {
        match payload {
            Payload::Batch(batch) => {
                for artifact in batch.artifacts {
                    let chunk = artifact.data.unwrap_or_default();
                    let sound = is_sound(&chunk);
                    if sound {
                        artifacts.put(&artifact.name, chunk.data)?;
                    }
                    self.summaries.push(ArtifactSummary { name: artifact.name, is_crc_successful: sound });
                }
                Ok(())
            }
            Payload::BeginChunk(begin) => {
                if let Some(begun) = &self.begun {
                    return Err(incomplete(&begun.name));
                }
                self.begun =
                    Some(Begun { name: begin.name, left: begin.num_chunks, bytes: BytesMut::new(), sound: true });
                self.chunk(&begin.initial_chunk.unwrap_or_default(), artifacts)
            }
            Payload::Chunk(chunk) => self.chunk(&chunk, artifacts),
        }
    }

    fn chunk(&mut self, chunk: &ArtifactChunk, artifacts: &Artifacts) -> Result<()> {
        let Some(begun) = &mut self.begun else {
            return Err(Error::new(
                ErrorCode::InvalidParameterValue,
                "a chunk of an artifact came before its beginning",
            ));
        };
        if begun.bytes.len() + chunk.data.len() > LIMIT {
            return Err(too_large(&begun.name));
        }
        begun.bytes.extend_from_slice(&chunk.data);
        begun.sound &= is_sound(chunk);
        begun.left -= 1;
        if begun.left > 0 {
            return Ok(());
        }
        let Some(done) = self.begun.take() else { return Ok(()) };
        if done.sound {
            artifacts.put(&done.name, done.bytes.freeze())?;
        }
        self.summaries.push(ArtifactSummary { name: done.name, is_crc_successful: done.sound });
        Ok(())
    }
}

fn too_large(name: &str) -> Error {
    Error::new(
        ErrorCode::InvalidParameterValue,
        format!(
            "the artifact {name:?} does not fit: a session may send {LIMIT} bytes of artifacts and local rows; write the rows to files and read those"
        ),
    )
}

fn incomplete(name: &str) -> Error {
    Error::new(
        ErrorCode::InvalidParameterValue,
        format!("the artifact {name:?} is not complete: more of its chunks were announced"),
    )
}

/// The checksum is that of zlib.
fn is_sound(chunk: &ArtifactChunk) -> bool {
    let mut crc = flate2::Crc::new();
    crc.update(&chunk.data);
    i64::from(crc.sum()) == chunk.crc
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::stream;
    use spark_connect_proto::add_artifacts_request::{Batch, BeginChunkedArtifact, SingleChunkArtifact};

    fn chunk(text: &str, crc: i64) -> ArtifactChunk {
        ArtifactChunk { data: Bytes::copy_from_slice(text.as_bytes()), crc }
    }

    fn request(payload: Payload) -> AddArtifactsRequest {
        AddArtifactsRequest { payload: Some(payload), ..Default::default() }
    }

    async fn upload(artifacts: &Artifacts, payloads: Vec<Payload>) -> Result<Vec<(String, bool)>> {
        let mut requests = payloads.into_iter().map(request);
        let first = requests.next().unwrap();
        let rest = stream::iter(requests.map(Ok).collect::<Vec<_>>());
        let summaries = Upload::default().run(first, rest, artifacts).await?;
        Ok(summaries.into_iter().map(|s| (s.name, s.is_crc_successful)).collect())
    }

    /// CRC-32 of "abc" and "def" as Python's zlib.crc32 gives them.
    const ABC: i64 = 891568578;
    const DEF: i64 = 214229345;

    #[tokio::test]
    async fn whole_and_chunked_artifacts_are_kept_if_their_checksums_fit() {
        let artifacts = Artifacts::default();
        let single = |name: &str, data| SingleChunkArtifact { name: name.into(), data: Some(data) };
        let batch = Batch { artifacts: vec![single("a", chunk("abc", ABC)), single("b", chunk("abc", DEF))] };
        let begin = BeginChunkedArtifact {
            name: "cache/x".into(),
            total_bytes: 6,
            num_chunks: 2,
            initial_chunk: Some(chunk("abc", ABC)),
        };
        let payloads =
            vec![Payload::Batch(batch), Payload::BeginChunk(begin.clone()), Payload::Chunk(chunk("def", DEF))];
        let summaries = upload(&artifacts, payloads).await.unwrap();
        assert_eq!(summaries, [("a".into(), true), ("b".into(), false), ("cache/x".into(), true)]);
        assert_eq!(artifacts.get("a").as_deref(), Some(&b"abc"[..]));
        assert_eq!(artifacts.get("b"), None);
        assert_eq!(artifacts.get("cache/x").as_deref(), Some(&b"abcdef"[..]));
        for wrong in [vec![Payload::BeginChunk(begin)], vec![Payload::Chunk(chunk("abc", ABC))]] {
            assert_eq!(upload(&artifacts, wrong).await.unwrap_err().code(), ErrorCode::InvalidParameterValue);
        }
    }
}
