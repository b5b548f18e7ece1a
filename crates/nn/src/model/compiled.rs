//! What `compile` sets, and the scores that come of it.

use std::fmt;
use std::ops::Index;
use std::sync::Arc;

use tensor::{Error, Float, Tensor};

use super::Model;
use super::train::BatchLosses;
use crate::error::Result;
use crate::losses::Loss;
use crate::metrics::{Metric, Tally};
use crate::optimizers::{Optimizer, OptimizerState};
use crate::samples::Targets;

/// Loss, optimizer with its state, and metrics of a model; see [`Model::compile`].
pub struct Compiled<T: Float = f32> {
    losses: Losses<T>,
    pub(super) optimizer: Box<dyn Optimizer<T>>,
    pub(super) metrics: Vec<Box<dyn Metric<T>>>,
    /// Of each metric, the numbers of the outputs that it looks at.
    measured: Vec<Vec<usize>>,
    /// `"loss"`, the names of the outputs' losses if there are several, and those of the metrics.
    score_names: Arc<[String]>,
    pub(super) state: OptimizerState<T>,
}

impl<T: Float> Compiled<T> {
    /// The loss of the (first) output.
    pub fn loss(&self) -> &dyn Loss<T> {
        &*self.losses.first.0
    }

    /// The losses, one for each output.
    pub fn losses(&self) -> impl Iterator<Item = &dyn Loss<T>> {
        self.losses.iter().map(|(loss, _)| &**loss)
    }

    /// What the losses are multiplied by before they are added up.
    pub fn loss_weights(&self) -> Vec<f64> {
        self.losses.iter().map(|(_, weight)| *weight).collect()
    }

    /// The loss of output `number`, and its weight.
    pub(super) fn weighted_loss(&self, number: usize) -> Result<(&dyn Loss<T>, f64)> {
        match self.losses.iter().nth(number) {
            Some((loss, weight)) => Ok((&**loss, *weight)),
            None => Err(Error::value("fit", "an output has no loss").into()),
        }
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

/// A loss for each output of a model, and what they are multiplied by before they are added up.
///
/// ```
/// use nn::prelude::*;
/// let x = Input::new(&[8]);
/// let (digit, size) = (Dense::new(10).apply(&x)?, Dense::new(1).apply(&x)?);
/// let mut model = Model::new(&x, [&digit, &size])?;
/// let losses = Losses::new(SparseCategoricalCrossentropy::new().from_logits(true))
///     .and(MeanSquaredError::new())
///     .weights([1.0, 0.1])?;
/// model.compile_many(losses, Adam::default(), None::<Accuracy>)?;
/// let x = Tensor::<f32>::ones([4, 8])?;
/// let y = TargetArrays::join([
///     Tensor::<i64>::zeros([4])?.into(),
///     Tensor::<f32>::zeros([4, 1])?.into(),
/// ]);
/// let scores = model.train_on_batch(&x, &y)?;
/// let each = [scores["dense_loss"], scores["dense_1_loss"]];
/// assert!((scores.loss() - (each[0] + 0.1 * each[1])).abs() < 1e-6);
/// # Ok::<(), nn::Error>(())
/// ```
pub struct Losses<T: Float = f32> {
    first: (Box<dyn Loss<T>>, f64),
    others: Vec<(Box<dyn Loss<T>>, f64)>,
}

impl<T: Float> Losses<T> {
    /// The loss of the first output, with weight 1.
    pub fn new(loss: impl Loss<T> + 'static) -> Self {
        Losses {
            first: (Box::new(loss), 1.0),
            others: Vec::new(),
        }
    }

    /// Adds the loss of the next output, with weight 1.
    #[must_use]
    pub fn and(mut self, loss: impl Loss<T> + 'static) -> Self {
        self.others.push((Box::new(loss), 1.0));
        self
    }

    /// Sets what the losses are multiplied by, in the order of the outputs.
    ///
    /// # Errors
    /// If there are more or fewer than losses, or one is not finite.
    pub fn weights(mut self, weights: impl IntoIterator<Item = f64>) -> Result<Self> {
        let weights: Vec<f64> = weights.into_iter().collect();
        let count = 1 + self.others.len();
        if weights.len() != count || !weights.iter().all(|weight| weight.is_finite()) {
            return Err(Error::value("losses", "the weights do not fit the losses")
                .with("losses", count)
                .with("weights", format!("{weights:?}"))
                .fix("give a finite number for each loss")
                .into());
        }
        let all = std::iter::once(&mut self.first).chain(&mut self.others);
        for ((_, own), weight) in all.zip(weights) {
            *own = weight;
        }
        Ok(self)
    }

    fn iter(&self) -> impl Iterator<Item = &(Box<dyn Loss<T>>, f64)> {
        std::iter::once(&self.first).chain(&self.others)
    }
}

/// Loss and metrics, averaged over samples; see [`Model::evaluate`].
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
    /// In the order of the scores.
    tallies: Vec<Tally>,
}

impl Running {
    pub(crate) fn scores<T: Float>(&self, compiled: &Compiled<T>) -> Scores {
        let count = compiled.score_names.len();
        let mut values: Vec<f64> = self.tallies.iter().map(Tally::mean).collect();
        values.resize(count, f64::NAN);
        Scores {
            names: compiled.score_names.clone(),
            values,
        }
    }

