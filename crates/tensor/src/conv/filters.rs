//! Filters with what is kept beside their memory.

use crate::conv::ops::slice;
use crate::element::Element;
use crate::float::Float;
use crate::storage::Kept;
use crate::tensor::Tensor;

/// The filters of a convolution, and where their transform is kept from call to call.
#[derive(Clone, Copy)]
pub(crate) struct Filters<'a, T> {
    pub(super) values: &'a [T],
    pub(super) kept: Option<&'a Kept>,
}

impl<'a, T: Float> Filters<'a, T> {
    /// Those of a tensor that was made contiguous. What is kept is that of whole memory: a part of it
    /// keeps nothing.
    pub(super) fn of(tensor: &'a Tensor<T>) -> Self {
        let values = slice(tensor);
        let is_whole = values.len() == tensor.storage.as_slice().len();
        Filters {
            values,
            kept: is_whole.then(|| tensor.storage.kept()),
        }
    }
}

impl<'a, T: Element> From<&'a [T]> for Filters<'a, T> {
    /// Filters that are transformed anew.
    fn from(values: &'a [T]) -> Self {
        Filters { values, kept: None }
    }
}
