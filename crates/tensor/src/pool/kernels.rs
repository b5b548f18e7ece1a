//! The kernels as function pointers, one table for each element type.

use crate::float::Float;
use crate::parallel::Par;
use crate::pool::max::Position;
use crate::pool::params::Pool2dParams;
use crate::pool::{average, max};
use crate::simd::Level;

/// Parameters, execution, operand, result.
type Map<T> = fn(&Pool2dParams, Par, Level, &[T], &mut [T]);
/// Parameters, execution, input, whether positions are gated, maxima and their positions.
type Max<T, P> = fn(&Pool2dParams, Par, Level, &[T], bool, &mut [T], &mut [P]);
/// Parameters, execution, operand, positions, result.
type Move<T, P> = fn(&Pool2dParams, Par, Level, &[T], &[P], &mut [T]);

/// Parameters, execution, output's gradient, positions, gate, input's gradient.
type Scatter<T, P> = fn(&Pool2dParams, Par, Level, &[T], &[P], Option<&[T]>, &mut [T]);

/// What involves positions of type `P`.
pub(crate) struct PositionKernels<T, P> {
    pub(super) max: Max<T, P>,
    pub(super) scatter: Scatter<T, P>,
    pub(super) gather: Move<T, P>,
}

impl<T: Float, P: Position> PositionKernels<T, P> {
    const fn new() -> Self {
        PositionKernels {
            max: max::forward,
            scatter: max::scatter,
            gather: max::gather,
        }
    }
}

/// All kernels for elements of type `T`.
pub(crate) struct PoolKernels<T> {
    pub(super) values: Map<T>,
    pub(super) average: Map<T>,
    pub(super) average_gradient: Map<T>,
    pub(super) small: PositionKernels<T, u8>,
    pub(super) large: PositionKernels<T, i32>,
}

impl<T: Float> PoolKernels<T> {
    pub(crate) const fn new() -> Self {
        PoolKernels {
            values: max::values,
            average: average::forward,
            average_gradient: average::gradient,
            small: PositionKernels::new(),
            large: PositionKernels::new(),
        }
    }
}
