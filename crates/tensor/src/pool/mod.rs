//! Two-dimensional max and average pooling on images `[batch, height, width, channels]`.

mod average;
mod kernels;
mod max;
mod ops;
mod params;
mod rows;
#[cfg(test)]
mod tests;

pub(crate) use kernels::PoolKernels;
pub use ops::PoolIndices;
pub use params::{Pool2dOptions, Pool2dParams};
