//! Running the layers: once over a batch, with or without a tape.

use autograd::{Tape, Var};
use tensor::{Error, Float, Shape, Tensor};

use super::{Sequential, Stage};
use crate::error::Result;
use crate::layer::{ActivationRole, Context};
use crate::layers::ActivationFunction;
use crate::samples::Inputs;

/// Samples that run through the model together where the result does not depend on it; Keras's
/// default.
pub(super) const BATCH: usize = 32;

/// What the layers run with.
#[derive(Clone, Copy)]
pub(super) enum WeightSource<'a, T: Float> {
    /// The model's weights, as constants.
    Model,
    /// The model's weights, as variables that each layer makes on this tape just before it runs.
    Tape(&'a Tape<T>),
    /// These, in the order of [`Sequential::parameters`].
    Given(&'a [Var<T>]),
}

impl<T: Float> WeightSource<'_, T> {
    /// The weights of the next layer, in whose scope this is called.
    fn next(&mut self, stage: &Stage<T>) -> Vec<Var<T>> {
        let values = stage.parameters().iter().map(|p| p.value.clone());
        match self {
            WeightSource::Model => values.map(Var::constant).collect(),
            WeightSource::Tape(tape) => values.map(|value| tape.variable(value)).collect(),
            WeightSource::Given(all) => {
                let (own, others) = all.split_at(values.len());
                *all = others;
                own.to_vec()
            }
        }
    }

    fn tape(&self) -> Option<&Tape<T>> {
        match self {
            WeightSource::Model => None,
            WeightSource::Tape(tape) => Some(tape),
            WeightSource::Given(weights) => weights.iter().find_map(Var::tape),
        }
    }
}

/// How the layers run.
#[derive(Clone, Copy)]
pub(super) struct Mode {
    /// Whether dropout acts, and with which step's random numbers.
    pub(super) training_step: Option<u64>,
    /// Whether the model's last activation is left to the loss.
    pub(super) without_last_activation: bool,
    /// Whether poolings run on their own, so that the output of each layer is seen.
    pub(super) separate_pooling: bool,
}

impl Mode {
    pub(super) const PREDICT: Mode = Mode {
        training_step: None,
        without_last_activation: false,
        separate_pooling: false,
    };
}

impl<T: Float> Sequential<T> {
    /// Predictions for `x`, one row a sample; no tape is recorded.
    ///
    /// # Errors
    /// If the model is not built, or built for samples of another shape.
    pub fn predict(&self, x: impl Into<Inputs>) -> Result<Tensor<T>> {
        let x = x.into();
        self.require_fit("predict", &x)?;
        self.on_pool(x.len(), || self.predict_all(&x))
    }

    /// Predictions for samples that fit.
    fn predict_all(&self, x: &Inputs) -> Result<Tensor<T>> {
        let count = x.len();
        let mut shape = Shape::from(count);
        let output = self.output_shape().map_or(&[][..], |shape| shape);
        output.iter().for_each(|&size| shape.push(size));
        if (1..=BATCH).contains(&count) {
            let predictions = self.predict_batch(x.to_tensor("predict")?)?;
            if *predictions.shape() != shape {
                return Err(unexpected_output(predictions.shape(), self.output_shape()));
            }
            return Ok(predictions);
        }
        let mut predictions =
            Tensor::zeros(shape).map_err(|error| error.in_operation("predict"))?;
        let row = output.iter().product::<usize>();
        let values = predictions.make_mut();
        let mut start = 0;
        while start < count {
            let end = count.min(start + BATCH);
            let output = self.predict_batch(x.slice(start..end)?.to_tensor("predict")?)?;
            let rows = &mut values[start * row..end * row];
            if output.len() != rows.len() {
                return Err(unexpected_output(output.shape(), self.output_shape()));
            }
            if let Some(output) = output.as_slice() {
                rows.copy_from_slice(output);
            }
            start = end;
        }
        Ok(predictions)
    }

