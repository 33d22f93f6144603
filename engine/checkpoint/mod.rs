//! What survives a crash. (to be written)
pub mod entry;
