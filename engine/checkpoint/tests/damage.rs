//! Damage: every bit and every length of the two kinds of file, and each file of a real checkpoint.

use super::*;
use crate::checkpoint::entry::{CommitEntry, StateFile};
use crate::checkpoint::{envelope, frames, layout};
use serde_json::Value;

fn assert_corrupt<T: std::fmt::Debug>(result: Result<T>, what: &str) {
    match result {
        Ok(value) => panic!("{what} went unnoticed: {value:?}"),
        Err(e) => {
            assert_eq!(e.code(), ErrorCode::CheckpointCorrupt, "{what}: {e}");
            assert!(e.message().contains("some/file"), "{what}: {e}");
        }
    }
}

/// Flips every bit, cuts at every length, extends and zeroes a record.
fn torture(good: &[u8], decode: impl Fn(&[u8]) -> Result<()>) {
    decode(good).unwrap();
    for at in 0..good.len() {
        for bit in 0..8 {
            let mut bad = good.to_vec();
            bad[at] ^= 1 << bit;
            assert_corrupt(decode(&bad), &format!("bit {bit} of byte {at}"));
        }
        assert_corrupt(decode(&good[..at]), &format!("a cut at {at}"));
    }
    assert_corrupt(decode(&[good, b"\n"].concat()), "a longer file");
    assert_corrupt(decode(&[good, good].concat()), "a doubled file");
    assert_corrupt(decode(&vec![0; good.len()]), "zeros");
}

#[tokio::test]
async fn every_bit_of_every_record() {
    let checkpoint = open_memory(&Arc::default()).await.unwrap();
    let attempt = Uuid::from_u128(9);
    let file = StateFile { path: "state/a/1".into(), bytes: 1, sha256: "00".into(), rows: 3, snapshot: true };
    let chain = StateChain { operator: "agg".into(), files: vec![file] };
    let commit = CommitEntry { batch: 1, attempt, epoch: 0, prepared_sha256: "ab".repeat(32) };
    let json: Vec<(&str, Bytes)> = vec![
        ("offsets", envelope::encode("offsets", &offsets(&checkpoint, 1)).unwrap()),
        ("prepared", envelope::encode("prepared", &prepared(1, attempt, vec![chain])).unwrap()),
        ("commit", envelope::encode("commit", &commit).unwrap()),
        ("plan", envelope::encode("plan", &json!({"hash": "abc", "plan": {"op": [1, 2]}})).unwrap()),
        ("epoch", checkpoint.inner.store.get(&layout::epoch(0)).await.unwrap().unwrap()),
        ("checkpoint", checkpoint.inner.store.get(layout::FORMAT).await.unwrap().unwrap()),
    ];
    for (kind, good) in json {
        torture(&good, |bytes| envelope::decode::<Value>("some/file", kind, bytes).map(drop));
    }
}

#[test]
fn every_bit_of_a_small_container() {
    let decode = |bytes: &[u8]| frames::decode::<Value>("some/file", "state", &Bytes::copy_from_slice(bytes)).map(drop);
    torture(&frames::encode("state", &json!({"operator": "agg"}), b"twenty bytes of data").unwrap(), decode);
    torture(&frames::encode("state", &json!({}), b"").unwrap(), decode);
}

