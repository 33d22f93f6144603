//! The local store against a recording disk: order and number of system calls, failures of each, races, links.

use super::*;
use std::os::unix::fs::{PermissionsExt, symlink};

/// Records what is done to the disk, and fails the n-th call from now on.
#[derive(Clone, Default)]
struct Recorder {
    calls: Arc<Mutex<Vec<&'static str>>>,
    fail: Arc<Mutex<Option<(usize, io::ErrorKind)>>>,
}

impl Recorder {
    fn record(&self, call: &'static str) -> io::Result<()> {
        self.calls.lock().push(call);
        match self.fail.lock().as_mut() {
            Some((0, kind)) => Err((*kind).into()),
            Some((left, _)) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn take(&self) -> Vec<&'static str> {
        std::mem::take(&mut self.calls.lock())
    }
}

impl Disk for Recorder {
    fn make_dir(&self, parent: std::os::fd::BorrowedFd<'_>, name: &str) -> io::Result<()> {
        self.record("make_dir")?;
        Kernel.make_dir(parent, name)
    }

    fn create_file(&self, directory: std::os::fd::BorrowedFd<'_>, name: &str) -> io::Result<File> {
        self.record("create_file")?;
        Kernel.create_file(directory, name)
    }

    fn write(&self, file: &mut File, bytes: &[u8]) -> io::Result<()> {
        self.record("write")?;
        Kernel.write(file, bytes)
    }

    fn sync_file(&self, file: &File) -> io::Result<()> {
        self.record("sync_file")?;
        Kernel.sync_file(file)
    }

    fn link(&self, directory: std::os::fd::BorrowedFd<'_>, from: &str, to: &str) -> io::Result<()> {
        self.record("link")?;
        Kernel.link(directory, from, to)
    }

    fn sync_dir(&self, directory: std::os::fd::BorrowedFd<'_>) -> io::Result<()> {
        self.record("sync_dir")?;
        Kernel.sync_dir(directory)
    }

