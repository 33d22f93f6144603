//! The micro-batch: when it runs ([`trigger`]), what it does in which order ([`runner`]), what may run without micro-batches
//! ([`continuous`]), how it computes ([`executor`]), and what
//! handles see of it ([`shared`]).

pub mod continuous;
pub mod executor;
pub mod runner;
pub mod shared;
pub mod trigger;

pub use trigger::Trigger;
