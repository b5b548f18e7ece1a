//! One training step, and evaluation.

use std::fmt;
use std::ops::Index;
use std::sync::Arc;

use autograd::{Tape, Var, section};
use tensor::{Error, Float, Shape, Tensor};

use super::Sequential;
use super::forward::{BATCH, Mode, WeightSource};
use crate::data::Array;
use crate::error::Result;
use crate::losses::Loss;
use crate::metrics::{Metric, Tally};
use crate::optimizers::{Optimizer, OptimizerState};
use crate::parameter::Parameter;
use crate::samples::{self, Inputs, Targets};

/// Loss, optimizer with its state, and metrics of a model; see [`Sequential::compile`].
pub struct Compiled<T: Float = f32> {
    loss: Box<dyn Loss<T>>,
    optimizer: Box<dyn Optimizer<T>>,
    metrics: Vec<Box<dyn Metric<T>>>,
    /// `"loss"` and the names of the metrics.
    score_names: Arc<[String]>,
    state: OptimizerState<T>,
}

impl<T: Float> Compiled<T> {
    /// The loss.
    pub fn loss(&self) -> &dyn Loss<T> {
        &*self.loss
    }

    /// The optimizer's settings.
    pub fn optimizer(&self) -> &dyn Optimizer<T> {
        &*self.optimizer
    }

    /// The optimizer's settings, to change the learning rate.
    pub fn optimizer_mut(&mut self) -> &mut dyn Optimizer<T> {
        &mut *self.optimizer
    }

    /// The metrics.
    pub fn metrics(&self) -> impl Iterator<Item = &dyn Metric<T>> {
        self.metrics.iter().map(|metric| &**metric)
    }

    /// What the optimizer remembers.
    pub fn state(&self) -> &OptimizerState<T> {
        &self.state
    }

    /// Restores what the optimizer remembered, from a checkpoint.
    pub fn set_state(&mut self, state: OptimizerState<T>) {
        self.state = state;
    }
}

/// Loss and metrics, averaged over samples; see [`Sequential::evaluate`].
///
/// Indexed by position as Keras's list (`scores[0]` is the loss), or by name.
#[derive(Clone, Debug, PartialEq)]
pub struct Scores {
    names: Arc<[String]>,
    values: Vec<f64>,
}

impl Scores {
    /// The loss.
    pub fn loss(&self) -> f64 {
        self.values[0]
    }

    /// The score of this name.
    pub fn get(&self, name: &str) -> Option<f64> {
        self.iter()
            .find(|(own, _)| *own == name)
            .map(|(_, value)| value)
    }

    /// Names and values, the loss first.
    pub fn iter(&self) -> impl Iterator<Item = (&str, f64)> {
        self.names
            .iter()
            .map(|name| &**name)
            .zip(self.values.iter().copied())
    }
}

impl Index<usize> for Scores {
    type Output = f64;
    fn index(&self, position: usize) -> &f64 {
        &self.values[position]
    }
}

impl Index<&str> for Scores {
    type Output = f64;
    #[track_caller]
    fn index(&self, name: &str) -> &f64 {
        match self.names.iter().position(|own| own == name) {
            Some(position) => &self.values[position],
            None => panic!("there is no score `{name}`, only {:?}", self.names),
        }
    }
}

impl fmt::Display for Scores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (name, value)) in self.iter().enumerate() {
            let space = if i == 0 { "" } else { "  " };
            write!(f, "{space}{name} {value:.4}")?;
        }
        Ok(())
    }
}

/// Loss and metrics added up over batches.
#[derive(Clone, Debug, Default)]
pub(crate) struct Running {
    loss: Tally,
    metrics: Vec<Tally>,
}

impl Running {
    pub(crate) fn scores<T: Float>(&self, compiled: &Compiled<T>) -> Scores {
        let count = compiled.score_names.len();
        let mut values = Vec::with_capacity(count);
        values.push(self.loss.mean());
        values.extend(self.metrics.iter().map(Tally::mean));
        values.resize(count, f64::NAN);
        Scores {
            names: compiled.score_names.clone(),
            values,
        }
    }

    fn add<T: Float>(
        &mut self,
        loss: f64,
        count: usize,
        output: &Tensor<T>,
        targets: &Targets<T>,
        metrics: &[Box<dyn Metric<T>>],
    ) -> Result<()> {
        let sum = loss * count as f64;
        self.loss.add(Tally { sum, count });
        self.metrics.resize(metrics.len(), Tally::default());
        for (tally, metric) in self.metrics.iter_mut().zip(metrics) {
            tally.add(metric.measure(output, targets)?);
        }
        Ok(())
    }
}

fn boxed<T: Float, M: Metric<T> + 'static>(metric: M) -> Box<dyn Metric<T>> {
    Box::new(metric)
}

