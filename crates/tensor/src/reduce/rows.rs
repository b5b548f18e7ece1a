//! One axis of a row-major tensor as `[outer, size, inner]`, for computations along that axis.

use crate::element::Element;
use crate::error::Result;
use crate::parallel::{BLOCK, Par};
use crate::shape::Shape;
use crate::simd::{Level, vectorize};
use crate::tensor::Tensor;

/// A row-major tensor cut at one axis.
pub(super) struct Rows<T: Element> {
    tensor: Tensor<T>,
    /// The resolved axis.
    pub(super) axis: usize,
    /// Elements along the axis.
    pub(super) size: usize,
    /// Elements between neighbours along the axis.
    pub(super) inner: usize,
    /// Elements of the axis and all after it.
    pub(super) slab: usize,
}

impl<T: Element> Rows<T> {
    pub(super) fn new(operation: &str, x: &Tensor<T>, axis: isize) -> Result<Self> {
        let axis = x.shape().axis(operation, axis)?;
        // Of no elements the sizes may have a product that is none.
        let elements_from = |axis: usize| Shape::from(&x.shape()[axis..]).elements();
        Ok(Rows {
            tensor: x.try_contiguous(operation)?,
            axis,
            size: x.shape()[axis],
            inner: elements_from(axis + 1),
            slab: elements_from(axis),
        })
    }

    /// Runs `body(x, out)` for each slab of elements and its `out_len` results, on
    /// threads; slabs of no elements or results are skipped.
    pub(super) fn for_each<B: Element>(
        &self,
        out: &mut [B],
        out_len: usize,
        body: impl Fn(&[T], &mut [B]) + Copy + Send + Sync,
    ) {
        let len = self.slab;
        let source = self.tensor.as_slice().unwrap_or_default();
        if len == 0 || out_len == 0 {
            return;
        }
        let slabs = (BLOCK / len).max(1);
        let level = Level::best();
        Par::Threads.for_chunks(out, slabs * out_len, |chunk, out| {
            let source = &source[chunk * slabs * len..];
            vectorize(
                level,
                #[inline(always)]
                || {
                    for (x, out) in source.chunks_exact(len).zip(out.chunks_exact_mut(out_len)) {
                        body(x, out);
                    }
                },
            );
        });
    }
}
