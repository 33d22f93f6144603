//! Files in an object store, on one in memory.

use super::reading::rows_in;
use super::*;
use crate::storage::{Location, ObjectLocation};
use object_store::ObjectStore;
use object_store::memory::InMemory;

fn filter() -> discovery::Filter {
    discovery::Filter { recursive: false, name: None, modified: i64::MIN..i64::MAX, base: None }
}

async fn put(bucket: &ObjectLocation, key: &str, bytes: &[u8]) {
    bucket.join(key).unwrap().put(Bytes::copy_from_slice(bytes)).await.unwrap();
}

async fn files(at: &ObjectLocation, format: FileFormat, options: &[(&str, &str)]) -> Result<Files> {
    let mut all = Options::from_iter(options.iter().copied());
    all.set("path", "in the test");
    let mut reader = all.reader("the source");
    let settings = Settings::read(format, Reading::Table, &mut reader, &Config::default())?;
    Files::with_roots(settings, Roots::at(Location::Object(at.clone()), filter()), None).await
}

#[tokio::test]
async fn objects_are_listed_and_read_by_ranges() {
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let bucket = ObjectLocation::new(store, "s3a://rides", object_store::path::Path::default());
    let lines: String = (0..500).map(|n| format!("{{\"a\":{n}}}\n")).collect();
    put(&bucket, "raw/p=1/x.json", lines.as_bytes()).await;
    put(&bucket, "raw/p=2/y.json", b"{\"a\":500}\n").await;
    put(&bucket, "raw/_tmp/p=3/y.json", b"{\"a\":501}\n").await;
    put(&bucket, "raw/p=2/.y.json", b"{\"a\":501}\n").await;
    put(&bucket, "raw-not/p=4/y.json", b"{\"a\":501}\n").await;
    let raw = bucket.join("raw").unwrap();
    let table = files(&raw, FileFormat::Json, &[]).await.unwrap();
    assert_eq!(*table.schema(), StructType::from_ddl("a BIGINT, p INT").unwrap());
    for chunk_bytes in [10, 1 << 20] {
        let rows = rows_in(&table, chunk_bytes).await.unwrap();
        assert_eq!((rows.len(), rows.iter().filter(|row| row.ends_with("|2")).count()), (501, 1));
    }
    // One object by its key.
    let one = files(&raw.join("p=2/y.json").unwrap(), FileFormat::Json, &[]).await.unwrap();
    assert_eq!(rows_in(&one, 9).await.unwrap(), ["500"]);
    let error = files(&bucket.join("nothing").unwrap(), FileFormat::Text, &[]).await.unwrap_err();
    assert_eq!((error.code(), error.message()), (ErrorCode::PathNotFound, "Path does not exist: s3a://rides/nothing"));
    bucket.join("raw/p=2/y.json").unwrap().delete().await.unwrap();
    let error = rows_in(&table, 9).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::PathNotFound);
    assert!(error.message().starts_with("s3a://rides/raw/p=2/y.json belongs to a batch"), "{error}");
}

#[test]
fn a_file_of_another_bucket_is_not_found() {
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let bucket = ObjectLocation::new(store, "s3a://rides", object_store::path::Path::from("raw"));
    let roots = Roots::at(Location::Object(bucket), filter());
    let Location::Object(found) = roots.locate("s3a://rides/other/x.json").unwrap() else { panic!("an object") };
    assert_eq!(found.url, "s3a://rides/other/x.json");
    assert_eq!(roots.locate("s3a://ride/x.json").unwrap_err().code(), ErrorCode::PathNotFound);
}