impl<T: Float> Sequential<T> {
    /// Sets what training minimises, how, and what is reported besides. Weights are kept; what an
    /// earlier optimizer remembered is not.
    ///
    /// Metrics are an array of one kind (`[Accuracy::new()]`), a `Vec<Box<dyn Metric<T>>>` of
    /// several, or `None::<Accuracy>`.
    ///
    /// # Errors
    /// If the input shape is known and a layer cannot take what the layers before it give.
    pub fn compile<M: Metric<T> + 'static>(
        &mut self,
        loss: impl Loss<T> + 'static,
        optimizer: impl Optimizer<T> + 'static,
        metrics: impl IntoIterator<Item = M>,
    ) -> Result<()> {
        if self.input_shape.is_some() {
            self.build()?;
        }
        let metrics: Vec<_> = metrics.into_iter().map(boxed).collect();
        let names = metrics.iter().map(|metric| metric.name().to_string());
        self.compiled = Some(Compiled {
            loss: Box::new(loss),
            optimizer: Box::new(optimizer),
            score_names: std::iter::once("loss".to_string()).chain(names).collect(),
            metrics,
            state: OptimizerState::default(),
        });
        Ok(())
    }

    pub(crate) fn require_compiled(&self, operation: &str) -> Result<&Compiled<T>> {
        self.compiled.as_ref().ok_or_else(|| {
            Error::value(operation, "the model has no loss and no optimizer yet")
                .fix("call `compile` first")
                .into()
        })
    }

    /// Loss and metrics of the model on `x` and `y`, with dropout off, in batches, without a tape.
    ///
    /// # Errors
    /// If the model is not compiled, there are no samples, or samples or targets do not fit.
    pub fn evaluate(&self, x: impl Into<Inputs>, y: impl Into<Array>) -> Result<Scores> {
        let (x, y) = (x.into(), y.into());
        let compiled = self.require_compiled("evaluate")?;
        self.checked_targets("evaluate", x.shape(), &y)?;
        let mut running = Running::default();
        let mut start = 0;
        while start < x.len() {
            let end = x.len().min(start + BATCH);
            let targets = Targets::new(&samples::slice(&y, start..end)?)?;
            let batch = Var::constant(x.slice(start..end)?.to_tensor()?);
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
    /// If the model is not compiled, samples or targets do not fit, or the loss is not finite
    /// (the weights are then left as they were).
    pub fn train_on_batch(&mut self, x: impl Into<Inputs>, y: impl Into<Array>) -> Result<Scores> {
        let (x, y) = (x.into(), y.into());
        self.require_compiled("train_on_batch")?;
        if self.input_shape.is_none() {
            self.build_for(&x.sample_shape())?;
        }
        let targets = self.checked_targets("train_on_batch", x.shape(), &y)?;
        let mut running = Running::default();
        self.step(&x.to_tensor()?, &targets, &mut running)?;
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
            return self.update_on_the_way(&loss);
        }
        let mut gradients = vec![None; self.parameters().count()];
        loss.reverse().hand_out(|number, gradient| {
            gradients[number] = Some(gradient);
            Ok::<(), tensor::Error>(())
        })?;
        // The weights have one owner again once the loss and its tape are gone, and can be changed
        // in place.
        drop(loss);
        let gradients = (gradients.into_iter().enumerate())
            .map(|(number, gradient)| gradient.ok_or_else(|| self.without_gradient(number)));
        let gradients = gradients.collect::<Result<Vec<_>>>()?;
        section("optimizer", || self.update(gradients))
    }

    /// Runs the reverse pass, and changes each parameter as soon as its gradient is known: the
    /// gradient of one parameter at a time takes memory.
    fn update_on_the_way(&mut self, loss: &Var<T>) -> Result<()> {
        self.begin_update()?;
        let mut without: Vec<bool> = self.parameters().map(|_| true).collect();
        loss.reverse().hand_out(|number, gradient| {
            without[number] = false;
            section("optimizer", || self.update_parameter(number, &gradient))
        })?;
        match without.iter().position(|&without| without) {
            Some(number) => Err(self.without_gradient(number)),
            None => Ok(()),
        }
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

    /// One step of the optimizer with these gradients, which come in the order of
    /// [`Sequential::parameters`]: for training loops of one's own, with losses of any kind.
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
        let count = self.parameters().count();
        if gradients.len() != count {
            let given = gradients.len();
            let message = format!("{given} gradients given, the model has {count} parameters");
            return Err(Error::value("apply_gradients", message).into());
        }
        for (parameter, gradient) in self.parameters().zip(&gradients) {
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

    /// Hands the gradients, in the order of the parameters, to the optimizer.
    fn update(&mut self, mut gradients: Vec<Tensor<T>>) -> Result<()> {
        if let Some(compiled) = &self.compiled {
            compiled.optimizer.prepare(&mut gradients)?;
        }
        self.begin_update()?;
        for (number, gradient) in gradients.iter().enumerate() {
            self.update_parameter(number, gradient)?;
        }
        Ok(())
    }

    /// Counts the step, and makes the optimizer's memory before the first.
    fn begin_update(&mut self) -> Result<()> {
        let count = self.parameters().count();
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
            let parameters = self.layers.iter().flat_map(super::Stage::parameters);
            state.slots = parameters.map(zeros).collect::<tensor::Result<_>>()?;
        }
        if state.slots.len() != count {
            let states = state.slots.len();
            let message =
                format!("the state is that of {states} parameters, the model has {count}");
            return Err(Error::value("optimizer", message)
                .fix("`compile` again after adding layers")
                .into());
        }
        state.iterations += 1;
        Ok(())
    }

    fn update_parameter(&mut self, number: usize, gradient: &Tensor<T>) -> Result<()> {
        let mut parameters = self
            .layers
            .iter_mut()
            .flat_map(super::Stage::parameters_mut);
        let (Some(compiled), Some(parameter)) = (&mut self.compiled, parameters.nth(number)) else {
            return Ok(());
        };
        let Compiled {
            optimizer, state, ..
        } = compiled;
        let slots = &mut state.slots[number];
        optimizer.update(state.iterations, &mut parameter.value, gradient, slots)
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
