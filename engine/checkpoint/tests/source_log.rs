//! A source's log: order, compaction, and crashes in the middle of it.

use super::*;
use crate::source::SourceLog;

fn entry(index: u64) -> Bytes {
    Bytes::from(format!("{{\"file\":{index}}}").repeat(index as usize % 3))
}

async fn assert_holds(log: &Arc<dyn SourceLog>, indices: impl Iterator<Item = u64>) {
    let expected: Vec<_> = indices.map(|index| (index, entry(index))).collect();
    assert_eq!(log.entries().await.unwrap(), expected);
}

fn files(store: &MemoryStore) -> Vec<String> {
    let names = store.names();
    names.iter().filter_map(|name| name.strip_prefix("sources/3/").map(str::to_string)).collect()
}

#[tokio::test]
async fn long_logs_stay_few_files() {
    let store = Arc::new(MemoryStore::default());
    let checkpoint = open_memory(&store).await.unwrap();
    let log = checkpoint.source_log(3);
    assert_eq!(log.entries().await.unwrap(), vec![]);
    for index in 0..=121 {
        log.put(index, entry(index)).await.unwrap();
        log.put(index, entry(index)).await.unwrap();
    }
    let span = |first: u64, last: u64| format!("{first:020}-{last:020}.compact");
    let expected = [span(0, 99), span(100, 109), span(110, 119), format!("{:020}", 120), format!("{:020}", 121)];
    assert_eq!(files(&store), expected);
    assert_holds(&log, 0..=121).await;
    // A restarted source may put what is compacted, and nothing else under its index.
    let restarted = open_memory(&store).await.unwrap().source_log(3);
    restarted.put(50, entry(50)).await.unwrap();
    for index in [50, 121] {
        let error = restarted.put(index, Bytes::from_static(b"other")).await.unwrap_err();
        assert_eq!(error.code(), ErrorCode::CheckpointCorrupt);
        assert!(error.message().contains(&format!("entry {index} is there already, with other bytes")), "{error}");
    }
    restarted.put(122, entry(122)).await.unwrap();
    assert_holds(&restarted, 0..=122).await;
    assert_eq!(open_memory(&store).await.unwrap().source_log(2).entries().await.unwrap(), vec![]);
}

#[tokio::test]
async fn indices_may_have_gaps() {
    let store = Arc::new(MemoryStore::default());
    let log = open_memory(&store).await.unwrap().source_log(3);
    let indices = [3, 17, 18, 250, 1000];
    for index in indices {
        log.put(index, entry(index)).await.unwrap();
    }
    assert_holds(&log, indices.into_iter()).await;
    assert_eq!(files(&store).len(), 2);
    assert_eq!(log.put(4, entry(4)).await.unwrap_err().code(), ErrorCode::Internal);
}

#[tokio::test]
async fn a_crash_after_any_change_loses_and_doubles_nothing() {
    // The put of entry 100 makes the tenth block and then the first hundred: more changes than this have no crash left.
    let mut crashes = 0;
    loop {
        let store = Arc::new(MemoryStore::default());
        let log = open_memory(&store).await.unwrap().source_log(3);
        for index in 0..100 {
            log.put(index, entry(index)).await.unwrap();
        }
        *store.changes_left.lock() = Some(crashes);
        let done = log.put(100, entry(100)).await.is_ok();
        *store.changes_left.lock() = None;
        let log = open_memory(&store).await.unwrap().source_log(3);
        assert_holds(&log, 0..100 + u64::from(crashes > 0)).await;
        log.put(100, entry(100)).await.unwrap();
        log.put(101, entry(101)).await.unwrap();
        assert_holds(&log, 0..=101).await;
        assert_eq!(files(&store).len(), 3);
        if done {
            break;
        }
        crashes += 1;
    }
    // The entry, two compact files, and the removal of ten files each.
    assert_eq!(crashes, 23);
}
