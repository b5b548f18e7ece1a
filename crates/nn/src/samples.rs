//! From whole data sets to the batches that run through a model.

use std::any::Any;
use std::fmt::Display;
use std::ops::{Div, Range};
use std::sync::LazyLock;

use tensor::{DType, Element, Error, Float, Shape, Tensor, vec_with_capacity};

use crate::data::{Array, with_tensor};
use crate::error::Result;

/// The number of rows: samples.
pub(crate) fn count(array: &Array) -> usize {
    array.shape().first().copied().unwrap_or(0)
}

/// The rows `range`, without copying.
pub(crate) fn slice(array: &Array, range: Range<usize>) -> Result<Array> {
    // No tensor has more rows than `isize::MAX`.
    let range = range.start as isize..range.end as isize;
    Ok(with_tensor!(array, x => x.slice_axis(0, range)?.into()))
}

/// The samples that go into a model, one a row of the first axis: an array for each input of the
/// model, and a number that its elements are divided by when a batch is made.
///
/// Any array or tensor is one. Images in bytes stay bytes, a quarter of the memory:
///
/// ```
/// use nn::data::Array;
/// use nn::prelude::*;
/// let pixels = Array::from(Tensor::from([[0_u8, 64], [128, 255]]));
/// let x = pixels / 256.0;
/// assert_eq!(x.shape(), &[2, 2]);
///
/// let mut model = Sequential::new();
/// model.add(Activation::linear().input_shape(&x.shape()[1..]));
/// assert_eq!(model.predict(&x)?.to_vec(), [0.0, 0.25, 0.5, 0.99609375]);
/// # Ok::<(), nn::Error>(())
/// ```
///
/// A model with several inputs takes an array or vector of arrays: `model.fit([&a, &b], &y, …)`;
/// those of several types, or divided, are put together by [`Inputs::join`].
#[derive(Clone, Debug)]
pub struct Inputs {
    parts: Vec<Part>,
}

/// The samples of one input.
#[derive(Clone, Debug)]
struct Part {
    array: Array,
    divisor: f64,
}

impl Part {
    /// All samples as `T`, for `operation`.
    fn to_tensor<T: Float>(&self, operation: &str) -> Result<Tensor<T>> {
        let values: Tensor<T> = self.array.to()?;
        let divisor = T::constant(self.divisor);
        if self.divisor == 1.0 {
            return Ok(values);
        }
        if values.is_unique() {
            // In place.
            return Ok(values / divisor);
        }
        Ok(values.try_map(operation, move |x| x / divisor)?)
    }

    fn gather<T: Float>(&self, rows: &[usize], batch: &mut Tensor<T>) -> Result<()> {
        if self.divisor == 1.0 {
            return gather_floats(&self.array, rows, batch);
        }
        let divisor = T::constant(self.divisor);
        with_tensor!(&self.array, x => gather(x, rows, batch, |value| {
            T::from_f64(value.to_f64()) / divisor
        }))
    }
}

impl Inputs {
    /// The samples of a model with several inputs, in the order of the inputs.
    ///
    /// ```
    /// use nn::prelude::*;
    /// let pictures = Tensor::<u8>::zeros([10, 8, 8, 1])?;
    /// let numbers = Tensor::<f32>::ones([10, 3])?;
    /// let x = Inputs::join([Inputs::from(&pictures) / 255.0, Inputs::from(&numbers)]);
    /// assert_eq!(x.len(), 10);
    /// # Ok::<(), nn::Error>(())
    /// ```
    pub fn join(inputs: impl IntoIterator<Item = Inputs>) -> Self {
        let parts = inputs.into_iter().flat_map(|inputs| inputs.parts);
        Inputs {
            parts: parts.collect(),
        }
    }

    /// The shape of the (first) array, samples first.
    pub fn shape(&self) -> &Shape {
        static NONE: LazyLock<Shape> = LazyLock::new(Shape::default);
        self.parts.first().map_or(&NONE, |part| part.array.shape())
    }

    /// The shapes of all arrays, samples first.
    pub fn shapes(&self) -> Vec<&Shape> {
        self.parts.iter().map(|part| part.array.shape()).collect()
    }

