//! A Kafka broker inside this process, for tests and for the example's default.
//!
//! Comes in: topics and their partitions. Goes out: an address on 127.0.0.1 that librdkafka clients can use with
//! transactions. Fails: when no port can be had.
//!
//! The broker is krafka's `FakeBroker`: real TCP, real transaction markers, fencing and fault hooks, everything in memory.
//! It answers `EndTxn` from version 3 on, and librdkafka asks in versions 0 and 1, so a proxy stands in front that
//! translates this one request and its answer, and passes every other frame as it is.

// Each of its users needs a part of it.
#![allow(dead_code, unused_imports)]

#[allow(unused_imports, reason = "each user of this module needs some of them")]
pub use krafka::testing::{ApiKey, Control, FakeBroker};
use std::collections::HashSet;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader, BufWriter};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};

/// The versions that both sides speak, where the broker's own list starts too late for librdkafka.
const VERSIONS: [(ApiKey, i16, i16); 12] = [
    (ApiKey::Produce, 0, 10),
    (ApiKey::Fetch, 0, 11),
    (ApiKey::Metadata, 0, 12),
    (ApiKey::FindCoordinator, 0, 2),
    (ApiKey::JoinGroup, 0, 5),
    (ApiKey::SyncGroup, 0, 3),
    (ApiKey::Heartbeat, 0, 3),
    (ApiKey::LeaveGroup, 0, 3),
    (ApiKey::OffsetFetch, 0, 5),
    (ApiKey::EndTxn, 0, 4),
    (ApiKey::DeleteTopics, 0, 3),
    (ApiKey::TxnOffsetCommit, 3, 5),
];

/// The number of `EndTxn` in the protocol.
const END_TXN: i16 = 26;

/// The broker's request log is forgotten this often: it is searched on every request, and would grow for ever.
const FORGET_EVERY: u64 = 8_192;

/// Larger frames are no requests of ours.
const MAX_FRAME: i32 = 1 << 30;

/// A running broker; dropping it ends it.
pub struct Broker {
    runtime: Option<Runtime>,
    fake: Arc<FakeBroker>,
    address: SocketAddr,
}

impl Broker {
    /// Starts a broker on a free port, with these topics and numbers of partitions.
    pub fn start(topics: &[(&str, i32)]) -> io::Result<Broker> {
        let runtime = Builder::new_multi_thread().worker_threads(2).thread_name("broker").enable_all().build()?;
        let (started, wait) = mpsc::channel();
        // Not `block_on`, which must not be called from an async task, as examples and tests do.
        runtime.spawn(async move {
            let _ = started.send(serve().await);
        });
        let (fake, address) = wait.recv().map_err(io::Error::other)??;
        let broker = Broker { runtime: Some(runtime), fake, address };
        for (topic, partitions) in topics {
            broker.create_topic(topic, *partitions);
        }
        Ok(broker)
    }

    /// The address for `kafka.bootstrap.servers`.
    pub fn bootstrap(&self) -> String {
        self.address.to_string()
    }

    /// Creates a topic; false if it was there.
    pub fn create_topic(&self, topic: &str, partitions: i32) -> bool {
        self.fake.create_topic(topic, partitions)
    }

    /// The broker itself: its state, its request counts and its fault hooks.
    pub fn fake(&self) -> &FakeBroker {
        &self.fake
    }

    /// Removes the records of a partition before an offset, as retention does. Records written together go together.
    pub fn remove_records_before(&self, topic: &str, partition: i32, offset: i64) {
        self.fake.with_state(|state| {
            if let Some(partition) = state.partition_mut(topic, partition) {
                partition.log_start_offset = offset;
                partition.log.retain(|batch| last_offset(batch).is_none_or(|last| last >= offset));
            }
        });
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Dropping a runtime waits for its tasks, which an async caller must not do.
            runtime.shutdown_background();
        }
    }
}

/// The last offset of a record batch: its base offset, and 23 bytes in, the number of the last record in it.
fn last_offset(batch: &[u8]) -> Option<i64> {
    let base = i64::from_be_bytes(batch.get(..8)?.try_into().ok()?);
    let delta = i32::from_be_bytes(batch.get(23..27)?.try_into().ok()?);
    Some(base + i64::from(delta))
}

