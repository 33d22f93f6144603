//! An S3 server in this process, on real HTTP: s3s-fs over a temporary directory, with signatures checked.
//!
//! Comes in: buckets, and faults to come. Goes out: an endpoint and the session settings that reach it; keys and bytes as they
//! lie on disk. Changes take their turn behind one lock, because s3s-fs itself checks `If-None-Match` and writes in two steps,
//! which lets two writers win. The server has threads of its own, so that it answers whatever the test's runtime does.

#![allow(dead_code, reason = "every test that includes this file uses its own part")]

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

pub const ACCESS_KEY: &str = "tester";
pub const SECRET_KEY: &str = "not-a-secret";

/// What happens to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// 503 SlowDown; nothing is done.
    Unavailable,
    /// Done, and answered with 500.
    ErrorAfter,
    /// Done, and the connection is closed without an answer.
    DropAfter,
    /// 403 AccessDenied; nothing is done.
    Denied,
}

struct Planned {
    fault: Fault,
    method: Method,
    part: String,
    left: usize,
}

#[derive(Default)]
struct State {
    planned: Mutex<Vec<Planned>>,
    ignore_conditions: AtomicBool,
    changes: Arc<tokio::sync::Mutex<()>>,
    hits: AtomicUsize,
    requests: Mutex<Vec<String>>,
}

/// A running server; it ends when it is dropped.
pub struct S3Server {
    address: SocketAddr,
    root: tempfile::TempDir,
    state: Arc<State>,
    runtime: Option<Runtime>,
}

impl S3Server {
    /// A server with empty buckets.
    pub fn start(buckets: &[&str]) -> Self {
        let root = tempfile::tempdir().unwrap();
        for bucket in buckets {
            std::fs::create_dir(root.path().join(bucket)).unwrap();
        }
        let mut builder = S3ServiceBuilder::new(s3s_fs::FileSystem::new(root.path()).unwrap());
        builder.set_auth(SimpleAuth::from_single(ACCESS_KEY, SECRET_KEY));
        let service = builder.build();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        // Bound by hand, so that this works inside of another runtime as well.
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State::default());
        runtime.spawn(accept(listener, service, state.clone(), root.path().to_path_buf()));
        Self { address, root, state, runtime: Some(runtime) }
    }

    /// `http://127.0.0.1:port`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Session settings that reach this server.
    pub fn settings(&self) -> Vec<(&'static str, String)> {
        vec![
            ("fs.s3a.endpoint", self.endpoint()),
            ("fs.s3a.access.key", ACCESS_KEY.to_string()),
            ("fs.s3a.secret.key", SECRET_KEY.to_string()),
            ("fs.s3a.endpoint.region", "us-east-1".to_string()),
            ("fs.s3a.path.style.access", "true".to_string()),
        ]
    }

    /// Puts an object straight onto the disk.
    pub fn put(&self, bucket: &str, key: &str, bytes: impl AsRef<[u8]>) {
        let path = self.root.path().join(bucket).join(key);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    /// An object's bytes.
    pub fn get(&self, bucket: &str, key: &str) -> Vec<u8> {
        std::fs::read(self.root.path().join(bucket).join(key)).unwrap()
    }

    /// Removes an object from the disk.
    pub fn remove(&self, bucket: &str, key: &str) {
        std::fs::remove_file(self.root.path().join(bucket).join(key)).unwrap();
    }

    /// Every key that begins with `prefix`, sorted: what any reader of the bucket can see.
    pub fn keys(&self, bucket: &str, prefix: &str) -> Vec<String> {
        let root = self.root.path().join(bucket);
        let mut keys = Vec::new();
        walk(&root, &root, &mut keys);
        keys.retain(|key| key.starts_with(prefix));
        keys.sort();
        keys
    }

    /// The directory that holds the bucket's objects.
    pub fn directory(&self, bucket: &str) -> PathBuf {
        self.root.path().join(bucket)
    }

    /// The next `times` requests of `method` whose path and query contain `part` meet `fault`.
    pub fn fail(&self, fault: Fault, times: usize, method: &str, part: &str) {
        let method = method.parse().unwrap();
        self.state.planned.lock().unwrap().push(Planned { fault, method, part: part.to_string(), left: times });
    }

    /// No more faults.
    pub fn heal(&self) {
        self.state.planned.lock().unwrap().clear();
    }

    /// How many faults have happened.
    pub fn faults(&self) -> usize {
        self.state.hits.load(Ordering::SeqCst)
    }

    /// Whether `If-None-Match` means nothing to the server, as with old stores.
    pub fn ignore_conditions(&self, ignore: bool) {
        self.state.ignore_conditions.store(ignore, Ordering::SeqCst);
    }

    /// `PUT /bucket/key` and so on, for every request since the last call.
    pub fn requests(&self) -> Vec<String> {
        std::mem::take(&mut *self.state.requests.lock().unwrap())
    }
}

