//! Matrix products: packed, blocked, vectorised, parallel.
//!
//! [`gemm`] computes `C = [C +] A · B` on slices with strides; `tensor_matmul` has what users call.
//!
//! # How it works
//!
//! As in BLIS (Van Zee and van de Geijn, "BLIS: A Framework for Rapidly Instantiating BLAS
//! Functionality", 2015). A micro-kernel ([`tile`]) keeps a tile of C in registers and adds to it
//! the product of a panel of A and a panel of B. Panels are copies in the order in which the
//! micro-kernel reads ([`pack`]), and their sizes follow the caches of the machine ([`blocking`]).
//!
//! # Left operands that are no matrices
//!
//! A convolution by im2col multiplies a matrix that need not exist: each number is computed, or
//! fetched from an image, as it is packed. That is [`PackRows`]:
//!
//! ```ignore
//! fn pack<S: Simd>(&self, simd: S, rows: Range<usize>, depth: Range<usize>, panel: &mut [T]);
//! ```
//!
//! It writes element (row `i`, depth `p`) of the matrix to
//! `panel[(p - depth.start) * rows.len() + (i - rows.start)]`, for at most [`MAX_ROWS`] rows.
//! Two helpers do the common cases at vector speed: [`pack_runs`] interleaves rows that are
//! contiguous along the depth, and where numbers are contiguous along the rows, a plain copy does.
//!
//! # The same bits on any number of threads
//!
//! An element of C is the sum over depth blocks, in order, of the sum within the block, in order.
//! Blocks depend on the shape, the element type and the [`Level`](crate::Level) alone; tiles, row
//! blocks and threads only decide where an element is computed, never how.

mod blocking;
mod direct;
mod gemm;
mod grid;
mod matrix;
mod pack;
mod product;
mod scratch;
#[cfg(test)]
mod tests;
mod tile;

pub(crate) use gemm::gemm_packing;
pub use gemm::{Epilogue, PackedColumns, Right, gemm};
pub use matrix::{MatrixMut, MatrixRef};
pub(crate) use pack::{MAX_ROWS, PackRows, pack_runs};
pub(crate) use scratch::with_scratch;

/// What a kernel does with its output's former contents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accum {
    /// Overwrites them without reading.
    Replace,
    /// Adds to them.
    Add,
}
