//! The entry points of convolutions, which run what is planned.

use crate::conv::algorithm::ConvAlgorithm;
use crate::conv::filter_gradient;
use crate::conv::filters::Filters;
use crate::conv::job::{self, Execution};
use crate::conv::params::{Conv2dParams, ConvDirection};
use crate::conv::plan::{Plan, Task, WinogradKernels, algorithm, plan};
use crate::conv::product;
use crate::conv::winograd::{self, Ending, Four, PooledGradient, Source, Target, Two};
use crate::error::Result;
use crate::gate::keep_where_open;
use crate::instances::Compiled;
use crate::matmul::{Epilogue, all_finite};
use crate::parallel::BLOCK;
use crate::simd::{Real, vectorize_to_avx2};

/// The entry points of one element type.
pub(crate) struct ConvKernels<T: 'static> {
    pub(crate) forward: Forward<T>,
    pub(crate) forward_pooled: ForwardPooled<T>,
    pub(crate) input_gradient: InputGradient<T>,
    pub(crate) filter_gradient: FilterGradient<T>,
    pub(crate) pooled_input_gradient: PooledInputGradient<T>,
    pub(crate) pooled_filter_gradient: PooledFilterGradient<T>,
    /// [`Conv2dParams::algorithm`].
    pub(crate) algorithm: fn(&Conv2dParams, ConvDirection) -> Result<ConvAlgorithm>,
    /// F(4×4, 3×3) and F(2×2, 3×3), for types that have them.
    pub(super) winograd: Option<[WinogradKernels<T>; 2]>,
}

/// Parameters, input, filters, epilogue, output.
type Forward<T> =
    fn(&Conv2dParams, Execution, &[T], Filters<'_, T>, Epilogue<'_, T>, &mut [T]) -> Result<()>;
/// As [`Forward`]; returns whether it ran.
type ForwardPooled<T> = fn(
    &Conv2dParams,
    Execution,
    &[T],
    Filters<'_, T>,
    Epilogue<'_, T>,
    Target<'_, T>,
) -> Result<bool>;
/// Parameters, output's gradient, filters, gate, input's gradient.
type InputGradient<T> =
    fn(&Conv2dParams, Execution, &[T], &[T], Option<&[T]>, &mut [T]) -> Result<()>;
/// Parameters, input, output's gradient, filters' gradient, and the bias' or an empty slice; returns
/// whether it computed that too.
type FilterGradient<T> =
    fn(&Conv2dParams, Execution, &[T], &[T], &mut [T], &mut [T]) -> Result<bool>;