async fn serve() -> io::Result<(Arc<FakeBroker>, SocketAddr)> {
    let fake = Arc::new(FakeBroker::start().await.map_err(io::Error::other)?);
    let upstream = fake.broker_addr(0).ok_or_else(|| io::Error::other("the broker has no address"))?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    fake.with_state(|state| {
        state.auto_create_topics = false;
        for broker in &mut state.brokers {
            broker.port = i32::from(address.port());
        }
    });
    for (api, least, most) in VERSIONS {
        fake.set_api_versions(api, least, most);
    }
    fake.set_transaction_version(1);
    let (requests, owner) = (Arc::new(AtomicU64::new(0)), Arc::downgrade(&fake));
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let (requests, owner) = (requests.clone(), owner.clone());
            tokio::spawn(async move {
                let count = move || {
                    if requests.fetch_add(1, Ordering::Relaxed) % FORGET_EVERY == FORGET_EVERY - 1
                        && let Some(fake) = owner.upgrade()
                    {
                        fake.clear_requests();
                    }
                };
                // A connection that breaks is its client's business.
                let _ = proxy(client, upstream, count).await;
            });
        }
    });
    Ok((fake, address))
}

/// Correlation ids of the translated requests of one connection.
type Translated = Arc<Mutex<HashSet<[u8; 4]>>>;

async fn proxy(client: TcpStream, upstream: SocketAddr, count: impl Fn() + Send + 'static) -> io::Result<()> {
    let server = TcpStream::connect(upstream).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
    let translated = Translated::default();
    let noted = translated.clone();
    let requests = forward(from_client, to_server, move |frame| {
        count();
        match end_txn_request(&frame) {
            Some((id, newer)) => {
                noted.lock().unwrap_or_else(PoisonError::into_inner).insert(id);
                newer
            }
            None => frame,
        }
    });
    let answers = forward(from_server, to_client, move |frame| {
        let id = frame.get(..4).and_then(|id| id.try_into().ok());
        let ours = id.is_some_and(|id: [u8; 4]| translated.lock().unwrap_or_else(PoisonError::into_inner).remove(&id));
        if ours { end_txn_answer(&frame).unwrap_or(frame) } else { frame }
    });
    // Whichever side closes first closes the other.
    tokio::select! { done = requests => done, done = answers => done }
}

async fn forward(from: OwnedReadHalf, to: OwnedWriteHalf, translate: impl Fn(Vec<u8>) -> Vec<u8>) -> io::Result<()> {
    let (mut from, mut to) = (BufReader::with_capacity(1 << 16, from), BufWriter::with_capacity(1 << 16, to));
    loop {
        let length = from.read_i32().await?;
        if !(0..=MAX_FRAME).contains(&length) {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut frame = vec![0; length as usize];
        from.read_exact(&mut frame).await?;
        let frame = translate(frame);
        to.write_i32(frame.len() as i32).await?;
        to.write_all(&frame).await?;
        to.flush().await?;
    }
}

/// `EndTxn` 0 or 1 as version 3, with its correlation id; None for any other request.
///
/// Old: api, version, correlation id, client id; transactional id, producer id, epoch, committed; lengths in two bytes.
/// New: the same, with the transactional id's length plus one as a varint, and a byte "no tags" after head and body.
fn end_txn_request(frame: &[u8]) -> Option<([u8; 4], Vec<u8>)> {
    let short = |at: usize| Some(i16::from_be_bytes(frame.get(at..at + 2)?.try_into().ok()?));
    if short(0)? != END_TXN || short(2)? >= 3 {
        return None;
    }
    let correlation: [u8; 4] = frame.get(4..8)?.try_into().ok()?;
    let body = 10 + usize::try_from(short(8)?).unwrap_or(0);
    let length = usize::try_from(short(body)?).ok()?;
    let mut newer = Vec::with_capacity(frame.len() + 4);
    newer.extend_from_slice(frame.get(..2)?);
    newer.extend_from_slice(&3i16.to_be_bytes());
    newer.extend_from_slice(frame.get(4..body)?);
    newer.push(0);
    let mut rest = length + 1;
    while rest >= 0x80 {
        newer.push((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    newer.push(rest as u8);
    newer.extend_from_slice(frame.get(body + 2..body + 2 + length + 11)?);
    newer.push(0);
    Some((correlation, newer))
}

/// The answer to version 3 as one to version 1: without the tags after head and body.
fn end_txn_answer(frame: &[u8]) -> Option<Vec<u8>> {
    Some([frame.get(..4)?, frame.get(5..11)?].concat())
}
