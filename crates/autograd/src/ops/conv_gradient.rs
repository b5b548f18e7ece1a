//! The gradients of a convolution, which are operations with derivatives of their own.

use tensor::{Conv2dOptions, ConvDirection, Float, Result, Shape, Tensor};

use super::activation::gated;
use super::conv::{algorithm, flops};
use super::pool::Pooling;
use crate::backward::{Backward, InputGradients};
use crate::op::{Inputs, Op};
use crate::saves::Saves;
use crate::var::{Var, keeps_nothing};

/// Of the images (input 0), the filters (input 1) and, unless there is none, the bias (input 2),
/// from the gradient of what they gave.
pub(super) fn gradients<T: Float>(
    at: &Backward<'_, T>,
    dy: &Var<T>,
    options: &Conv2dOptions,
) -> Result<InputGradients<T>> {
    let gradients = input_gradient(at, dy, options, None)?;
    if at.arity() == 3 && at.wants(1) && at.wants(2) {
        let (x, filters) = (at.input(0)?, at.input_shape(1)?);
        // As parts of one result they would make a recorded gradient harder to read.
        if keeps_nothing(&[&x, dy]) {
            let rows = x.conv2d_filter_and_bias_gradient(dy, &filters, options)?;
            let [dw, db] = split_rows(&rows, &filters)?;
            return gradients.of(1, || Ok(dw))?.of(2, || Ok(db));
        }
    }
    let gradients = gradients.of(1, || {
        let x = at.input(0)?;
        x.conv2d_filter_gradient(dy, &at.input_shape(1)?, options)
    })?;
    match at.arity() {
        3 => gradients.of(2, || dy.sum([0, 1, 2])),
        _ => Ok(gradients),
    }
}

/// [`gradients`], all of them and not recorded, from the gradient of what a pooling made of what they
/// gave.
pub(super) fn pooled_gradients<T: Float>(
    at: &Backward<'_, T>,
    dy: &Var<T>,
    options: &Conv2dOptions,
    pooling: &Pooling,
) -> Result<InputGradients<T>> {
    let gradients = input_gradient(at, dy, options, Some(pooling))?;
    let filters = at.input_shape(1)?;
    let mut op = FilterGradient::new(&filters, options, true);
    op.pooling = Some(pooling.clone());
    let rows = op.apply(&[&at.input(0)?, dy])?;
    let [dw, db] = split_rows(&rows, &filters)?;
    gradients.of(1, || Ok(dw))?.of(2, || Ok(db))
}

/// The gradients with respect to filters and bias from rows that hold both.
fn split_rows<T: Float>(rows: &Var<T>, filters: &Shape) -> Result<[Var<T>; 2]> {
    let last = filters[..3].iter().product::<usize>();
    let dw = rows.slice_axis(0, ..-1)?.reshape(filters)?;
    Ok([dw, rows.index_axis(0, last)?])
}

/// Of the images (input 0), if wanted, through their gate if they have one.
fn input_gradient<T: Float>(
    at: &Backward<'_, T>,
    dy: &Var<T>,
    options: &Conv2dOptions,
    pooling: Option<&Pooling>,
) -> Result<InputGradients<T>> {
    let gate = at.gate(0);
    let is_gated = gate.is_some();
    let gradient = || {
        let op = InputGradient {
            options: *options,
            input: at.input_shape(0)?,
            gate,
            pooling: pooling.cloned(),
        };
        op.apply(&[dy, &at.input(1)?])
    };
    match is_gated {
        true => at.gradients().of_gated(0, gradient),
        false => at.gradients().of(0, gradient),
    }
}

pub(super) struct InputGradient<T: Float> {
    pub(super) options: Conv2dOptions,
    pub(super) input: Shape,
    /// Lets the gradient through where it is positive.
    pub(super) gate: Option<Tensor<T>>,
    /// What the gradient has still to be spread out by, as none of it is in memory.
    pub(super) pooling: Option<Pooling>,
}

