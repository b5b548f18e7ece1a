//! Elementwise operations: arithmetic, comparisons, and the catalogue of functions.

mod arithmetic;
pub(crate) mod catalogue;
mod compare;
pub(crate) mod error_function;
pub(crate) mod exponentials;
mod functions;
mod operators;
pub(crate) mod special;
pub(crate) mod walk;

#[cfg(test)]
mod tests;
