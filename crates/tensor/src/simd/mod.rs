//! Run-time dispatched vector code: levels, vectors, and the way into code compiled for them.
//!
//! A kernel is written once, generic over [`Simd`], and compiled for every level:
//!
//! ```text
//! struct Sum<'a, T>(&'a [T]);
//!
//! impl<T: Real> Kernel for Sum<'_, T> {
//!     type Scalar = T;
//!     type Output = T;
//!     #[inline(always)]
//!     fn run<S: Simd>(self, simd: S) -> T {
//!         let (body, tail) = T::Vector::<S>::split(self.0);
//!         let mut total = T::Vector::<S>::load_partial(simd, tail);
//!         for chunk in body {
//!             total = total + T::Vector::<S>::load(simd, chunk);
//!         }
//!         total.sum()
//!     }
//! }
//!
//! let total = dispatch(Level::best(), Sum(&values));
//! ```
//!
//! Three rules:
//!
//! - **Everything between [`dispatch`] and the vector methods is `#[inline(always)]`** (functions,
//!   `run`, and closures by the same attribute). What is not inlined is compiled for the baseline:
//!   right, and many times slower.
//! - **Threads are outside**: closures given to `rayon` are functions of their own, so a block of
//!   work calls `dispatch` on the thread that runs it.
//! - **Tokens are proofs.** A value of [`Avx512`] or [`Avx2`] exists only where [`dispatch`] has
//!   found the processor to have that level, and a vector can be made only from a token. So the
//!   safe methods of vectors never meet a processor without their instructions.
//!
//! Slices that come from a caller are bounds-checked by `load` and `store`; the `_pointer` methods
//! are for inner loops whose bounds were checked outside.
//!
//! Subnormal numbers: see [`FlushSubnormals`].

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod baseline;
mod dispatch;
mod level;
mod subnormals;
#[cfg(target_arch = "x86_64")]
mod transpose;
mod vector;

#[cfg(target_arch = "x86_64")]
pub use avx2::Avx2;
#[cfg(target_arch = "x86_64")]
pub use avx512::Avx512;
pub use baseline::Baseline;
pub use dispatch::Kernel;
pub(crate) use dispatch::dispatch;
pub use level::Level;
pub(crate) use level::{vectorize, vectorize_to_avx2};
pub(crate) use subnormals::FlushSubnormals;
pub use vector::{Real, Simd, Vector};
pub(crate) use vector::{prefetch, prefetch_to_second_level, unseen};
