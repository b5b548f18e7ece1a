//! Two-dimensional convolution on images `[batch, height, width, channels]`.
//!
//! From the outside in: [`params`] checks a geometry; [`plan`] chooses an algorithm; [`job`] cuts
//! a convolution or its input gradient, both in the form of [`correlation`], into blocks, for which
//! [`pack`] lays out the filters; [`direct`] and [`im2col`] find the patches of a block;
//! [`microkernel`] multiplies. [`filter_gradient`] sums over blocks instead. [`depthwise`] has no
//! sums over channels. [`product`] leaves 1×1 kernels and gradients of many filters to matrix
//! products. [`winograd`] computes 3×3 kernels with fewer multiplications.

mod ahead;
mod algorithm;
mod correlation;
mod depthwise;
mod direct;
mod few_pixels;
mod filter_gradient;
mod filters;
mod im2col;
mod job;
mod kernels;
mod microkernel;
mod ops;
mod pack;
pub(crate) mod padding;
mod params;
mod plan;
mod pooled;
mod pooled_gradient;
mod product;
mod reached;
mod statistics;
#[cfg(test)]
mod tests;
mod windows;
mod winograd;

pub use algorithm::ConvAlgorithm;
pub(crate) use kernels::ConvKernels;
pub(crate) use ops::slice;
pub use padding::Padding;
pub use params::{Conv2dOptions, Conv2dParams, ConvDirection};
pub use statistics::{ConvStatistics, conv_statistics};
