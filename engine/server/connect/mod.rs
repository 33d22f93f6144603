//! Spark Connect: PySpark programs run against this engine with `SparkSession.builder.remote("sc://localhost:15002")`.
//!
//! Comes in: gRPC calls of clients. Goes out: Arrow rows, schemas, statuses and events of queries. Fails: with Spark's exception classes.
//!
//! ```text
//! service -> session -> execution -> command -> plan (relations, expressions) -> DataFrame -> rows
//!                                            \-> streaming, listener, functions (Python)
//!         \-> analyze, config, artifact
//! ```

mod analyze;
mod artifact;
mod command;
mod config;
mod errors;
mod execution;
mod functions;
mod listener;
mod message;
mod persisted;
mod plan;
mod rows;
mod service;
mod session;
mod streaming;
mod write;

/// The service trait generated over the protocol's message types.
mod generated {
    #![allow(missing_docs, clippy::all)]
    include!(concat!(env!("OUT_DIR"), "/spark.connect.SparkConnectService.rs"));
}

use crate::error::{Error, ErrorCode, Result};
use crate::session::Session;
use generated::spark_connect_service_server::SparkConnectServiceServer;
use service::Service;
use session::{Door, Sessions};
use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Identity, Server, ServerTlsConfig};
use tonic::{Request, Status};
use tracing::info;
use uuid::Uuid;

/// Bytes of a message that a client may send: Spark's `spark.connect.grpc.maxInboundMessageSize`.
const MESSAGE_BYTES: usize = 128 << 20;
/// How often what nobody has come back for is let go.
const SWEEP: Duration = Duration::from_secs(10);

/// How a server listens.
#[derive(Debug, Clone)]
pub struct ConnectOptions {
    /// Where. An address that other machines reach needs a token.
    pub address: SocketAddr,
    /// What clients must show: `sc://host:port/;token=...`.
    pub token: Option<String>,
    /// Certificate chain and private key, both PEM, for `;use_ssl=true`.
    pub tls: Option<(Vec<u8>, Vec<u8>)>,
    /// Sessions that may be open at once.
    pub max_sessions: usize,
    /// A session without a call, a running query or an execution for this long is closed.
    pub idle_limit: Duration,
}

impl Default for ConnectOptions {
    /// Loopback on Spark's port, Spark's hour for idle sessions.
    fn default() -> Self {
        Self {
            address: SocketAddr::from(([127, 0, 0, 1], 15002)),
            token: None,
            tls: None,
            max_sessions: 1000,
            idle_limit: Duration::from_secs(3600),
        }
    }
}

/// A Spark Connect server that is bound to its address.
///
/// ```no_run
/// use tidemill::prelude::*;
/// use tidemill::server::connect::{ConnectOptions, ConnectServer};
/// # async fn serve() -> tidemill::Result<()> {
/// let session = Session::builder().config("spark.sql.session.timeZone", "UTC").build().await?;
/// let server = ConnectServer::bind(session, ConnectOptions::default()).await?;
/// println!("SparkSession.builder.remote(\"sc://{}\")", server.address());
/// server.serve(std::future::pending()).await?;
/// # Ok(()) }
/// ```
pub struct ConnectServer {
    listener: TcpListener,
    address: SocketAddr,
    options: ConnectOptions,
    /// Where the server's own workers come in, if that is not where clients do.
    door: Option<(TcpListener, String)>,
    sessions: Arc<Sessions>,
}

impl ConnectServer {
    /// Stack, in bytes, that the threads of the runtime need where clients' programs are thousands of steps long: a plan is nested, a relation
    /// for each step. `tokio::runtime::Builder::thread_stack_size` takes it; Tokio's own 2 MiB are enough for some hundred steps.
    pub const STACK_BYTES: usize = message::STACK_BYTES;

