//! A convolution or input gradient as a list of correlations, cut into blocks of target rows.

use std::ops::Range;

use smallvec::SmallVec;

use crate::conv::correlation::{Correlation, Panels};
use crate::conv::microkernel::{Finish, fitting};
use crate::conv::params::Conv2dParams;
use crate::conv::statistics::count_multiplications;
use crate::conv::{depthwise, direct, im2col};
use crate::error::Result;
use crate::matmul::Epilogue;
use crate::parallel::Par;
use crate::simd::{Level, Real};
use crate::storage::Buffer;

/// Where kernels run: spread over threads or not, and with which instructions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Execution {
    pub(crate) par: Par,
    pub(crate) level: Level,
}

impl Execution {
    /// All threads of the current pool, the best instructions.
    pub(crate) fn best() -> Self {
        Execution {
            par: Par::Threads,
            level: Level::best(),
        }
    }
}

/// How correlations read patches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Patches {
    /// In place (see [`direct`]).
    InPlace,
    /// Packed into a matrix a block at a time (see [`im2col`]).
    Packed,
    /// In place, channel by channel (see [`depthwise`]).
    Depthwise,
}

/// One correlation with its packed filters.
pub(super) struct Step<'a, T> {
    pub(super) correlation: Correlation,
    pub(super) panels: Panels,
    pub(super) filters: &'a [T],
}

/// Images on one side of a job: their shape `[height, width, channels]`.
#[derive(Clone, Copy, Debug)]
pub(super) struct ImageShape {
    pub(super) height: usize,
    pub(super) width: usize,
    pub(super) channels: usize,
}

impl ImageShape {
    pub(super) fn row_len(&self) -> usize {
        self.width * self.channels
    }

    pub(super) fn len(&self) -> usize {
        self.height * self.row_len()
    }
}

/// All that a block of target rows needs.
pub(super) struct Job<'a, T> {
    pub(super) level: Level,
    pub(super) steps: &'a [Step<'a, T>],
    pub(super) source: &'a [T],
    pub(super) source_shape: ImageShape,
    pub(super) target_shape: ImageShape,
    pub(super) epilogue: Epilogue<'a, T>,
}

/// A block of work: some whole images, or some rows of one.
#[derive(Clone, Debug)]
pub(super) struct Block {
    pub(super) images: Range<usize>,
    pub(super) rows: Range<usize>,
}

impl<T: Real> Job<'_, T> {
    /// How the strip of `columns` target channels from `first` on ends.
    pub(super) fn finish(&self, first: usize, columns: usize) -> Finish<'_, T> {
        Finish::Store {
            bias: self.epilogue.bias.map(|bias| &bias[first..first + columns]),
            relu: self.epilogue.relu,
        }
    }
}

/// `out = x ⋆ w`, finished by `epilogue`.
pub(super) fn forward<T: Real>(
    params: &Conv2dParams,
    execution: Execution,
    patches: Patches,
    x: &[T],
    w: &[T],
    epilogue: Epilogue<'_, T>,
    out: &mut [T],
) -> Result<()> {
    let correlations = [match patches {
        Patches::Depthwise => Correlation::depthwise(params, None),
        _ => Correlation::forward(params),
    }];
    let shapes = [input_image(params), output_image(params)];
    run(
        "conv2d",
        execution,
        patches,
        &correlations,
        params,
        shapes,
        x,
        w,
        epilogue,
        out,
    )
}

/// `dx = dy ⋆ᵀ w`: each input position collects from the outputs that saw it.
pub(super) fn input_gradient<T: Real>(
    params: &Conv2dParams,
    execution: Execution,
    patches: Patches,
    dy: &[T],
    w: &[T],
    dx: &mut [T],
) -> Result<()> {
    let correlations = match patches {
        Patches::Depthwise => {
            let depthwise = |params: &_, phase| Correlation::depthwise(params, Some(phase));
            input_correlations(params, depthwise, dx)
        }
        _ => input_correlations(params, Correlation::transposed, dx),
    };
    let shapes = [output_image(params), input_image(params)];
    run(
        "conv2d_input_gradient",
        execution,
        patches,
        &correlations,
        params,
        shapes,
        dy,
        w,
        Epilogue::NONE,
        dx,
    )
}

/// The phases of an input gradient that have taps, each as `correlation` makes it; `dx` becomes 0
/// where there are others.
pub(super) fn input_correlations<T: Real>(
    params: &Conv2dParams,
    correlation: impl Fn(&Conv2dParams, [usize; 2]) -> Correlation,
    dx: &mut [T],
) -> SmallVec<[Correlation; 9]> {
    if dx.is_empty() {
        return SmallVec::new();
    }
    let phases = |stride: usize, size: usize| stride.min(size);
    let rows = phases(params.rows.stride, params.rows.input);
    let columns = phases(params.columns.stride, params.columns.input);
    let correlations: SmallVec<[Correlation; 9]> = (0..rows)
        .flat_map(|row| (0..columns).map(move |column| [row, column]))
        .map(|phase| correlation(params, phase))
        .filter(|correlation| correlation.patch() > 0)
        .collect();
    if correlations.len() < rows * columns {
        // Positions that no tap ever meets.
        dx.fill(T::ZERO);
    }
    correlations
}

