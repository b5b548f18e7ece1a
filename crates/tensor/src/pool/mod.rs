//! Two-dimensional max and average pooling on images `[batch, height, width, channels]`.

mod params;

pub use params::{Pool2dOptions, Pool2dParams};
