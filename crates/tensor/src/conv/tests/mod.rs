//! Every algorithm, level and direction against a naive oracle over a grid of geometries.

mod accuracy;
mod cases;
mod depthwise;
mod few_pixels;
mod grid;
mod kept;
mod levels;
mod oracle;
mod pooled;
mod tensors;
mod winograd_outliers;