/// As [`InputGradient`], of a gradient that a pooling has not spread out; returns whether it ran.
type PooledInputGradient<T> = fn(
    &Conv2dParams,
    Execution,
    PooledGradient<'_, T>,
    &[T],
    Option<&[T]>,
    &mut [T],
) -> Result<bool>;
/// As [`FilterGradient`], of a gradient that a pooling has not spread out; returns whether it ran.
type PooledFilterGradient<T> =
    fn(&Conv2dParams, Execution, &[T], PooledGradient<'_, T>, &mut [T], &mut [T]) -> Result<bool>;

impl<T: Real + Compiled> ConvKernels<T> {
    pub(crate) const fn new() -> Self {
        ConvKernels {
            forward: forward::<T>,
            forward_pooled: forward_pooled::<T>,
            input_gradient: input_gradient::<T>,
            filter_gradient: filter_gradient::<T>,
            pooled_input_gradient: pooled_input_gradient::<T>,
            pooled_filter_gradient: pooled_filter_gradient::<T>,
            algorithm: algorithm::<T>,
            winograd: None,
        }
    }

    pub(crate) const fn with_winograd(mut self) -> Self {
        self.winograd = Some([
            WinogradKernels {
                cost: winograd::cost::<Four>,
                correlate: winograd::correlate::<T, Four>,
                filter_gradient: winograd::filter_gradient::<T, Four>,
            },
            WinogradKernels {
                cost: winograd::cost::<Two>,
                correlate: winograd::correlate::<T, Two>,
                filter_gradient: winograd::filter_gradient::<T, Two>,
            },
        ]);
        self
    }
}

/// What kernels take for granted wherever they address memory without asking: that input, filters
/// and output have as many numbers as the geometry says.
///
/// # Panics
/// If one has not.
fn assert_lengths(params: &Conv2dParams, lengths: [usize; 3]) {
    let expected = [
        params.input_shape(),
        params.filter_shape(),
        params.output_shape(),
    ];
    assert_eq!(lengths, expected.map(|shape| shape.elements()));
}

/// `out = x ⋆ w`, finished by `epilogue`; overwrites `out`.
fn forward<T: Real + Compiled>(
    params: &Conv2dParams,
    execution: Execution,
    x: &[T],
    w: Filters<'_, T>,
    epilogue: Epilogue<'_, T>,
    out: &mut [T],
) -> Result<()> {
    assert_lengths(params, [x.len(), w.values.len(), out.len()]);
    assert!((epilogue.bias).is_none_or(|bias| bias.len() == params.out_channels));
    let task = Task::new(params, ConvDirection::Forward);
    let plan = plan(params, &task)?;
    plan.count(params);
    let kernels = match plan {
        Plan::Patches(patches) => {
            return job::forward(params, execution, patches, x, w.values, epilogue, out);
        }
        Plan::Product => return product::forward(params, execution, x, w.values, epilogue, out),
        Plan::Winograd(_, kernels) => kernels,
    };
    let (source, target) = (Source::Image(x), Target::values(out));
    in_tiles(
        kernels,
        &task,
        execution,
        source,
        w,
        (epilogue, Ending::Store),
        target,
    )
}

/// The largest of each window of 2×2 outputs, side by side, of [`forward`]; overwrites `out`, or
/// returns `false` where no algorithm pools on the way.
fn forward_pooled<T: Real + Compiled>(
    params: &Conv2dParams,
    execution: Execution,
    x: &[T],
    w: Filters<'_, T>,
    epilogue: Epilogue<'_, T>,
    out: Target<'_, T>,
) -> Result<bool> {
    let task = Task::new(params, ConvDirection::Forward);
    let plan = plan(params, &task)?;
    let Plan::Winograd(_, kernels) = plan else {
        return Ok(false);
    };
    plan.count(params);
    let (source, end) = (Source::Image(x), (epilogue, Ending::Pool));
    in_tiles(kernels, &task, execution, source, w, end, out)?;
    Ok(true)
}

/// The gradient with respect to the input, 0 where `gate`, of its shape, is not positive;
/// overwrites `dx`.
fn input_gradient<T: Real + Compiled>(
    params: &Conv2dParams,
    execution: Execution,
    dy: &[T],
    w: &[T],
    gate: Option<&[T]>,
    dx: &mut [T],
) -> Result<()> {
    assert_lengths(params, [dx.len(), w.len(), dy.len()]);
    assert!(gate.is_none_or(|gate| gate.len() == dx.len()));
    let task = Task::new(params, ConvDirection::InputGradient);
    let plan = plan(params, &task)?;
    plan.count(params);
    let kernels = match plan {
        Plan::Patches(patches) => {
            job::input_gradient(params, execution, patches, dy, w, dx)?;
            close(execution, gate, dx);
            return Ok(());
        }
        Plan::Product => {
            product::input_gradient(params, execution, dy, w, dx)?;
            close(execution, gate, dx);
            return Ok(());
        }
        Plan::Winograd(_, kernels) => kernels,
    };
    let (source, target) = (Source::Image(dy), Target::values(dx));
    let end = (Epilogue::NONE, gate.map_or(Ending::Store, Ending::Gate));
    in_tiles(kernels, &task, execution, source, w.into(), end, target)
}

/// `target = source ⋆ w` by Winograd's algorithm, finished by `epilogue` and `ending`.
fn in_tiles<T: Real>(
    kernels: &WinogradKernels<T>,
    task: &Task,
    execution: Execution,
    source: Source<'_, T>,
    w: Filters<'_, T>,
    (epilogue, ending): (Epilogue<'_, T>, Ending<'_, T>),
    target: Target<'_, T>,
) -> Result<()> {
    (kernels.correlate)(
        task.operation,
        execution,
        &task.correlation,
        task.batch,
        task.shapes,
        source,
        w,
        epilogue,
        ending,
        target,
    )
}

/// [`input_gradient`] of a gradient that a max pooling of 2×2 side by side has not spread out;
/// overwrites `dx`, or returns `false` where no algorithm reads it so.
fn pooled_input_gradient<T: Real + Compiled>(
    params: &Conv2dParams,
    execution: Execution,
    dy: PooledGradient<'_, T>,
    w: &[T],
    gate: Option<&[T]>,
    dx: &mut [T],
) -> Result<bool> {
    let task = Task::new(params, ConvDirection::InputGradient);
    let plan = plan(params, &task)?;
    let Plan::Winograd(_, kernels) = plan else {
        return Ok(false);
    };
    plan.count(params);
    let (source, target) = (Source::Pooled(dy), Target::values(dx));
    let end = (Epilogue::NONE, gate.map_or(Ending::Store, Ending::Gate));
    in_tiles(kernels, &task, execution, source, w.into(), end, target)?;
    Ok(true)
}

/// Makes `dx` 0 where `gate`, if there is one, is not positive.
fn close<T: Real>(execution: Execution, gate: Option<&[T]>, dx: &mut [T]) {
    let Some(gate) = gate else {
        return;
    };
    execution.par.for_chunks(dx, BLOCK, |block, dx| {
        let gate = &gate[block * BLOCK..][..dx.len()];
        vectorize_to_avx2(
            execution.level,
            #[inline(always)]
            || keep_where_open(gate, dx),
        );
    });
}

/// The gradient with respect to the filters; overwrites `dw`. Where the algorithm sums `dy` over all
/// pixels on the way, `db` becomes that sum.
fn filter_gradient<T: Real + Compiled>(
    params: &Conv2dParams,
    execution: Execution,
    x: &[T],
    dy: &[T],
    dw: &mut [T],
    db: &mut [T],
) -> Result<bool> {
    assert_lengths(params, [x.len(), dw.len(), dy.len()]);
    assert!(db.is_empty() || db.len() == params.out_channels);
    let plan = plan(params, &Task::new(params, ConvDirection::FilterGradient))?;
    plan.count(params);
    match plan {
        Plan::Patches(patches) => {
            return filter_gradient::filter_gradient(params, execution, patches, x, dy, dw, db);
        }
        Plan::Product => product::filter_gradient(params, execution, x, dy, dw)?,
        Plan::Winograd(_, kernels) => {
            (kernels.filter_gradient)(params, execution, x, Source::Image(dy), dw, db)?;
            if all_finite(execution.par, dw) {
                return Ok(true);
            }
            // Sums at points spread what is not finite over all taps of two channels.
            let params = Conv2dParams {
                algorithm: ConvAlgorithm::AutoWithoutWinograd,
                ..*params
            };
            return filter_gradient(&params, execution, x, dy, dw, db);
        }
    }
    Ok(false)
}

/// [`filter_gradient`] of a gradient that a max pooling of 2×2 side by side has not spread out;
/// overwrites `dw`, and `db` by its sums, or returns `false` where no algorithm reads it so, or where
/// `dw` is not finite.
fn pooled_filter_gradient<T: Real + Compiled>(
    params: &Conv2dParams,
    execution: Execution,
    x: &[T],
    dy: PooledGradient<'_, T>,
    dw: &mut [T],
    db: &mut [T],
) -> Result<bool> {
    let plan = plan(params, &Task::new(params, ConvDirection::FilterGradient))?;
    let Plan::Winograd(_, kernels) = plan else {
        return Ok(false);
    };
    plan.count(params);
    (kernels.filter_gradient)(params, execution, x, Source::Pooled(dy), dw, db)?;
    Ok(all_finite(execution.par, dw))
}