    /// The number of samples.
    pub fn len(&self) -> usize {
        self.parts.first().map_or(0, |part| count(&part.array))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The shape of one sample of the (first) array.
    pub fn sample_shape(&self) -> Shape {
        Shape::from(self.shape().get(1..).unwrap_or(&[]))
    }

    /// The shape of one sample of each array.
    pub(crate) fn sample_shapes(&self) -> Vec<Shape> {
        let shapes = self.parts.iter().map(|part| part.array.shape());
        shapes
            .map(|shape| Shape::from(shape.get(1..).unwrap_or(&[])))
            .collect()
    }

    /// The samples `range`, without copying.
    pub(crate) fn slice(&self, range: Range<usize>) -> Result<Self> {
        let parts = self.parts.iter().map(|part| {
            Ok(Part {
                array: slice(&part.array, range.clone())?,
                divisor: part.divisor,
            })
        });
        Ok(Inputs {
            parts: parts.collect::<Result<_>>()?,
        })
    }

    /// All samples as `T`, for each input of the model; for `operation`.
    pub(crate) fn to_tensors<T: Float>(&self, operation: &str) -> Result<Vec<Tensor<T>>> {
        let parts = self.parts.iter();
        parts.map(|part| part.to_tensor(operation)).collect()
    }

    /// Makes `batch` the samples that `rows` lists, as `T`; its memory is used again if it can be.
    pub(crate) fn gather<T: Float>(
        &self,
        rows: &[usize],
        batch: &mut Vec<Tensor<T>>,
    ) -> Result<()> {
        fill(batch, self.parts.len(), || Ok(Tensor::zeros([0])?))?;
        let parts = self.parts.iter().zip(batch);
        parts
            .into_iter()
            .try_for_each(|(part, batch)| part.gather(rows, batch))
    }
}

/// Gives a list `count` elements.
fn fill<X>(list: &mut Vec<X>, count: usize, make: impl Fn() -> Result<X>) -> Result<()> {
    while list.len() < count {
        list.push(make()?);
    }
    Ok(())
}

impl<A: Into<Array>> From<A> for Inputs {
    fn from(array: A) -> Self {
        let part = Part {
            array: array.into(),
            divisor: 1.0,
        };
        Inputs { parts: vec![part] }
    }
}

impl<A: Into<Array>, const N: usize> From<[A; N]> for Inputs {
    /// One array for each input of the model.
    fn from(arrays: [A; N]) -> Self {
        Inputs::join(arrays.map(Inputs::from))
    }
}

impl<A: Into<Array>> From<Vec<A>> for Inputs {
    /// One array for each input of the model.
    fn from(arrays: Vec<A>) -> Self {
        Inputs::join(arrays.into_iter().map(Inputs::from))
    }
}

impl<'a, A> From<&'a Vec<A>> for Inputs
where
    &'a A: Into<Array>,
{
    /// One array for each input of the model.
    fn from(arrays: &'a Vec<A>) -> Self {
        Inputs::join(arrays.iter().map(Inputs::from))
    }
}

impl From<&Inputs> for Inputs {
    /// Another handle on the same memory.
    fn from(inputs: &Inputs) -> Self {
        inputs.clone()
    }
}

/// What a model should answer, an array for each of its outputs, one row a sample.
///
/// Any array or tensor is one; a model with several outputs takes an array or vector of them, or
/// what [`TargetArrays::join`] puts together of several types.
#[derive(Clone, Debug)]
pub struct TargetArrays {
    arrays: Vec<Array>,
}

impl TargetArrays {
    /// The targets of a model with several outputs, in the order of the outputs.
    pub fn join(targets: impl IntoIterator<Item = TargetArrays>) -> Self {
        let arrays = targets.into_iter().flat_map(|targets| targets.arrays);
        TargetArrays {
            arrays: arrays.collect(),
        }
    }

    pub(crate) fn arrays(&self) -> &[Array] {
        &self.arrays
    }

    /// The rows `range`, without copying.
    pub(crate) fn slice(&self, range: Range<usize>) -> Result<Self> {
        let arrays = self.arrays.iter().map(|array| slice(array, range.clone()));
        Ok(TargetArrays {
            arrays: arrays.collect::<Result<_>>()?,
        })
    }

    /// The targets of each output.
    pub(crate) fn targets<T: Float>(&self) -> Result<Vec<Targets<T>>> {
        self.arrays.iter().map(Targets::new).collect()
    }

