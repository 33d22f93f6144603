//! The Kafka source and the exactly-once Kafka sink, driven through their traits.
//!
//! Against a broker in this process; with `TIDEMILL_KAFKA=host:port` against the brokers there (see
//! `tests/support/real_kafka/start.sh`), where tests that inject faults into the broker say that they are skipped.

mod bounds;
mod programs;
mod query;
mod sink;
mod source;
mod stop;
mod support;
