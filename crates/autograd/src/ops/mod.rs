//! The differentiable operations, one family a file; each stands beside its derivative.

mod arithmetic;
mod elementwise;
mod operators;
mod reduce;
mod rule;
mod shape;

pub(crate) use elementwise::catalogue;
pub use elementwise::{CatalogueEntry, Elementwise, elementwise};
pub(crate) use rule::{Rule1, Rule2};
