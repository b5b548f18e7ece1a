//! Two-dimensional convolution on images `[batch, height, width, channels]`.

pub(crate) mod padding;
mod params;

pub use padding::Padding;
pub use params::{Conv2dOptions, Conv2dParams, ConvAlgorithm};
