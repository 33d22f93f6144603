//! The micro-batch: when it runs ([`trigger`]), what it does in which order ([`runner`]), how it computes ([`executor`]), and what
//! handles see of it ([`shared`]).

pub mod executor;
pub mod runner;
pub mod shared;
pub mod trigger;

pub use trigger::Trigger;
