//! Exact sums of doubles. (to be written)

/// An exact sum of doubles.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ExactSum;
