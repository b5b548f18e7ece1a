//! Merges: layers that make one value of several.

use std::marker::PhantomData;

use autograd::Var;
use serde_json::json;
use tensor::{Error, Float, Shape};

use crate::config::{Config, ConfigReader, config};
use crate::error::Result;
use crate::layer::{Context, Identity, Layer, LayerOptions};
use crate::layers::identity_from;
use crate::parameter::Weights;

/// A merge of values element by element; the shapes broadcast, as operators' do.
///
/// ```
/// use nn::prelude::*;
/// let (a, b) = (Input::new(&[3]), Input::new(&[3]));
/// let model = Model::new([&a, &b], &Maximum::new().apply([&a, &b])?)?;
/// let (x, y) = (Tensor::from([[1.0_f32, 5.0, 2.0]]), Tensor::from([[4.0_f32, 3.0, 2.0]]));
/// assert_eq!(model.predict([&x, &y])?.to_vec(), [4.0, 5.0, 2.0]);
/// # Ok::<(), nn::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Merge<O> {
    identity: Identity,
    operation: PhantomData<O>,
}

/// What a [`Merge`] does with its values.
pub trait MergeOperation: Send + Sync + 'static {
    /// The name of the class, Keras's.
    const CLASS: &'static str;
    /// The most values that it takes.
    const MOST: usize = usize::MAX;

    /// The value of two.
    ///
    /// # Errors
    /// If the shapes do not broadcast.
    fn merge<T: Float>(a: &Var<T>, b: &Var<T>) -> tensor::Result<Var<T>>;

    /// What is done at the end to the value of `count`.
    fn finish<T: Float>(value: Var<T>, _count: usize) -> Var<T> {
        value
    }
}

/// The operations of [`Merge`].
pub mod operations {
    use super::{Float, MergeOperation, Var};

    /// `a + b + …`
    #[derive(Clone, Debug, PartialEq)]
    pub struct Add;
    /// `a − b`
    #[derive(Clone, Debug, PartialEq)]
    pub struct Subtract;
    /// `a · b · …`
    #[derive(Clone, Debug, PartialEq)]
    pub struct Multiply;
    /// `(a + b + …) / count`
    #[derive(Clone, Debug, PartialEq)]
    pub struct Average;
    /// `max(a, b, …)`
    #[derive(Clone, Debug, PartialEq)]
    pub struct Maximum;
    /// `min(a, b, …)`
    #[derive(Clone, Debug, PartialEq)]
    pub struct Minimum;

    impl MergeOperation for Add {
        const CLASS: &'static str = "Add";
        fn merge<T: Float>(a: &Var<T>, b: &Var<T>) -> tensor::Result<Var<T>> {
            a.add(b)
        }
    }
    impl MergeOperation for Subtract {
        const CLASS: &'static str = "Subtract";
        const MOST: usize = 2;
        fn merge<T: Float>(a: &Var<T>, b: &Var<T>) -> tensor::Result<Var<T>> {
            a.sub(b)
        }
    }
    impl MergeOperation for Multiply {
        const CLASS: &'static str = "Multiply";
        fn merge<T: Float>(a: &Var<T>, b: &Var<T>) -> tensor::Result<Var<T>> {
            a.mul(b)
        }
    }
    impl MergeOperation for Average {
        const CLASS: &'static str = "Average";
        fn merge<T: Float>(a: &Var<T>, b: &Var<T>) -> tensor::Result<Var<T>> {
            a.add(b)
        }
        fn finish<T: Float>(value: Var<T>, count: usize) -> Var<T> {
            value.scale(1.0 / count as f64)
        }
    }
    impl MergeOperation for Maximum {
        const CLASS: &'static str = "Maximum";
        fn merge<T: Float>(a: &Var<T>, b: &Var<T>) -> tensor::Result<Var<T>> {
            a.maximum(b)
        }
    }
    impl MergeOperation for Minimum {
        const CLASS: &'static str = "Minimum";
        fn merge<T: Float>(a: &Var<T>, b: &Var<T>) -> tensor::Result<Var<T>> {
            a.minimum(b)
        }
    }
}

/// The sum of values: what a residual block adds to its input.
pub type Add = Merge<operations::Add>;
/// The difference of two values.
pub type Subtract = Merge<operations::Subtract>;
/// The product of values.
pub type Multiply = Merge<operations::Multiply>;
/// The mean of values.
pub type Average = Merge<operations::Average>;
/// The largest of values.
pub type Maximum = Merge<operations::Maximum>;
/// The smallest of values.
pub type Minimum = Merge<operations::Minimum>;

impl<O: MergeOperation> Merge<O> {
    /// The merge.
    pub fn new() -> Self {
        Merge {
            identity: Identity::default(),
            operation: PhantomData,
        }
    }

    /// Reads the settings as Keras's files have them.
    ///
    /// # Errors
    /// If a setting is damaged.
    pub fn from_config(reader: &ConfigReader<'_>) -> Result<Self> {
        Ok(Merge {
            identity: identity_from(reader)?,
            operation: PhantomData,
        })
    }
}

impl<O: MergeOperation> Default for Merge<O> {
    fn default() -> Self {
        Self::new()
    }
}

impl<O> LayerOptions for Merge<O> {
    fn identity_mut(&mut self) -> &mut Identity {
        &mut self.identity
    }
}

impl<T: Float, O: MergeOperation> Layer<T> for Merge<O> {
    fn class_name(&self) -> &str {
        O::CLASS
    }

    fn build(&self, input: &Shape, _: &mut Weights<T>) -> Result<Shape> {
        Ok(input.clone())
    }

