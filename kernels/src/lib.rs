//! Tidemill's aggregation kernels: a typed program, composed to WGSL for GPUs and interpreted by native twins.

pub mod exact_sum;
pub mod program;

pub use program::*;