#[test]
fn damage_in_a_container_of_several_frames() {
    let payload: Vec<u8> = (0..150_000u32).map(|i| ((i * 31) >> 3) as u8).collect();
    let good = frames::encode("state", &json!({"rows": 7}), &payload).unwrap();
    let (header, back) = frames::decode::<Value>("some/file", "state", &good).unwrap();
    assert_eq!(header, json!({"rows": 7}));
    assert_eq!(back, payload);
    assert_eq!((good.len() - 150_000 - 3 * 4) % 64, 0);
    let decode = |bytes: Vec<u8>| frames::decode::<Value>("some/file", "state", &bytes.into()).map(drop);
    for at in (0..good.len()).step_by(1009).chain(good.len() - 12..good.len()) {
        let mut bad = good.to_vec();
        bad[at] ^= 1 << (at % 8);
        assert_corrupt(decode(bad), &format!("byte {at}"));
        assert_corrupt(decode(good[..at].to_vec()), &format!("a cut at {at}"));
        let mut torn = good.to_vec();
        torn[at..].fill(0);
        assert_corrupt(decode(torn), &format!("zeros from {at}"));
    }
    // Two whole frames exchanged, together with their checksums.
    let start = good.len() - 150_000 - 12;
    let mut swapped = good.to_vec();
    for at in 0..65_536 {
        swapped.swap(start + at, start + 65_536 + at);
    }
    for at in good.len() - 12..good.len() - 8 {
        swapped.swap(at, at + 4);
    }
    assert_corrupt(decode(swapped), "exchanged frames");
    let mut bad = good.to_vec();
    bad[start + 70_000] ^= 1;
    let error = decode(bad).unwrap_err();
    assert!(error.message().contains(&format!("frame 1 (bytes {}..{})", start + 65_536, start + 131_072)), "{error}");
}

#[test]
fn newer_formats_are_refused_as_such() {
    let line = "{\"format\":2,\"kind\":\"commit\"}\n";
    let newer = format!("{line}crc32c:{:08x}\n", crc32c::crc32c(line.as_bytes()));
    let error = envelope::decode::<Value>("commits/7", "commit", newer.as_bytes()).unwrap_err();
    assert_eq!(error.code(), ErrorCode::CheckpointVersion);
    assert!(error.message().starts_with("commits/7 has format 2, and this engine"), "{error}");

    let mut file = frames::encode("state", &json!({}), b"x").unwrap().to_vec();
    let header_end = file.len() - 1 - 4 - 4;
    file[8] = 2;
    let crc = crc32c::crc32c(&file[..header_end]);
    file[header_end..header_end + 4].copy_from_slice(&crc.to_le_bytes());
    let error = frames::decode::<Value>("state/a", "state", &file.into()).unwrap_err();
    assert_eq!(error.code(), ErrorCode::CheckpointVersion);
}

#[test]
fn messages_say_expected_and_actual() {
    let mut bytes = envelope::encode("commit", &json!({"batch": 1})).unwrap().to_vec();
    let line_crc = crc32c::crc32c(&bytes[..bytes.len() - 16]);
    let last = bytes.len() - 2;
    bytes[last] = b'!';
    let error = envelope::decode::<Value>("commits/1", "commit", &bytes).unwrap_err();
    let prefix = format!("crc32c:{line_crc:08x}");
    let expected = format!("commits/1: expected the last line `{prefix}`, found `{}!`; restore", &prefix[..14]);
    assert!(error.message().starts_with(&expected), "{error}");
    let error = envelope::decode::<Value>("commits/1", "commit", &[0; 300]).unwrap_err();
    assert!(error.message().contains("found zeros only"), "{error}");
}

/// Everything a restart reads of a checkpoint with two committed batches, state, a plan, a source log and a pending batch.
async fn read_all(directory: &std::path::Path) -> Result<()> {
    let checkpoint = open_at(directory).await?;
    let recovered = checkpoint.recover().await?;
    for chain in recovered.last.unwrap().prepared.state {
        for file in chain.files {
            checkpoint.read_state(&file).await?;
        }
    }
    checkpoint.latest_plan().await?.unwrap();
    assert_eq!(checkpoint.source_log(0).entries().await?.len(), 1);
    Ok(())
}

