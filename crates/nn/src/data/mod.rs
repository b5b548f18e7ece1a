//! Data sets: reading them, and cutting them into batches.
//!
//! | what | from | by |
//! |---|---|---|
//! | arrays | `.npy` | [`npy::load`] |
//! | several arrays in one object array | `.npy` | [`npy::load_objects`] |
//! | named arrays | `.npz` | [`Npz`](npz::Npz) |
//!
//! Images are `[count, height, width, channels]` in bytes and stay bytes until a batch is made.

mod array;
mod elements;
pub mod npy;
pub mod npz;
mod source;

pub use array::Array;