pub(super) fn input_image(params: &Conv2dParams) -> ImageShape {
    ImageShape {
        height: params.rows.input,
        width: params.columns.input,
        channels: params.in_channels,
    }
}

pub(super) fn output_image(params: &Conv2dParams) -> ImageShape {
    ImageShape {
        height: params.rows.output,
        width: params.columns.output,
        channels: params.out_channels,
    }
}

fn run<T: Real>(
    operation: &str,
    execution: Execution,
    patches: Patches,
    correlations: &[Correlation],
    params: &Conv2dParams,
    [source_shape, target_shape]: [ImageShape; 2],
    source: &[T],
    w: &[T],
    epilogue: Epilogue<'_, T>,
    target: &mut [T],
) -> Result<()> {
    if target.is_empty() {
        return Ok(());
    }
    let Execution { par, level } = execution;
    let level = match correlations {
        [first, ..] if patches != Patches::Depthwise => fitting::<T>(level, first.targets),
        _ => level,
    };
    let packed_len = |c: &Correlation| c.groups * c.panels::<T>(level).len();
    let mut packed = Buffer::unspecified(operation, correlations.iter().map(packed_len).sum())?;
    let mut rest = packed.as_mut_slice();
    let mut steps: SmallVec<[Step<'_, T>; 9]> = SmallVec::new();
    for &correlation in correlations {
        let panels = correlation.panels::<T>(level);
        let (filters, others) = rest.split_at_mut(packed_len(&correlation));
        rest = others;
        correlation.pack(par, level, &panels, w, params.columns.kernel, filters);
        steps.push(Step {
            correlation,
            panels,
            filters,
        });
    }
    let job = Job {
        level,
        steps: &steps,
        source,
        source_shape,
        target_shape,
        epilogue,
    };
    for_blocks(par, &job, target, |block, target| {
        for step in job.steps {
            let Correlation { rows, columns, .. } = step.correlation;
            count_multiplications([
                block.images.len(),
                rows.targets_within(&block.rows).len(),
                columns.targets,
                step.correlation.groups * step.correlation.targets,
                step.correlation.patch(),
            ]);
        }
        match patches {
            Patches::InPlace => direct::block(&job, &block, target),
            Patches::Packed => im2col::block(&job, &block, target),
            Patches::Depthwise => depthwise::block(&job, &block, target),
        }
    });
    Ok(())
}

/// Multiplications in a block: enough to hide what handing it to a thread costs.
const BLOCK_MULTIPLICATIONS: usize = 1 << 20;
/// The same where a single image is all there is.
const SHARED_MULTIPLICATIONS: usize = 1 << 18;
/// Numbers of the source under a block, so that it stays in the second-level cache.
const BLOCK_SOURCE: usize = 32 << 10;
/// Numbers of the target in a block, so that its rows are still there when the next panel of
/// channels is computed.
const BLOCK_TARGET: usize = 64 << 10;

/// Cuts `target` into blocks by the geometry alone and runs `body` on each.
fn for_blocks<T: Real>(
    par: Par,
    job: &Job<'_, T>,
    target: &mut [T],
    body: impl Fn(Block, &mut [T]) + Sync,
) {
    let ImageShape { height, .. } = job.target_shape;
    let image_len = job.target_shape.len();
    let row_len = job.target_shape.row_len();
    let batch = target.len() / image_len;
    let per_image: usize = (job.steps.iter())
        .map(|step| {
            let Correlation {
                rows,
                columns,
                targets,
                groups,
                ..
            } = step.correlation;
            [
                rows.targets,
                columns.targets,
                targets,
                groups,
                step.correlation.patch(),
            ]
            .into_iter()
            .fold(1, usize::saturating_mul)
        })
        .fold(0, usize::saturating_add)
        .max(1);
    let images = (BLOCK_MULTIPLICATIONS / per_image).clamp(1, batch);
    if images > 1 {
        par.for_chunks(target, images * image_len, |i, target| {
            let first = i * images;
            let images = first..first + target.len() / image_len;
            let rows = 0..height;
            body(Block { images, rows }, target);
        });
    } else {
        let by_work = BLOCK_MULTIPLICATIONS.saturating_mul(height) / per_image;
        let by_source = BLOCK_SOURCE.saturating_mul(height) / job.source_shape.len().max(1);
        let by_target = BLOCK_TARGET / row_len;
        // One image that is worth it is enough for some threads.
        let parts = match batch {
            1 => (per_image / SHARED_MULTIPLICATIONS).clamp(1, 4),
            _ => 1,
        };
        let rows = by_work.max(by_source.min(by_target));
        let rows = rows.clamp(1, height.div_ceil(parts));
        par.for_chunks(target, image_len, |image, target| {
            par.for_chunks(target, rows * row_len, |i, target| {
                let images = image..image + 1;
                let rows = i * rows..i * rows + target.len() / row_len;
                body(Block { images, rows }, target);
            });
        });
    }
}
