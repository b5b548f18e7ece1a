//! Matrix products: packed, blocked, vectorised, parallel.
//!
//! [`gemm`] computes `C = [C +] A · B` on slices with strides; `tensor_matmul` has what users call.
//!
//! # How it works
//!
//! As in BLIS (Van Zee and van de Geijn, "BLIS: A Framework for Rapidly Instantiating BLAS
//! Functionality", 2015). A micro-kernel (`tile`) keeps a tile of C in registers and adds to it
//! the product of a panel of A and a panel of B. Panels are copies in the order in which the
//! micro-kernel reads (`pack`), and their sizes follow the caches of the machine (`blocking`).
//! Where a copy costs more than it saves, the micro-kernel reads an operand where it lies: B with few
//! rows of A (`product`), both with a B that stays in the second-level cache (`direct`). It then
//! asks the cache for what comes next, in the order in which that lies in memory.
//!
//! # The same bits on any number of threads
//!
//! An element of C is the sum over depth blocks, in order, of the sum within the block, in order (and
//! that over parts, in order, if B is large and has to be read by few rows: `in_parts`).
//! Blocks depend on the shape, the element type, the layout of the operands and the
//! [`Level`](crate::Level) alone; tiles, row blocks and threads only decide where an element is
//! computed, never how.

mod blocking;
mod direct;
mod dots;
mod fallback;
mod finite;
mod gemm;
mod grid;
mod in_parts;
mod integer;
mod matrix;
mod multiply;
mod pack;
mod past_caches;
mod product;
mod scratch;
mod stacks;
mod swap;
mod sweep;
mod tensor_matmul;
#[cfg(test)]
mod tests;
mod tile;

pub use gemm::{Epilogue, PackedColumns, Right, gemm};
pub use matrix::{MatrixMut, MatrixRef};
pub use multiply::Multiply;

pub(crate) use finite::all_finite;
pub(crate) use scratch::with_scratch;
pub(crate) use tensor_matmul::{ProductKernel, product_kernel};

/// What a kernel does with its output's former contents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accum {
    /// Overwrites them without reading.
    Replace,
    /// Adds to them.
    Add,
}
