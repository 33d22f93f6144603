//! The protocol: restarts at every step, overlapping runs, ambiguous creates, the budget of a batch.

use super::*;
use crate::checkpoint::layout;
use crate::checkpoint::recovery::Recovery;

#[tokio::test]
async fn restart_at_every_step() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("new/ck");
    let first = open_at(&path).await.unwrap();
    let query_id = first.query_id();
    assert_eq!(first.epoch(), 0);
    let fresh = first.recover().await.unwrap();
    assert_eq!((fresh.decision, fresh.last, fresh.pending), (Recovery::Fresh, None, None));
    assert_eq!(first.latest_plan().await.unwrap(), None);
    first.write_plan("abc123", &json!({"v": 1})).await.unwrap();
    first.write_plan("abc123", &json!({"v": 1})).await.unwrap();
    let error = first.write_plan("abc123", &json!({"v": 2})).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::CheckpointCorrupt);
    let planned = offsets(&first, 0);
    first.write_offsets(&planned).await.unwrap();
    drop(first);

    let second = open_at(&path).await.unwrap();
    assert_eq!((second.query_id(), second.epoch()), (query_id, 1));
    let found = second.recover().await.unwrap();
    assert_eq!(found.decision, Recovery::Replay { batch: 0, prepared: vec![] });
    assert_eq!(found.pending.unwrap().offsets, planned);
    assert_eq!(second.latest_plan().await.unwrap(), Some(("abc123".to_string(), json!({"v": 1}))));
    let attempt = Uuid::new_v4();
    let file = second.write_state("agg/1", 0, attempt, false, 3, Bytes::from_static(b"abc")).await.unwrap();
    assert_eq!((file.rows, file.snapshot), (3, false));
    assert_eq!(file.path, format!("state/agg%2F1/{:020}-{attempt}.delta", 0));
    let entry = prepared(0, attempt, vec![StateChain { operator: "agg/1".into(), files: vec![file.clone()] }]);
    second.write_prepared(&entry).await.unwrap();
    drop(second);

    let third = open_at(&path).await.unwrap();
    let found = third.recover().await.unwrap();
    assert_eq!(found.decision, Recovery::Replay { batch: 0, prepared: vec![attempt] });
    assert_eq!(found.pending.unwrap().prepared, vec![entry.clone()]);
    assert_eq!(third.read_state(&file).await.unwrap(), "abc");
    // The sink says that the attempt is visible: a later run adopts it.
    third.commit(0, attempt).await.unwrap();
    third.commit(0, attempt).await.unwrap();
    drop(third);

    let fourth = open_at(&path).await.unwrap();
    let found = fourth.recover().await.unwrap();
    assert_eq!(found.decision, Recovery::Next { batch: 1 });
    let last = found.last.unwrap();
    assert_eq!((last.offsets, last.prepared), (planned, entry));
    assert_eq!((last.commit.batch, last.commit.attempt, last.commit.epoch), (0, attempt, 2));
    assert_eq!(found.pending, None);
}

