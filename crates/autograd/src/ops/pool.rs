//! Max and average pooling of images.

use tensor::{Float, Pool2dOptions, PoolIndices, Result, Shape, Tensor};

use super::activation::gated;
use crate::backward::{Backward, InputGradients};
use crate::op::{Inputs, Op, composed};
use crate::samples::OpEntry;
use crate::saves::Saves;
use crate::var::{Var, keeps_nothing};

impl<T: Float> Var<T> {
    /// The largest value under each window of an image `[batch, height, width, channels]`; see
    /// [`Tensor::max_pool2d`]. Derivative: the gradient, for the element that won; the first of
    /// equal ones. Saves the winner's place in its window alone, a byte an output for windows of
    /// up to 256 positions.
    ///
    /// # Errors
    /// As [`Tensor::max_pool2d`].
    #[track_caller]
    pub fn max_pool2d(&self, options: &Pool2dOptions) -> Result<Var<T>> {
        composed("max_pool2d", || {
            if keeps_nothing(&[self]) {
                return Ok(Var::constant(self.value().max_pool2d_values(options)?));
            }
            MaxPool2d {
                options: *options,
                indices: None,
            }
            .apply(&[self])
        })
    }

    /// The mean under each window of an image `[batch, height, width, channels]`; see
    /// [`Tensor::avg_pool2d`]. Derivative: each gradient, shared equally among the elements of its
    /// window. Saves nothing.
    ///
    /// # Errors
    /// As [`Tensor::avg_pool2d`].
    #[track_caller]
    pub fn avg_pool2d(&self, options: &Pool2dOptions) -> Result<Var<T>> {
        AvgPool2d { options: *options }.apply(&[self])
    }
}

struct MaxPool2d {
    options: Pool2dOptions,
    /// Where the maxima were; known after the forward pass.
    indices: Option<PoolIndices>,
}

impl<T: Float> Op<T> for MaxPool2d {
    fn name(&self) -> &str {
        "max_pool2d"
    }
    fn forward(&mut self, inputs: Inputs<'_, T>) -> Result<Tensor<T>> {
        let [x] = inputs.exactly()?;
        let (y, indices) = x.max_pool2d(&self.options)?;
        self.indices = Some(indices);
        Ok(y)
    }
    fn saves(&self) -> Saves {
        Saves::NOTHING
    }
    fn extra_bytes(&self) -> usize {
        self.indices.as_ref().map_or(0, PoolIndices::bytes)
    }
    fn vjp(&self, at: &Backward<'_, T>, dy: &Var<T>) -> Result<InputGradients<T>> {
        let gate = at.gate(0);
        let is_gated = gate.is_some();
        let gradient = || {
            let Some(indices) = self.indices.clone() else {
                unreachable!("a recorded pooling has run forward");
            };
            MaxPool2dGradient {
                options: self.options,
                indices,
                input: at.input_shape(0)?,
                gate,
            }
            .apply(&[dy])
        };
        if is_gated {
            at.gradients().of_gated(0, gradient)
        } else {
            at.gradients().of(0, gradient)
        }
    }
    fn flops(&self, inputs: &[&Shape], _output: &Shape) -> u64 {
        inputs.first().map_or(0, |x| x.elements() as u64)
    }
}

/// A max pooling that follows something whose gradients read its gradient as it is.
#[derive(Clone)]
pub(super) struct Pooling {
    pub(super) options: Pool2dOptions,
    pub(super) indices: PoolIndices,
}

impl Pooling {
    /// The gradient with respect to what was pooled, of shape `input`.
    pub(super) fn spread<T: Float>(&self, dy: &Var<T>, input: Shape) -> Result<Var<T>> {
        MaxPool2dGradient {
            options: self.options,
            indices: self.indices.clone(),
            input,
            gate: None,
        }
        .apply(&[dy])
    }
}

/// The gradients at the places that won.
pub(super) struct MaxPool2dGradient<T: Float> {
    pub(super) options: Pool2dOptions,
    pub(super) indices: PoolIndices,
    pub(super) input: Shape,
    /// Lets the gradient through where it is positive.
    pub(super) gate: Option<Tensor<T>>,
}

impl<T: Float> Op<T> for MaxPool2dGradient<T> {
    fn name(&self) -> &str {
        "max_pool2d_gradient"
    }
    fn forward(&mut self, inputs: Inputs<'_, T>) -> Result<Tensor<T>> {
        let [dy] = inputs.exactly()?;
        match &self.gate {
            Some(gate) => dy.max_pool2d_gradient_gated(&self.indices, gate, &self.options),
            None => dy.max_pool2d_gradient(&self.indices, &self.input, &self.options),
        }
    }
    fn saves(&self) -> Saves {
        Saves::NOTHING
    }
    fn extra_bytes(&self) -> usize {
        self.indices.bytes()
    }
    fn vjp(&self, at: &Backward<'_, T>, ddx: &Var<T>) -> Result<InputGradients<T>> {
        at.gradients().of(0, || {
            let ddx = &match &self.gate {
                Some(gate) => gated(gate, ddx)?,
                None => ddx.clone(),
            };
            MaxPool2dGather {
                options: self.options,
                indices: self.indices.clone(),
            }
            .apply(&[ddx])
        })
    }
}

