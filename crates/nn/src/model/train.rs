//! One training step, and evaluation.

use autograd::{Tape, Var, section};
use tensor::{Error, Float, Shape, Tensor};

use super::forward::{BATCH, Mode, WeightSource};
use super::{Compiled, Running, Scores, Sequential};
use crate::data::Array;
use crate::error::Result;
use crate::samples::{self, Inputs, Targets};

impl<T: Float> Sequential<T> {
    /// Loss and metrics of the model on `x` and `y`, with dropout off, in batches, without a tape.
    ///
    /// # Errors
    /// If the model is not compiled, there are no samples, or samples or targets do not fit.
    pub fn evaluate(&self, x: impl Into<Inputs>, y: impl Into<Array>) -> Result<Scores> {
        let (x, y) = (x.into(), y.into());
        let compiled = self.require_compiled("evaluate")?;
        self.checked_targets("evaluate", x.shape(), &y)?;
        self.on_pool(x.len(), || self.evaluate_all(compiled, &x, &y))
    }

    /// [`Sequential::evaluate`] for what fits.
    fn evaluate_all(&self, compiled: &Compiled<T>, x: &Inputs, y: &Array) -> Result<Scores> {
        let mut running = Running::default();
        let mut start = 0;
        while start < x.len() {
            let end = x.len().min(start + BATCH);
            let targets = Targets::new(&samples::slice(y, start..end)?)?;
            let batch = Var::constant(x.slice(start..end)?.to_tensor("evaluate")?);
            let mode = Mode {
                without_last_activation: self.loss_absorbs_activation(compiled),
                ..Mode::PREDICT
            };
            let output = self.run(batch, WeightSource::Model, mode, &mut |_, _| Ok(()))?;
            let loss = self.loss_of(compiled, &output, &targets)?.item()?.to_f64();
            let output = self.completed(compiled, output)?;
            running.add(loss, end - start, &output, &targets, &compiled.metrics)?;
            start = end;
        }
        Ok(running.scores(compiled))
    }

    /// One step of the optimizer on one batch; returns loss and metrics of the batch before it.
    ///
    /// # Errors
    /// If the model is not compiled, samples or targets do not fit, or the loss is infinite or NaN:
    /// the weights are then left as they were. If the reverse pass fails, or a gradient is infinite
    /// or NaN, after some weights have been changed, the model is
    /// [half updated](crate::NotFinite::half_updated).
    pub fn train_on_batch(&mut self, x: impl Into<Inputs>, y: impl Into<Array>) -> Result<Scores> {
        let (x, y) = (x.into(), y.into());
        self.require_compiled("train_on_batch")?;
        if self.input_shape.is_none() {
            self.build_for(&x.sample_shape())?;
        }
        let targets = self.checked_targets("train_on_batch", x.shape(), &y)?;
        let mut running = Running::default();
        self.step(&x.to_tensor("train_on_batch")?, &targets, &mut running)?;
        Ok(running.scores(self.require_compiled("train_on_batch")?))
    }

    /// The targets in `y`, of which there are as many as samples, and some; both fit the model and
    /// its loss.
    pub(crate) fn checked_targets(
        &self,
        operation: &str,
        x: &Shape,
        y: &Array,
    ) -> Result<Targets<T>> {
        let (samples, targets) = (x.first().copied().unwrap_or(0), samples::count(y));
        if samples == 0 {
            return Err(Error::value(operation, "there are no samples")
                .with("x", x)
                .into());
        }
        if samples != targets {
            return Err(Error::shape(
                operation,
                format!("there are {samples} samples but {targets} targets"),
            )
            .with("x", x)
            .with("y", y.shape())
            .into());
        }
        self.require_built()?;
        self.require_shape(operation, x)?;
        let targets = Targets::new(y)?;
        if let Some(output) = self.output_shape() {
            let compiled = self.require_compiled(operation)?;
            compiled.loss.check(&targets, output)?;
        }
        Ok(targets)
    }

    /// Forward, backward and update on one batch, which fits; adds to `running`.
    pub(crate) fn step(
        &mut self,
        x: &Tensor<T>,
        targets: &Targets<T>,
        running: &mut Running,
    ) -> Result<()> {
        let samples = x.shape().first().copied().unwrap_or(0);
        self.on_pool_mut(samples, |model| model.step_here(x, targets, running))
    }

    fn step_here(
        &mut self,
        x: &Tensor<T>,
        targets: &Targets<T>,
        running: &mut Running,
    ) -> Result<()> {
        let compiled = self.require_compiled("fit")?;
        let mode = self.training_mode(compiled);
        let tape = Tape::new();
        let weights = WeightSource::Tape(&tape);
        let input = Var::constant(x.clone());
        let (output, loss) = self.recorded_loss(compiled, input, targets, weights)?;
        let value = loss.item()?.to_f64();
        if !value.is_finite() {
            return Err(self.not_finite(x, value, mode).into());
        }
        let count = x.shape().first().copied().unwrap_or(0);
        section("metrics", || {
            let output = self.completed(compiled, output.detach())?;
            running.add(value, count, &output, targets, &compiled.metrics)
        })?;
        drop(output);
        if compiled.optimizer.is_separable() {
            return self.update_on_the_way(&loss, value);
        }
        let mut gradients = vec![None; self.parameters().count()];
        loss.reverse().hand_out(|number, gradient| {
            gradients[number] = Some(gradient.into_tensor()?);
            Ok::<(), tensor::Error>(())
        })?;
        // The weights have one owner again once the loss and its tape are gone, and can be changed
        // in place.
        drop(loss);
        let gradients = (gradients.into_iter().enumerate())
            .map(|(number, gradient)| gradient.ok_or_else(|| self.without_gradient(number)));
        let gradients = gradients.collect::<Result<Vec<_>>>()?;
        section("optimizer", || self.update(gradients, Some(value)))
    }

