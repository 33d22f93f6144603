//! Tidemill's aggregation kernels: a typed program, composed to WGSL for GPUs and interpreted by native twins.

pub mod cpu;
pub mod error;
pub mod exact_sum;
pub mod hll;
pub mod order_key;
pub mod program;
pub mod validate;

pub use error::KernelError;
pub use exact_sum::ExactSum;
pub use order_key::{from_order_key, order_key};
pub use program::*;
