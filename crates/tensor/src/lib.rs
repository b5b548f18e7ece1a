//! N-dimensional arrays with views, broadcasting and fast CPU kernels.
#![deny(missing_docs)]

mod conv;
mod element;
mod error;
pub(crate) mod parallel;
mod pool;
mod shape;
mod simd;
mod storage;

pub use conv::{Conv2dOptions, Conv2dParams, ConvAlgorithm, Padding};
pub use element::{DType, Element, Number};
pub use error::{Error, ErrorKind, Result};
pub use parallel::Par;
pub use pool::{Pool2dOptions, Pool2dParams};
pub use shape::{Axes, Shape, keepdims};
pub use simd::Level;
pub use storage::{MemoryStatistics, memory_statistics, release_cached_memory};