    /// Adds the losses of a batch of `count` samples, and what the metrics say of it.
    pub(super) fn add<T: Float>(
        &mut self,
        compiled: &Compiled<T>,
        losses: &BatchLosses<T>,
        count: usize,
        outputs: &[Tensor<T>],
        targets: &[Targets<T>],
    ) -> Result<()> {
        self.tallies
            .resize(compiled.score_names.len(), Tally::default());
        let mut tallies = self.tallies.iter_mut();
        let mut add = |tally: Tally| {
            if let Some(own) = tallies.next() {
                own.add(tally);
            }
        };
        let mut values = vec![&losses.total];
        if losses.each.len() > 1 {
            values.extend(&losses.each);
        }
        for value in values {
            let sum = value.item()?.to_f64() * count as f64;
            add(Tally { sum, count });
        }
        for (metric, outputs_of) in compiled.metrics.iter().zip(&compiled.measured) {
            for &output in outputs_of {
                add(metric.measure(&outputs[output], &targets[output])?);
            }
        }
        Ok(())
    }
}

fn boxed<T: Float, M: Metric<T> + 'static>(metric: M) -> Box<dyn Metric<T>> {
    Box::new(metric)
}

impl<T: Float> Model<T> {
    /// Sets what training minimises, how, and what is reported besides. Weights are kept; what an
    /// earlier optimizer remembered is not.
    ///
    /// Metrics are an array of one kind (`[Accuracy::new()]`), a `Vec<Box<dyn Metric<T>>>` of
    /// several, or `None::<Accuracy>`.
    ///
    /// # Errors
    /// If the input shape is known and a layer cannot take what the layers before it give, or the
    /// model has several outputs: [`Model::compile_many`] takes a loss for each; if the optimizer has
    /// a setting that it [cannot use](Optimizer::check), such as a negative learning rate, or the
    /// model was loaded to predict and its training needs what this crate does not have.
    pub fn compile<M: Metric<T> + 'static>(
        &mut self,
        loss: impl Loss<T> + 'static,
        optimizer: impl Optimizer<T> + 'static,
        metrics: impl IntoIterator<Item = M>,
    ) -> Result<()> {
        self.compile_many(Losses::new(loss), optimizer, metrics)
    }

    /// [`Model::compile`] for a model with several outputs, each with a loss. A metric looks at
    /// every output, or at the one that [`OfOutput`](crate::metrics::OfOutput) names.
    ///
    /// # Errors
    /// Those of [`Model::compile`], and if there are more or fewer losses than outputs, or a metric
    /// is of an output that there is not.
    pub fn compile_many<M: Metric<T> + 'static>(
        &mut self,
        losses: Losses<T>,
        optimizer: impl Optimizer<T> + 'static,
        metrics: impl IntoIterator<Item = M>,
    ) -> Result<()> {
        self.require_trainable()?;
        if self.graph.knows_inputs() {
            self.build()?;
        }
        optimizer.check()?;
        let metrics: Vec<_> = metrics.into_iter().map(boxed).collect();
        let outputs = self.output_names();
        let (count, given) = (outputs.len(), losses.iter().count());
        if given != count {
            let message = format!("the model gives {count} outputs, {given} losses are given");
            return Err(Error::value("compile", message)
                .with("outputs", outputs.join(", "))
                .fix("give one for each: `compile_many(Losses::new(first).and(second), …)`")
                .into());
        }
        let mut score_names = vec!["loss".to_string()];
        if count > 1 {
            score_names.extend(outputs.iter().map(|output| format!("{output}_loss")));
        }
        let mut measured = Vec::with_capacity(metrics.len());
        for metric in &metrics {
            let chosen: Vec<usize> = match metric.output() {
                None => (0..count).collect(),
                Some(name) => {
                    let place = outputs.iter().position(|output| *output == name);
                    Vec::from_iter(place)
                }
            };
            if chosen.is_empty() {
                let name = metric.output().unwrap_or_default();
                return Err(
                    Error::value("compile", format!("there is no output `{name}`"))
                        .with("metric", metric.name())
                        .with("outputs", outputs.join(", "))
                        .into(),
                );
            }
            score_names.extend(chosen.iter().map(|&output| match count {
                1 => metric.name().to_string(),
                _ => format!("{}_{}", outputs[output], metric.name()),
            }));
            measured.push(chosen);
        }
        self.plans.clear();
        self.compiled = Some(Compiled {
            losses,
            optimizer: Box::new(optimizer),
            score_names: score_names.into(),
            metrics,
            measured,
            state: OptimizerState::default(),
        });
        Ok(())
    }

    /// Refuses a model that was loaded without settings of its training.
    fn require_trainable(&self) -> Result<()> {
        for stage in &self.graph.layers {
            let missing = stage.set_aside.iter();
            // The weights are there, however they were first drawn.
            let mut missing = missing.filter(|(key, _)| !key.ends_with("_initializer"));
            if let Some((key, value)) = missing.next() {
                let message = "the model was loaded to predict: this crate cannot train with \
                    one of its settings";
                return Err(Error::unsupported("compile", message)
                    .with("layer", stage.describe())
                    .with("setting", format!("`{key}` = {value}"))
                    .fix("build the model in code without it, and `load_weights` from the file")
                    .into());
            }
        }
        Ok(())
    }

    pub(crate) fn require_compiled(&self, operation: &str) -> Result<&Compiled<T>> {
        self.compiled.as_ref().ok_or_else(|| {
            Error::value(operation, "the model has no loss and no optimizer yet")
                .fix("call `compile` first")
                .into()
        })
    }
}
