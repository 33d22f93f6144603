//! `tidemill`: runs and explains SQL files, and serves PySpark programs.
//!
//! Comes in: a file or a text of SQL, or an address, and settings. Goes out: rows on standard output, everything else on standard error. Exit status: 0 when
//! every query has ended in order, also on Ctrl-C and SIGTERM, which stop queries after their batch; 1 when a query failed; 2 when the
//! script or the arguments are wrong.

use clap::{Args, Parser, Subcommand};
use futures::future::try_join_all;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::path::PathBuf;
use std::process::ExitCode;
#[cfg(feature = "connect")]
use std::time::Duration;
use tidemill::batch::Trigger;
use tidemill::frame::StreamingQuery;
#[cfg(feature = "connect")]
use tidemill::server::connect::{ConnectOptions, ConnectServer};
use tidemill::session::SessionBuilder;
use tidemill::sql::{Script, SqlError};
use tidemill::{Error, ErrorCode, Session};
use tokio::sync::mpsc;
use tracing::{error, info};
use tracing_subscriber::EnvFilter;

/// Behind `tidemill -h`.
const EXAMPLES: &str = "\
Examples:
  tidemill run metrics.sql                   run until every query has ended, or Ctrl-C
  tidemill run metrics.sql --trigger availableNow
                                             process what is there, then end
  tidemill run -e 'SELECT value FROM t' defs.sql
  tidemill explain metrics.sql               show the plans, run nothing
  tidemill server                            serve PySpark at sc://localhost:15002

`tidemill --help` describes scripts and exit statuses.";

/// Behind `tidemill --help`.
const SCRIPTS: &str = "\
A script is SQL in Spark's dialect, statements separated by semicolons:
  SET key = value;                           Spark's configuration keys
  CREATE TABLE name (column TYPE, ...) USING format LOCATION 'path'
    OPTIONS (key value, ...) PARTITIONED BY (column, ...);
  CREATE VIEW name AS SELECT ...;
  INSERT INTO name SELECT ...;               starts a query that writes the table
  SELECT ...;                                prints to the console
  EXPLAIN SELECT ...;

A table that is read is a stream: json, csv, text or parquet files, kafka, rate, socket. With the option
streaming false it is read once, as a table. Options are the source's or the sink's own, by Spark's
keys, and these:
  watermark.column, watermark.delay          of a table that is read: its event time, how late rows may be
  outputMode                                 append, update or complete
  trigger                                    availableNow, once, '10 seconds', 'continuous 1 second'
  checkpointLocation                         where a query goes on after a restart
  queryName

Rows go to standard output, logs and errors to standard error (RUST_LOG=debug says more). With the
console's option format 'json', every line is {\"batchId\":3,\"row\":{...}} and nothing else is printed.

Ctrl-C and SIGTERM finish the batch in progress; a second one ends at once. Start the same script
again to go on from the checkpoints: no row is lost or doubled in files and Kafka.

Exit status:
  0  every query has ended, or was stopped by a signal
  1  a query failed, or what it needs is not there
  2  the script or the arguments are wrong; the message says where: file:line:column";

/// Structured streaming in SQL, exactly once.
#[derive(Parser)]
#[command(name = "tidemill", version, max_term_width = 100, after_help = EXAMPLES, after_long_help = SCRIPTS)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the queries of a SQL file until all of them have ended, or Ctrl-C
    Run {
        #[command(flatten)]
        script: ScriptArguments,
        /// The trigger of queries that name none: availableNow, once, '10 seconds', 'continuous 1 second'
        #[arg(long, value_name = "TRIGGER")]
        trigger: Option<String>,
    },
    /// Print the plans of a SQL file's queries; nothing runs
    Explain {
        #[command(flatten)]
        script: ScriptArguments,
    },
    /// Serve PySpark programs: SparkSession.builder.remote("sc://localhost:15002")
    #[cfg(feature = "connect")]
    Server {
        #[command(flatten)]
        server: ServerArguments,
        #[command(flatten)]
        settings: Settings,
    },
}

