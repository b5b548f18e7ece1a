//! Padding, and the arithmetic of a window that slides along one axis.

use std::fmt;

use crate::error::{Error, Result};

/// What surrounds an image so that a window may reach over its edge: zeros for convolution,
/// nothing at all for pooling (a padded position never wins a maximum).
///
/// With input size `n`, kernel `k`, dilation `d` and stride `s`, the dilated kernel covers
/// `e = (k − 1)·d + 1` positions and there are `(n + before + after − e) / s + 1` outputs,
/// rounded down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Padding {
    /// None: the window stays inside the image.
    #[default]
    Valid,
    /// As many outputs as `ceil(n / s)`. The total `max((outputs − 1)·s + e − n, 0)` is split
    /// evenly; an odd one goes to the bottom or right, as in Keras.
    Same,
    /// So many positions `[before, after]` on each axis.
    Explicit {
        /// Above and below.
        height: [usize; 2],
        /// Left and right.
        width: [usize; 2],
    },
}

impl Padding {
    /// `height` positions above and below, `width` positions left and right.
    ///
    /// ```
    /// use tensor::Padding;
    /// let padding = Padding::symmetric([1, 2]);
    /// assert_eq!(padding, Padding::Explicit { height: [1, 1], width: [2, 2] });
    /// ```
    pub fn symmetric([height, width]: [usize; 2]) -> Self {
        Padding::Explicit {
            height: [height, height],
            width: [width, width],
        }
    }
}

impl fmt::Display for Padding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Padding::Valid => f.write_str("valid"),
            Padding::Same => f.write_str("same"),
            Padding::Explicit { height, width } => {
                write!(f, "{height:?} (above, below), {width:?} (left, right)")
            }
        }
    }
}

/// The two spatial axes, for messages and for the choice of [`Padding::Explicit`]'s field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Axis {
    Height,
    Width,
}

impl Axis {
    fn name(self) -> &'static str {
        match self {
            Axis::Height => "height",
            Axis::Width => "width",
        }
    }
}

/// Whether a last window that reaches beyond the padding counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rounding {
    Down,
    /// It does, if it starts inside the input or the padding before it.
    Up,
}

/// The most positions of an input, of the padding on one side of it and of a dilated kernel. Sums of
/// several of them, and distances between any two, stay within `isize`.
const MOST_POSITIONS: usize = isize::MAX as usize / 16;

/// A window sliding along one axis, everything resolved: output `o` covers the input positions
/// `o·stride − before + tap·dilation` for `tap` in `0..kernel`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WindowAxis {
    pub(crate) input: usize,
    pub(crate) kernel: usize,
    pub(crate) stride: usize,
    pub(crate) dilation: usize,
    pub(crate) before: usize,
    pub(crate) after: usize,
    pub(crate) output: usize,
}

impl WindowAxis {
    /// Checks the parameters and computes padding and output size without overflow.
    pub(crate) fn resolve(
        operation: &str,
        axis: Axis,
        input: usize,
        kernel: usize,
        stride: usize,
        dilation: usize,
        padding: Padding,
        rounding: Rounding,
    ) -> Result<Self> {
        let name = axis.name();
        for (what, value) in [
            ("kernel", kernel),
            ("stride", stride),
            ("dilation", dilation),
        ] {
            if value == 0 {
                return Err(Error::value(
                    operation,
                    format!("the {what} is 0 along the {name}; it must be at least 1"),
                ));
            }
        }
        let overflow = || {
            Error::size(
                operation,
                format!("kernel, dilation and padding along the {name} exceed the address space"),
            )
        };
        let bounded = |value: Option<usize>| {
            let fits = value.filter(|&value| value <= MOST_POSITIONS);
            fits.ok_or_else(overflow)
        };
        let reach = (kernel - 1).checked_mul(dilation);
        let extent = bounded(reach.and_then(|reach| reach.checked_add(1)))?;
        bounded(Some(input))?;

        let (before, after) = match padding {
            Padding::Valid => (0, 0),
            Padding::Explicit { height, width } => {
                let [before, after] = match axis {
                    Axis::Height => height,
                    Axis::Width => width,
                };
                (bounded(Some(before))?, bounded(Some(after))?)
            }
            Padding::Same => {
                let output = input.div_ceil(stride);
                // `(output − 1)·stride < input`, so this cannot overflow.
                let total = match output {
                    0 => 0,
                    _ => ((output - 1) * stride + extent).saturating_sub(input),
                };
                (total / 2, total - total / 2)
            }
        };
        let padded = input + before + after;
        let output = if padding == Padding::Same {
            input.div_ceil(stride)
        } else if let Some(room) = padded.checked_sub(extent) {
            match rounding {
                Rounding::Down => room / stride + 1,
                Rounding::Up => {
                    let last = room.div_ceil(stride);
                    // Of the last window, at least the first position must not be padding after.
                    if last.saturating_mul(stride) >= input + before {
                        last.max(1)
                    } else {
                        last + 1
                    }
                }
            }
        } else {
            let covers = if dilation == 1 {
                format!("the kernel covers {extent}")
            } else {
                format!("the kernel of {kernel} with dilation {dilation} covers {extent}")
            };
            let has = if before + after == 0 {
                format!("the input has {input}")
            } else {
                format!("the input has {input} and {before} + {after} of padding")
            };
            return Err(Error::shape(
                operation,
                format!("the input is smaller than the kernel along the {name}: {covers}, {has}"),
            )
            .fix("use a larger input, a smaller kernel, or `Padding::Same`"));
        };
        Ok(WindowAxis {
            input,
            kernel,
            // There is no second window so far on; a smaller number keeps later products small.
            stride: stride.min(padded.max(1)),
            // A single tap has no neighbour; 1 keeps later products small.
            dilation: if kernel == 1 { 1 } else { dilation },
            before,
            after,
            output,
        })
    }