    /// Predictions for samples that run through the model together.
    fn predict_batch(&self, x: Tensor<T>) -> Result<Tensor<T>> {
        let (x, weights) = (Var::constant(x), WeightSource::Model);
        let output = self.run(x, weights, Mode::PREDICT, &mut |_, _| Ok(()))?;
        Ok(output.into_value().try_contiguous("predict")?)
    }

    /// All weights as variables on `tape`, in the order of [`Sequential::parameters`] and in the
    /// scopes of their layers: for [`Sequential::forward`].
    pub fn variables(&self, tape: &Tape<T>) -> Vec<Var<T>> {
        let mut variables = Vec::with_capacity(self.parameters().count());
        for stage in &self.layers {
            tape.scope(&stage.name, || {
                let values = stage.parameters().iter().map(|p| p.value.clone());
                variables.extend(values.map(|value| tape.variable(value)));
            });
        }
        variables
    }

    /// The output for a batch `x` with these weights, which come in the order of
    /// [`Sequential::parameters`] and need not be the model's own: for training loops of one's own,
    /// and for derivatives of any order with respect to weights and inputs. Dropout does not act.
    ///
    /// ```
    /// use autograd::{Tape, Var};
    /// use nn::prelude::*;
    ///
    /// let mut model = Sequential::new();
    /// model.add(Dense::new(1).input_shape(&[3]));
    /// let tape = Tape::new();
    /// let weights = model.variables(&tape);
    /// let x = Var::from(Tensor::from([[1.0_f32, 2.0, 3.0]]));
    /// let y = model.forward(&x, &weights)?;
    /// assert_eq!(y.sum(..)?.backward()?.of(&weights[0])?.to_vec(), [1.0, 2.0, 3.0]);
    /// # Ok::<(), nn::Error>(())
    /// ```
    ///
    /// # Errors
    /// If the model is not built, or built for samples of another shape, or there are more or
    /// fewer weights than it has.
    pub fn forward(&self, x: &Var<T>, weights: &[Var<T>]) -> Result<Var<T>> {
        self.require_built()?;
        self.require_shape("forward", x.shape())?;
        self.require_weights("forward", weights)?;
        self.run(
            x.clone(),
            WeightSource::Given(weights),
            Mode::PREDICT,
            &mut |_, _| Ok(()),
        )
    }

    /// The activation that the model ends with.
    pub(super) fn last_activation(&self) -> ActivationFunction {
        match self.layers.last().map(|stage| stage.layer.activation()) {
            Some(ActivationRole::AtEnd(function) | ActivationRole::Alone(function)) => function,
            _ => ActivationFunction::Linear,
        }
    }

    /// Runs all layers with these weights; `observe` sees the output of each, by its index.
    ///
    /// An activation layer directly after one that can end with an activation runs as part of it,
    /// and so does a max pooling after one that can go on with it.
    pub(super) fn run(
        &self,
        x: Var<T>,
        weights: WeightSource<'_, T>,
        mode: Mode,
        observe: &mut dyn FnMut(usize, &Var<T>) -> Result<()>,
    ) -> Result<Var<T>> {
        let (mut x, mut weights) = (x, weights);
        let tape = weights.tape().or(x.tape()).cloned();
        let mut index = 0;
        while index < self.layers.len() {
            let stage = &self.layers[index];
            let following = self.layers.get(index + 1);
            let role = stage.layer.activation();
            let mut next = index + 1;
            let mut activation = match (&role, following.map(|stage| stage.layer.activation())) {
                (
                    ActivationRole::AtEnd(ActivationFunction::Linear),
                    Some(ActivationRole::Alone(function)),
                ) => {
                    next = index + 2;
                    function
                }
                (ActivationRole::AtEnd(function), _) => function.clone(),
                _ => ActivationFunction::Linear,
            };
            if mode.without_last_activation && next == self.layers.len() {
                if matches!(role, ActivationRole::Alone(_)) {
                    break;
                }
                activation = ActivationFunction::Linear;
            }
            let mut pooling = None;
            if !mode.separate_pooling
                && stage.layer.takes_pooling(&activation)
                && let Some(options) = self.layers.get(next).and_then(|s| s.layer.pooling())
            {
                pooling = Some(options);
                next += 1;
            }
            let context = Context {
                pooling,
                training: mode.training_step.is_some(),
                key: key(self.seed, mode.training_step.unwrap_or(0), index),
                activation,
            };
            x = self.run_layer(index, &x, &mut weights, tape.as_ref(), &context)?;
            observe(next - 1, &x)?;
            index = next;
        }
        Ok(x)
    }

