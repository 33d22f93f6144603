//! What runs inside a batch: decoding and stateless work per chunk ([`scan`], [`branch`]), partial aggregation on the device
//! ([`codes`], [`partial`]), and the stateful operator ([`aggregate`]).

pub mod aggregate;
pub mod branch;
pub mod codes;
mod executable;
pub mod measure;
pub mod partial;
pub mod scan;