#[tokio::test]
async fn a_second_open_is_refused_at_once_and_names_the_holder() {
    let directory = tempfile::tempdir().unwrap();
    let holder = open_at(directory.path()).await.unwrap();
    let error = open_at(directory.path()).await.err().unwrap();
    assert_eq!(error.code(), ErrorCode::CheckpointFenced);
    let who = format!("is held by run {} (pid {} on ", holder.inner.run_id, std::process::id());
    assert!(error.message().contains(&who), "{error}");
    run_batch(&holder, 0).await.unwrap();
    drop(holder);
    assert_eq!(open_at(directory.path()).await.unwrap().epoch(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn of_many_opens_at_once_one_wins() {
    for _ in 0..5 {
        let directory = tempfile::tempdir().unwrap();
        let opens: Vec<_> = (0..8)
            .map(|_| {
                let path = directory.path().to_path_buf();
                tokio::spawn(async move { open_at(&path).await })
            })
            .collect();
        let mut held = Vec::new();
        for open in opens {
            match open.await.unwrap() {
                Ok(checkpoint) => held.push(checkpoint),
                Err(e) => assert_eq!(e.code(), ErrorCode::CheckpointFenced, "{e}"),
            }
        }
        assert_eq!(held.len(), 1);
        assert_eq!(held[0].epoch(), 0);
    }
}

#[tokio::test]
async fn a_newer_run_fences_the_older() {
    let store = Arc::new(MemoryStore::default());
    let old = open_memory(&store).await.unwrap();
    run_batch(&old, 0).await.unwrap();
    old.write_offsets(&offsets(&old, 1)).await.unwrap();
    let new = open_memory(&store).await.unwrap();
    assert_eq!((old.epoch(), new.epoch()), (0, 1));
    let before = store.names();
    let attempt = Uuid::new_v4();
    for result in [
        old.write_offsets(&offsets(&old, 1)).await,
        old.write_prepared(&prepared(1, attempt, vec![])).await,
        old.commit(1, attempt).await,
        old.write_plan("p", &json!(1)).await,
        old.source_log(0).put(0, Bytes::new()).await,
        old.collect_garbage(1).await,
    ] {
        let error = result.unwrap_err();
        assert_eq!(error.code(), ErrorCode::CheckpointFenced);
        assert!(error.message().contains(&format!("run {}", new.inner.run_id)), "{error}");
    }
    assert_eq!(store.names(), before);
    // Planned by the old run: the new one keeps the record, and is told so if it tries to plan again.
    let error = new.write_offsets(&offsets(&new, 1)).await.unwrap_err();
    assert!(error.message().contains(&format!("run {}", old.inner.run_id)), "{error}");
}

#[tokio::test]
async fn a_batch_is_decided_once() {
    let store = Arc::new(MemoryStore::default());
    let old = open_memory(&store).await.unwrap();
    let winner = run_batch(&old, 0).await.unwrap();
    let new = open_memory(&store).await.unwrap();
    let loser = Uuid::new_v4();
    new.write_prepared(&prepared(0, loser, vec![])).await.unwrap();
    let error = new.commit(0, loser).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::CheckpointFenced);
    assert!(error.message().contains(&format!("run {}", old.inner.run_id)), "{error}");
    new.commit(0, winner).await.unwrap();
    assert_eq!(new.recover().await.unwrap().last.unwrap().commit.attempt, winner);
    let unknown = Uuid::new_v4();
    let error = new.commit(0, unknown).await.unwrap_err();
    assert!(error.message().contains(&format!("{}: missing", layout::prepared(0, unknown))), "{error}");
}

#[tokio::test]
async fn an_ambiguous_create_is_settled_by_reading_back() {
    let store = Arc::new(MemoryStore::default());
    *store.ambiguous.lock() = true;
    let checkpoint = open_memory(&store).await.unwrap();
    assert_eq!(checkpoint.epoch(), 0);
    let attempt = run_batch(&checkpoint, 0).await.unwrap();
    checkpoint.write_state("a", 1, attempt, false, 0, Bytes::new()).await.unwrap();
    checkpoint.source_log(0).put(0, Bytes::from_static(b"x")).await.unwrap();
    assert_eq!(checkpoint.recover().await.unwrap().decision, Recovery::Next { batch: 1 });
}

#[tokio::test]
async fn a_store_that_overwrites_is_refused_unchanged() {
    let store = Arc::new(MemoryStore::default());
    run_batch(&open_memory(&store).await.unwrap(), 0).await.unwrap();
    let before = store.objects.lock().clone();
    *store.overwrites.lock() = true;
    let error = open_memory(&store).await.err().unwrap();
    assert_eq!(error.code(), ErrorCode::CheckpointIo);
    assert!(error.message().contains("lets an existing file be created again"), "{error}");
    assert_eq!(*store.objects.lock(), before);
}

#[tokio::test]
async fn a_prepared_record_is_bound_to_its_commit() {
    let store = Arc::new(MemoryStore::default());
    let checkpoint = open_memory(&store).await.unwrap();
    let attempt = run_batch(&checkpoint, 0).await.unwrap();
    // A well-formed record of the same attempt with another content.
    let mut other = prepared(0, attempt, vec![]);
    other.next_watermark_ms += 1;
    let path = layout::prepared(0, attempt);
    let bytes = crate::checkpoint::envelope::encode("prepared", &other).unwrap();
    let original = store.objects.lock().insert(path.clone(), bytes).unwrap();
    let error = checkpoint.recover().await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::CheckpointCorrupt);
    assert!(error.message().contains(&format!("{path}: has SHA-256 ")), "{error}");
    // A record under another batch's name.
    let bytes = store.objects.lock().get(&layout::offsets(0)).cloned().unwrap();
    store.objects.lock().insert(layout::offsets(1), bytes);
    store.objects.lock().insert(path, original);
    let error = checkpoint.recover().await.unwrap_err();
    assert!(error.message().contains(&format!("{}: holds batch 0", layout::offsets(1))), "{error}");
}

#[tokio::test]
async fn a_checkpoint_of_another_engine_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir(directory.path().join("commits")).unwrap();
    std::fs::write(directory.path().join("commits/0"), "v1\n{}").unwrap();
    let error = open_at(directory.path()).await.err().unwrap();
    assert_eq!(error.code(), ErrorCode::CheckpointCorrupt);
    assert!(error.message().contains("FORMAT: missing, although commits/0 exists"), "{error}");
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
}
