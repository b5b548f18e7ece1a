//! Counters: which algorithms ran, and how much they multiplied.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// What convolutions of this process have done so far, their gradients included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConvStatistics {
    /// Multiplications that were done, those with padding included.
    pub multiplications: u64,
    /// Multiplications that [`Conv2dParams::multiplications`](crate::Conv2dParams::multiplications)
    /// counts for the same convolutions.
    pub direct_multiplications: u64,
    /// Convolutions and gradients computed by
    /// [`ConvAlgorithm::Im2col`](crate::ConvAlgorithm::Im2col).
    pub im2col: u64,
    /// … by [`ConvAlgorithm::Direct`](crate::ConvAlgorithm::Direct).
    pub direct: u64,
    /// … by [`ConvAlgorithm::Winograd`](crate::ConvAlgorithm::Winograd).
    pub winograd: u64,
    /// … by [`ConvAlgorithm::Winograd2x2`](crate::ConvAlgorithm::Winograd2x2).
    pub winograd_2x2: u64,
    /// … by the kernels for depthwise convolution, which belong to
    /// [`ConvAlgorithm::Direct`](crate::ConvAlgorithm::Direct).
    pub depthwise: u64,
    /// … as matrix products, one for each tap, for 1×1 kernels and gradients of many filters. Where
    /// an algorithm is named, it belongs to [`ConvAlgorithm::Im2col`](crate::ConvAlgorithm::Im2col).
    pub product: u64,
    /// Transforms of filters for Winograd's algorithm, forward and for gradients with respect to
    /// inputs. From the second convolution with the same filters on, those of up to 2²⁰ numbers are kept
    /// until the filters are written.
    pub filter_transforms: u64,
    /// Tiles of Winograd's algorithm that were computed directly because something in them was not
    /// finite.
    pub direct_tiles: u64,
}

/// One of the fields of [`ConvStatistics`].
#[derive(Clone, Copy, Debug)]
pub(super) enum Counter {
    Multiplications,
    DirectMultiplications,
    Im2col,
    Direct,
    Winograd,
    Winograd2x2,
    Depthwise,
    Product,
    FilterTransforms,
    DirectTiles,
}

static COUNTERS: [AtomicU64; 10] = [const { AtomicU64::new(0) }; 10];

/// Adds to a counter.
pub(super) fn count(counter: Counter, amount: u64) {
    COUNTERS[counter as usize].fetch_add(amount, Relaxed);
}

/// Adds the product of `factors` to the multiplications; called once a block of work.
pub(super) fn count_multiplications<const N: usize>(factors: [usize; N]) {
    let product = factors.into_iter().fold(1, u64_times);
    count(Counter::Multiplications, product);
}

fn u64_times(product: u64, factor: usize) -> u64 {
    product.saturating_mul(factor as u64)
}

/// What convolutions of this process have done so far.
///
/// ```
/// use tensor::{Conv2dOptions, Padding, Tensor, conv_statistics};
/// let before = conv_statistics();
/// let x = Tensor::<f32>::ones([1, 32, 32, 16])?;
/// let w = Tensor::ones([3, 3, 16, 16])?;
/// x.conv2d(&w, &Conv2dOptions::new().padding(Padding::Same))?;
/// let after = conv_statistics();
/// assert_eq!(after.direct_multiplications - before.direct_multiplications, 32 * 32 * 16 * 9 * 16);
/// # Ok::<(), tensor::Error>(())
/// ```
pub fn conv_statistics() -> ConvStatistics {
    let read = |counter: Counter| COUNTERS[counter as usize].load(Relaxed);
    ConvStatistics {
        multiplications: read(Counter::Multiplications),
        direct_multiplications: read(Counter::DirectMultiplications),
        im2col: read(Counter::Im2col),
        direct: read(Counter::Direct),
        winograd: read(Counter::Winograd),
        winograd_2x2: read(Counter::Winograd2x2),
        depthwise: read(Counter::Depthwise),
        product: read(Counter::Product),
        filter_transforms: read(Counter::FilterTransforms),
        direct_tiles: read(Counter::DirectTiles),
    }
}
