//! Spark Connect: PySpark programs run against this engine with `SparkSession.builder.remote("sc://localhost:15002")`.
//!
//! Comes in: gRPC calls of a client session. Goes out: Arrow rows, schemas, statuses and events of queries.
//! Fails: with Spark's exception classes ([`errors`](self)).

/// The service trait generated over the protocol's message types.
pub(crate) mod generated {
    #![allow(missing_docs, clippy::all)]
    include!(concat!(env!("OUT_DIR"), "/spark.connect.SparkConnectService.rs"));
}

pub(crate) mod plan;
