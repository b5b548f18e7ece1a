//! Where generic kernels become machine code: once, in this crate.
//!
//! A generic function is compiled again in every crate that calls it, and large kernels for three
//! instruction sets take long to compile. So the methods of tensors, which are generic over the
//! element type, call them through a table of function pointers that exists once for each type.

use crate::conv::ConvKernels;
use crate::matmul::{ProductKernel, product_kernel};
use crate::pool::PoolKernels;

/// The kernels of one element type.
pub struct Kernels<T: 'static> {
    pub(crate) conv: ConvKernels<T>,
    pub(crate) pool: PoolKernels<T>,
    pub(crate) product: ProductKernel<T>,
}

/// The types that kernels are compiled for.
pub trait Compiled: Sized + 'static {
    /// The table of this type.
    #[doc(hidden)]
    fn kernels() -> &'static Kernels<Self>;
}

impl Compiled for f32 {
    fn kernels() -> &'static Kernels<f32> {
        static KERNELS: Kernels<f32> = Kernels {
            conv: ConvKernels::new().with_winograd(),
            pool: PoolKernels::new(),
            product: product_kernel::<f32>,
        };
        &KERNELS
    }
}

impl Compiled for f64 {
    fn kernels() -> &'static Kernels<f64> {
        static KERNELS: Kernels<f64> = Kernels {
            conv: ConvKernels::new(),
            pool: PoolKernels::new(),
            product: product_kernel::<f64>,
        };
        &KERNELS
    }
}
