//! The algorithms that a caller can choose, and what a process allows.

use std::sync::atomic::{AtomicBool, Ordering};

/// How a convolution is computed.
///
/// All algorithms compute the same sums; what they round, and how far a rounding error reaches,
/// differs. With `u = 2⁻²⁴` for `f32` and to first order in `u`:
///
/// - [`Im2col`](Self::Im2col) and [`Direct`](Self::Direct) round the sum of each output alone. Of `n`
///   products, its error is at most `(n + 1) · u` times the sum of their magnitudes.
/// - [`Winograd`](Self::Winograd) and [`Winograd2x2`](Self::Winograd2x2) mix the pixels of a tile, so
///   that the error of an output follows the largest magnitude in its tile, even where its own window
///   holds small numbers only. At most it is
///
///   | | |
///   |---|---|
///   | output | `K · (C + 27) · u · max\|x\| · Σ\|w\|` |
///   | gradient with respect to the input | `K · (C + 27) · u · max\|dy\| · Σ\|w\|` |
///   | gradient with respect to the filters | `K · (N + 27) · u · max\|x\| · Σ\|dy\|` |
///
///   with `K = 160` for `Winograd` and 16 for `Winograd2x2`. `C` is the number of channels that are
///   summed over, and `N` that of the tiles in all images. The first maximum is over all channels of
///   the tile of 6×6 (4×4) pixels that the output is computed from; so a large pixel has an effect up to
///   three pixels (one pixel) beyond its window. `Σ|w|` is over all filter numbers of the output's (the
///   input's) channel. For filters the maximum is over all images, and `Σ|dy|` over all pixels of the
///   output's channel. On ordinary data errors are as small as those of the others; with one pixel of
///   10⁸ among ones, an output of 7 may be wrong by as much.
///
/// What is not finite stays where it belongs with every algorithm: an infinity or NaN reaches the
/// outputs, the inputs' gradients and the filters' gradients that it is multiplied into, and a number
/// that overflows nothing but the transforms does no harm. Winograd's algorithm computes tiles directly
/// that are not finite, and gradients of filters as a whole. Whether what is multiplied by zeros of the
/// padding alone counts is left open.
///
/// Who wants no errors beyond those of the direct sums takes
/// [`AutoWithoutWinograd`](Self::AutoWithoutWinograd) for a convolution, or
/// [`allow_winograd(false)`](Self::allow_winograd) for the whole process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ConvAlgorithm {
    /// The fastest for the geometry, by measurement.
    #[default]
    Auto,
    /// The fastest for the geometry but for Winograd's algorithm: one that forms the products of the
    /// definition, each of two numbers as they are.
    AutoWithoutWinograd,
    /// Patches of a block of output pixels are packed into the rows of a matrix, which is
    /// multiplied with the filters. Takes every geometry and element type.
    ///
    /// Where [`Auto`](Self::Auto) has chosen, the name also stands for matrix products that need no
    /// packing: those of 1×1 kernels, and of large filters' gradients, tap by tap.
    Im2col,
    /// Minimal filtering F(4×4, 3×3): a quarter of the multiplications, for a slightly larger
    /// rounding error (Lavin & Gray, *Fast Algorithms for Convolutional Neural Networks*, 2015).
    ///
    /// For `f32`, kernel 3×3, stride 1, dilation 1 and one group; an error elsewhere.
    Winograd,
    /// Minimal filtering F(2×2, 3×3): four ninths of the multiplications, with the rounding error
    /// of a direct computation on ordinary data. For the same geometries.
    Winograd2x2,
    /// The filters are applied to the image in place, no patch is ever copied. Takes every
    /// geometry and element type.
    Direct,
}

impl ConvAlgorithm {
    /// Its name in profiles: `"auto"`, `"auto_without_winograd"`, `"im2col"`, `"winograd"`,
    /// `"winograd_2x2"` or `"direct"`.
    pub fn name(self) -> &'static str {
        match self {
            ConvAlgorithm::Auto => "auto",
            ConvAlgorithm::AutoWithoutWinograd => "auto_without_winograd",
            ConvAlgorithm::Im2col => "im2col",
            ConvAlgorithm::Winograd => "winograd",
            ConvAlgorithm::Winograd2x2 => "winograd_2x2",
            ConvAlgorithm::Direct => "direct",
        }
    }

    /// Sets whether [`Auto`](Self::Auto) may choose Winograd's algorithm, in the whole process and from
    /// the next convolution or gradient on; at first it may. Convolutions that ask for
    /// [`Winograd`](Self::Winograd) by name are computed by it all the same.
    ///
    /// ```standalone_crate
    /// use tensor::{Conv2dOptions, Conv2dParams, ConvAlgorithm, ConvDirection};
    /// let params = Conv2dParams::new(&[8, 32, 32, 16], &[3, 3, 16, 16], &Conv2dOptions::new())?;
    /// let chosen = || params.algorithm::<f32>(ConvDirection::Forward);
    /// assert_eq!(chosen()?, ConvAlgorithm::Winograd);
    /// ConvAlgorithm::allow_winograd(false);
    /// assert_eq!(chosen()?, ConvAlgorithm::Direct);
    /// # Ok::<(), tensor::Error>(())
    /// ```
    pub fn allow_winograd(allowed: bool) {
        WINOGRAD_IS_ALLOWED.store(allowed, Ordering::Relaxed);
    }
}

/// What [`ConvAlgorithm::allow_winograd`] has set.
static WINOGRAD_IS_ALLOWED: AtomicBool = AtomicBool::new(true);

/// Whether [`ConvAlgorithm::Auto`] may choose Winograd's algorithm.
pub(super) fn winograd_is_allowed() -> bool {
    WINOGRAD_IS_ALLOWED.load(Ordering::Relaxed)
}
