//! Gradients change the weights.

use tensor::{Error, Factored, Float, Tensor};

use super::graph::Stage;
use super::{Compiled, Model};
use crate::error::Result;
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
    /// shape; nothing is changed then.
    pub fn apply_gradients(&mut self, gradients: Vec<Tensor<T>>) -> Result<()> {
        self.require_compiled("apply_gradients")?;
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
        self.update(gradients)
    }

    /// Hands the gradients, in the order of the trainable parameters, to the optimizer.
    pub(super) fn update(&mut self, mut gradients: Vec<Tensor<T>>) -> Result<()> {
        if let Some(compiled) = &self.compiled {
            compiled.optimizer.prepare(&mut gradients)?;
        }
        self.begin_update()?;
        for (number, gradient) in gradients.into_iter().enumerate() {
            self.update_parameter(number, &gradient.into())?;
        }
        Ok(())
    }

    /// Counts the step, and makes the optimizer's memory before the first.
    pub(super) fn begin_update(&mut self) -> Result<()> {
        let count = self.trainable_parameters().count();
        let Some(Compiled {
            optimizer, state, ..
        }) = &mut self.compiled
        else {
            return Ok(());
        };
        if state.slots.is_empty() {
            let zeros = |parameter: &Parameter<T>| {
                let slots = optimizer.slots().iter();
                let zeros = slots.map(|_| Tensor::zeros(parameter.value.shape()));
                zeros.collect::<tensor::Result<Vec<_>>>()
            };
            let all = self.graph.parameters();
            let trained = all.filter(|(stage, parameter)| stage.trains(parameter));
            let slots = trained.map(|(_, parameter)| zeros(parameter));
            state.slots = slots.collect::<tensor::Result<_>>()?;
        }
        if state.slots.len() != count {
            let states = state.slots.len();
            let message =
                format!("the state is that of {states} parameters, the model has {count}");
            return Err(Error::value("optimizer", message)
                .fix("`compile` again after adding or freezing layers")
                .into());
        }
        state.iterations += 1;
        Ok(())
    }

    pub(super) fn update_parameter(&mut self, number: usize, gradient: &Factored<T>) -> Result<()> {
        self.fresh = false;
        let mut parameters = self.graph.layers.iter_mut().flat_map(Stage::trained_mut);
        let (Some(compiled), Some(parameter)) = (&mut self.compiled, parameters.nth(number)) else {
            return Ok(());
        };
        let Compiled {
            optimizer, state, ..
        } = compiled;
        let slots = &mut state.slots[number];
        optimizer.update(state.iterations, &mut parameter.value, gradient, slots)
    }
}