    /// Takes the address. Clients' sessions begin with the settings and the device of `session`.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidOption`] for an address that is not loopback without a token; [`ErrorCode::Io`] for one that cannot be had.
    pub async fn bind(session: Session, options: ConnectOptions) -> Result<Self> {
        let wanted = options.address;
        if !wanted.ip().is_loopback() && options.token.is_none() {
            return Err(Error::new(
                ErrorCode::InvalidOption,
                format!(
                    "other machines can reach {wanted}, and whoever reaches the server can run code on it: set a token, or listen on 127.0.0.1"
                ),
            ));
        }
        let unbound = |cause: std::io::Error| {
            Error::caused_by(ErrorCode::Io, format!("cannot listen on {wanted}: {cause}"), cause)
        };
        let listener = TcpListener::bind(wanted).await.map_err(unbound)?;
        let address = listener.local_addr().map_err(unbound)?;
        // Workers need neither a certificate that they trust nor the clients' token.
        let door = match options.tls.is_some() || options.token.is_some() {
            true => {
                let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(unbound)?;
                Some((listener, Uuid::new_v4().to_string()))
            }
            false => None,
        };
        let own = match &door {
            Some((listener, token)) => {
                Door { address: listener.local_addr().map_err(unbound)?, token: Some(token.clone()) }
            }
            None => Door { address, token: None },
        };
        let sessions = Arc::new(Sessions::new(session, own, options.max_sessions));
        Ok(Self { listener, address, options, door, sessions })
    }

    /// Where it listens; the port that was given for port 0.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers clients until `shutdown`; then every session's queries stop after their batch.
    ///
    /// # Errors
    /// A certificate that cannot be used; an address that is lost.
    pub async fn serve(self, shutdown: impl Future<Output = ()>) -> Result<()> {
        let Self { listener, address, options, door, sessions } = self;
        let mut server = Server::builder().tcp_nodelay(true);
        if let Some((certificate, key)) = options.tls {
            let tls = ServerTlsConfig::new().identity(Identity::from_pem(certificate, key));
            server = server.tls_config(tls).map_err(|cause| {
                Error::caused_by(
                    ErrorCode::InvalidOption,
                    format!("the certificate and its key cannot be used: {cause}"),
                    cause,
                )
            })?;
        }
        info!(%address, "Spark Connect");
        let sweeping = {
            let sessions = sessions.clone();
            tokio::spawn(async move {
                let mut ticks = tokio::time::interval(SWEEP);
                loop {
                    ticks.tick().await;
                    sessions.sweep(options.idle_limit).await;
                }
            })
        };
        let (ending, ended) = watch::channel(());
        let listeners =
            [Some((server, listener, options.token)), door.map(|(l, token)| (Server::builder(), l, Some(token)))];
        let served = listeners.into_iter().flatten().map(|(mut server, listener, token)| {
            let service = SparkConnectServiceServer::new(Service { sessions: sessions.clone() })
                .max_decoding_message_size(MESSAGE_BYTES)
                .max_encoding_message_size(usize::MAX);
            let token = token.map(|token| format!("Bearer {token}"));
            let authorize = move |request: Request<()>| authorized(request, token.as_deref());
            let mut ended = ended.clone();
            let until = async move {
                // Nothing is ever sent: the other side goes away.
                let _ = ended.changed().await;
            };
            server
                .add_service(InterceptedService::new(service, authorize))
                .serve_with_incoming_shutdown(TcpListenerStream::new(listener), until)
        });
        let shutdown = async {
            shutdown.await;
            // Sessions are closed first: their streams would keep the server open.
            sessions.close().await;
            drop(ending);
            Ok(())
        };
        let served = futures::try_join!(futures::future::try_join_all(served), shutdown);
        sweeping.abort();
        sessions.close().await;
        served
            .map(drop)
            .map_err(|cause| Error::caused_by(ErrorCode::Io, format!("the server on {address} ended: {cause}"), cause))
    }
}

/// Compares in a time that does not tell how much of a token was right.
fn authorized(request: Request<()>, token: Option<&str>) -> Result<Request<()>, Status> {
    let Some(token) = token else { return Ok(request) };
    let shown = request.metadata().get("authorization").map(|value| value.as_bytes()).unwrap_or_default();
    let differences =
        shown.iter().zip(token.as_bytes()).fold(shown.len() ^ token.len(), |d, (a, b)| d | usize::from(a ^ b));
    match differences {
        0 => Ok(request),
        _ => Err(Status::unauthenticated("the token is missing or not this server's; write sc://host:port/;token=...")),
    }
}

#[cfg(test)]
mod tests;
