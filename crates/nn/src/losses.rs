//! What training makes small, averaged as Keras does.

use autograd::Var;
use serde_json::json;
use tensor::{Error, Float, Shape, Tensor, keepdims};

use crate::config::{Config, ConfigReader, config};
use crate::error::Result;
use crate::layers::ActivationFunction;
use crate::samples::Targets;

/// A loss: one number for a batch of outputs and targets.
///
/// ```
/// use autograd::Var;
/// use nn::prelude::*;
/// use nn::Targets;
/// use tensor::{Float, Shape};
///
/// /// The mean of `|output − target|`.
/// struct MeanAbsoluteError;
///
/// impl<T: Float> Loss<T> for MeanAbsoluteError {
///     fn name(&self) -> &str {
///         "mean_absolute_error"
///     }
///     fn loss(&self, output: &Var<T>, targets: &Targets<T>, _: bool) -> nn::Result<Var<T>> {
///         let targets = targets.values_like(Loss::<T>::name(self), output.shape())?;
///         Ok(output.sub(&Var::constant(targets))?.abs().mean(..)?)
///     }
/// }
///
/// let mut model = Sequential::new();
/// model.add(Dense::new(1).input_shape(&[1]));
/// model.compile(MeanAbsoluteError, Sgd::new(0.1), None::<Accuracy>)?;
/// let (x, y) = (Tensor::from([[0.0_f32], [1.0]]), Tensor::from([[1.0_f32], [3.0]]));
/// model.fit(&x, &y, Fit::new().epochs(100).verbosity(Verbosity::Silent))?;
/// assert!(model.evaluate(&x, &y)?.loss() < 0.2);
/// # Ok::<(), nn::Error>(())
/// ```
pub trait Loss<T: Float = f32>: Send + Sync {
    /// Keras's name: `"categorical_crossentropy"`.
    fn name(&self) -> &str;

    /// The mean loss over the batch. `output` is what the model puts out, or, if `absorbed`, that
    /// before the activation that [`Loss::absorbs`] agreed to.
    ///
    /// # Errors
    /// If the targets do not fit the outputs.
    fn loss(&self, output: &Var<T>, targets: &Targets<T>, absorbed: bool) -> Result<Var<T>>;

    /// Whether the loss can be computed from what goes into `activation`, better than from what
    /// comes out: then a model that ends with it leaves it to the loss.
    fn absorbs(&self, _activation: &ActivationFunction) -> bool {
        false
    }

    /// Looks at all targets before training starts; `output` is the shape of one output.
    ///
    /// # Errors
    /// If they do not fit the outputs.
    fn check(&self, _targets: &Targets<T>, _output: &Shape) -> Result<()> {
        Ok(())
    }

    /// The class and settings, for files.
    fn config(&self) -> (&str, Config) {
        (self.name(), Config::new())
    }
}

impl<T: Float, L: Loss<T> + ?Sized> Loss<T> for Box<L> {
    fn name(&self) -> &str {
        (**self).name()
    }
    fn loss(&self, output: &Var<T>, targets: &Targets<T>, absorbed: bool) -> Result<Var<T>> {
        (**self).loss(output, targets, absorbed)
    }
    fn absorbs(&self, activation: &ActivationFunction) -> bool {
        (**self).absorbs(activation)
    }
    fn check(&self, targets: &Targets<T>, output: &Shape) -> Result<()> {
        (**self).check(targets, output)
    }
    fn config(&self) -> (&str, Config) {
        (**self).config()
    }
}

/// The loss of this name or class with these settings, as Keras's files describe it.
///
/// # Errors
/// If this crate has no such loss.
pub fn from_config<T: Float>(name: &str, config: &Config) -> Result<Box<dyn Loss<T>>> {
    let reader = ConfigReader::new(name, config);
    reader.ignore(&["name"]);
    reader.expect_single_or_double()?;
    // The ways in which Keras calls the mean over the batch, without weights of samples.
    let means = [
        "auto",
        "sum_over_batch_size",
        "mean",
        "mean_with_sample_weight",
    ];
    reader.one_of("reduction", &means)?;
    let from_logits = || reader.flag_or("from_logits", false);
    let loss: Box<dyn Loss<T>> = match name {
        "categorical_crossentropy" | "CategoricalCrossentropy" => {
            reader.expect("label_smoothing", 0.0)?;
            reader.expect("axis", -1)?;
            let from_logits = from_logits()?;
            Box::new(CategoricalCrossentropy { from_logits })
        }
        "sparse_categorical_crossentropy" | "SparseCategoricalCrossentropy" => {
            reader.expect("axis", -1)?;
            let from_logits = from_logits()?;
            Box::new(SparseCategoricalCrossentropy { from_logits })
        }
        "binary_crossentropy" | "BinaryCrossentropy" => {
            reader.expect("label_smoothing", 0.0)?;
            reader.expect("axis", -1)?;
            let from_logits = from_logits()?;
            Box::new(BinaryCrossentropy { from_logits })
        }
        "mean_squared_error" | "mse" | "MeanSquaredError" => Box::new(MeanSquaredError),
        _ => {
            let message = format!("there is no loss called `{name}`");
            return Err(Error::unsupported("model", message).into());
        }
    };
    // Keras 2 also writes the function that the class wraps.
    reader.expect("fn", loss.name())?;
    reader.finish()?;
    Ok(loss)
}