#[cfg(feature = "connect")]
#[derive(Args)]
struct ServerArguments {
    /// Where to listen for Spark Connect; an address that other machines reach needs a token
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:15002")]
    connect: std::net::SocketAddr,
    /// What clients must show, as sc://host:port/;token=...
    #[arg(long, value_name = "TOKEN", env = "SPARK_CONNECT_AUTHENTICATE_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// The certificate chain, PEM, for clients that say ;use_ssl=true
    #[arg(long, value_name = "FILE.pem", requires = "tls_key")]
    tls_certificate: Option<PathBuf>,
    /// The certificate's private key, PEM
    #[arg(long, value_name = "FILE.pem", requires = "tls_certificate")]
    tls_key: Option<PathBuf>,
    /// Sessions that may be open at once
    #[arg(long, value_name = "NUMBER", default_value_t = 1000)]
    max_sessions: usize,
    /// Minutes without a call, a running query or an execution after which a session is closed
    #[arg(long, value_name = "MINUTES", default_value_t = 60)]
    idle_minutes: u64,
}

#[derive(Args)]
struct ScriptArguments {
    /// The SQL file; - reads standard input
    #[arg(value_name = "FILE.sql", required_unless_present = "execute")]
    file: Option<PathBuf>,
    /// SQL to run, after the file if there is one
    #[arg(short = 'e', long, value_name = "SQL")]
    execute: Option<String>,
    #[command(flatten)]
    settings: Settings,
}

#[derive(Args)]
struct Settings {
    /// A configuration key, as SET in a script; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = key_value)]
    settings: Vec<(String, String)>,
    /// Where kernels run: auto, gpu, cpu, or part of an adapter's name
    #[arg(long, value_name = "DEVICE")]
    device: Option<String>,
}

/// Why the process ends with another status than 0.
enum Failed {
    /// The script or the arguments are wrong.
    Wrong(String),
    /// A query failed, or the server.
    Query(String),
}

fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => Ok((key.trim().to_string(), value.trim().to_string())),
        _ => Err("expected KEY=VALUE".to_string()),
    }
}

/// Stack of a thread.
#[cfg(feature = "connect")]
const STACK_BYTES: usize = tidemill::server::connect::ConnectServer::STACK_BYTES;
/// Stack of a thread: Tokio's own.
#[cfg(not(feature = "connect"))]
const STACK_BYTES: usize = 2 << 20;

fn main() -> ExitCode {
    // clap itself ends the process with 2 where arguments are wrong.
    let cli = Cli::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn,tidemill=info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let runtime = match tokio::runtime::Builder::new_multi_thread().thread_stack_size(STACK_BYTES).enable_all().build()
    {
        Ok(runtime) => runtime,
        Err(cause) => {
            eprintln!("tidemill: the threads of the process could not be started: {cause}");
            return ExitCode::from(1);
        }
    };
    let ended = runtime.block_on(async {
        match cli.command {
            Command::Run { script, trigger } => run(script, trigger).await,
            Command::Explain { script } => explain(script).await,
            #[cfg(feature = "connect")]
            Command::Server { server, settings } => serve(server, &settings).await,
        }
    });
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failed::Wrong(message)) => {
            eprintln!("{message}");
            ExitCode::from(2)
        }
        Err(Failed::Query(message)) => {
            eprintln!("{message}");
            ExitCode::from(1)
        }
    }
}

async fn run(arguments: ScriptArguments, trigger: Option<String>) -> Result<(), Failed> {
    let trigger = trigger.map(|text| Trigger::parse(&text)).transpose().map_err(wrong)?;
    // Signals that come while queries start stop them too.
    let mut signals = signals()?;
    let (session, scripts) = open(&arguments).await?;
    let mut queries = Vec::new();
    for script in scripts {
        let script = match trigger {
            Some(trigger) => script.default_trigger(trigger),
            None => script,
        };
        match script.start(&session, &mut std::io::stdout()).await {
            Ok(started) => queries.extend(started),
            Err(error) => {
                stop(&queries).await;
                return Err(failed(&error));
            }
        }
    }
    for query in &queries {
        info!(query = %label(query), "started");
    }
    let ends = queries.iter().map(|query| async move {
        query.await_termination().await?;
        info!(query = %label(query), "ended");
        Ok::<(), Error>(())
    });
    let ended = tokio::select! {
        ended = try_join_all(ends) => ended,
        Some(signal) = signals.recv() => {
            info!(signal, "stopping");
            Ok(vec![])
        }
    };
    // One query that has failed ends the process, so that whoever runs it can start it again.
    stop(&queries).await;
    let failure = ended.err().or_else(|| queries.iter().find_map(StreamingQuery::exception));
    match failure {
        None => Ok(()),
        Some(error) => Err(Failed::Query(error.to_string())),
    }
}

async fn explain(arguments: ScriptArguments) -> Result<(), Failed> {
    let (session, scripts) = open(&arguments).await?;
    for script in scripts {
        let text = script.explain(&session).await.map_err(|error| failed(&error))?;
        print!("{text}");
    }
    Ok(())
}

