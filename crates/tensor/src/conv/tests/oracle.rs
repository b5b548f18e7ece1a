//! Convolution by its definition: seven loops, sums in `f64`, geometry of its own.

use crate::conv::{Conv2dOptions, Padding};

/// A convolution as the oracle sees it.
#[derive(Clone, Debug)]
pub(super) struct Case {
    pub(super) input: [usize; 4],
    pub(super) filters: [usize; 4],
    pub(super) options: Conv2dOptions,
}

impl Case {
    /// Padding before, and outputs, along axis 0 (height) or 1 (width).
    fn axis(&self, axis: usize) -> (usize, usize) {
        let (before, outputs) = self.whole_axis(axis);
        (before, outputs.min(self.options.crop[axis]))
    }

    fn whole_axis(&self, axis: usize) -> (usize, usize) {
        let size = self.input[1 + axis];
        let stride = self.options.stride[axis];
        let reach = (self.filters[axis] - 1) * self.options.dilation[axis];
        match self.options.padding {
            Padding::Same => {
                let outputs = size.div_ceil(stride);
                let last = outputs.saturating_sub(1) * stride + reach;
                let missing = (last + 1).saturating_sub(size);
                (missing / 2, outputs)
            }
            Padding::Valid => (
                0,
                (0..size)
                    .step_by(stride)
                    .filter(|o| o + reach < size)
                    .count(),
            ),
            Padding::Explicit { height, width } => {
                let [before, after] = [height, width][axis];
                let padded = size + before + after;
                let starts = (0..padded).step_by(stride);
                (before, starts.filter(|o| o + reach < padded).count())
            }
        }
    }

    pub(super) fn output(&self) -> [usize; 4] {
        let [(_, height), (_, width)] = [self.axis(0), self.axis(1)];
        [self.input[0], height, width, self.filters[3]]
    }

    /// Calls `body(input index, filter index, output index)` for every product of the sum.
    pub(super) fn for_products(&self, mut body: impl FnMut(usize, usize, usize)) {
        let [batch, height, width, channels] = self.input;
        let [kernel_height, kernel_width, group_inputs, outputs] = self.filters;
        let group_outputs = outputs / self.options.groups;
        let [(top, rows), (left, columns)] = [self.axis(0), self.axis(1)];
        let [stride, dilation] = [self.options.stride, self.options.dilation];
        for n in 0..batch {
            for oy in 0..rows {
                for ox in 0..columns {
                    for ky in 0..kernel_height {
                        for kx in 0..kernel_width {
                            let y = (oy * stride[0] + ky * dilation[0]).wrapping_sub(top);
                            let x = (ox * stride[1] + kx * dilation[1]).wrapping_sub(left);
                            if y >= height || x >= width {
                                continue;
                            }
                            for co in 0..outputs {
                                let group = co / group_outputs;
                                for ci in 0..group_inputs {
                                    let c = group * group_inputs + ci;
                                    body(
                                        ((n * height + y) * width + x) * channels + c,
                                        ((ky * kernel_width + kx) * group_inputs + ci) * outputs
                                            + co,
                                        ((n * rows + oy) * columns + ox) * outputs + co,
                                    );
                                }
                            }
                        }
                    }
                }
            }
        }
    }

    pub(super) fn forward(&self, x: &[f64], w: &[f64]) -> Vec<f64> {
        let mut out = vec![0.0; self.output().iter().product()];
        self.for_products(|i, f, o| out[o] += x[i] * w[f]);
        out
    }

    pub(super) fn input_gradient(&self, dy: &[f64], w: &[f64]) -> Vec<f64> {
        let mut dx = vec![0.0; self.input.iter().product()];
        self.for_products(|i, f, o| dx[i] += dy[o] * w[f]);
        dx
    }

    pub(super) fn filter_gradient(&self, x: &[f64], dy: &[f64]) -> Vec<f64> {
        let mut dw = vec![0.0; self.filters.iter().product()];
        self.for_products(|i, f, o| dw[f] += x[i] * dy[o]);
        dw
    }
}