/// Probabilities closer to 0 or 1 than this are moved there before their logarithm is taken;
/// Keras's `epsilon`. It does not matter where the loss is computed from logits.
const FUZZ: f64 = 1e-7;

/// `−Σ yᵢ ln pᵢ` for one-hot rows (or distributions) `y`, averaged over the batch.
///
/// Where the model ends with a softmax, loss and softmax are computed together from the scores
/// before it, exactly and without overflow, with the gradient `p − y`.
///
/// ```
/// use nn::prelude::*;
/// let mut model = Sequential::new();
/// model.add(Activation::softmax().input_shape(&[2]));
/// model.compile(CategoricalCrossentropy::new(), Adam::default(), None::<Accuracy>)?;
/// let scores = model.evaluate(&Tensor::from([[0.0_f32, 1000.0]]), &Tensor::from([[1.0_f32, 0.0]]))?;
/// assert_eq!(scores.loss(), 1000.0); // from the probability 0 it would be infinite
/// # Ok::<(), nn::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CategoricalCrossentropy {
    from_logits: bool,
}

/// [`CategoricalCrossentropy`] for targets that are class numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SparseCategoricalCrossentropy {
    from_logits: bool,
}

/// `−(y ln p + (1 − y) ln(1 − p))`, averaged over all outputs of the batch.
///
/// Where the model ends with a sigmoid, both are computed together as `softplus(x) − x·y`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BinaryCrossentropy {
    from_logits: bool,
}

/// `(output − target)²`, averaged over all outputs of the batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MeanSquaredError;

impl CategoricalCrossentropy {
    /// For a model whose outputs are probabilities.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets whether the model's outputs are scores (logits), not probabilities.
    #[must_use]
    pub fn from_logits(mut self, from_logits: bool) -> Self {
        self.from_logits = from_logits;
        self
    }
}

impl SparseCategoricalCrossentropy {
    /// For a model whose outputs are probabilities.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets whether the model's outputs are scores (logits), not probabilities.
    #[must_use]
    pub fn from_logits(mut self, from_logits: bool) -> Self {
        self.from_logits = from_logits;
        self
    }
}

impl BinaryCrossentropy {
    /// For a model whose outputs are probabilities.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets whether the model's outputs are scores (logits), not probabilities.
    #[must_use]
    pub fn from_logits(mut self, from_logits: bool) -> Self {
        self.from_logits = from_logits;
        self
    }
}

impl MeanSquaredError {
    /// The loss.
    pub fn new() -> Self {
        MeanSquaredError
    }
}

/// The mean over all rows of `−Σ tᵢ ln pᵢ`.
fn cross_entropy<T: Float>(output: &Var<T>, targets: Tensor<T>, logits: bool) -> Result<Var<T>> {
    let targets = Var::constant(targets);
    if logits {
        return Ok(output.softmax_cross_entropy_with(&targets)?.mean(..)?);
    }
    let sums = output.sum(keepdims(-1))?;
    let log = clipped(&output.div(&sums)?)?.log();
    Ok(targets.mul(&log)?.sum(-1)?.neg().mean(..)?)
}

/// `p` moved into `FUZZ ..= 1 − FUZZ`.
fn clipped<T: Float>(p: &Var<T>) -> Result<Var<T>> {
    Ok(p.clamp(T::constant(FUZZ), T::constant(1.0 - FUZZ))?)
}

impl<T: Float> Loss<T> for CategoricalCrossentropy {
    fn name(&self) -> &str {
        "categorical_crossentropy"
    }

    fn loss(&self, output: &Var<T>, targets: &Targets<T>, absorbed: bool) -> Result<Var<T>> {
        let name = Loss::<T>::name(self);
        let rows = match targets {
            Targets::Values(rows) if rows.shape() == output.shape() => rows.clone(),
            _ => return Err(not_one_hot(name, targets.shape(), output.shape())),
        };
        cross_entropy(output, rows, absorbed || self.from_logits)
    }

    fn absorbs(&self, activation: &ActivationFunction) -> bool {
        !self.from_logits && *activation == ActivationFunction::Softmax
    }

    fn check(&self, targets: &Targets<T>, output: &Shape) -> Result<()> {
        let fits =
            matches!(targets, Targets::Values(rows) if rows.shape().get(1..) == Some(&output[..]));
        if fits {
            return Ok(());
        }
        Err(not_one_hot(
            Loss::<T>::name(self),
            targets.shape(),
            &with_samples(targets, output),
        ))
    }

    fn config(&self) -> (&str, Config) {
        (
            "CategoricalCrossentropy",
            config([("from_logits", json!(self.from_logits))]),
        )
    }
}