    fn run_layer(
        &self,
        index: usize,
        x: &Var<T>,
        weights: &mut WeightSource<'_, T>,
        tape: Option<&Tape<T>>,
        context: &Context,
    ) -> Result<Var<T>> {
        let stage = &self.layers[index];
        let run = || stage.layer.forward(x, &weights.next(stage), context);
        let result = match tape {
            Some(tape) => tape.scope(&stage.name, run),
            None => autograd::section(&stage.name, run),
        };
        result.map_err(|error| {
            let error = error.with(format!("layer {index}"), stage.describe());
            match stage.input_shape() {
                Some(shape) => {
                    error.with("built for", format!("{shape}   (without the batch axis)"))
                }
                None => error,
            }
        })
    }

    /// Checks that there are as many weights as the model has.
    pub(super) fn require_weights(&self, operation: &str, weights: &[Var<T>]) -> Result<()> {
        let count = self.parameters().count();
        if weights.len() == count {
            return Ok(());
        }
        let message = format!("{} weights given, the model has {count}", weights.len());
        Err(Error::value(operation, message).into())
    }

    /// Checks that the model is built for samples such as `x`.
    pub(super) fn require_fit(&self, operation: &str, x: &Inputs) -> Result<()> {
        self.require_built()?;
        self.require_shape(operation, x.shape())
    }

    pub(super) fn require_shape(&self, operation: &str, shape: &Shape) -> Result<()> {
        self.require_whole(operation)?;
        let Some(expected) = &self.input_shape else {
            return Ok(());
        };
        if shape.rank() == expected.rank() + 1 && shape[1..] == expected[..] {
            return Ok(());
        }
        let error = Error::shape(
            operation,
            "the samples have another shape than the model takes",
        )
        .with("samples", format!("{shape}   (samples first)"))
        .with("model", format!("{expected}   (one sample)"));
        let channels_first = match expected[..] {
            [height, width, channels] => shape.get(1..) == Some(&[channels, height, width]),
            _ => false,
        };
        Err(error
            .fix(match channels_first {
                true => "move the channels behind height and width: `x.permute(&[0, 2, 3, 1])`",
                false => "add the axis of samples with `expand_dims(0)` if this is a single one",
            })
            .into())
    }
}

#[cold]
fn unexpected_output(output: &Shape, promised: Option<&Shape>) -> crate::Error {
    let mut error = Error::shape(
        "predict",
        "the layers gave an output of an unexpected shape",
    )
    .with("output", output);
    if let Some(promised) = promised {
        error = error.with("promised by `build`", promised);
    }
    error.into()
}

/// The key of a layer's random numbers in a step: SplitMix64 (Steele, Lea and Flood 2014) over
/// the three numbers.
fn key(seed: u64, step: u64, layer: usize) -> u64 {
    mix(mix(mix(seed).wrapping_add(step)).wrapping_add(layer as u64))
}

fn mix(number: u64) -> u64 {
    let z = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_differ_by_seed_step_and_layer() {
        let mut keys = std::collections::HashSet::new();
        for seed in 0..20 {
            for step in 0..20 {
                for layer in 0..20 {
                    keys.insert(key(seed, step, layer));
                }
            }
        }
        assert_eq!(keys.len(), 8000);
    }
}
