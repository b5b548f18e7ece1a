//! The options of a pooling, and the geometry that follows from them and the input's shape.

use crate::conv::padding::{Axis, Padding, Rounding, WindowAxis};
use crate::error::{Error, Result};
use crate::shape::Shape;

/// Window, stride, padding and rounding of a two-dimensional pooling.
///
/// Each pair is `[height, width]`. By default the stride is the window's size, there is no
/// padding, an incomplete last window is dropped, and averages do not count padding.
///
/// ```
/// use tensor::Pool2dOptions;
/// let options = Pool2dOptions::new([2, 2]);
/// assert_eq!(options.output_shape(&[32, 49, 49, 64])?, [32, 24, 24, 64]);
/// assert_eq!(options.ceil_mode(true).output_shape(&[32, 49, 49, 64])?, [32, 25, 25, 64]);
/// # Ok::<(), tensor::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[must_use]
pub struct Pool2dOptions {
    pub(crate) window: [usize; 2],
    pub(crate) stride: [usize; 2],
    pub(crate) padding: Padding,
    pub(crate) ceil_mode: bool,
    pub(crate) count_padding: bool,
}

impl Pool2dOptions {
    /// Whether windows are 2×2, side by side, and inside the image.
    pub(crate) fn is_pairs(&self) -> bool {
        self.window == [2, 2]
            && self.stride == [2, 2]
            && self.padding == Padding::Valid
            && !self.ceil_mode
    }

    /// A window of `[height, width]`, moved by its own size.
    pub fn new(window: [usize; 2]) -> Self {
        Pool2dOptions {
            window,
            stride: window,
            padding: Padding::Valid,
            ceil_mode: false,
            count_padding: false,
        }
    }

    /// The distance between neighbouring windows, at least 1.
    pub fn stride(mut self, stride: [usize; 2]) -> Self {
        self.stride = stride;
        self
    }

    /// How far windows may reach over the edge; on each side less than the window's size.
    pub fn padding(mut self, padding: Padding) -> Self {
        self.padding = padding;
        self
    }

    /// Whether an incomplete last window gives an output too: the output size is rounded up, as
    /// far as the last window still starts on the input or the padding before it (PyTorch's rule).
    pub fn ceil_mode(mut self, ceil_mode: bool) -> Self {
        self.ceil_mode = ceil_mode;
        self
    }

    /// Whether an average divides by the window's size with its padding (PyTorch's default)
    /// instead of the number of input values under it (Keras). What reaches beyond the padding in
    /// [`ceil_mode`](Self::ceil_mode) never counts.
    pub fn count_padding(mut self, count_padding: bool) -> Self {
        self.count_padding = count_padding;
        self
    }

    /// The shape `[batch, height, width, channels]` that pooling returns for an input of shape
    /// `[batch, height, width, channels]`.
    ///
    /// # Errors
    /// As [`Pool2dParams::new`].
    pub fn output_shape(&self, input: &[usize]) -> Result<Shape> {
        Ok(Pool2dParams::new(input, self)?.output_shape())
    }
}

/// The checked geometry of one pooling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pool2dParams {
    pub(crate) batch: usize,
    pub(crate) rows: WindowAxis,
    pub(crate) columns: WindowAxis,
    pub(crate) channels: usize,
    pub(crate) count_padding: bool,
}

impl Pool2dParams {
    /// The geometry of `options` on an input `[batch, height, width, channels]`.
    ///
    /// # Errors
    /// If the input has not four axes, a window size or stride is 0, a padding is not smaller than
    /// the window, the window is larger than the padded input, an image without rows or columns
    /// would have outputs, or a size exceeds the address space.
    pub fn new(input: &[usize], options: &Pool2dOptions) -> Result<Self> {
        Self::resolve("pool2d", input, options)
    }

    /// [`Pool2dParams::new`] on behalf of `operation`.
    pub(crate) fn resolve(
        operation: &str,
        input: &[usize],
        options: &Pool2dOptions,
    ) -> Result<Self> {
        Self::checked(operation, input, options).map_err(|error| {
            error
                .with(
                    "input",
                    format!("{input:?}   (batch, height, width, channels)"),
                )
                .with("window", format!("{:?}", options.window))
                .with("stride", format!("{:?}", options.stride))
                .with("padding", options.padding)
        })
    }

    fn checked(operation: &str, input: &[usize], options: &Pool2dOptions) -> Result<Self> {
        let &[batch, height, width, channels] = input else {
            return Err(Error::shape(
                operation,
                format!("the input must have 4 axes, not {}", input.len()),
            )
            .fix("reshape it to (batch, height, width, channels)"));
        };
        let rounding = if options.ceil_mode {
            Rounding::Up
        } else {
            Rounding::Down
        };
        let axis = |axis, size, i: usize| {
            let resolved = WindowAxis::resolve(
                operation,
                axis,
                size,
                options.window[i],
                options.stride[i],
                1,
                options.padding,
                rounding,
            )?;
            let WindowAxis {
                before,
                after,
                kernel,
                ..
            } = resolved;
            if before.max(after) >= kernel {
                return Err(Error::value(
                    operation,
                    format!(
                        "a padding of {} lets a window of {kernel} see nothing but padding",
                        before.max(after)
                    ),
                )
                .fix("use a padding smaller than the window"));
            }
            if size == 0 && resolved.output > 0 {
                return Err(Error::shape(
                    operation,
                    "the image is empty, so its windows would hold nothing but padding",
                ));
            }
            Ok(resolved)
        };
        let params = Pool2dParams {
            batch,
            rows: axis(Axis::Height, height, 0)?,
            columns: axis(Axis::Width, width, 1)?,
            channels,
            count_padding: options.count_padding,
        };
        // Kernels number the taps of a window, and index with products of some of the sizes.
        let window = Shape::from([params.rows.kernel, params.columns.kernel]);
        for shape in [params.input_shape(), params.output_shape(), window] {
            shape.check_products(operation)?;
        }
        Ok(params)
    }

