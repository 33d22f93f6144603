//! Locations of every kind, on a store in memory.

use super::*;
use object_store::memory::InMemory;

fn memory(path: &str) -> ObjectLocation {
    ObjectLocation::new(Arc::new(InMemory::new()), "s3a://rides/", Path::parse(path).unwrap())
}

#[test]
fn paths_say_where_they_lie() {
    let config = Config::default();
    let Location::Local(path) = Location::parse("file:///data/rides", &config).unwrap() else { panic!("local") };
    assert_eq!(path, PathBuf::from("/data/rides"));
    let error = Location::parse("hdfs://name/rides", &config).unwrap_err();
    assert_eq!(error.code(), ErrorCode::UnsupportedOperation);
    let joined = Location::parse("/data", &config).unwrap().join("rides").unwrap();
    assert_eq!(joined.url(), "file:/data/rides");
}

#[cfg(feature = "s3")]
#[test]
fn buckets_and_keys() {
    let config = Config::default();
    for (text, url, key) in [
        ("s3a://rides/a/b/", "s3a://rides/a/b", "a/b"),
        ("S3://rides//a//b", "s3://rides/a/b", "a/b"),
        ("s3://rides", "s3://rides", ""),
        ("s3://rides/", "s3://rides", ""),
    ] {
        let Location::Object(object) = Location::parse(text, &config).unwrap() else { panic!("{text}") };
        assert_eq!((object.url.as_str(), object.path.as_ref()), (url, key));
    }
    for text in ["s3a:///a", "s3a://key:secret@rides/a", "s3a://rides/../a"] {
        let error = Location::parse(text, &config).unwrap_err();
        assert_eq!(error.code(), ErrorCode::InvalidOption, "{text}");
        assert!(!error.message().contains("secret@"), "{error}");
    }
}

#[cfg(not(feature = "s3"))]
#[test]
fn a_build_without_s3_says_so() {
    let error = Location::parse("s3a://rides/a", &Config::default()).unwrap_err();
    assert_eq!(error.code(), ErrorCode::S3NotEnabled);
}

#[tokio::test]
async fn objects_are_written_read_listed_and_removed() {
    let root = memory("raw");
    let object = root.join("2026/b.json").unwrap();
    assert_eq!(object.url, "s3a://rides/raw/2026/b.json");
    assert_eq!(object.name(), "b.json");
    assert!(object.head().await.unwrap().is_none() && object.get_if_exists().await.unwrap().is_none());
    assert!(object.create(Bytes::from_static(b"one")).await.unwrap());
    assert!(!object.create(Bytes::from_static(b"two")).await.unwrap());
    assert_eq!(object.get().await.unwrap(), "one");
    object.put(Bytes::from_static(b"three")).await.unwrap();
    assert_eq!(object.get_range(1..3).await.unwrap(), "hr");
    root.join("a.json").unwrap().put(Bytes::new()).await.unwrap();
    root.join("2026/a.json").unwrap().put(Bytes::new()).await.unwrap();
    let keys = |objects: Vec<ObjectMeta>| objects.into_iter().map(|o| o.location.to_string()).collect::<Vec<_>>();
    assert_eq!(keys(root.list().await.unwrap()), ["raw/2026/a.json", "raw/2026/b.json", "raw/a.json"]);
    let after = Path::from("raw/2026/a.json");
    assert_eq!(keys(root.list_after(&after).await.unwrap()), ["raw/2026/b.json", "raw/a.json"]);
    let level = root.level().await.unwrap();
    assert_eq!((keys(level.objects), level.prefixes), (vec!["raw/a.json".to_string()], vec![Path::from("raw/2026")]));
    assert_eq!(root.url_of(&Path::from("raw/2026")), "s3a://rides/raw/2026");
    object.copy(&Path::from("kept/b.json")).await.unwrap();
    object.delete().await.unwrap();
    object.delete().await.unwrap();
    assert_eq!(root.at(Path::from("kept/b.json")).get().await.unwrap(), "three");
    let error = object.get().await.unwrap_err();
    assert_eq!(
        (error.code(), error.message()),
        (ErrorCode::PathNotFound, "Path does not exist: s3a://rides/raw/2026/b.json")
    );
    assert_eq!(root.join("../x").unwrap_err().code(), ErrorCode::InvalidOption);
}

#[test]
fn refusals_of_the_store_keep_their_kind() {
    let denied = object_store::Error::PermissionDenied { path: "raw".into(), source: "no".into() };
    let error = memory("raw").failure("list", denied);
    assert_eq!(error.code(), ErrorCode::StorageAccessDenied);
    assert!(error.message().starts_with("cannot list s3a://rides/raw: "), "{error}");
}