/// The session with all settings, and the scripts of the file and of the command line.
async fn open(arguments: &ScriptArguments) -> Result<(Session, Vec<Script>), Failed> {
    let mut scripts = Vec::new();
    if let Some(file) = &arguments.file {
        let (name, text) = match file.to_str() {
            Some("-") => ("stdin".to_string(), std::io::read_to_string(std::io::stdin())),
            _ => (file.display().to_string(), std::fs::read_to_string(file)),
        };
        let text = text.map_err(|cause| Failed::Wrong(format!("tidemill: {name} cannot be read: {cause}")))?;
        scripts.push(Script::parse(&name, &text).map_err(|error| failed(&error))?);
    }
    if let Some(text) = &arguments.execute {
        scripts.push(Script::parse("-e", text).map_err(|error| failed(&error))?);
    }
    let mut builder = Session::builder();
    for (key, value) in scripts.first().into_iter().flat_map(Script::settings) {
        builder = builder.config(key, value);
    }
    Ok((arguments.settings.apply(builder).build().await.map_err(wrong)?, scripts))
}

impl Settings {
    fn apply(&self, mut builder: SessionBuilder) -> SessionBuilder {
        for (key, value) in &self.settings {
            builder = builder.config(key, value);
        }
        match &self.device {
            Some(device) => builder.config("tidemill.device", device),
            None => builder,
        }
    }
}

/// Serves clients until a signal asks for the end.
#[cfg(feature = "connect")]
async fn serve(arguments: ServerArguments, settings: &Settings) -> Result<(), Failed> {
    let mut signals = signals()?;
    let read = |file: &PathBuf| {
        std::fs::read(file)
            .map_err(|cause| Failed::Wrong(format!("tidemill: {} cannot be read: {cause}", file.display())))
    };
    let tls = match (&arguments.tls_certificate, &arguments.tls_key) {
        (Some(certificate), Some(key)) => Some((read(certificate)?, read(key)?)),
        _ => None,
    };
    let options = ConnectOptions {
        address: arguments.connect,
        token: arguments.token,
        tls,
        max_sessions: arguments.max_sessions,
        idle_limit: Duration::from_secs(60 * arguments.idle_minutes),
    };
    let session = settings.apply(Session::builder()).build().await.map_err(wrong)?;
    let server = ConnectServer::bind(session, options).await.map_err(wrong)?;
    eprintln!("tidemill: PySpark connects with SparkSession.builder.remote(\"sc://{}\")", server.address());
    let shutdown = async move {
        if let Some(signal) = signals.recv().await {
            info!(signal, "stopping");
        }
    };
    server.serve(shutdown).await.map_err(|error| Failed::Query(format!("tidemill: {error}")))
}

/// Signals that ask the process to end.
fn signals() -> Result<mpsc::UnboundedReceiver<i32>, Failed> {
    let mut signals = Signals::new([SIGINT, SIGTERM])
        .map_err(|cause| Failed::Query(format!("tidemill: signals cannot be caught: {cause}")))?;
    let (sender, receiver) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for (count, signal) in signals.forever().enumerate() {
            if count > 0 {
                // Whoever asks twice does not want to wait for the batch.
                error!(signal, "ending at once; the batch runs again at the next start");
                std::process::exit(128 + signal);
            }
            let _ = sender.send(signal);
        }
    });
    Ok(receiver)
}

async fn stop(queries: &[StreamingQuery]) {
    futures::future::join_all(queries.iter().map(StreamingQuery::stop)).await;
}

fn label(query: &StreamingQuery) -> String {
    query.name().map_or_else(|| query.id().to_string(), str::to_string)
}

fn wrong(error: Error) -> Failed {
    Failed::Wrong(format!("tidemill: {error}"))
}

/// Whether a script is wrong, or what it needs is not there.
fn failed(error: &SqlError) -> Failed {
    match error.error().code() {
        ErrorCode::CheckpointIo
        | ErrorCode::CheckpointCorrupt
        | ErrorCode::CheckpointVersion
        | ErrorCode::CheckpointFenced
        | ErrorCode::CheckpointIncompatible
        | ErrorCode::Io
        | ErrorCode::Kafka
        | ErrorCode::KafkaDataLoss
        | ErrorCode::KafkaFenced
        | ErrorCode::Kernel
        | ErrorCode::StreamFailed
        | ErrorCode::Internal => Failed::Query(error.to_string()),
        _ => Failed::Wrong(error.to_string()),
    }
}
