//! What `compile` sets, and the scores that come of it.

use std::fmt;
use std::ops::Index;
use std::sync::Arc;

use tensor::{Error, Float, Tensor};

use super::Sequential;
use crate::error::Result;
use crate::losses::Loss;
use crate::metrics::{Metric, Tally};
use crate::optimizers::{Optimizer, OptimizerState};
use crate::samples::Targets;

/// Loss, optimizer with its state, and metrics of a model; see [`Sequential::compile`].
pub struct Compiled<T: Float = f32> {
    pub(super) loss: Box<dyn Loss<T>>,
    pub(super) optimizer: Box<dyn Optimizer<T>>,
    pub(super) metrics: Vec<Box<dyn Metric<T>>>,
    /// `"loss"` and the names of the metrics.
    score_names: Arc<[String]>,
    pub(super) state: OptimizerState<T>,
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

    pub(super) fn add<T: Float>(
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
    /// If the input shape is known and a layer cannot take what the layers before it give, the
    /// optimizer has a setting that it [cannot use](Optimizer::check), such as a negative learning
    /// rate, or the model was loaded to predict and its training needs what this crate does not
    /// have.
    pub fn compile<M: Metric<T> + 'static>(
        &mut self,
        loss: impl Loss<T> + 'static,
        optimizer: impl Optimizer<T> + 'static,
        metrics: impl IntoIterator<Item = M>,
    ) -> Result<()> {
        self.require_trainable()?;
        if self.input_shape.is_some() {
            self.build()?;
        }
        optimizer.check()?;
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

    /// Refuses a model that was loaded without settings of its training.
    fn require_trainable(&self) -> Result<()> {
        for stage in &self.layers {
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
