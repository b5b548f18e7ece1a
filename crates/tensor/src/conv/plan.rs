//! Which algorithm computes what.

use crate::conv::algorithm::{ConvAlgorithm, winograd_is_allowed};
use crate::conv::correlation::Correlation;
use crate::conv::depthwise::is_depthwise;
use crate::conv::few_pixels;
use crate::conv::job::{ImageShape, Patches, input_image, output_image};
use crate::conv::params::{Conv2dParams, ConvDirection};
use crate::conv::product;
use crate::conv::statistics::{Counter, count};
use crate::conv::windows::smallest_copy;
use crate::conv::winograd;
use crate::error::{Error, Result};
use crate::instances::Compiled;
use crate::simd::Real;

/// Numbers that the rows under a single target may take to be read in place between zeros.
const LARGEST_COPY: usize = 1 << 18;
/// Filters above which their gradient leaves the second-level cache, so that it is better computed
/// piece by piece.
const FAR_FILTERS: usize = 128 << 10;
/// Columns below which strips along a row are too short, and patches are packed instead.
const NARROW: usize = 5;

/// What runs Winograd's algorithm with one tile.
pub(super) struct WinogradKernels<T: 'static> {
    /// [`winograd::cost`].
    pub(super) cost: fn(ImageShape) -> [usize; 2],
    pub(super) correlate: winograd::Correlate<T>,
    pub(super) filter_gradient: winograd::FilterGradient<T>,
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
pub(super) enum Plan<T: 'static> {
    Patches(Patches),
    Product,
    Winograd(Tile, &'static WinogradKernels<T>),
}

/// The outputs that a tile of Winograd's algorithm has along an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tile {
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

    pub(super) fn count(&self, params: &Conv2dParams) {
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
pub(super) struct Task {
    pub(super) direction: ConvDirection,
    pub(super) operation: &'static str,
    pub(super) correlation: Correlation,
    pub(super) batch: usize,
    pub(super) shapes: [ImageShape; 2],
}

impl Task {
    pub(super) fn new(params: &Conv2dParams, direction: ConvDirection) -> Self {
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
            batch: params.batch,
            shapes,
        }
    }
}

/// What [`Conv2dParams::algorithm`] tells.
pub(super) fn algorithm<T: Real + Compiled>(
    params: &Conv2dParams,
    direction: ConvDirection,
) -> Result<ConvAlgorithm> {
    Ok(plan::<T>(params, &Task::new(params, direction))?.algorithm())
}

/// Chooses for one direction.
pub(super) fn plan<T: Real + Compiled>(params: &Conv2dParams, task: &Task) -> Result<Plan<T>> {
    let Task {
        operation,
        correlation,
        shapes: [source, _],
        ..
    } = task;
    // Of the phases of a gradient, some have more taps than the first.
    let widest = match task.direction {
        ConvDirection::InputGradient => {
            let phase = [&params.rows, &params.columns].map(|axis| axis.phase_of_first_tap());
            Correlation::transposed(params, phase)
        }
        ConvDirection::Forward | ConvDirection::FilterGradient => *correlation,
    };
    let patches = |wanted| {
        if smallest_copy(&widest, *source) > LARGEST_COPY {
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
        ConvAlgorithm::Auto | ConvAlgorithm::AutoWithoutWinograd => {
            match winograd_that_pays(params, task) {
                Some(plan) => plan,
                None if product_pays(params, task) => Plan::Product,
                None if correlation.columns.targets < NARROW && !is_depthwise(params) => {
                    patches(Patches::Packed)
                }
                None => patches(Patches::InPlace),
            }
        }
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

/// The tile that multiplies least, if that outweighs the transforms and may be chosen.
fn winograd_that_pays<T: Compiled>(params: &Conv2dParams, task: &Task) -> Option<Plan<T>> {
    let outputs = task.shapes[1];
    if params.algorithm == ConvAlgorithm::AutoWithoutWinograd || !winograd_is_allowed() {
        return None;
    }
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
