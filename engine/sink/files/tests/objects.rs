//! Files in a store in memory: what is seen when, and what a second try finds.

use super::*;
use crate::storage::ObjectLocation;
use object_store::ObjectStoreExt;
use object_store::memory::InMemory;
use object_store::path::Path as Key;

fn bucket() -> ObjectLocation {
    let store = Arc::new(InMemory::new());
    ObjectLocation::new(store.clone(), "s3a://lake", Key::from("out")).with_multipart(store)
}

async fn opened_at(bucket: &ObjectLocation) -> FileSink {
    let mut sink = file_sink("json", "nowhere", &[], &["city"]).unwrap();
    sink.place = Location::Object(bucket.clone());
    sink.open(&writer(QUERY, &rows(&[]).schema())).await.unwrap();
    sink
}

fn rows(cities: &[&str]) -> RecordBatch {
    let city = StringArray::from(cities.to_vec());
    let n = Int64Array::from_iter_values(0..cities.len() as i64);
    RecordBatch::try_from_iter([("n", Arc::new(n) as ArrayRef), ("city", Arc::new(city) as ArrayRef)]).unwrap()
}

/// Keys and texts of all objects of the bucket, wherever they lie.
async fn seen(bucket: &ObjectLocation) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for object in bucket.at(Key::default()).list().await.unwrap() {
        let bytes = bucket.at(object.location.clone()).get().await.unwrap();
        found.push((object.location.to_string(), String::from_utf8(bytes.to_vec()).unwrap()));
    }
    found
}

async fn staged_at(sink: &mut FileSink, batch: u64, cities: &[&str]) -> Prepared {
    let payload = sink.stage(batch, attempt(u128::from(batch)), &[rows(cities)]).await.unwrap();
    Prepared { batch, attempt: attempt(u128::from(batch)), payload }
}

fn three() -> Vec<(String, String)> {
    [("a%2Fb", 0), ("b", 1), ("ö d", 2)]
        .map(|(city, n)| (format!("out/city={city}/part-00000-{n}-aaaaaa00.json"), format!("{{\"n\":{n}}}\n")))
        .to_vec()
}

#[tokio::test]
async fn nothing_is_seen_before_publication_and_everything_after_it() {
    let bucket = bucket();
    let mut sink = opened_at(&bucket).await;
    assert_eq!(sink.description(), "FileSink[s3a://lake/out]");
    let prepared = staged_at(&mut sink, 0, &["a/b", "b", "ö d"]).await;
    assert_eq!(seen(&bucket).await, []);
    assert_eq!(prepared.payload["files"][1]["bytes"], 8);
    sink.publish(&prepared).await.unwrap();
    assert_eq!(seen(&bucket).await, three());
    let none =
        Prepared { batch: 1, attempt: attempt(1), payload: sink.stage(1, attempt(1), &[rows(&[])]).await.unwrap() };
    assert_eq!(none.payload, serde_json::json!({"files": []}));
    sink.publish(&none).await.unwrap();
    assert_eq!(seen(&bucket).await, three());
}

#[tokio::test]
async fn publication_is_completed_by_whoever_comes_next_and_repeated_without_harm() {
    let bucket = bucket();
    let prepared = staged_at(&mut opened_at(&bucket).await, 0, &["a/b", "b", "ö d"]).await;
    let mut half = prepared.clone();
    half.payload["files"].as_array_mut().unwrap().remove(1);
    let mut killed = opened_at(&bucket).await;
    killed.publish(&half).await.unwrap();
    assert_eq!(seen(&bucket).await.len(), 2);
    let mut next = opened_at(&bucket).await;
    assert_eq!(next.settle(&prepared).await.unwrap(), Settled::Published);
    next.sweep(Some(&prepared)).await.unwrap();
    assert_eq!(seen(&bucket).await, three());
    assert_eq!(next.settle(&prepared).await.unwrap(), Settled::Published);
    // The run that was thought dead wakes up.
    killed.publish(&prepared).await.unwrap();
    assert_eq!(seen(&bucket).await, three());
}

#[tokio::test]
async fn an_upload_that_is_gone_is_reported_and_brings_nothing_back() {
    let bucket = bucket();
    let mut sink = opened_at(&bucket).await;
    let prepared = staged_at(&mut sink, 0, &["b"]).await;
    sink.publish(&prepared).await.unwrap();
    let key = Key::parse("out/city=b/part-00000-0-aaaaaa00.json").unwrap();
    // A user has taken the file away since.
    bucket.store.delete(&key).await.unwrap();
    assert!(sink.publish(&prepared).await.is_err() && sink.settle(&prepared).await.is_err());
    assert_eq!(seen(&bucket).await, []);
    bucket.store.put(&key, "other".into()).await.unwrap();
    let error = sink.settle(&prepared).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::CheckpointCorrupt);
    assert!(error.message().contains("s3a://lake/out/city=b/part-00000-0-aaaaaa00.json: is not the file"), "{error}");
}

#[tokio::test]
async fn large_files_go_in_parts() {
    let bucket = bucket();
    let mut sink = opened_at(&bucket).await;
    let long = "x".repeat(1000);
    let mut text = file_sink("text", "nowhere", &[], &[]).unwrap();
    text.place = Location::Object(bucket.clone());
    let values = StringArray::from(vec![long.as_str(); 20_000]);
    let batch = RecordBatch::try_from_iter([("value", Arc::new(values) as ArrayRef)]).unwrap();
    text.open(&writer(QUERY, &batch.schema())).await.unwrap();
    let prepared = written(&mut text, 3, &[batch]).await;
    assert_eq!(prepared.payload["files"][0]["upload"]["parts"].as_array().unwrap().len(), 3);
    let found = seen(&bucket).await;
    assert_eq!((found.len(), found[0].1.len()), (1, 20_000 * 1001));
    assert!(found[0].1 == format!("{long}\n").repeat(20_000));
    // A key that is too long is refused before anything is uploaded.
    let error = sink.stage(4, attempt(4), &[rows(&["b", &"v".repeat(1100)])]).await.unwrap_err();
    assert!(error.code() == ErrorCode::Io && error.message().contains("longer than 1024 bytes"), "{error}");
}

#[tokio::test]
async fn a_local_record_is_not_taken_for_an_object() {
    let mut sink = opened_at(&bucket()).await;
    let payload = serde_json::json!({"files": [{"name": "part-0", "bytes": 1, "rows": 1, "sha256": "00"}]});
    let error = sink.publish(&Prepared { batch: 0, attempt: attempt(0), payload }).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::CheckpointCorrupt);
}
