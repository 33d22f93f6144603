//! SQL scripts.
