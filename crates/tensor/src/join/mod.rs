//! Joining, cutting, padding and repeating.

mod concat;
mod pad;
mod repeat;

pub use pad::Pad;

#[cfg(test)]
mod tests;
