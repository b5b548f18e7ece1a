//! N-dimensional arrays with views, broadcasting and fast CPU kernels.
#![deny(missing_docs)]

mod approx;
mod construct;
mod conv;
mod display;
mod element;
mod elementwise;
mod error;
mod factored;
mod float;
mod gate;
#[cfg(test)]
mod hostile;
mod index;
mod instances;
mod join;
mod linalg;
mod machine;
pub mod matmul;
mod normalize;
pub(crate) mod parallel;
mod place;
mod pool;
mod random;
mod reduce;
mod shape;
mod simd;
mod slice;
mod sparse;
mod storage;
mod tensor;
mod update;
mod views;

pub use conv::{
    Conv2dOptions, Conv2dParams, ConvAlgorithm, ConvDirection, ConvStatistics, Padding,
    conv_statistics,
};
pub use element::{DType, Element, Number};
#[doc(hidden)]
pub use elementwise::catalogue::{slopes, values};
pub use error::{Error, ErrorKind, Result};
pub use factored::Factored;
pub use float::Float;
pub use join::Pad;
pub use machine::Machine;
pub use parallel::Par;
pub use pool::{Pool2dOptions, Pool2dParams, PoolIndices};
pub use random::{Generator, generator};
pub use shape::{Axes, Shape, keepdims};
pub use simd::Level;
pub use slice::Slice;
pub use sparse::SparseMatrix;
pub use storage::{
    MemoryStatistics, memory_limit, memory_statistics, release_cached_memory, set_memory_limit,
    vec_with_capacity,
};
pub use tensor::{Elements, Tensor};
