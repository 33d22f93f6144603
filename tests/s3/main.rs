//! Files and checkpoints on S3, judged from outside: what any reader of the bucket finds.

mod queries;
#[path = "../support/s3.rs"]
mod s3;

mod files;

use s3::{Fault, S3Server};
use tidemill::ErrorCode;
use tidemill::config::Config;
use tidemill::storage::{Location, ObjectLocation};

fn object(server: &S3Server, url: &str) -> ObjectLocation {
    let config = Config::default();
    for (key, value) in server.settings() {
        config.set(key, value).unwrap();
    }
    match Location::parse(url, &config).unwrap() {
        Location::Object(object) => object,
        Location::Local(path) => panic!("{}", path.display()),
    }
}

/// The server itself: conditional puts have one winner, faults happen as planned, signatures are checked.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_server_is_a_fair_judge() {
    let server = S3Server::start(&["lake"]);
    for round in 0..20 {
        let writers = (0..8).map(|writer| {
            let object = object(&server, &format!("s3a://lake/race/{round}"));
            tokio::spawn(async move { object.create(format!("{writer}").into()).await.unwrap() })
        });
        let won = futures::future::join_all(writers).await.into_iter().filter(|won| *won.as_ref().unwrap()).count();
        assert_eq!(won, 1, "round {round}");
    }
    assert_eq!(server.keys("lake", "race/").len(), 20);
    server.ignore_conditions(true);
    let one = object(&server, "s3a://lake/one");
    assert!(one.create("1".into()).await.unwrap() && one.create("2".into()).await.unwrap());
    assert_eq!(server.get("lake", "one"), b"2");
    server.ignore_conditions(false);
    server.fail(Fault::Unavailable, 2, "PUT", "/lake/two");
    assert!(object(&server, "s3a://lake/two").create("2".into()).await.unwrap());
    // Applied, answered with an error, tried again: the second try finds the first.
    server.fail(Fault::ErrorAfter, 1, "PUT", "/lake/three");
    assert!(!object(&server, "s3a://lake/three").create("3".into()).await.unwrap());
    assert_eq!((server.get("lake", "three"), server.faults()), (b"3".to_vec(), 3));
    server.fail(Fault::Denied, 1, "GET", "/lake/three");
    let error = object(&server, "s3a://lake/three").get().await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::StorageAccessDenied);
}
