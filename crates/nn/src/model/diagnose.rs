//! Finding where a number stopped being one.

use std::fmt;

use autograd::Var;
use tensor::{Factored, Float, Tensor};

use super::Model;
use super::forward::WeightSource;
use super::fuse::PlanKey;
use super::half_updated::HALF_UPDATED;
use crate::error::{Error, Result};
use crate::layer::Context;

/// A training step that an infinite number or a NaN ended.
///
/// Where the loss is that number, the weights are as they were before the step. Where a gradient
/// is, or what the optimizer made of it, some may have changed: [`NotFinite::half_updated`].
#[derive(Clone, PartialEq)]
pub struct NotFinite {
    /// The loss of the step; none where
    /// [`apply_gradients`](crate::Model::apply_gradients) took it.
    pub loss: Option<f64>,
    /// The step, counted from 1 over the whole life of the optimizer.
    pub step: u64,
    /// Epoch and batch in it, counted from 1, if `fit` was running.
    pub epoch_and_batch: Option<(usize, usize)>,
    /// The layer whose output, weight or gradient is the first that is not finite; none if it is
    /// the input or the loss itself.
    pub layer: Option<String>,
    /// What is not finite, and at which element.
    pub place: String,
    /// Whether some weights have been changed by the step and others have not: the model refuses to
    /// go on until [`set_weights`](crate::Model::set_weights) or
    /// [`load_weights`](crate::Model::load_weights) has replaced all of them.
    pub half_updated: bool,
}

impl fmt::Display for NotFinite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.loss {
            Some(loss) if !loss.is_finite() => write!(f, "fit: the loss is {loss}")?,
            Some(loss) => write!(f, "fit: the loss is {loss}, but its step is not finite,")?,
            None => write!(f, "apply_gradients: the step is not finite,")?,
        }
        write!(f, " at step {}", self.step)?;
        if let Some((epoch, batch)) = self.epoch_and_batch {
            write!(f, " (epoch {epoch}, batch {batch})")?;
        }
        write!(f, "\n  first  {}", self.place)?;
        if self.half_updated {
            write!(f, "\n  model  {HALF_UPDATED}")?;
        }
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
        NotFinite {
            loss: Some(loss),
            step: self.next_step(),
            epoch_and_batch: None,
            layer,
            place,
            half_updated: false,
        }
    }

    /// The error of a step in which the update of parameter `number` by `gradient` was not finite.
    #[cold]
    pub(super) fn update_not_finite(
        &self,
        number: usize,
        gradient: &Factored<T>,
        loss: Option<f64>,
    ) -> NotFinite {
        let mut error = NotFinite {
            loss,
            step: self.next_step(),
            epoch_and_batch: None,
            layer: None,
            place: String::new(),
            half_updated: false,
        };
        if let Some((stage, parameter)) = self.named_trainable().nth(number) {
            let name = format!("`{}` of layer {}", parameter.name(), stage.describe());
            let gradient = gradient.clone().into_tensor();
            let in_gradient = gradient.ok().as_ref().and_then(first_not_finite);
            error.place = match (in_gradient, first_not_finite(&parameter.value)) {
                (Some(at), _) => format!("the gradient of {name}, {at}"),
                (None, Some(at)) => format!("the updated {name}, {at}"),
                (None, None) => format!("what the optimizer remembers of {name}"),
            };
            error.layer = Some(stage.name.clone());
        }
        error
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
        let run = self
            .graph
            .run(&plan, inputs, weights, context, &mut observe);
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
pub(super) fn first_not_finite<T: Float>(tensor: &Tensor<T>) -> Option<String> {
    let all_finite = |values: &[T]| values.iter().fold(true, |all, x| all & x.is_finite());
    if tensor.as_slice().is_some_and(all_finite) {
        return None;
    }
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
