//! Formats that Spark programs name and that are not here, with what to use instead.
//!
//! Comes in: the name of a format that no source or sink answers to. Goes out: the refusal. A pure function.

use crate::error::{Error, ErrorCode};

/// What a program with such a format does instead.
const INSTEAD: &[(&[&str], &str)] = &[
    (
        &["avro"],
        "Avro files are not read or written; use parquet, or register a function of your own that decodes the value of a Kafka record",
    ),
    (&["orc"], "ORC files are not read or written; use parquet, which has the same types"),
    (&["xml"], "XML files are not read or written; read the lines as text, or convert the files to json"),
    (&["binaryfile"], "whole files as values are not read; read text files, or implement a source of your own"),
    (
        &["hive"],
        "there is no Hive metastore; name the files of the table, format(\"parquet\") with the table's directory as the path",
    ),
    (
        &["delta", "iceberg", "hudi", "paimon"],
        "tables with a transaction log are not read or written; use parquet files, and commit them to the table in foreach_batch",
    ),
    (&["jdbc"], "databases are not read or written by a format; use foreach_batch with the database's client"),
    (&["rocketmq", "pulsar", "kinesis", "eventhubs", "pubsub", "mqtt"], "of message brokers there is kafka only"),
    (
        &[
            "mongodb",
            "mongo",
            "cassandra",
            "org.apache.spark.sql.cassandra",
            "redis",
            "elasticsearch",
            "es",
            "snowflake",
            "bigquery",
            "redshift",
        ],
        "stores are not read or written by a format; use foreach_batch with the store's client",
    ),
    (&["statestore", "state-metadata"], "the state of a query is not a table; its size is in the query's progress"),
];

/// The refusal of a format that is none of ours: of a known one with what to use instead; `there_are` says what there is, and the door for one's own.
pub(crate) fn unknown(role: &str, format: &str, there_are: &str) -> Error {
    let lower = format.to_ascii_lowercase();
    let instead = INSTEAD.iter().find(|(names, _)| names.contains(&lower.as_str()));
    let message = match instead {
        Some((_, instead)) => format!("there is no {role} of the format {format:?}: {instead}. There are {there_are}"),
        None => format!("there is no {role} of the format {format:?}; there are {there_are}"),
    };
    Error::new(ErrorCode::DataSourceNotFound, message)
}
