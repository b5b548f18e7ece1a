//! Finding where a number stopped being one.

use std::fmt;

use autograd::Var;
use tensor::{Float, Tensor};

use super::Model;
use super::forward::WeightSource;
use super::fuse::PlanKey;
use crate::error::{Error, Result};
use crate::layer::Context;

/// A training step whose loss is infinite or NaN: training stops there, with the weights as they
/// were before the step.
#[derive(Clone, PartialEq)]
pub struct NotFinite {
    /// The loss.
    pub loss: f64,
    /// The step, counted from 1 over the whole life of the optimizer.
    pub step: u64,
    /// Epoch and batch in it, counted from 1, if `fit` was running.
    pub epoch_and_batch: Option<(usize, usize)>,
    /// The layer whose output (or weight) is the first that is not finite; none if it is the
    /// input or the loss itself.
    pub layer: Option<String>,
    /// What is not finite, and at which element.
    pub place: String,
}

impl fmt::Display for NotFinite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "fit: the loss is {} at step {}", self.loss, self.step)?;
        if let Some((epoch, batch)) = self.epoch_and_batch {
            write!(f, " (epoch {epoch}, batch {batch})")?;
        }
        write!(f, "\n  first  {}", self.place)?;
        write!(
            f,
            "\n  fix: use a smaller learning rate, scale the inputs (pixels / 256), or look for \
             NaN in the data"
        )
    }
}

impl fmt::Debug for NotFinite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for NotFinite {}

impl<T: Float> Model<T> {
    /// Runs the step's forward pass again, looking at every value.
    pub(super) fn not_finite(
        &self,
        x: &[Tensor<T>],
        loss: f64,
        context: &Context,
        key: &PlanKey,
    ) -> NotFinite {
        let (layer, place) = self.find_not_finite(x, context, key);
        let done = self.compiled.as_ref().map_or(0, |compiled| compiled.state.iterations);
        NotFinite {
            loss,
            step: done + 1,
            epoch_and_batch: None,
            layer,
            place,
        }
    }

    fn find_not_finite(
        &self,
        x: &[Tensor<T>],
        context: &Context,
        key: &PlanKey,
    ) -> (Option<String>, String) {
        if let Some(at) = x.iter().find_map(first_not_finite) {
            return (None, format!("the input, {at}"));
        }
        for (stage, parameter) in self.graph.parameters() {
            if let Some(at) = first_not_finite(&parameter.value) {
                let place = format!("`{}` of layer {}, {at}", parameter.name(), stage.describe());
                return (Some(stage.name.clone()), place);
            }
        }
        let mut found = None;
        let mut observe = |call: usize, output: &Var<T>| -> Result<()> {
            if found.is_none() {
                found = first_not_finite(output.value()).map(|at| (call, at));
            }
            Ok(())
        };
        let inputs = x.iter().cloned().map(Var::constant).collect();
        let key = PlanKey {
            layer_by_layer: true,
            ..key.clone()
        };
        let plan = self.plans.get(&self.graph, &key);
        let weights = WeightSource::Model;
        let run = self.graph.run(&plan, inputs, weights, context, &mut observe);
        match (found, run) {
            (Some((call, at)), _) => {
                let index = self.graph.calls[call].layer;
                let stage = &self.graph.layers[index];
                let place = format!("the output of layer {index}, {}, {at}", stage.describe());
                (Some(stage.name.clone()), place)
            }
            (None, Err(error)) => (None, error.to_string()),
            (None, Ok(_)) => (None, "the loss itself; all outputs are finite".to_string()),
        }
    }
}

/// "NaN at [0, 3]".
fn first_not_finite<T: Float>(tensor: &Tensor<T>) -> Option<String> {
    let position = tensor.iter().position(|value| !value.is_finite())?;
    let value = tensor.iter().nth(position).map_or(f64::NAN, T::to_f64);
    let mut index = vec![0; tensor.rank()];
    let mut rest = position;
    for (axis, &size) in tensor.shape().iter().enumerate().rev() {
        index[axis] = rest % size;
        rest /= size;
    }
    Some(format!("{value} at {index:?} of {}", tensor.shape()))
}

impl From<NotFinite> for Error {
    fn from(error: NotFinite) -> Self {
        Error::NotFinite(Box::new(error))
    }
}