impl<T: Float> Op<T> for InputGradient<T> {
    fn name(&self) -> &str {
        "conv2d_input_gradient"
    }
    fn forward(&mut self, inputs: Inputs<'_, T>) -> Result<Tensor<T>> {
        let [dy, w] = inputs.exactly()?;
        let (options, gate) = (&self.options, self.gate.as_ref());
        match (&self.pooling, gate) {
            (Some(pooling), _) => dy.conv2d_input_gradient_pooled(
                &pooling.indices,
                w,
                &self.input,
                gate,
                options,
                &pooling.options,
            ),
            (None, Some(gate)) => dy.conv2d_input_gradient_gated(w, gate, options),
            (None, None) => dy.conv2d_input_gradient(w, &self.input, options),
        }
    }
    fn saves(&self) -> Saves {
        Saves::INPUTS.for_others()
    }
    fn vjp(&self, at: &Backward<'_, T>, ddx: &Var<T>) -> Result<InputGradients<T>> {
        let ddx = &match &self.gate {
            Some(gate) => gated(gate, ddx)?,
            None => ddx.clone(),
        };
        is_spread_out(&self.pooling)?;
        at.gradients()
            .of(0, || ddx.conv2d(&at.input(1)?, &self.options))?
            .of(1, || {
                ddx.conv2d_filter_gradient(&at.input(0)?, &at.input_shape(1)?, &self.options)
            })
    }
    fn algorithm(&self, inputs: &[&Shape]) -> Option<&'static str> {
        let shapes = [&self.input, inputs[1]];
        algorithm::<T>(ConvDirection::InputGradient, shapes, &self.options)
    }
    fn flops(&self, inputs: &[&Shape], output: &Shape) -> u64 {
        match inputs {
            [_, w] => flops([output, w], &self.options),
            _ => 0,
        }
    }
}

/// Whether a gradient has a derivative here: one that a pooling has not spread out is not recorded.
fn is_spread_out(pooling: &Option<Pooling>) -> Result<()> {
    match pooling {
        None => Ok(()),
        Some(_) => Err(tensor::Error::unsupported(
            "conv2d",
            "a gradient that reads a pooling's gradient as it is has no derivative",
        )),
    }
}

pub(super) struct FilterGradient {
    options: Conv2dOptions,
    filters: Shape,
    /// Whether the sums of the gradient follow in a last row.
    bias: bool,
    /// What the gradient has still to be spread out by; with a bias only.
    pooling: Option<Pooling>,
}

impl FilterGradient {
    pub(super) fn new(filters: &[usize], options: &Conv2dOptions, bias: bool) -> Self {
        FilterGradient {
            options: *options,
            filters: filters.into(),
            bias,
            pooling: None,
        }
    }
}

impl<T: Float> Op<T> for FilterGradient {
    fn name(&self) -> &str {
        "conv2d_filter_gradient"
    }
    fn forward(&mut self, inputs: Inputs<'_, T>) -> Result<Tensor<T>> {
        let [x, dy] = inputs.exactly()?;
        if let Some(pooling) = &self.pooling {
            return x.conv2d_filter_and_bias_gradient_pooled(
                dy,
                &pooling.indices,
                &self.filters,
                &self.options,
                &pooling.options,
            );
        }
        if self.bias {
            return x.conv2d_filter_and_bias_gradient(dy, &self.filters, &self.options);
        }
        x.conv2d_filter_gradient(dy, &self.filters, &self.options)
    }
    fn saves(&self) -> Saves {
        Saves::INPUTS.for_others()
    }
    fn vjp(&self, at: &Backward<'_, T>, ddw: &Var<T>) -> Result<InputGradients<T>> {
        is_spread_out(&self.pooling)?;
        let (ddw, ddb) = match self.bias {
            true => {
                let [filters, bias] = split_rows(ddw, &self.filters)?;
                (filters, Some(bias))
            }
            false => (ddw.clone(), None),
        };
        at.gradients()
            .of(0, || {
                let dy = at.input(1)?;
                dy.conv2d_input_gradient(&ddw, &at.input_shape(0)?, &self.options)
            })?
            .of(1, || match &ddb {
                Some(ddb) => at.input(0)?.conv2d_bias(&ddw, ddb, false, &self.options),
                None => at.input(0)?.conv2d(&ddw, &self.options),
            })
    }
    fn algorithm(&self, inputs: &[&Shape]) -> Option<&'static str> {
        let shapes = [inputs[0], &self.filters];
        algorithm::<T>(ConvDirection::FilterGradient, shapes, &self.options)
    }
    fn flops(&self, inputs: &[&Shape], _output: &Shape) -> u64 {
        match inputs {
            [x, _] => flops([x, &self.filters], &self.options),
            _ => 0,
        }
    }
}