#[cold]
fn not_one_hot(name: &str, targets: &Shape, outputs: &Shape) -> crate::Error {
    let message = "the targets are not one-hot rows of the outputs' shape";
    Error::shape(name, message)
        .with("targets", targets)
        .with("outputs", outputs)
        .fix(match outputs.rank() > targets.rank().max(2) {
            true => FLATTEN,
            false => {
                "use `to_categorical(&labels, classes)`, or `SparseCategoricalCrossentropy` for labels"
            }
        })
        .into()
}

/// What to do where outputs have more axes than targets.
const FLATTEN: &str = "if a layer before the last `Dense` puts out images, add `Flatten` behind it";

#[cold]
fn not_one_row(name: &str, outputs: &Shape) -> crate::Error {
    Error::shape(name, "the outputs are not one row a sample")
        .with("outputs", outputs)
        .fix(FLATTEN)
        .into()
}

/// The shape of the outputs for as many samples as there are targets.
fn with_samples<T: Float>(targets: &Targets<T>, output: &Shape) -> Shape {
    let mut outputs = Shape::from(targets.len());
    output.iter().for_each(|&size| outputs.push(size));
    outputs
}

impl<T: Float> Loss<T> for SparseCategoricalCrossentropy {
    fn name(&self) -> &str {
        "sparse_categorical_crossentropy"
    }

    fn loss(&self, output: &Var<T>, targets: &Targets<T>, absorbed: bool) -> Result<Var<T>> {
        let name = Loss::<T>::name(self);
        let &[batch, classes] = &output.shape()[..] else {
            return Err(not_one_row(name, output.shape()));
        };
        let labels = targets.labels(name, classes)?;
        if labels.len() != batch {
            return Err(Error::shape(name, "there is not one label a sample")
                .with("labels", labels.len())
                .with("outputs", output.shape())
                .into());
        }
        let mut rows = Tensor::zeros([batch, classes])?;
        let values = rows.make_mut();
        for (row, label) in labels.into_iter().enumerate() {
            values[row * classes + label] = T::ONE;
        }
        cross_entropy(output, rows, absorbed || self.from_logits)
    }

    fn absorbs(&self, activation: &ActivationFunction) -> bool {
        !self.from_logits && *activation == ActivationFunction::Softmax
    }

    fn check(&self, targets: &Targets<T>, output: &Shape) -> Result<()> {
        let name = Loss::<T>::name(self);
        let &[classes] = &output[..] else {
            return Err(not_one_row(name, &with_samples(targets, output)));
        };
        targets.labels(name, classes).map(|_| ())
    }

    fn config(&self) -> (&str, Config) {
        (
            "SparseCategoricalCrossentropy",
            config([("from_logits", json!(self.from_logits))]),
        )
    }
}

impl<T: Float> Loss<T> for BinaryCrossentropy {
    fn name(&self) -> &str {
        "binary_crossentropy"
    }

    fn loss(&self, output: &Var<T>, targets: &Targets<T>, absorbed: bool) -> Result<Var<T>> {
        let targets = targets.values_like(Loss::<T>::name(self), output.shape())?;
        let targets = Var::constant(targets);
        if absorbed || self.from_logits {
            return Ok(output.softplus().sub(&output.mul(&targets)?)?.mean(..)?);
        }
        let p = clipped(output)?;
        let hit = targets.mul(&p.log())?;
        let miss = (1.0 - &targets).mul(&(1.0 - &p).log())?;
        Ok(hit.add(&miss)?.neg().mean(..)?)
    }

    fn absorbs(&self, activation: &ActivationFunction) -> bool {
        !self.from_logits && *activation == ActivationFunction::Sigmoid
    }

    fn check(&self, targets: &Targets<T>, output: &Shape) -> Result<()> {
        check_numbers(Loss::<T>::name(self), targets, output)
    }

    fn config(&self) -> (&str, Config) {
        (
            "BinaryCrossentropy",
            config([("from_logits", json!(self.from_logits))]),
        )
    }
}

impl<T: Float> Loss<T> for MeanSquaredError {
    fn name(&self) -> &str {
        "mean_squared_error"
    }

    fn loss(&self, output: &Var<T>, targets: &Targets<T>, _: bool) -> Result<Var<T>> {
        let targets = targets.values_like(Loss::<T>::name(self), output.shape())?;
        Ok(output.sub(&Var::constant(targets))?.square().mean(..)?)
    }

    fn check(&self, targets: &Targets<T>, output: &Shape) -> Result<()> {
        check_numbers(Loss::<T>::name(self), targets, output)
    }

    fn config(&self) -> (&str, Config) {
        ("MeanSquaredError", Config::new())
    }
}

/// As many numbers a sample as there are outputs.
fn check_numbers<T: Float>(name: &str, targets: &Targets<T>, output: &Shape) -> Result<()> {
    let per_sample: usize = targets.shape().iter().skip(1).product();
    if per_sample == output.elements() {
        return Ok(());
    }
    let error = Error::shape(name, "the targets do not fit the outputs")
        .with("targets", targets.shape())
        .with("one output", output);
    Err(match output.rank() + 1 > targets.shape().rank().max(2) {
        true => error.fix(FLATTEN).into(),
        false => error.into(),
    })
}