    fn unlink(&self, directory: std::os::fd::BorrowedFd<'_>, name: &str) -> io::Result<()> {
        self.record("unlink")?;
        Kernel.unlink(directory, name)
    }
}

const CREATE: [&str; 6] = ["create_file", "write", "sync_file", "link", "sync_dir", "unlink"];

fn recorded(path: &Path) -> (LocalStore, Recorder) {
    let recorder = Recorder::default();
    let store = LocalStore::open_on(path, FailPoints::default(), Box::new(recorder.clone())).unwrap();
    (store, recorder)
}

#[tokio::test]
async fn the_order_that_survives_a_power_failure() {
    let directory = tempfile::tempdir().unwrap();
    let (store, recorder) = recorded(directory.path());
    let body = Bytes::from_static(b"x");
    assert_eq!(store.create("state/agg/1", body.clone()).await.unwrap(), Created::New);
    let new_directories = ["make_dir", "sync_dir", "make_dir", "sync_dir"];
    assert_eq!(recorder.take(), [&new_directories[..], &CREATE[..]].concat());
    assert_eq!(store.create("state/agg/2", body.clone()).await.unwrap(), Created::New);
    assert_eq!(recorder.take(), CREATE);
    assert_eq!(store.create("state/agg/2", Bytes::from_static(b"y")).await.unwrap(), Created::Exists);
    assert_eq!(recorder.take(), CREATE);
    assert_eq!(store.get("state/agg/2").await.unwrap(), Some(body));
    assert_eq!(store.list("state/").await.unwrap(), ["state/agg/1", "state/agg/2"]);
    store.delete(&["state/agg/1".into(), "state/agg/9".into(), "plans/x".into()]).await.unwrap();
    assert_eq!(recorder.take(), ["unlink", "unlink", "sync_dir"]);
    assert_eq!(store.list("state/").await.unwrap(), ["state/agg/2"]);
    assert_eq!(store.get("state/agg/1").await.unwrap(), None);
}

#[tokio::test]
async fn a_batch_keeps_to_its_fsyncs() {
    use crate::checkpoint::{Checkpoint, tests};
    let directory = tempfile::tempdir().unwrap();
    let (store, recorder) = recorded(directory.path());
    let checkpoint = Checkpoint::open_local(store, "here".into(), Uuid::new_v4(), FailPoints::default()).await.unwrap();
    tests::run_batch(&checkpoint, 0).await.unwrap();
    recorder.take();
    tests::run_batch(&checkpoint, 1).await.unwrap();
    let syncs = |calls: Vec<&str>| calls.iter().filter(|call| call.starts_with("sync")).count();
    assert_eq!(syncs(recorder.take()), 6);
    checkpoint.write_state("agg", 2, Uuid::nil(), false, 0, Bytes::new()).await.unwrap();
    recorder.take();
    checkpoint.write_state("agg", 3, Uuid::nil(), false, 0, Bytes::new()).await.unwrap();
    assert_eq!(syncs(recorder.take()), 2);
}

#[tokio::test]
async fn a_failure_of_any_call_leaves_nothing_half_made() {
    for (at, call) in CREATE.iter().enumerate().take(5) {
        for kind in [io::ErrorKind::StorageFull, io::ErrorKind::ReadOnlyFilesystem, io::ErrorKind::Other] {
            let directory = tempfile::tempdir().unwrap();
            let (store, recorder) = recorded(directory.path());
            store.create("commits/1", Bytes::from_static(b"one")).await.unwrap();
            *recorder.fail.lock() = Some((at, kind));
            let error = store.create("commits/2", Bytes::from_static(b"two")).await.unwrap_err();
            assert_eq!(error.code(), ErrorCode::CheckpointIo, "{call}");
            let named = format!("cannot write {}/commits/2: ", directory.path().display());
            assert!(error.message().starts_with(&named), "{error}");
            *recorder.fail.lock() = None;
            // A failed sync of the directory leaves the whole file: it may or may not survive, and is never torn.
            let left = store.get("commits/2").await.unwrap();
            assert_eq!(left, (*call == "sync_dir").then(|| Bytes::from_static(b"two")), "{call}");
            store.sweep().await.unwrap();
            let files = std::fs::read_dir(directory.path().join("commits")).unwrap().count();
            assert_eq!(files, 1 + usize::from(left.is_some()));
            let again = store.create("commits/2", Bytes::from_static(b"two")).await.unwrap();
            assert_eq!(again, if left.is_some() { Created::Exists } else { Created::New });
        }
    }
}

#[tokio::test]
async fn a_read_only_directory_is_one_clear_error() {
    use crate::checkpoint::Checkpoint;
    let directory = tempfile::tempdir().unwrap();
    let (store, recorder) = recorded(directory.path());
    *recorder.fail.lock() = Some((0, io::ErrorKind::ReadOnlyFilesystem));
    let opened = Checkpoint::open_local(store, "here".into(), Uuid::new_v4(), FailPoints::default()).await;
    let error = opened.err().unwrap();
    assert_eq!(error.code(), ErrorCode::CheckpointIo);
    let expected = format!(
        "cannot write {}/FORMAT: read-only filesystem or storage medium; set checkpointLocation to \
         a directory that this user can write",
        directory.path().display()
    );
    assert_eq!(error.message(), expected);
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_location_that_is_no_directory_is_one_clear_error() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    std::fs::write(&file, "x").unwrap();
    for location in [file.clone(), file.join("below")] {
        let error = LocalStore::open(&location, FailPoints::default()).err().unwrap();
        assert_eq!(error.code(), ErrorCode::CheckpointIo);
        let expected = format!(
            "the checkpoint directory {} cannot be used: it is not a directory; set checkpointLocation to a directory \
             that this user can write",
            location.display()
        );
        assert_eq!(error.message(), expected);
    }
}

#[test]
fn a_race_of_sixteen_has_one_winner() {
    let directory = tempfile::tempdir().unwrap();
    let store = LocalStore::open(directory.path(), FailPoints::default()).unwrap();
    for round in 0..20 {
        let path = format!("commits/{round}");
        let barrier = std::sync::Barrier::new(16);
        let outcomes: Vec<Created> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..16u8)
                .map(|id| {
                    let (store, path, barrier) = (&store, &path, &barrier);
                    scope.spawn(move || {
                        barrier.wait();
                        store.shared.create(path, &[id; 1000]).unwrap()
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let winners: Vec<usize> = (0..16).filter(|id| outcomes[*id] == Created::New).collect();
        assert_eq!(winners.len(), 1);
        assert_eq!(store.shared.get(&path).unwrap().unwrap(), vec![winners[0] as u8; 1000]);
    }
    assert_eq!(std::fs::read_dir(directory.path().join("commits")).unwrap().count(), 20);
}

#[tokio::test]
async fn temporary_files_of_the_dead_are_swept_and_never_listed() {
    let directory = tempfile::tempdir().unwrap();
    let store = LocalStore::open(directory.path(), FailPoints::default()).unwrap();
    store.create("state/agg/1", Bytes::from_static(b"x")).await.unwrap();
    let dead = [".tidemill-tmp-1", "state/agg/.tidemill-tmp-2"].map(|name| directory.path().join(name));
    for path in &dead {
        std::fs::write(path, "half").unwrap();
    }
    std::fs::write(directory.path().join("state/agg/.nfs01"), "").unwrap();
    assert_eq!(store.list("state/").await.unwrap(), ["state/agg/1"]);
    store.sweep().await.unwrap();
    assert_eq!(dead.map(|path| path.exists()), [false, false]);
    assert!(directory.path().join("state/agg/.nfs01").exists());
}

#[tokio::test]
async fn symbolic_links_are_not_followed() {
    let directory = tempfile::tempdir().unwrap();
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("1"), "secret").unwrap();
    let store = LocalStore::open(directory.path(), FailPoints::default()).unwrap();
    store.create("commits/1", Bytes::from_static(b"x")).await.unwrap();
    symlink(outside.path().join("1"), directory.path().join("commits/2")).unwrap();
    symlink(outside.path(), directory.path().join("state")).unwrap();
    for result in [
        store.get("commits/2").await.map(drop),
        store.get("state/1").await.map(drop),
        store.create("state/3", Bytes::new()).await.map(drop),
        store.list("state/").await.map(drop),
        store.delete(&["state/1".into()]).await,
        store.sweep().await,
    ] {
        let error = result.unwrap_err();
        assert_eq!(error.code(), ErrorCode::CheckpointCorrupt, "{error}");
    }
    // A link is an entry that a create does not replace.
    assert_eq!(store.create("commits/2", Bytes::new()).await.unwrap(), Created::Exists);
    store.delete(&["commits/2".into()]).await.unwrap();
    assert_eq!(std::fs::read_to_string(outside.path().join("1")).unwrap(), "secret");
    assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 1);
}

#[tokio::test]
async fn only_the_owner_may_read() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("a/ck");
    let store = LocalStore::open(&root, FailPoints::default()).unwrap();
    store.create("state/agg/1", Bytes::from_static(b"x")).await.unwrap();
    let mode = |path: &str| std::fs::metadata(directory.path().join(path)).unwrap().permissions().mode() & 0o777;
    assert_eq!(["a", "a/ck", "a/ck/state", "a/ck/state/agg"].map(mode), [0o700; 4]);
    assert_eq!(mode("a/ck/state/agg/1"), 0o600);
}
