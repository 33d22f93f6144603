//! Fail points: each point of the checkpoint can fail or call back, and the next start finds its way.

use super::*;
use crate::checkpoint::fail;
use crate::checkpoint::recovery::Recovery;
use fail_parallel::FailPointRegistry;
use std::sync::atomic::{AtomicU64, Ordering};

async fn one_batch(directory: &std::path::Path, points: &FailPoints) -> Result<()> {
    let checkpoint =
        Checkpoint::open(&Location::Local(directory.to_path_buf()), Uuid::new_v4(), points.clone()).await?;
    let attempt = Uuid::new_v4();
    checkpoint.write_offsets(&offsets(&checkpoint, 0)).await?;
    checkpoint.write_state("agg", 0, attempt, true, 1, Bytes::from_static(b"s")).await?;
    checkpoint.write_prepared(&prepared(0, attempt, vec![])).await?;
    checkpoint.commit(0, attempt).await?;
    checkpoint.collect_garbage(1).await
}

#[tokio::test]
async fn every_point_fails_where_it_says() {
    // The state file is named by no record, so the collector has something to remove.
    for (point, prepared, expected) in [
        (fail::AFTER_CLAIM, 0, "fresh"),
        (fail::AFTER_OFFSETS, 0, "replay"),
        (fail::AFTER_STATE, 0, "replay"),
        (fail::BEFORE_PREPARED, 0, "replay"),
        (fail::AFTER_PREPARED, 1, "replay"),
        (fail::AFTER_COMMIT, 0, "next"),
        (fail::DURING_GC, 0, "next"),
        (fail::STORE_AFTER_WRITE, 0, "fresh"),
        (fail::STORE_AFTER_SYNC, 0, "fresh"),
        (fail::STORE_AFTER_LINK, 0, "fresh"),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let registry = Arc::new(FailPointRegistry::new());
        fail_parallel::cfg(registry.clone(), point, "return(stop)").unwrap();
        let error = one_batch(directory.path(), &FailPoints::new(registry)).await.unwrap_err();
        assert_eq!(error.code(), ErrorCode::CheckpointIo);
        assert!(error.message().contains(&format!("fail point {point}: stop")), "{error}");
        let found = open_at(directory.path()).await.unwrap().recover().await.unwrap().decision;
        let (name, attempts) = match found {
            Recovery::Fresh => ("fresh", 0),
            Recovery::Next { batch } => {
                assert_eq!(batch, 1);
                ("next", 0)
            }
            Recovery::Replay { prepared, .. } => ("replay", prepared.len()),
        };
        assert_eq!((name, attempts), (expected, prepared), "{point}");
    }
}

#[tokio::test]
async fn a_callback_runs_and_the_query_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let registry = Arc::new(FailPointRegistry::new());
    let hits = Arc::new(AtomicU64::new(0));
    for point in fail::ALL {
        let hits = hits.clone();
        fail_parallel::cfg_callback(registry.clone(), *point, move || {
            hits.fetch_add(1, Ordering::SeqCst);
        })
        .unwrap();
    }
    one_batch(directory.path(), &FailPoints::new(registry)).await.unwrap();
    // Seven of the protocol (the runner and the sink hit the other three); FORMAT, its probe, which links nothing, the
    // claim and the four files of the batch in the store.
    assert_eq!(hits.load(Ordering::SeqCst), 7 + 7 * 2 + 6);
}