    fn forward(&self, x: &Var<T>, _: &[Var<T>], _: &Context) -> Result<Var<T>> {
        Ok(x.clone())
    }

    fn build_many(&self, inputs: &[Shape], _: &mut Weights<T>) -> Result<Vec<Shape>> {
        let Some((first, others)) = inputs.split_first() else {
            return Err(Error::value(O::CLASS, "there is nothing to merge").into());
        };
        if inputs.len() > O::MOST {
            let message = format!("the merge takes {}, {} are given", O::MOST, inputs.len());
            return Err(Error::value(O::CLASS, message).into());
        }
        let mut output = first.clone();
        for other in others {
            // Without the batch axis, shapes of other ranks would be put side by side wrongly.
            if other.rank() != output.rank() {
                return Err(Error::shape(O::CLASS, "the inputs differ in their rank")
                    .with("one", output)
                    .with("another", other)
                    .fix("give both the same axes, with sizes of 1 where they broadcast")
                    .into());
            }
            output = output.broadcast(O::CLASS, other)?;
        }
        Ok(vec![output])
    }

    fn forward_many(&self, inputs: &[Var<T>], _: &[Var<T>], _: &Context) -> Result<Vec<Var<T>>> {
        let Some((first, others)) = inputs.split_first() else {
            return Err(Error::value(O::CLASS, "there is nothing to merge").into());
        };
        let mut value = first.clone();
        for other in others {
            value = O::merge(&value, other)?;
        }
        Ok(vec![O::finish(value, inputs.len())])
    }

    fn identity(&self) -> Identity {
        self.identity.clone()
    }
}

/// Values joined along an axis, by default the last: the channels of images.
///
/// ```
/// use nn::prelude::*;
/// let (a, b) = (Input::new(&[8, 8, 3]), Input::new(&[8, 8, 5]));
/// assert_eq!(Concatenate::new().apply([&a, &b])?.shape(), &[8, 8, 8]);
/// # Ok::<(), nn::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Concatenate {
    identity: Identity,
    axis: isize,
}

impl Concatenate {
    /// Along the last axis.
    pub fn new() -> Self {
        Concatenate {
            identity: Identity::default(),
            axis: -1,
        }
    }

    /// Sets the axis, counted with the batch's, which is 0; negative ones count from the end.
    #[must_use]
    pub fn axis(mut self, axis: isize) -> Self {
        self.axis = axis;
        self
    }

    /// Reads the settings as Keras's files have them.
    ///
    /// # Errors
    /// If a setting is damaged.
    pub fn from_config(reader: &ConfigReader<'_>) -> Result<Self> {
        Ok(Concatenate {
            identity: identity_from(reader)?,
            axis: reader.integer_or("axis", -1)?,
        })
    }

    /// The axis of values of this rank (with the batch's), counted from 0.
    fn place(&self, rank: usize) -> Result<usize> {
        let place = match self.axis {
            axis if axis < 0 => (rank as isize).checked_add(axis),
            axis => Some(axis),
        };
        match place.and_then(|place| usize::try_from(place).ok()) {
            Some(place) if 0 < place && place < rank => Ok(place),
            _ => Err(
                Error::value("Concatenate", "there is no such axis to join along")
                    .with("axis", self.axis)
                    .with("axes with the batch's", rank)
                    .fix("use an axis behind that of the batch, which is 0")
                    .into(),
            ),
        }
    }
}

impl Default for Concatenate {
    fn default() -> Self {
        Self::new()
    }
}

impl LayerOptions for Concatenate {
    fn identity_mut(&mut self) -> &mut Identity {
        &mut self.identity
    }
}

impl<T: Float> Layer<T> for Concatenate {
    fn class_name(&self) -> &str {
        "Concatenate"
    }

    fn build(&self, input: &Shape, _: &mut Weights<T>) -> Result<Shape> {
        self.place(input.rank() + 1)?;
        Ok(input.clone())
    }

    fn forward(&self, x: &Var<T>, _: &[Var<T>], _: &Context) -> Result<Var<T>> {
        Ok(x.clone())
    }

    fn build_many(&self, inputs: &[Shape], _: &mut Weights<T>) -> Result<Vec<Shape>> {
        let Some((first, others)) = inputs.split_first() else {
            return Err(Error::value("Concatenate", "there is nothing to join").into());
        };
        let axis = self.place(first.rank() + 1)? - 1;
        let mut size = first[axis];
        for other in others {
            let fits = other.rank() == first.rank()
                && (0..first.rank()).all(|at| at == axis || other[at] == first[at]);
            let sum = fits.then(|| size.checked_add(other[axis]));
            match sum.flatten() {
                Some(sum) => size = sum,
                None => {
                    return Err(Error::shape(
                        "Concatenate",
                        "the inputs differ along another axis than the one to join along",
                    )
                    .with("axis", axis + 1)
                    .with("one", first)
                    .with("another", other)
                    .into());
                }
            }
        }
        let mut sizes = first.to_vec();
        sizes[axis] = size;
        Ok(vec![Shape::from(&sizes[..])])
    }

    fn forward_many(&self, inputs: &[Var<T>], _: &[Var<T>], _: &Context) -> Result<Vec<Var<T>>> {
        let inputs: Vec<&Var<T>> = inputs.iter().collect();
        Ok(vec![Var::concat(&inputs, self.axis)?])
    }

    fn config(&self) -> Config {
        config([("axis", json!(self.axis))])
    }

    fn identity(&self) -> Identity {
        self.identity.clone()
    }
}