    /// `[batch, height, width, channels]`.
    pub fn input_shape(&self) -> Shape {
        Shape::from([
            self.batch,
            self.rows.input,
            self.columns.input,
            self.channels,
        ])
    }

    /// `[batch, height, width, channels]`.
    pub fn output_shape(&self) -> Shape {
        Shape::from([
            self.batch,
            self.rows.output,
            self.columns.output,
            self.channels,
        ])
    }

    /// Positions in one window.
    pub(crate) fn window_area(&self) -> usize {
        self.rows.kernel.saturating_mul(self.columns.kernel)
    }

    /// What the sum of window (`row`, `column`) is divided by for its average.
    pub(crate) fn divisor(&self, row: usize, column: usize) -> usize {
        let count = |axis: &WindowAxis, o: usize| {
            if self.count_padding {
                let end = (axis.input + axis.after) as isize;
                (end - axis.start(o)).min(axis.kernel as isize) as usize
            } else {
                axis.taps(o).len()
            }
        };
        count(&self.rows, row).saturating_mul(count(&self.columns, column))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ceil_mode_follows_pytorch() {
        // (size, window, stride, padding) → outputs of torch.nn.MaxPool1d with ceil_mode.
        for ((n, k, s, p), floor, ceil) in [
            ((5, 2, 2, 0), 2, 3),
            ((6, 2, 2, 0), 3, 3),
            ((6, 3, 2, 1), 3, 4),
            ((7, 3, 3, 1), 3, 3),
            ((5, 3, 4, 1), 2, 2),
            ((1, 1, 4, 0), 1, 1),
            ((4, 1, 2, 0), 2, 2),
            ((5, 2, 5, 1), 2, 2),
            ((4, 2, 5, 1), 1, 1),
        ] {
            let options = Pool2dOptions::new([k, 1])
                .stride([s, 1])
                .padding(Padding::symmetric([p, 0]));
            let height = |options: Pool2dOptions| options.output_shape(&[1, n, 1, 1]).unwrap()[1];
            assert_eq!(height(options), floor, "{n} {k} {s} {p}");
            assert_eq!(height(options.ceil_mode(true)), ceil, "{n} {k} {s} {p}");
        }
    }

    #[test]
    fn errors_read_well() {
        let message = |options: Pool2dOptions, input: &[usize]| {
            Pool2dParams::resolve("max_pool2d", input, &options)
                .unwrap_err()
                .to_string()
        };
        assert_eq!(
            message(Pool2dOptions::new([2, 3]).stride([1, 2]), &[8, 7, 2, 4]),
            "max_pool2d: the input is smaller than the kernel along the width: the kernel covers \
             3, the input has 2\n  \
             input    [8, 7, 2, 4]   (batch, height, width, channels)\n  \
             window   [2, 3]\n  \
             stride   [1, 2]\n  \
             padding  valid\n  \
             fix: use a larger input, a smaller kernel, or `Padding::Same`"
        );
        let padded = Pool2dOptions::new([2, 2]).padding(Padding::symmetric([2, 0]));
        assert_eq!(
            message(padded, &[8, 7, 7, 4]),
            "max_pool2d: a padding of 2 lets a window of 2 see nothing but padding\n  \
             input    [8, 7, 7, 4]   (batch, height, width, channels)\n  \
             window   [2, 2]\n  \
             stride   [2, 2]\n  \
             padding  [2, 2] (above, below), [0, 0] (left, right)\n  \
             fix: use a padding smaller than the window"
        );
        let empty = Pool2dOptions::new([2, 2]).padding(Padding::symmetric([1, 1]));
        assert!(message(empty, &[1, 0, 3, 1]).contains("empty"));
    }

    #[test]
    fn divisors_count_what_they_should() {
        let options = Pool2dOptions::new([3, 2])
            .stride([2, 2])
            .padding(Padding::Explicit {
                height: [1, 0],
                width: [0, 1],
            })
            .ceil_mode(true);
        let params = Pool2dParams::new(&[1, 5, 5, 1], &options).unwrap();
        // Rows: windows at −1, 1, 3 and columns: windows at 0, 2, 4 of an input of 5.
        assert_eq!(params.output_shape(), [1, 3, 3, 1]);
        let divisors = |params: Pool2dParams| -> Vec<usize> {
            (0..3)
                .flat_map(|r| (0..3).map(move |c| params.divisor(r, c)))
                .collect()
        };
        assert_eq!(divisors(params), [4, 4, 2, 6, 6, 3, 4, 4, 2]);
        let counting = Pool2dParams::new(&[1, 5, 5, 1], &options.count_padding(true)).unwrap();
        assert_eq!(divisors(counting), [6, 6, 6, 6, 6, 6, 4, 4, 4]);
    }
}
