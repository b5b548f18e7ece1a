//! Which algorithm computes what.

use crate::conv::correlation::Correlation;
use crate::conv::filter_gradient;
use crate::conv::job::{self, Execution, ImageShape, Patches, input_image, output_image};
use crate::conv::params::{Conv2dParams, ConvAlgorithm};
use crate::conv::statistics::{Counter, count};
use crate::conv::windows::smallest_copy;
use crate::conv::winograd::{self, Four, Two};
use crate::element::DType;
use crate::error::{Error, Result};
use crate::matmul::Epilogue;
use crate::simd::Real;

/// Numbers that the rows under a single target may take to be read in place between zeros.
const LARGEST_COPY: usize = 1 << 18;
/// Columns below which strips along a row are too short, and patches are packed instead.
const NARROW: usize = 5;

/// What runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Plan {
    Patches(Patches),
    Winograd4,
    Winograd2,
}

impl Plan {
    fn count(self, params: &Conv2dParams) {
        let counter = match self {
            Plan::Patches(Patches::Packed) => Counter::Im2col,
            Plan::Patches(Patches::InPlace) => Counter::Direct,
            Plan::Winograd4 => Counter::Winograd,
            Plan::Winograd2 => Counter::Winograd2x2,
        };
        count(counter, 1);
        count(Counter::DirectMultiplications, params.multiplications());
    }
}

/// Chooses for one direction: `correlation` reads patches of `source` and computes `outputs`.
fn plan<T: Real>(
    operation: &str,
    params: &Conv2dParams,
    correlation: &Correlation,
    source: ImageShape,
    outputs: ImageShape,
) -> Result<Plan> {
    let patches = |wanted| {
        if smallest_copy(correlation, source) > LARGEST_COPY {
            Plan::Patches(Patches::Packed)
        } else {
            Plan::Patches(wanted)
        }
    };
    Ok(match params.algorithm {
        ConvAlgorithm::Im2col => patches(Patches::Packed),
        ConvAlgorithm::Direct => patches(Patches::InPlace),
        ConvAlgorithm::Winograd | ConvAlgorithm::Winograd2x2 => {
            check_winograd::<T>(operation, params)?;
            match params.algorithm {
                _ if params.multiplications() == 0 => patches(Patches::Packed),
                ConvAlgorithm::Winograd => Plan::Winograd4,
                _ => Plan::Winograd2,
            }
        }
        ConvAlgorithm::Auto => match winograd_pays::<T>(params, outputs) {
            Some(plan) => plan,
            None if correlation.columns.targets < NARROW => patches(Patches::Packed),
            None => patches(Patches::InPlace),
        },
    })
}

/// The tile that multiplies least, if that outweighs the transforms.
fn winograd_pays<T: Real>(params: &Conv2dParams, outputs: ImageShape) -> Option<Plan> {
    let possible = T::DTYPE == DType::F32 && winograd::is_possible(params);
    if !possible || params.in_channels.min(params.out_channels) < 8 {
        return None;
    }
    let points = |tile: usize| {
        let tiles = outputs.height.div_ceil(tile) * outputs.width.div_ceil(tile);
        tiles * (tile + 2) * (tile + 2)
    };
    let direct = outputs.height * outputs.width * 9;
    let (plan, points) = if points(4) <= points(2) {
        (Plan::Winograd4, points(4))
    } else {
        (Plan::Winograd2, points(2))
    };
    (2 * points <= direct).then_some(plan)
}

fn check_winograd<T: Real>(operation: &str, params: &Conv2dParams) -> Result<()> {
    let wrong = if T::DTYPE != DType::F32 {
        format!("computes with f32, not {}", T::DTYPE)
    } else if !winograd::is_possible(params) {
        "takes kernels of 3×3, stride 1, dilation 1 and one group".to_string()
    } else {
        return Ok(());
    };
    Err(
        Error::unsupported(operation, format!("Winograd's algorithm {wrong}"))
            .with("input", params.input_shape())
            .with("filters", params.filter_shape())
            .with(
                "stride",
                format!("{:?}", [params.rows.stride, params.columns.stride]),
            )
            .with(
                "dilation",
                format!("{:?}", [params.rows.dilation, params.columns.dilation]),
            )
            .fix("`ConvAlgorithm::Auto` takes it where it can"),
    )
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
    let operation = "conv2d";
    let correlation = Correlation::forward(params);
    let shapes = [input_image(params), output_image(params)];
    let plan = plan::<T>(operation, params, &correlation, shapes[0], shapes[1])?;
    plan.count(params);
    let winograd = match plan {
        Plan::Patches(patches) => {
            return job::forward(params, execution, patches, x, w, epilogue, out);
        }
        Plan::Winograd4 => winograd::correlate::<T, Four>,
        Plan::Winograd2 => winograd::correlate::<T, Two>,
    };
    let batch = params.batch;
    winograd(
        operation,
        execution,
        &correlation,
        batch,
        shapes,
        x,
        w,
        epilogue,
        out,
    )
}

/// The gradient with respect to the input; overwrites `dx`.
pub(crate) fn input_gradient<T: Real>(
    params: &Conv2dParams,
    execution: Execution,
    dy: &[T],
    w: &[T],
    dx: &mut [T],
) -> Result<()> {
    let operation = "conv2d_input_gradient";
    let correlation = Correlation::transposed(params, [0, 0]);
    let shapes = [output_image(params), input_image(params)];
    let plan = plan::<T>(operation, params, &correlation, shapes[0], shapes[1])?;
    plan.count(params);
    let winograd = match plan {
        Plan::Patches(patches) => {
            return job::input_gradient(params, execution, patches, dy, w, dx);
        }
        Plan::Winograd4 => winograd::correlate::<T, Four>,
        Plan::Winograd2 => winograd::correlate::<T, Two>,
    };
    let (batch, epilogue) = (params.batch, Epilogue::NONE);
    winograd(
        operation,
        execution,
        &correlation,
        batch,
        shapes,
        dy,
        w,
        epilogue,
        dx,
    )
}

/// The gradient with respect to the filters; overwrites `dw`.
pub(crate) fn filter_gradient<T: Real>(
    params: &Conv2dParams,
    execution: Execution,
    x: &[T],
    dy: &[T],
    dw: &mut [T],
) -> Result<()> {
    let operation = "conv2d_filter_gradient";
    let correlation = Correlation::forward(params);
    let shapes = [input_image(params), output_image(params)];
    let plan = plan::<T>(operation, params, &correlation, shapes[0], shapes[1])?;
    plan.count(params);
    match plan {
        Plan::Patches(patches) => {
            filter_gradient::filter_gradient(params, execution, patches, x, dy, dw)
        }
        Plan::Winograd4 => winograd::filter_gradient::<T, Four>(params, execution, x, dy, dw),
        Plan::Winograd2 => winograd::filter_gradient::<T, Two>(params, execution, x, dy, dw),
    }
}
