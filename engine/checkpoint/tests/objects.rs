//! Checkpoints in an object store: the store itself, and two runs that no lock keeps apart.

use super::*;
use crate::checkpoint::layout;
use crate::checkpoint::object::ObjectCheckpoint;
use crate::checkpoint::recovery::Recovery;
use crate::storage::ObjectLocation;
use object_store::memory::InMemory;
use object_store::path::Path;

fn bucket() -> ObjectLocation {
    ObjectLocation::new(Arc::new(InMemory::new()), "s3a://lake", Path::from("ck/rides"))
}

async fn open_object(bucket: &ObjectLocation) -> Result<Checkpoint> {
    Checkpoint::open(&Location::Object(bucket.clone()), Uuid::new_v4(), FailPoints::default()).await
}

#[tokio::test]
async fn objects_are_created_once_listed_by_name_and_deleted() {
    let bucket = bucket();
    let store = ObjectCheckpoint::new(bucket.clone());
    assert_eq!(store.get("commits/1").await.unwrap(), None);
    assert_eq!(store.create("commits/1", Bytes::from_static(b"a")).await.unwrap(), Created::New);
    assert_eq!(store.create("commits/1", Bytes::from_static(b"b")).await.unwrap(), Created::Exists);
    assert_eq!(store.get("commits/1").await.unwrap().unwrap(), "a");
    for name in ["state/a%2Fb/1.delta", "commits/2", "commits2/1", "state/a%2Fb/0.delta"] {
        assert_eq!(store.create(name, Bytes::new()).await.unwrap(), Created::New);
    }
    assert_eq!(store.list("commits/").await.unwrap(), ["commits/1", "commits/2"]);
    assert_eq!(store.list("state/").await.unwrap(), ["state/a%2Fb/0.delta", "state/a%2Fb/1.delta"]);
    assert_eq!(store.list("plans/").await.unwrap(), Vec::<String>::new());
    let gone = ["commits/1", "commits/9", "state/a%2Fb/0.delta", "state/none"].map(String::from);
    store.delete(&gone).await.unwrap();
    let left: Vec<_> = bucket.list().await.unwrap().into_iter().map(|o| o.location.to_string()).collect();
    assert_eq!(left, ["ck/rides/commits/2", "ck/rides/commits2/1", "ck/rides/state/a%2Fb/1.delta"]);
    assert_eq!(store.create("../x", Bytes::new()).await.unwrap_err().code(), ErrorCode::CheckpointCorrupt);
}

#[tokio::test]
async fn a_batch_survives_restarts_and_the_newer_run_fences_the_older() {
    let bucket = bucket();
    let first = open_object(&bucket).await.unwrap();
    let attempt = run_batch(&first, 0).await.unwrap();
    first.write_offsets(&offsets(&first, 1)).await.unwrap();
    let second = open_object(&bucket).await.unwrap();
    assert_eq!((second.query_id(), second.epoch()), (first.query_id(), 1));
    let error = first.write_prepared(&prepared(1, Uuid::new_v4(), vec![])).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::CheckpointFenced);
    let who = format!("the checkpoint s3a://lake/ck/rides is held by run {}", second.inner.run_id);
    assert!(error.message().starts_with(&who), "{error}");
    let found = second.recover().await.unwrap();
    assert_eq!(found.decision, Recovery::Replay { batch: 1, prepared: vec![] });
    assert_eq!(found.last.unwrap().commit.attempt, attempt);
}

/// A store in which another run claims an epoch just before a record is created: after the check, that is.
struct Overtaken(Arc<MemoryStore>);

#[async_trait]
impl CheckpointStore for Overtaken {
    async fn create(&self, path: &str, bytes: Bytes) -> Result<Created> {
        if path.starts_with(layout::PREPARED) {
            drop(open_memory(&self.0).await?);
        }
        self.0.create(path, bytes).await
    }

    async fn get(&self, path: &str) -> Result<Option<Bytes>> {
        self.0.get(path).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<String>> {
        self.0.list(prefix).await
    }

    async fn delete(&self, paths: &[String]) -> Result<()> {
        self.0.delete(paths).await
    }
}

#[tokio::test]
async fn a_run_that_is_overtaken_while_it_prepares_does_not_publish() {
    let store = Arc::new(MemoryStore::default());
    let identity = open::identify(store.as_ref(), "memory").await.unwrap();
    let overtaken = Arc::new(Overtaken(store.clone()));
    let run_id = Uuid::new_v4();
    let old =
        Checkpoint::open_on(overtaken, None, "memory".into(), identity, run_id, FailPoints::default()).await.unwrap();
    old.write_offsets(&offsets(&old, 0)).await.unwrap();
    let lost = prepared(0, Uuid::new_v4(), vec![]);
    assert_eq!(old.write_prepared(&lost).await.unwrap_err().code(), ErrorCode::CheckpointFenced);
    assert!(store.names().contains(&layout::prepared(0, lost.sink.attempt)), "the record came after the check");
    // The run that overtook did not see the record, and ran the batch itself; one attempt of its epoch is newer.
    let new = open_memory(&store).await.unwrap();
    for attempt in [Uuid::nil(), Uuid::max()] {
        let own = prepared(0, attempt, vec![]);
        new.write_prepared(&own).await.unwrap();
        let found = open_memory(&store).await.unwrap().recover().await.unwrap();
        assert_eq!(found.pending.unwrap().prepared, [own, lost.clone()], "the newest epoch's attempt first");
        store.objects.lock().remove(&layout::prepared(0, attempt));
        let epoch = layout::epoch(new.epoch() + 1);
        store.objects.lock().remove(&epoch);
    }
}
