//! What listens: programs that speak Spark Connect.

pub mod connect;
pub mod python;
