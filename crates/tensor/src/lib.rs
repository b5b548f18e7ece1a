//! N-dimensional arrays with views, broadcasting and fast CPU kernels.
#![deny(missing_docs)]

mod element;
mod error;
pub(crate) mod parallel;
mod shape;
mod simd;
mod storage;

pub use element::{DType, Element, Number};
pub use error::{Error, ErrorKind, Result};
pub use parallel::Par;
pub use shape::{Axes, Shape, keepdims};
pub use simd::Level;
pub use storage::{MemoryStatistics, memory_statistics, release_cached_memory};