impl Drop for S3Server {
    fn drop(&mut self) {
        // A plain drop would wait, which a thread of another runtime must not.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn walk(root: &Path, directory: &Path, keys: &mut Vec<String>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            walk(root, &path, keys);
        } else {
            keys.push(path.strip_prefix(root).unwrap().to_str().unwrap().to_string());
        }
    }
}

async fn accept(listener: std::net::TcpListener, service: S3Service, state: Arc<State>, root: PathBuf) {
    let listener = TcpListener::from_std(listener).unwrap();
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let (service, state, root) = (service.clone(), state.clone(), root.clone());
        tokio::spawn(async move {
            let answer = service_fn(move |request| {
                let (service, state, root) = (service.clone(), state.clone(), root.clone());
                async move { answer(request, &service, &state, &root).await }
            });
            // A client that has gone, or a fault that wants the connection closed.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await;
        });
    }
}

async fn answer(
    request: Request<Incoming>,
    service: &S3Service,
    state: &State,
    root: &Path,
) -> Result<Response<s3s::Body>, std::io::Error> {
    let place = request.uri().path_and_query().map(ToString::to_string).unwrap_or_default();
    state.requests.lock().unwrap().push(format!("{} {place}", request.method()));
    let fault = state.fault(request.method(), &place);
    match fault {
        Some(Fault::Unavailable) => return Ok(refusal(StatusCode::SERVICE_UNAVAILABLE, "SlowDown")),
        Some(Fault::Denied) => return Ok(refusal(StatusCode::FORBIDDEN, "AccessDenied")),
        _ => {}
    }
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    let turn = if reads { None } else { Some(state.changes.clone().lock_owned().await) };
    if state.ignore_conditions.load(Ordering::SeqCst) && request.headers().contains_key("if-none-match") {
        // The header is signed and cannot be taken away, but a key that is free satisfies it. Keys here need no decoding.
        let _ = std::fs::remove_file(root.join(request.uri().path().trim_start_matches('/')));
    }
    // A store finishes what it has begun, also when its client is gone.
    let call = Service::call(service, request);
    let working = tokio::spawn(async move {
        let response = call.await;
        drop(turn);
        response
    });
    let response = working.await.map_err(std::io::Error::other)?;
    let response = response.map_err(|cause| std::io::Error::other(format!("{cause:?}")))?;
    match fault {
        Some(Fault::DropAfter) => Err(std::io::Error::other("closed by the test")),
        Some(Fault::ErrorAfter) => Ok(refusal(StatusCode::INTERNAL_SERVER_ERROR, "InternalError")),
        _ => Ok(response),
    }
}

impl State {
    fn fault(&self, method: &Method, place: &str) -> Option<Fault> {
        let mut planned = self.planned.lock().unwrap();
        let found = planned.iter_mut().find(|p| p.left > 0 && p.method == *method && place.contains(&p.part))?;
        found.left -= 1;
        self.hits.fetch_add(1, Ordering::SeqCst);
        Some(found.fault)
    }
}

fn refusal(status: StatusCode, code: &str) -> Response<s3s::Body> {
    let text = format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?><Error><Code>{code}</Code></Error>");
    let mut response = Response::new(s3s::Body::from(text));
    *response.status_mut() = status;
    response
}
