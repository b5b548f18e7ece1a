//! What is reported beside the loss.

use tensor::{Error, Float, Tensor};

use crate::error::Result;
use crate::samples::Targets;

/// A number that is reported while training and evaluating: a mean over samples.
///
/// ```
/// use nn::metrics::{Metric, Tally};
/// use nn::{Targets, prelude::*};
/// use tensor::Float;
///
/// /// The mean of the largest probability: how sure the model is.
/// struct Confidence;
///
/// impl<T: Float> Metric<T> for Confidence {
///     fn name(&self) -> &str {
///         "confidence"
///     }
///     fn measure(&self, output: &Tensor<T>, _: &Targets<T>) -> nn::Result<Tally> {
///         let largest = output.max(-1)?;
///         let sum = largest.iter().map(T::to_f64).sum();
///         Ok(Tally { sum, count: largest.len() })
///     }
/// }
/// # let _: Box<dyn Metric> = Box::new(Confidence);
/// ```
pub trait Metric<T: Float = f32>: Send + Sync {
    /// The name in progress lines, history and files.
    fn name(&self) -> &str;

    /// Whether a high value is better than a low one, for what watches the metric
    /// ([`EarlyStopping`](crate::training::EarlyStopping),
    /// [`ModelCheckpoint`](crate::training::ModelCheckpoint)); `None`, the default, leaves it to
    /// them.
    fn higher_is_better(&self) -> Option<bool> {
        None
    }

    /// The sum over the samples of a batch, and what to divide it by.
    ///
    /// # Errors
    /// If the targets do not fit the outputs.
    fn measure(&self, output: &Tensor<T>, targets: &Targets<T>) -> Result<Tally>;

    /// The name of the output that it looks at, of a model with several; by default at each.
    fn output(&self) -> Option<&str> {
        None
    }
}

/// A metric of one output of a model that has several.
///
/// ```
/// use nn::metrics::{Metric, OfOutput};
/// use nn::prelude::*;
/// let digits = OfOutput::new("digit", Accuracy::new());
/// assert_eq!(Metric::<f32>::output(&digits), Some("digit"));
/// ```
#[derive(Clone, Debug)]
pub struct OfOutput<M> {
    output: String,
    metric: M,
}

impl<M> OfOutput<M> {
    /// `metric` of the output of this name: that of the layer that gives it.
    pub fn new(output: impl Into<String>, metric: M) -> Self {
        OfOutput {
            output: output.into(),
            metric,
        }
    }
}

impl<T: Float, M: Metric<T>> Metric<T> for OfOutput<M> {
    fn name(&self) -> &str {
        self.metric.name()
    }
    fn measure(&self, output: &Tensor<T>, targets: &Targets<T>) -> Result<Tally> {
        self.metric.measure(output, targets)
    }
    fn output(&self) -> Option<&str> {
        Some(&self.output)
    }
}

impl<T: Float, M: Metric<T> + ?Sized> Metric<T> for Box<M> {
    fn name(&self) -> &str {
        (**self).name()
    }
    fn higher_is_better(&self) -> Option<bool> {
        (**self).higher_is_better()
    }
    fn measure(&self, output: &Tensor<T>, targets: &Targets<T>) -> Result<Tally> {
        (**self).measure(output, targets)
    }
    fn output(&self) -> Option<&str> {
        (**self).output()
    }
}

/// A sum and what to divide it by, added up over batches.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Tally {
    /// The sum.
    pub sum: f64,
    /// The number of samples in it.
    pub count: usize,
}

impl Tally {
    /// The mean; NaN of nothing.
    pub fn mean(&self) -> f64 {
        self.sum / self.count as f64
    }

    /// Adds what another batch gave.
    pub fn add(&mut self, other: Tally) {
        self.sum += other.sum;
        self.count += other.count;
    }
}

/// The metric that Keras calls `name`.
///
/// # Errors
/// If this crate has no such metric.
pub fn from_name<T: Float>(name: &str) -> Result<Box<dyn Metric<T>>> {
    match name {
        "accuracy" | "acc" | "categorical_accuracy" | "sparse_categorical_accuracy" => {
            Ok(Box::new(Accuracy::new()))
        }
        "binary_accuracy" => Ok(Box::new(BinaryAccuracy::new())),
        _ => Err(Error::unsupported("model", format!("there is no metric called `{name}`")).into()),
    }
}

/// The share of samples whose class is right.
///
/// As with Keras's `"accuracy"`, shapes say what is meant: with labels, or one-hot rows, the
/// largest output must be the one of the class (of equal ones the first counts); with a single
/// output, it must lie on the right side of ½.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Accuracy;

impl Accuracy {
    /// The metric.
    pub fn new() -> Self {
        Accuracy
    }
}

impl<T: Float> Metric<T> for Accuracy {
    fn name(&self) -> &str {
        "accuracy"
    }

    fn higher_is_better(&self) -> Option<bool> {
        Some(true)
    }

    fn measure(&self, output: &Tensor<T>, targets: &Targets<T>) -> Result<Tally> {
        let classes = output.shape().last().copied().unwrap_or(1);
        let right = if classes == 1 {
            let targets = targets.values_like("accuracy", output.shape())?;
            let half = T::constant(0.5);
            count(output.iter().zip(targets.iter()), |(p, y)| {
                (p > half) == (y > half)
            })
        } else {
            let predicted = output.argmax(-1)?;
            match targets {
                Targets::Values(rows) if rows.shape() == output.shape() => {
                    count(predicted.iter().zip(rows.argmax(-1)?.iter()), |(p, y)| {
                        p == y
                    })
                }
                labels => {
                    let labels = labels.labels("accuracy", classes)?;
                    count(predicted.iter().zip(labels), |(p, y)| p == y as i64)
                }
            }
        };
        Ok(Tally {
            sum: right as f64,
            count: output.len() / classes.max(1),
        })
    }
}

/// The share of outputs that lie on the right side of ½, each by itself: for models that answer
/// several questions with yes or no. [`Accuracy`] would look for the largest output of a row.
///
/// ```
/// use nn::metrics::{BinaryAccuracy, Metric};
/// use nn::{Targets, prelude::*};
/// let answers = Tensor::from([[0.9_f32, 0.8], [0.1, 0.6]]);
/// let targets = Targets::new(&Tensor::from([[1.0_f32, 0.0], [0.0, 1.0]]).into())?;
/// assert_eq!(BinaryAccuracy::new().measure(&answers, &targets)?.mean(), 0.75);
/// # Ok::<(), nn::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BinaryAccuracy;

impl BinaryAccuracy {
    /// The metric.
    pub fn new() -> Self {
        BinaryAccuracy
    }
}

impl<T: Float> Metric<T> for BinaryAccuracy {
    fn name(&self) -> &str {
        "binary_accuracy"
    }

    fn measure(&self, output: &Tensor<T>, targets: &Targets<T>) -> Result<Tally> {
        let targets = targets.values_like("binary_accuracy", output.shape())?;
        let half = T::constant(0.5);
        let right = count(output.iter().zip(targets.iter()), |(p, y)| {
            (p > half) == (y > half)
        });
        Ok(Tally {
            sum: right as f64,
            count: output.len(),
        })
    }
}

fn count<I: Iterator>(items: I, holds: impl Fn(I::Item) -> bool) -> usize {
    items.map(holds).filter(|&right| right).count()
}
