//! Which algorithm computes what.

use crate::conv::correlation::Correlation;
use crate::conv::depthwise::is_depthwise;
use crate::conv::few_pixels;
use crate::conv::filter_gradient;
use crate::conv::filters::Filters;
use crate::conv::job::{self, Execution, ImageShape, Patches, input_image, output_image};
use crate::conv::params::{Conv2dParams, ConvAlgorithm, ConvDirection};
use crate::conv::product;
use crate::conv::statistics::{Counter, count};
use crate::conv::windows::smallest_copy;
use crate::conv::winograd::{self, Ending, Four, PooledGradient, Source, Target, Two};
use crate::error::{Error, Result};
use crate::gate::keep_where_open;
use crate::instances::Compiled;
use crate::matmul::Epilogue;
use crate::parallel::BLOCK;
use crate::simd::{Real, vectorize_to_avx2};

/// Numbers that the rows under a single target may take to be read in place between zeros.
const LARGEST_COPY: usize = 1 << 18;
/// Filters above which their gradient leaves the second-level cache, so that it is better computed
/// piece by piece.
const FAR_FILTERS: usize = 128 << 10;
/// Columns below which strips along a row are too short, and patches are packed instead.
const NARROW: usize = 5;

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
    winograd: Option<[WinogradKernels<T>; 2]>,
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

struct WinogradKernels<T: 'static> {
    /// [`winograd::cost`].
    cost: fn(ImageShape) -> [usize; 2],
    correlate: winograd::Correlate<T>,
    filter_gradient: winograd::FilterGradient<T>,
}

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

/// Pairs of channels whose transformed filters stay in a cache; larger ones are fetched from
/// memory, …
const NEAR_CHANNEL_PAIRS: usize = 128 << 10;
/// … which fewer tiles than these do not pay back: outputs or input gradients …
const FEW_TILES: usize = 16;
/// … and filter gradients, whose sums are fetched and stored besides.
const FEW_GRADIENT_TILES: usize = 64;

/// What runs.
#[derive(Clone, Copy)]
enum Plan<T: 'static> {
    Patches(Patches),
    Product,
    Winograd(Tile, &'static WinogradKernels<T>),
}

/// The outputs that a tile of Winograd's algorithm has along an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tile {
    Four,
    Two,
}

impl<T: Compiled> Plan<T> {
    fn winograd(tile: Tile) -> Option<Self> {
        let [four, two] = T::kernels().conv.winograd.as_ref()?;
        Some(match tile {
            Tile::Four => Plan::Winograd(tile, four),
            Tile::Two => Plan::Winograd(tile, two),
        })
    }

    fn algorithm(&self) -> ConvAlgorithm {
        match self {
            Plan::Patches(Patches::Packed) | Plan::Product => ConvAlgorithm::Im2col,
            Plan::Patches(Patches::InPlace | Patches::Depthwise) => ConvAlgorithm::Direct,
            Plan::Winograd(Tile::Four, _) => ConvAlgorithm::Winograd,
            Plan::Winograd(Tile::Two, _) => ConvAlgorithm::Winograd2x2,
        }
    }

    fn count(&self, params: &Conv2dParams) {
        let counter = match self {
            Plan::Product => Counter::Product,
            Plan::Patches(Patches::Packed) => Counter::Im2col,
            Plan::Patches(Patches::InPlace) => Counter::Direct,
            Plan::Patches(Patches::Depthwise) => Counter::Depthwise,
            Plan::Winograd(Tile::Four, _) => Counter::Winograd,
            Plan::Winograd(Tile::Two, _) => Counter::Winograd2x2,
        };
        count(counter, 1);
        count(Counter::DirectMultiplications, params.multiplications());
    }
}

/// One direction of a convolution: `correlation` reads patches of images of the first of `shapes`,
/// and computes or meets images of the second.
struct Task {
    direction: ConvDirection,
    operation: &'static str,
    correlation: Correlation,
    shapes: [ImageShape; 2],
}

impl Task {
    fn new(params: &Conv2dParams, direction: ConvDirection) -> Self {
        let forward = || Correlation::forward(params);
        let [input, output] = [input_image(params), output_image(params)];
        let (operation, correlation, shapes) = match direction {
            ConvDirection::Forward => ("conv2d", forward(), [input, output]),
            ConvDirection::InputGradient => {
                let transposed = Correlation::transposed(params, [0, 0]);
                ("conv2d_input_gradient", transposed, [output, input])
            }
            ConvDirection::FilterGradient => ("conv2d_filter_gradient", forward(), [input, output]),
        };
        Task {
            direction,
            operation,
            correlation,
            shapes,
        }
    }
}

/// What [`Conv2dParams::algorithm`] tells.
fn algorithm<T: Real + Compiled>(
    params: &Conv2dParams,
    direction: ConvDirection,
) -> Result<ConvAlgorithm> {
    Ok(plan::<T>(params, &Task::new(params, direction))?.algorithm())
}

/// Chooses for one direction.
fn plan<T: Real + Compiled>(params: &Conv2dParams, task: &Task) -> Result<Plan<T>> {
    let Task {
        operation,
        correlation,
        shapes: [source, _],
        ..
    } = task;
    let patches = |wanted| {
        if smallest_copy(correlation, *source) > LARGEST_COPY {
            Plan::Patches(Patches::Packed)
        } else if wanted == Patches::InPlace && is_depthwise(params) {
            Plan::Patches(Patches::Depthwise)
        } else {
            Plan::Patches(wanted)
        }
    };
    Ok(match params.algorithm {
        ConvAlgorithm::Im2col => patches(Patches::Packed),
        ConvAlgorithm::Direct => patches(Patches::InPlace),
        ConvAlgorithm::Winograd => winograd(operation, params, Tile::Four)?,
        ConvAlgorithm::Winograd2x2 => winograd(operation, params, Tile::Two)?,
        ConvAlgorithm::Auto => match winograd_that_pays(params, task) {
            Some(plan) => plan,
            None if product_pays(params, task) => Plan::Product,
            None if correlation.columns.targets < NARROW && !is_depthwise(params) => {
                patches(Patches::Packed)
            }
            None => patches(Patches::InPlace),
        },
    })
}