#[tokio::test]
async fn damage_to_any_file_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let checkpoint = open_at(directory.path()).await.unwrap();
    checkpoint.write_plan("abc123", &json!({"operators": []})).await.unwrap();
    checkpoint.source_log(0).put(0, Bytes::from_static(b"{\"path\":\"a\"}")).await.unwrap();
    let attempt = Uuid::new_v4();
    checkpoint.write_offsets(&offsets(&checkpoint, 0)).await.unwrap();
    let file = checkpoint.write_state("agg", 0, attempt, true, 2, Bytes::from_static(b"rows")).await.unwrap();
    let chain = StateChain { operator: "agg".into(), files: vec![file] };
    checkpoint.write_prepared(&prepared(0, attempt, vec![chain])).await.unwrap();
    checkpoint.commit(0, attempt).await.unwrap();
    checkpoint.write_offsets(&offsets(&checkpoint, 1)).await.unwrap();
    checkpoint.write_prepared(&prepared(1, attempt, vec![])).await.unwrap();
    drop(checkpoint);
    read_all(directory.path()).await.unwrap();

    let store = crate::checkpoint::local::LocalStore::open(directory.path(), FailPoints::default()).unwrap();
    let mut files = vec![layout::FORMAT.to_string()];
    for prefix in [layout::PLANS, layout::OFFSETS, layout::PREPARED, layout::COMMITS, layout::STATE, layout::SOURCES] {
        files.extend(store.list(prefix).await.unwrap());
    }
    assert_eq!(files.len(), 9);
    for name in files {
        let path = directory.path().join(&name);
        let good = std::fs::read(&path).unwrap();
        let mut flipped = good.clone();
        flipped[good.len() / 2] ^= 4;
        for (what, bad) in [
            ("a flipped bit", flipped),
            ("half a file", good[..good.len() / 2].to_vec()),
            ("an empty file", vec![]),
            ("the zeros of a power failure", vec![0; good.len()]),
        ] {
            std::fs::write(&path, bad).unwrap();
            let error = read_all(directory.path()).await.expect_err(&name);
            assert_eq!(error.code(), ErrorCode::CheckpointCorrupt, "{what}, {name}: {error}");
            assert!(error.message().contains(&name), "{what}, {name}: {error}");
        }
        std::fs::write(&path, &good).unwrap();
    }
    read_all(directory.path()).await.unwrap();
}

#[tokio::test]
async fn files_of_others_are_refused() {
    let store = Arc::new(MemoryStore::default());
    let checkpoint = open_memory(&store).await.unwrap();
    let other = open_memory(&Arc::default()).await.unwrap();
    let attempt = Uuid::from_u128(1);
    let a = checkpoint.write_state("a", 0, attempt, false, 1, Bytes::from_static(b"aaaa")).await.unwrap();
    let b = checkpoint.write_state("b", 0, attempt, false, 1, Bytes::from_static(b"bbbb")).await.unwrap();
    assert_eq!(checkpoint.read_state(&a).await.unwrap(), "aaaa");
    let disguised = StateFile { path: a.path.clone(), ..b.clone() };
    let bytes = store.objects.lock().get(&b.path).cloned().unwrap();
    store.objects.lock().insert(a.path.clone(), bytes);
    let error = checkpoint.read_state(&disguised).await.unwrap_err();
    assert!(error.message().contains(&format!("{}: holds {}", a.path, b.path)), "{error}");
    let error = checkpoint.read_state(&a).await.unwrap_err();
    assert!(error.message().contains(&format!("expected {} bytes with SHA-256 {}", a.bytes, a.sha256)), "{error}");

    let foreign = other.write_state("a", 0, attempt, false, 1, Bytes::from_static(b"aaaa")).await.unwrap();
    let bytes = other.inner.store.get(&foreign.path).await.unwrap().unwrap();
    store.objects.lock().insert(foreign.path.clone(), bytes);
    let error = checkpoint.read_state(&foreign).await.unwrap_err();
    assert!(error.message().contains(&format!("belongs to query {}", other.query_id())), "{error}");

    let escape = StateFile { path: "../secret".into(), ..a };
    let directory = tempfile::tempdir().unwrap();
    let local = open_at(directory.path()).await.unwrap();
    assert_eq!(local.read_state(&escape).await.unwrap_err().code(), ErrorCode::CheckpointCorrupt);
}