    /// Makes `batch` the targets that `rows` lists; their memory is used again if it can be.
    pub(crate) fn gather<T: Float>(
        &self,
        rows: &[usize],
        batch: &mut Vec<Targets<T>>,
    ) -> Result<()> {
        fill(batch, self.arrays.len(), || {
            Ok(Targets::Values(Tensor::zeros([0])?))
        })?;
        let arrays = self.arrays.iter().zip(batch);
        arrays
            .into_iter()
            .try_for_each(|(array, targets)| gather_targets(array, rows, targets))
    }
}

impl<A: Into<Array>> From<A> for TargetArrays {
    fn from(array: A) -> Self {
        TargetArrays {
            arrays: vec![array.into()],
        }
    }
}

impl<A: Into<Array>, const N: usize> From<[A; N]> for TargetArrays {
    /// One array for each output of the model.
    fn from(arrays: [A; N]) -> Self {
        TargetArrays {
            arrays: arrays.map(Into::into).into(),
        }
    }
}

impl<A: Into<Array>> From<Vec<A>> for TargetArrays {
    /// One array for each output of the model.
    fn from(arrays: Vec<A>) -> Self {
        TargetArrays {
            arrays: arrays.into_iter().map(Into::into).collect(),
        }
    }
}

impl<'a, A> From<&'a Vec<A>> for TargetArrays
where
    &'a A: Into<Array>,
{
    /// One array for each output of the model.
    fn from(arrays: &'a Vec<A>) -> Self {
        TargetArrays {
            arrays: arrays.iter().map(Into::into).collect(),
        }
    }
}

impl From<&TargetArrays> for TargetArrays {
    /// Another handle on the same memory.
    fn from(targets: &TargetArrays) -> Self {
        targets.clone()
    }
}

impl Div<f64> for Inputs {
    type Output = Inputs;
    /// The elements divided by one more number, a batch at a time.
    fn div(self, divisor: f64) -> Inputs {
        let divide = |part: Part| Part {
            divisor: part.divisor * divisor,
            ..part
        };
        Inputs {
            parts: self.parts.into_iter().map(divide).collect(),
        }
    }
}

impl Div<f64> for Array {
    type Output = Inputs;
    /// The elements divided by a number, a batch at a time.
    fn div(self, divisor: f64) -> Inputs {
        Inputs::from(self) / divisor
    }
}

impl Div<f64> for &Array {
    type Output = Inputs;
    /// The elements divided by a number, a batch at a time.
    fn div(self, divisor: f64) -> Inputs {
        Inputs::from(self) / divisor
    }
}

/// Makes `targets` those that `rows` lists; their memory is used again if it can be.
fn gather_targets<T: Float>(array: &Array, rows: &[usize], targets: &mut Targets<T>) -> Result<()> {
    if !holds_labels(array) {
        if let Targets::Labels(_) = targets {
            *targets = Targets::Values(Tensor::zeros([0])?);
        }
    } else if let Targets::Values(_) = targets {
        *targets = Targets::Labels(Tensor::zeros([0])?);
    }
    match targets {
        Targets::Values(values) => gather_floats(array, rows, values),
        Targets::Labels(labels) => {
            with_tensor!(array, y => gather(y, rows, labels, Element::to_i64))
        }
    }
}

/// Makes `batch` the rows of `array` that `rows` lists, as `T`.
fn gather_floats<T: Float>(array: &Array, rows: &[usize], batch: &mut Tensor<T>) -> Result<()> {
    with_tensor!(array, x => match (x as &dyn Any).downcast_ref::<Tensor<T>>() {
        Some(same) => gather(same, rows, batch, |value| value),
        None => gather(x, rows, batch, |value| T::from_f64(value.to_f64())),
    })
}

/// Makes `target` the rows of `source` that `rows` lists, each element converted.
fn gather<S: Element, T: Element>(
    source: &Tensor<S>,
    rows: &[usize],
    target: &mut Tensor<T>,
    convert: impl Fn(S) -> T,
) -> Result<()> {
    let shape = with_rows(source.shape(), rows.len());
    if *target.shape() != shape || !target.is_unique() {
        *target = Tensor::zeros(shape)?;
    }
    let len = target.len() / rows.len().max(1);
    if len == 0 {
        return Ok(());
    }
    let values = source.as_slice();
    for (target, &row) in target.make_mut().chunks_exact_mut(len).zip(rows) {
        if let Some(values) = values {
            for (target, &value) in target.iter_mut().zip(&values[row * len..][..len]) {
                *target = convert(value);
            }
        } else {
            let values = source.index_axis(0, row)?;
            for (target, value) in target.iter_mut().zip(values.iter()) {
                *target = convert(value);
            }
        }
    }
    Ok(())
}

/// The shape with another number of rows.
fn with_rows(shape: &Shape, count: usize) -> Shape {
    let mut other = Shape::from(count);
    shape.iter().skip(1).for_each(|&size| other.push(size));
    other
}

/// Whether an array of targets holds the numbers of classes: integers, one a sample.
fn holds_labels(array: &Array) -> bool {
    let integers = !matches!(array.dtype(), DType::F32 | DType::F64);
    integers && array.len() == count(array)
}

/// What a model should answer, one row a sample.
///
/// ```
/// use nn::Targets;
/// use nn::data::Array;
/// use tensor::Tensor;
/// let labels = Targets::<f32>::new(&Array::from(Tensor::from([2_u8, 0])))?;
/// assert!(matches!(labels, Targets::Labels(_)));
/// let one_hot = Targets::<f32>::new(&Array::from(Tensor::from([[0_u8, 1], [1, 0]])))?;
/// assert!(matches!(one_hot, Targets::Values(_)));
/// # Ok::<(), nn::Error>(())
/// ```
#[derive(Clone, Debug)]
pub enum Targets<T: Float = f32> {
    /// One-hot rows, probabilities, or numbers to be met.
    Values(Tensor<T>),
    /// The class of each sample.
    Labels(Tensor<i64>),
}

impl<T: Float> From<&Targets<T>> for Array
where
    Array: From<Tensor<T>>,
{
    /// Another handle on the same memory.
    fn from(targets: &Targets<T>) -> Self {
        match targets {
            Targets::Values(tensor) => tensor.clone().into(),
            Targets::Labels(tensor) => tensor.into(),
        }
    }
}

impl<T: Float> Targets<T> {
    /// Integers, one a sample, are labels; all else are values.
    ///
    /// # Errors
    /// If memory for the conversion cannot be allocated.
    pub fn new(array: &Array) -> Result<Self> {
        Ok(if holds_labels(array) {
            Targets::Labels(array.to_i64()?)
        } else {
            Targets::Values(array.to()?)
        })
    }