/// Whether a matrix product, for each tap, is the fastest.
fn product_pays(params: &Conv2dParams, task: &Task) -> bool {
    let columns = task.correlation.columns.targets;
    let copied = columns.saturating_mul(task.shapes[0].channels);
    let filters = params.filter_shape().elements();
    let pays = match task.direction {
        ConvDirection::Forward | ConvDirection::InputGradient => {
            product::is_pointwise(params) || few_pixels::are_few(params)
        }
        ConvDirection::FilterGradient => params.groups == 1 && filters >= FAR_FILTERS,
    };
    pays && copied <= LARGEST_COPY
}

/// The tile that multiplies least, if that outweighs the transforms.
fn winograd_that_pays<T: Compiled>(params: &Conv2dParams, task: &Task) -> Option<Plan<T>> {
    let outputs = task.shapes[1];
    if !winograd::is_possible(params) || params.in_channels.min(params.out_channels) < 8 {
        return None;
    }
    let [four, two] = T::kernels().conv.winograd.as_ref()?;
    let ([four, few_tiles], [two, many_tiles]) = ((four.cost)(outputs), (two.cost)(outputs));
    let (tile, multiplications, tiles) = if four <= two {
        (Tile::Four, four, few_tiles)
    } else {
        (Tile::Two, two, many_tiles)
    };
    let direct = outputs.height * outputs.width * 9;
    if 2 * multiplications > direct {
        return None;
    }
    let channel_pairs = params.in_channels * params.out_channels;
    let few = match task.direction {
        ConvDirection::Forward | ConvDirection::InputGradient => FEW_TILES,
        ConvDirection::FilterGradient => FEW_GRADIENT_TILES,
    };
    if channel_pairs > NEAR_CHANNEL_PAIRS && params.batch * tiles < few {
        return None;
    }
    Plan::winograd(tile)
}

/// Winograd's algorithm as the caller asked, or why not.
fn winograd<T: Real + Compiled>(
    operation: &str,
    params: &Conv2dParams,
    tile: Tile,
) -> Result<Plan<T>> {
    let wrong = match Plan::winograd(tile) {
        None => format!("computes with f32, not {}", T::DTYPE),
        Some(_) if !winograd::is_possible(params) => {
            "takes kernels of 3×3, stride 1, dilation 1 and one group".to_string()
        }
        // Sums over nothing have no tiles.
        Some(_) if params.multiplications() == 0 => return Ok(Plan::Patches(Patches::Packed)),
        Some(plan) => return Ok(plan),
    };
    let error = Error::unsupported(operation, format!("Winograd's algorithm {wrong}"))
        .with("input", params.input_shape())
        .with("filters", params.filter_shape());
    let strides = [params.rows.stride, params.columns.stride];
    let dilations = [params.rows.dilation, params.columns.dilation];
    Err(error
        .with("stride", format!("{strides:?}"))
        .with("dilation", format!("{dilations:?}"))
        .fix("`ConvAlgorithm::Auto` takes it where it can"))
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
    let batch = params.batch;
    (kernels.correlate)(
        task.operation,
        execution,
        &task.correlation,
        batch,
        task.shapes,
        Source::Image(x),
        w,
        epilogue,
        Ending::Store,
        Target::values(out),
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
    (kernels.correlate)(
        task.operation,
        execution,
        &task.correlation,
        params.batch,
        task.shapes,
        Source::Image(x),
        w,
        epilogue,
        Ending::Pool,
        out,
    )?;
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
    input_gradient_in_tiles(
        params,
        kernels,
        &task,
        execution,
        Source::Image(dy),
        w,
        gate,
        dx,
    )
}

fn input_gradient_in_tiles<T: Real>(
    params: &Conv2dParams,
    kernels: &WinogradKernels<T>,
    task: &Task,
    execution: Execution,
    dy: Source<'_, T>,
    w: &[T],
    gate: Option<&[T]>,
    dx: &mut [T],
) -> Result<()> {
    (kernels.correlate)(
        task.operation,
        execution,
        &task.correlation,
        params.batch,
        task.shapes,
        dy,
        w.into(),
        Epilogue::NONE,
        gate.map_or(Ending::Store, Ending::Gate),
        Target::values(dx),
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
    let dy = Source::Pooled(dy);
    input_gradient_in_tiles(params, kernels, &task, execution, dy, w, gate, dx)?;
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
    let plan = plan(params, &Task::new(params, ConvDirection::FilterGradient))?;
    plan.count(params);
    match plan {
        Plan::Patches(patches) => {
            return filter_gradient::filter_gradient(params, execution, patches, x, dy, dw, db);
        }
        Plan::Product => product::filter_gradient(params, execution, x, dy, dw)?,
        Plan::Winograd(_, kernels) => {
            (kernels.filter_gradient)(params, execution, x, Source::Image(dy), dw, db)?;
            return Ok(true);
        }
    }
    Ok(false)
}

/// [`filter_gradient`] of a gradient that a max pooling of 2×2 side by side has not spread out;
/// overwrites `dw`, and `db` by its sums, or returns `false` where no algorithm reads it so.
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
    Ok(true)
}
