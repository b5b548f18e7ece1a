//! One training step, and evaluation.

use autograd::{Tape, Var, section};
use tensor::{Error, Float, Shape, Tensor};

use super::forward::{BATCH, Run, WeightSource};
use super::fuse::{PlanKey, last_activation};
use super::{Compiled, Model, Running, Scores};
use crate::error::Result;
use crate::layers::ActivationFunction;
use crate::samples::{self, Inputs, TargetArrays, Targets};

impl<T: Float> Model<T> {
    /// Loss and metrics of the model on `x` and `y`, with dropout off, in batches, without a tape.
    ///
    /// # Errors
    /// If the model is not compiled, there are no samples, or samples or targets do not fit.
    pub fn evaluate(&self, x: impl Into<Inputs>, y: impl Into<TargetArrays>) -> Result<Scores> {
        let (x, y) = (x.into(), y.into());
        let compiled = self.require_compiled("evaluate")?;
        self.checked_targets("evaluate", &x.shapes(), &y)?;
        self.on_pool(x.len(), || self.evaluate_all(compiled, &x, &y))
    }

    /// [`Model::evaluate`] for what fits.
    fn evaluate_all(&self, compiled: &Compiled<T>, x: &Inputs, y: &TargetArrays) -> Result<Scores> {
        let mut running = Running::default();
        let key = self.plan_key(compiled);
        let mut start = 0;
        while start < x.len() {
            let end = x.len().min(start + BATCH);
            let targets = y.slice(start..end)?.targets()?;
            let batch = x.slice(start..end)?.to_tensors("evaluate")?;
            let batch = batch.into_iter().map(Var::constant).collect();
            let run = self.run(batch, WeightSource::Model, &self.predict_context(), &key)?;
            let losses = self.losses_of(compiled, &key, &run.outputs, &targets)?;
            let outputs = self.completed(compiled, &key, run.outputs)?;
            running.add(compiled, &losses, end - start, &outputs, &targets)?;
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
    pub fn train_on_batch(
        &mut self,
        x: impl Into<Inputs>,
        y: impl Into<TargetArrays>,
    ) -> Result<Scores> {
        let (x, y) = (x.into(), y.into());
        self.require_compiled("train_on_batch")?;
        if !self.graph.knows_inputs() {
            self.build_for_inputs(&x.sample_shapes())?;
        }
        let targets = self.checked_targets("train_on_batch", &x.shapes(), &y)?;
        let mut running = Running::default();
        self.step(&x.to_tensors("train_on_batch")?, &targets, &mut running)?;
        Ok(running.scores(self.require_compiled("train_on_batch")?))
    }

    /// The targets in `y`, of which there are as many as samples, and some; all fit the model and
    /// its losses.
    pub(crate) fn checked_targets(
        &self,
        operation: &str,
        x: &[&Shape],
        y: &TargetArrays,
    ) -> Result<Vec<Targets<T>>> {
        for x in x {
            let samples = x.first().copied().unwrap_or(0);
            if samples == 0 {
                return Err(Error::value(operation, "there are no samples")
                    .with("x", x)
                    .into());
            }
            for y in y.arrays() {
                let targets = samples::count(y);
                if samples != targets {
                    return Err(Error::shape(
                        operation,
                        format!("there are {samples} samples but {targets} targets"),
                    )
                    .with("x", x)
                    .with("y", y.shape())
                    .into());
                }
            }
        }
        if let [first, others @ ..] = x
            && let Some(other) = others.iter().find(|shape| shape.first() != first.first())
        {
            return Err(
                Error::shape(operation, "the inputs differ in their samples")
                    .with("first input", first)
                    .with("another", other)
                    .into(),
            );
        }
        self.require_built()?;
        self.require_shapes(operation, x)?;
        let outputs = self.graph.outputs.len();
        if y.arrays().len() != outputs {
            let given = y.arrays().len();
            let message = format!("the model gives {outputs} outputs, {given} targets are given");
            return Err(Error::value(operation, message)
                .with("outputs", self.output_names().join(", "))
                .fix("give targets for each output as an array: `[&a, &b]`")
                .into());
        }
        let targets = y.targets()?;
        let compiled = self.require_compiled(operation)?;
        for ((&value, targets), loss) in self
            .graph
            .outputs
            .iter()
            .zip(&targets)
            .zip(compiled.losses())
        {
            if let Some(output) = &self.graph.shapes[value] {
                loss.check(targets, output)?;
            }
        }
        Ok(targets)
    }

    /// Forward, backward and update on one batch, which fits; adds to `running`.
    pub(crate) fn step(
        &mut self,
        x: &[Tensor<T>],
        targets: &[Targets<T>],
        running: &mut Running,
    ) -> Result<()> {
        let samples = x.first().and_then(|x| x.shape().first().copied());
        self.on_pool_mut(samples.unwrap_or(0), |model| {
            model.step_here(x, targets, running)
        })
    }

    fn step_here(
        &mut self,
        x: &[Tensor<T>],
        targets: &[Targets<T>],
        running: &mut Running,
    ) -> Result<()> {
        let compiled = self.require_compiled("fit")?;
        let key = self.plan_key(compiled);
        let context = self.step_context(compiled.state.iterations);
        let tape = Tape::new();
        let weights = WeightSource::Tape(&tape);
        let inputs = x.iter().cloned().map(Var::constant).collect();
        let run = self.run(inputs, weights, &context, &key)?;
        let losses = self.recorded_losses(compiled, &key, &run.outputs, targets)?;
        let value = losses.total.item()?.to_f64();
        if !value.is_finite() {
            return Err(self.not_finite(x, value, &context, &key).into());
        }
        let count = x.first().and_then(|x| x.shape().first().copied());
        section("metrics", || {
            let outputs = run.outputs.iter().map(Var::detach).collect();
            let outputs = self.completed(compiled, &key, outputs)?;
            running.add(compiled, &losses, count.unwrap_or(0), &outputs, targets)
        })?;
        let Run { outputs, variables } = run;
        drop(outputs);
        let BatchLosses { total: loss, each } = losses;
        drop(each);
        let states = context.take_states();
        if compiled.optimizer.is_separable() {
            self.update_on_the_way(&loss, &variables, value)?;
            return self.graph.set_values(states);
        }
        let mut gradients = vec![None; variables.len()];
        loss.reverse().hand_out(|number, gradient| {
            gradients[variables[number]] = Some(gradient.into_tensor()?);
            Ok::<(), tensor::Error>(())
        })?;
        // The weights have one owner again once the loss and its tape are gone, and can be changed
        // in place.
        drop(loss);
        let gradients = (gradients.into_iter().enumerate())
            .map(|(number, gradient)| gradient.ok_or_else(|| self.without_gradient(number)));
        let gradients = gradients.collect::<Result<Vec<_>>>()?;
        section("optimizer", || self.update(gradients, Some(value)))?;
        self.graph.set_values(states)
    }

    /// Runs the reverse pass, and changes each parameter as soon as its gradient is known: the
    /// gradient of one parameter at a time takes memory. `variables` are the numbers of those on the
    /// tape, among the weights that gradients change.
    fn update_on_the_way(&mut self, loss: &Var<T>, variables: &[usize], value: f64) -> Result<()> {
        self.whole_step(|model| {
            let mut without: Vec<bool> = model.trainable_parameters().map(|_| true).collect();
            loss.reverse().hand_out(|number, gradient| {
                let number = variables[number];
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
        match self.named_trainable().nth(number) {
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
        y: impl Into<TargetArrays>,
        weights: &[Var<T>],
    ) -> Result<Var<T>> {
        let y = y.into();
        let compiled = self.require_compiled("training_loss")?;
        let targets = self.checked_targets("training_loss", &[x.shape()], &y)?;
        self.require_weights("training_loss", weights)?;
        let weights = WeightSource::Given(weights);
        let key = self.plan_key(compiled);
        let context = self.step_context(compiled.state.iterations);
        let run = self.run(vec![x.clone()], weights, &context, &key)?;
        Ok(self
            .recorded_losses(compiled, &key, &run.outputs, &targets)?
            .total)
    }

    /// How the model runs when its losses are computed: they take over activations where they can.
    pub(super) fn plan_key(&self, compiled: &Compiled<T>) -> PlanKey {
        let outputs = self.graph.outputs.iter().zip(compiled.losses());
        let absorbed = outputs.map(|(&value, loss)| {
            let function = self.last_activation(value);
            function.is_some_and(|function| loss.absorbs(&function))
        });
        PlanKey {
            layer_by_layer: false,
            absorbed: absorbed.collect(),
        }
    }

    /// The activation that an output ends with, where nothing else uses the value.
    fn last_activation(&self, value: usize) -> Option<ActivationFunction> {
        let call = &self.graph.calls[self.graph.producer(value)?];
        let alone = call.outputs.len() == 1 && self.graph.uses()[value] == 1;
        alone.then(|| last_activation(self.graph.layers[call.layer].layer()))
    }

    /// [`Model::losses_of`] in the scope of the losses.
    fn recorded_losses(
        &self,
        compiled: &Compiled<T>,
        key: &PlanKey,
        outputs: &[Var<T>],
        targets: &[Targets<T>],
    ) -> Result<BatchLosses<T>> {
        let losses = || self.losses_of(compiled, key, outputs, targets);
        match outputs.iter().find_map(Var::tape) {
            Some(tape) => tape.clone().scope("loss", losses),
            None => section("loss", losses),
        }
    }

    fn losses_of(
        &self,
        compiled: &Compiled<T>,
        key: &PlanKey,
        outputs: &[Var<T>],
        targets: &[Targets<T>],
    ) -> Result<BatchLosses<T>> {
        let mut each = Vec::with_capacity(outputs.len());
        let mut total: Option<Var<T>> = None;
        for (number, (output, targets)) in outputs.iter().zip(targets).enumerate() {
            let (loss, weight) = compiled.weighted_loss(number)?;
            let value = loss.loss(output, targets, key.absorbed[number])?;
            let weighted = match weight {
                1.0 => value.clone(),
                weight => value.scale(weight),
            };
            total = Some(match total {
                Some(total) => total.add(&weighted)?,
                None => weighted,
            });
            each.push(value);
        }
        match total {
            Some(total) => Ok(BatchLosses { total, each }),
            None => Err(Error::value("fit", "the model has no outputs").into()),
        }
    }

    /// The model's outputs, from those without the activations that losses took over.
    fn completed(
        &self,
        compiled: &Compiled<T>,
        key: &PlanKey,
        outputs: Vec<Var<T>>,
    ) -> Result<Vec<Tensor<T>>> {
        let values = self.graph.outputs.iter().zip(&key.absorbed).zip(outputs);
        let completed = values.map(|((&value, &absorbed), output)| {
            let function = self.last_activation(value).filter(|_| absorbed);
            match function {
                Some(function) if !compiled.metrics.is_empty() => {
                    Ok(function.apply(&output)?.into_value())
                }
                _ => Ok(output.into_value()),
            }
        });
        completed.collect()
    }
}

/// The losses of a batch: their weighted sum, and that of each output.
pub(super) struct BatchLosses<T: Float> {
    pub(super) total: Var<T>,
    pub(super) each: Vec<Var<T>>,
}