/// The elements at the places that won.
struct MaxPool2dGather {
    options: Pool2dOptions,
    indices: PoolIndices,
}

impl<T: Float> Op<T> for MaxPool2dGather {
    fn name(&self) -> &str {
        "max_pool2d_gather"
    }
    fn forward(&mut self, inputs: Inputs<'_, T>) -> Result<Tensor<T>> {
        let [x] = inputs.exactly()?;
        x.max_pool2d_gather(&self.indices, &self.options)
    }
    fn saves(&self) -> Saves {
        Saves::NOTHING
    }
    fn extra_bytes(&self) -> usize {
        self.indices.bytes()
    }
    fn vjp(&self, at: &Backward<'_, T>, dy: &Var<T>) -> Result<InputGradients<T>> {
        at.gradients().of(0, || {
            MaxPool2dGradient {
                options: self.options,
                indices: self.indices.clone(),
                input: at.input_shape(0)?,
                gate: None,
            }
            .apply(&[dy])
        })
    }
}

struct AvgPool2d {
    options: Pool2dOptions,
}

impl<T: Float> Op<T> for AvgPool2d {
    fn name(&self) -> &str {
        "avg_pool2d"
    }
    fn forward(&mut self, inputs: Inputs<'_, T>) -> Result<Tensor<T>> {
        let [x] = inputs.exactly()?;
        x.avg_pool2d(&self.options)
    }
    fn saves(&self) -> Saves {
        Saves::NOTHING
    }
    fn vjp(&self, at: &Backward<'_, T>, dy: &Var<T>) -> Result<InputGradients<T>> {
        at.gradients().of(0, || {
            AvgPool2dGradient {
                options: self.options,
                input: at.input_shape(0)?,
            }
            .apply(&[dy])
        })
    }
    fn flops(&self, inputs: &[&Shape], _output: &Shape) -> u64 {
        inputs.first().map_or(0, |x| x.elements() as u64)
    }
}

/// Each gradient shared among its window.
struct AvgPool2dGradient {
    options: Pool2dOptions,
    input: Shape,
}

impl<T: Float> Op<T> for AvgPool2dGradient {
    fn name(&self) -> &str {
        "avg_pool2d_gradient"
    }
    fn forward(&mut self, inputs: Inputs<'_, T>) -> Result<Tensor<T>> {
        let [dy] = inputs.exactly()?;
        dy.avg_pool2d_gradient(&self.input, &self.options)
    }
    fn saves(&self) -> Saves {
        Saves::NOTHING
    }
    fn vjp(&self, at: &Backward<'_, T>, ddx: &Var<T>) -> Result<InputGradients<T>> {
        at.gradients().of(0, || ddx.avg_pool2d(&self.options))
    }
}

#[inline]
pub(crate) fn entries() -> Vec<OpEntry> {
    use tensor::Padding;
    let plain = Pool2dOptions::new([2, 2]);
    // Everything differs per axis, windows overlap, and rows are left over.
    let odd = Pool2dOptions::new([3, 2])
        .stride([2, 1])
        .padding(Padding::Explicit {
            height: [1, 0],
            width: [0, 1],
        })
        .ceil_mode(true);
    let mut max = OpEntry::new(
        "max_pool2d",
        "`y = max x` under each window",
        "`dy` where the maximum was",
    )
    .edges("the first of equal values wins; padding never does; NaN wins over what is before it");
    let mut average = OpEntry::new(
        "avg_pool2d",
        "`y = Σ x / count` under each window",
        "`dy / count` over the window",
    )
    .edges("padding is not counted, or counts as zeros if asked for");
    let shapes: [&[usize]; 4] = [&[2, 4, 4, 2], &[1, 5, 4, 3], &[0, 4, 4, 1], &[1, 3, 5, 1]];
    for shape in shapes {
        for options in [plain, odd] {
            max = max
                .sample(&[shape], move |v| v[0].max_pool2d(&options))
                .distinct();
            average = average.sample(&[shape], move |v| v[0].avg_pool2d(&options));
        }
    }
    average = average.sample(&[&[1, 5, 4, 2]], move |v| {
        v[0].avg_pool2d(&odd.count_padding(true))
    });
    vec![max, average]
}
