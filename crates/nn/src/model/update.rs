//! Gradients change the weights.

use tensor::{Error, ErrorKind, Factored, Float, Tensor};

use super::diagnose::first_not_finite;
use super::graph::Stage;
use super::{Compiled, Model};
use crate::error::Result;
use crate::optimizers::other_state;
use crate::parameter::Parameter;

impl<T: Float> Model<T> {
    /// One step of the optimizer with these gradients, which come in the order of
    /// [`Model::trainable_parameters`]: for training loops of one's own, with losses of any kind.
    ///
    /// ```
    /// use autograd::{Tape, Var};
    /// use nn::prelude::*;
    ///
    /// let mut model = Sequential::new();
    /// model.add(Dense::new(1).input_shape(&[2]));
    /// model.compile(MeanSquaredError::new(), Sgd::new(0.1), None::<Accuracy>)?;
    /// let x = Var::from(Tensor::from([[1.0_f32, 2.0]]));
    /// for _ in 0..100 {
    ///     let gradients = {
    ///         let tape = Tape::new();
    ///         let weights = model.variables(&tape);
    ///         let loss = (model.forward(&x, &weights)? - 3.0).square().sum(..)?;
    ///         let gradients = loss.backward()?;
    ///         weights.iter().map(|w| gradients.of(w).cloned()).collect::<Result<_, _>>()?
    ///     }; // the tape goes, and the weights can be changed in place
    ///     model.apply_gradients(gradients)?;
    /// }
    /// assert!((model.predict(x.value())?.item()? - 3.0).abs() < 1e-3);
    /// # Ok::<(), nn::Error>(())
    /// ```
    ///
    /// # Errors
    /// If the model is not compiled, or the gradients are not one per parameter, each of its
    /// shape, or one is infinite or NaN; nothing is changed then. If the optimizer makes a weight
    /// infinite or NaN, the model is [half updated](crate::NotFinite::half_updated).
    pub fn apply_gradients(&mut self, gradients: Vec<Tensor<T>>) -> Result<()> {
        self.require_compiled("apply_gradients")?;
        self.require_whole("apply_gradients")?;
        let count = self.trainable_parameters().count();
        if gradients.len() != count {
            let given = gradients.len();
            let message = format!("{given} gradients given, the model has {count} parameters");
            return Err(Error::value("apply_gradients", message).into());
        }
        for (parameter, gradient) in self.trainable_parameters().zip(&gradients) {
            if parameter.value.shape() != gradient.shape() {
                let message = "a gradient has another shape than its parameter";
                return Err(Error::shape("apply_gradients", message)
                    .with("parameter", parameter.name())
                    .with("its shape", parameter.value.shape())
                    .with("gradient", gradient.shape())
                    .into());
            }
        }
        self.update(gradients, None)
    }

    /// Hands the gradients of `loss`, in the order of the trainable parameters, to the optimizer.
    pub(super) fn update(
        &mut self,
        mut gradients: Vec<Tensor<T>>,
        loss: Option<f64>,
    ) -> Result<()> {
        if let Some(compiled) = &self.compiled {
            compiled.optimizer.prepare(&mut gradients)?;
        }
        // From the loss backwards, where the first of them is the cause of the others.
        for (number, gradient) in gradients.iter().enumerate().rev() {
            if first_not_finite(gradient).is_some() {
                return Err(self
                    .update_not_finite(number, &gradient.into(), loss)
                    .into());
            }
        }
        self.whole_step(|model| {
            for (number, gradient) in gradients.into_iter().enumerate() {
                model.update_parameter(number, &gradient.into(), loss)?;
            }
            Ok(())
        })
    }

    /// Makes the optimizer's memory before the first step, and refuses one of another model or
    /// optimizer.
    pub(super) fn prepare_state(&mut self) -> Result<()> {
        let count = self.trainable_parameters().count();
        let Some(Compiled {
            optimizer, state, ..
        }) = &mut self.compiled
        else {
            return Ok(());
        };
        optimizer.check()?;
        let all = self.graph.parameters();
        let trained = all.filter(|(stage, parameter)| stage.trains(parameter));
        let parameters = trained.map(|(_, parameter)| parameter);
        if state.slots.is_empty() {
            let zeros = |parameter: &Parameter<T>| {
                let slots = optimizer.slots().iter();
                let zeros = slots.map(|_| Tensor::zeros(parameter.value.shape()));
                zeros.collect::<tensor::Result<Vec<_>>>()
            };
            state.slots = parameters.map(zeros).collect::<tensor::Result<_>>()?;
            return Ok(());
        }
        if state.slots.len() != count {
            let states = state.slots.len();
            let message =
                format!("the state is that of {states} parameters, the model has {count}");
            return Err(Error::value("optimizer", message)
                .fix("`compile` again after adding or freezing layers")
                .into());
        }
        for (parameter, slots) in parameters.zip(&mut state.slots) {
            let expected = optimizer.slots().len();
            if slots.len() != expected {
                return Err(other_state(slots.len(), expected));
            }
            if let Some(slot) = slots.iter().find(|s| s.shape() != parameter.value.shape()) {
                let message = "the state of a parameter has another shape";
                return Err(Error::shape("optimizer", message)
                    .with("parameter", parameter.value.shape())
                    .with("state", slot.shape())
                    .into());
            }
        }
        Ok(())
    }

    /// One parameter's part of a [step](Model::whole_step) that makes `loss` smaller.
    pub(super) fn update_parameter(
        &mut self,
        number: usize,
        gradient: &Factored<T>,
        loss: Option<f64>,
    ) -> Result<()> {
        let step = self.next_step();
        self.fresh = false;
        let mut parameters = self.graph.layers.iter_mut().flat_map(Stage::trained_mut);
        let (Some(compiled), Some(parameter)) = (&mut self.compiled, parameters.nth(number)) else {
            return Ok(());
        };
        let slots = &mut compiled.state.slots[number];
        self.half_updated = Some(step);
        let updated = compiled
            .optimizer
            .update(step, &mut parameter.value, gradient, slots);
        drop(parameters);
        match updated {
            Err(crate::Error::Tensor(error)) if error.kind() == ErrorKind::NotFinite => {
                Err(self.update_not_finite(number, gradient, loss).into())
            }
            other => other,
        }
    }
}