    /// The remainder modulo the stride of the input positions that meet tap 0; none meets more taps.
    pub(crate) fn phase_of_first_tap(&self) -> usize {
        (self.stride - self.before % self.stride) % self.stride
    }

    /// Positions that products of sizes are made of, at most: input, padding and once more the
    /// kernel, for a gradient slides it over the outputs.
    pub(crate) fn positions(&self) -> usize {
        self.input + self.before + self.after + (self.kernel - 1) * self.dilation
    }

    /// The input position under tap 0 of output `o`; negative inside the padding before.
    #[inline]
    pub(crate) fn start(&self, o: usize) -> isize {
        (o * self.stride) as isize - self.before as isize
    }

    /// The taps of output `o` that lie on the input, not on padding.
    #[inline]
    pub(crate) fn taps(&self, o: usize) -> std::ops::Range<usize> {
        let start = self.start(o);
        let dilation = self.dilation as isize;
        let first = if start < 0 {
            (-start + dilation - 1) / dilation
        } else {
            0
        };
        let end = (self.input as isize - start + dilation - 1).max(0) / dilation;
        let end = (end as usize).min(self.kernel);
        (first as usize).min(end)..end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn axis(
        input: usize,
        kernel: usize,
        stride: usize,
        dilation: usize,
        before_after: Option<[usize; 2]>,
    ) -> WindowAxis {
        let padding = match before_after {
            Some(width) => Padding::Explicit {
                height: [99, 99],
                width,
            },
            None => Padding::Same,
        };
        WindowAxis::resolve(
            "test",
            Axis::Width,
            input,
            kernel,
            stride,
            dilation,
            padding,
            Rounding::Down,
        )
        .unwrap()
    }

    #[test]
    fn same_padding_is_that_of_keras() {
        // (input, kernel, stride, dilation) → (output, before, after), from TensorFlow's rule.
        for ((n, k, s, d), expected) in [
            ((100, 3, 1, 1), (100, 1, 1)),
            ((100, 3, 2, 1), (50, 0, 1)),
            ((101, 3, 2, 1), (51, 1, 1)),
            ((7, 2, 1, 1), (7, 0, 1)),
            ((7, 4, 3, 1), (3, 1, 2)),
            ((5, 3, 1, 2), (5, 2, 2)),
            ((10, 1, 3, 1), (4, 0, 0)),
            ((1, 5, 1, 1), (1, 2, 2)),
            ((0, 3, 1, 1), (0, 0, 0)),
        ] {
            let a = axis(n, k, s, d, None);
            assert_eq!((a.output, a.before, a.after), expected, "{n} {k} {s} {d}");
        }
    }

    #[test]
    fn taps_are_those_with_a_position() {
        for input in 0..6 {
            for kernel in 1..5 {
                for stride in 1..4 {
                    for dilation in 1..4 {
                        for pads in [[0, 0], [2, 1], [7, 9]] {
                            let extent = (kernel - 1) * dilation + 1;
                            if input + pads[0] + pads[1] < extent {
                                continue;
                            }
                            let a = axis(input, kernel, stride, dilation, Some(pads));
                            for o in 0..a.output {
                                let expected: Vec<usize> = (0..kernel)
                                    .filter(|&t| {
                                        let position = a.start(o) + (t * dilation) as isize;
                                        (0..input as isize).contains(&position)
                                    })
                                    .collect();
                                assert_eq!(a.taps(o).collect::<Vec<_>>(), expected, "{a:?} {o}");
                            }
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn hostile_parameters_are_errors() {
        let huge = usize::MAX;
        for (n, k, s, d, pad) in [
            (5, 0, 1, 1, [0, 0]),
            (5, 3, 0, 1, [0, 0]),
            (5, 3, 1, 0, [0, 0]),
            (5, huge, 1, 1, [0, 0]),
            (5, 3, 1, huge, [0, 0]),
            // Whose products with the kernel end at, or wrap around to, few positions.
            (5, 2, 1, huge, [0, 0]),
            (5, 4, 1, huge / 3, [0, 0]),
            (5, 5, 1, huge / 4 + 1, [0, 0]),
            (5, 3, 1, 1, [huge, 0]),
            (5, 3, 1, 1, [huge / 2, huge / 2]),
            (huge, 1, 1, 1, [0, 0]),
            (5, 4, 1, 2, [0, 1]),
        ] {
            let padding = Padding::Explicit {
                height: [0, 0],
                width: pad,
            };
            // Without padding of its own a case may as well ask for as much as it needs.
            let same = (pad == [0, 0]).then_some(Padding::Same);
            for padding in [padding].into_iter().chain(same) {
                for rounding in [Rounding::Down, Rounding::Up] {
                    let resolved =
                        WindowAxis::resolve("test", Axis::Width, n, k, s, d, padding, rounding);
                    assert!(resolved.is_err(), "{n} {k} {s} {d} {padding}");
                }
            }
        }
        assert_eq!(axis(5, 3, huge, 1, Some([0, 0])).output, 1);
        assert_eq!(axis(5, 3, huge, 1, None).output, 1);
        assert_eq!(axis(5, 1, 1, huge, Some([0, 0])).output, 5);
    }
}
