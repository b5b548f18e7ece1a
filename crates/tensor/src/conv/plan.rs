//! Which algorithm computes what.

use crate::conv::correlation::Correlation;
use crate::conv::filter_gradient;
use crate::conv::job::{self, Execution, ImageShape, Patches, input_image, output_image};
use crate::conv::params::{Conv2dParams, ConvAlgorithm};
use crate::conv::windows::smallest_copy;
use crate::error::Result;
use crate::matmul::Epilogue;
use crate::simd::Real;

/// Numbers that the rows under a single target may take to be read in place between zeros.
const LARGEST_COPY: usize = 1 << 18;
/// Columns below which strips along a row are too short, and patches are packed instead.
const NARROW: usize = 5;

/// How to read the patches of one direction.
fn patches(params: &Conv2dParams, correlation: &Correlation, source: ImageShape) -> Patches {
    if smallest_copy(correlation, source) > LARGEST_COPY {
        return Patches::Packed;
    }
    match params.algorithm {
        ConvAlgorithm::Im2col => Patches::Packed,
        ConvAlgorithm::Direct => Patches::InPlace,
        _ if correlation.columns.targets < NARROW => Patches::Packed,
        _ => Patches::InPlace,
    }
}

/// `out = x ⋆ w`, finished by `epilogue`; overwrites `out`.
pub(crate) fn forward<T: Real>(
    params: &Conv2dParams,
    execution: Execution,
    x: &[T],
    w: &[T],
    epilogue: Epilogue<'_, T>,
    out: &mut [T],
) -> Result<()> {
    let patches = patches(params, &Correlation::forward(params), input_image(params));
    job::forward(params, execution, patches, x, w, epilogue, out)
}

/// The gradient with respect to the input; overwrites `dx`.
pub(crate) fn input_gradient<T: Real>(
    params: &Conv2dParams,
    execution: Execution,
    dy: &[T],
    w: &[T],
    dx: &mut [T],
) -> Result<()> {
    let correlation = Correlation::transposed(params, [0, 0]);
    let patches = patches(params, &correlation, output_image(params));
    job::input_gradient(params, execution, patches, dy, w, dx)
}

/// The gradient with respect to the filters; overwrites `dw`.
pub(crate) fn filter_gradient<T: Real>(
    params: &Conv2dParams,
    execution: Execution,
    x: &[T],
    dy: &[T],
    dw: &mut [T],
) -> Result<()> {
    let patches = patches(params, &Correlation::forward(params), input_image(params));
    filter_gradient::filter_gradient(params, execution, patches, x, dy, dw)
}
