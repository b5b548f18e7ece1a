//! Run-time dispatched vector code: levels, primitives and micro-kernels.

mod level;

pub use level::Level;
pub(crate) use level::vectorize;