    /// Runs the reverse pass, and changes each parameter as soon as its gradient is known: the
    /// gradient of one parameter at a time takes memory.
    fn update_on_the_way(&mut self, loss: &Var<T>, value: f64) -> Result<()> {
        self.whole_step(|model| {
            let mut without: Vec<bool> = model.parameters().map(|_| true).collect();
            loss.reverse().hand_out(|number, gradient| {
                without[number] = false;
                section("optimizer", || {
                    model.update_parameter(number, &gradient, Some(value))
                })
            })?;
            match without.iter().position(|&without| without) {
                Some(number) => Err(model.without_gradient(number)),
                None => Ok(()),
            }
        })
    }

    #[cold]
    fn without_gradient(&self, number: usize) -> crate::Error {
        let error = Error::new(
            tensor::ErrorKind::Gradient,
            "fit",
            "the loss does not depend on a weight, which training cannot change then",
        );
        match self.named_parameters().nth(number) {
            Some((stage, parameter)) => error
                .with("layer", stage.describe())
                .with("weight", parameter.name()),
            None => error,
        }
        .into()
    }

    /// The loss of a training step, recorded on the tape of `weights` and not followed by a step of
    /// the optimizer: dropout acts, and the loss takes over the last activation where it can. For
    /// training loops of one's own, derivatives of any order, and pictures of the graph.
    ///
    /// ```
    /// use autograd::{Tape, Var};
    /// use nn::prelude::*;
    ///
    /// let mut model = Sequential::new();
    /// model.add(Dense::new(2).input_shape(&[3]));
    /// model.add(Activation::softmax());
    /// model.compile(CategoricalCrossentropy::new(), Adam::default(), None::<Accuracy>)?;
    ///
    /// let tape = Tape::new();
    /// let weights = model.variables(&tape);
    /// let x = Var::from(Tensor::from([[1.0_f32, 2.0, 3.0]]));
    /// let loss = model.training_loss(&x, &Tensor::from([[0.0_f32, 1.0]]), &weights)?;
    /// assert_eq!(loss.backward()?.of(&weights[0])?.shape(), &[3, 2]);
    /// # Ok::<(), nn::Error>(())
    /// ```
    ///
    /// # Errors
    /// If the model is not compiled or not built, or samples, targets or weights do not fit.
    pub fn training_loss(
        &self,
        x: &Var<T>,
        y: impl Into<Array>,
        weights: &[Var<T>],
    ) -> Result<Var<T>> {
        let y = y.into();
        let compiled = self.require_compiled("training_loss")?;
        let targets = self.checked_targets("training_loss", x.shape(), &y)?;
        self.require_weights("training_loss", weights)?;
        let weights = WeightSource::Given(weights);
        let (_, loss) = self.recorded_loss(compiled, x.clone(), &targets, weights)?;
        Ok(loss)
    }

    fn training_mode(&self, compiled: &Compiled<T>) -> Mode {
        Mode {
            training_step: Some(compiled.state.iterations),
            without_last_activation: self.loss_absorbs_activation(compiled),
            ..Mode::PREDICT
        }
    }

    /// The model's output, perhaps without the last activation, and the loss.
    fn recorded_loss(
        &self,
        compiled: &Compiled<T>,
        x: Var<T>,
        targets: &Targets<T>,
        weights: WeightSource<'_, T>,
    ) -> Result<(Var<T>, Var<T>)> {
        let mode = self.training_mode(compiled);
        let output = self.run(x, weights, mode, &mut |_, _| Ok(()))?;
        let loss = || self.loss_of(compiled, &output, targets);
        let loss = match output.tape() {
            Some(tape) => tape.scope("loss", loss)?,
            None => section("loss", loss)?,
        };
        Ok((output, loss))
    }

    fn loss_absorbs_activation(&self, compiled: &Compiled<T>) -> bool {
        compiled.loss.absorbs(&self.last_activation())
    }

    fn loss_of(
        &self,
        compiled: &Compiled<T>,
        output: &Var<T>,
        targets: &Targets<T>,
    ) -> Result<Var<T>> {
        let absorbed = self.loss_absorbs_activation(compiled);
        compiled.loss.loss(output, targets, absorbed)
    }

    /// The model's output, from one without the last activation if the loss takes that over.
    fn completed(&self, compiled: &Compiled<T>, output: Var<T>) -> Result<Tensor<T>> {
        if !self.loss_absorbs_activation(compiled) || compiled.metrics.is_empty() {
            return Ok(output.into_value());
        }
        Ok(self.last_activation().apply(&output)?.into_value())
    }
}