    /// The number of samples.
    pub fn len(&self) -> usize {
        self.shape().first().copied().unwrap_or(0)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The shape with the axis of samples.
    pub fn shape(&self) -> &Shape {
        match self {
            Targets::Values(tensor) => tensor.shape(),
            Targets::Labels(tensor) => tensor.shape(),
        }
    }

    /// The targets as numbers in the shape of `output`, for losses that compare numbers.
    ///
    /// # Errors
    /// If there are more or fewer numbers than outputs.
    pub fn values_like(&self, operation: &str, output: &Shape) -> Result<Tensor<T>> {
        if self.shape().elements() != output.elements() {
            return Err(
                Error::shape(operation, "the targets do not fit the outputs")
                    .with("targets", self.shape())
                    .with("outputs", output)
                    .into(),
            );
        }
        Ok(match self {
            Targets::Values(tensor) => tensor.reshape(output)?,
            Targets::Labels(tensor) => tensor.try_cast::<T>(operation)?.reshape(output)?,
        })
    }

    /// The labels, checked to lie in `0 .. classes`; numbers that are whole pass as labels.
    ///
    /// # Errors
    /// If there is not one label a sample, or one lies outside.
    pub fn labels(&self, operation: &str, classes: usize) -> Result<Vec<usize>> {
        if self.shape().elements() != self.len() {
            return Err(Error::shape(operation, "there is more than one label a sample")
                .with("targets", self.shape())
                .fix("give labels as [samples]; one-hot rows belong to `CategoricalCrossentropy`")
                .into());
        }
        let known = |label: i64| usize::try_from(label).ok().filter(|&label| label < classes);
        let mut labels = vec_with_capacity(operation, self.len())?;
        match self {
            Targets::Labels(tensor) => {
                for (sample, label) in tensor.iter().enumerate() {
                    let class = known(label);
                    labels.push(class.ok_or_else(|| no_class(operation, sample, label, classes))?);
                }
            }
            Targets::Values(tensor) => {
                for (sample, label) in tensor.iter().map(T::to_f64).enumerate() {
                    if label.fract() != 0.0 {
                        return Err(no_whole_number(operation, sample, label));
                    }
                    // What is too large for an integer becomes the largest, which is no class.
                    let class = known(label as i64);
                    labels.push(class.ok_or_else(|| no_class(operation, sample, label, classes))?);
                }
            }
        }
        Ok(labels)
    }
}

#[cold]
fn no_class(operation: &str, sample: usize, label: impl Display, classes: usize) -> crate::Error {
    let message = format!("the label of sample {sample} is {label:.0}, which is no class");
    Error::value(operation, message)
        .with("classes", format!("0 … {}", classes.saturating_sub(1)))
        .fix("number the classes from 0, and give the last layer one output a class")
        .into()
}

#[cold]
fn no_whole_number(operation: &str, sample: usize, label: f64) -> crate::Error {
    let message = format!("the label of sample {sample} is {label}, which is no whole number");
    Error::value(operation, message)
        .fix("labels are the numbers of classes; other numbers belong to `MeanSquaredError`")
        .into()
}
