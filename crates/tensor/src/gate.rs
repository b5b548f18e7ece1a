//! A rectifier's gate: what lets a gradient through.

use crate::element::Number;

/// Sets `values` to 0 where `gate` is not positive (and not NaN, which is not to be hidden).
#[inline(always)]
pub(crate) fn keep_where_open<T: Number>(gate: &[T], values: &mut [T]) {
    for (value, &gate) in values.iter_mut().zip(gate) {
        *value = if gate <= T::ZERO { T::ZERO } else { *value };
    }
}
