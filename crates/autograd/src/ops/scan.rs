//! Products over an axis, and running sums and products.

use tensor::{Axes, Error, Float, Result, Shape, Tensor, keepdims};

use crate::backward::{Backward, InputGradients};
use crate::op::{Inputs, Op, composed};
use crate::samples::OpEntry;
use crate::saves::Saves;
use crate::var::Var;

impl<T: Float> Var<T> {
    /// The running sum along `axis`. Derivative: the running sum of the gradient from the end.
    ///
    /// # Errors
    /// If the axis does not exist.
    #[track_caller]
    pub fn cumsum(&self, axis: isize) -> Result<Var<T>> {
        CumulativeSum { axis }.apply(&[self])
    }

    /// The running product along `axis`. Derivative: `yᵢ₋₁ gᵢ`, where `gᵢ = dyᵢ + xᵢ₊₁ gᵢ₊₁` runs
    /// from the end. Nothing is divided, so zeros need no care and small numbers lose no digits.
    ///
    /// # Errors
    /// If the axis does not exist.
    #[track_caller]
    pub fn cumprod(&self, axis: isize) -> Result<Var<T>> {
        let axis = self.shape().axis("cumprod", axis)? as isize;
        CumulativeProduct { axis }.apply(&[self])
    }

    /// The product over `axes`; 1 of no elements. Derivative: `dy` times the product of the others,
    /// which is the product of all before an element with that of all behind it.
    ///
    /// # Errors
    /// If an axis does not exist or is named twice.
    #[track_caller]
    pub fn prod(&self, axes: impl Into<Axes>) -> Result<Var<T>> {
        let axes = axes.into();
        composed("prod", || {
            let mask = axes.mask("prod", self.shape())?;
            // The reduced axes become one, at the end.
            let mut order: Vec<isize> = (0..self.rank() as isize).collect();
            order.sort_by_key(|&axis| mask[axis as usize]);
            let kept = mask.iter().filter(|&&reduced| !reduced).count();
            let rows = self.permute(&order)?.flatten(kept)?;
            Product
                .apply(&[&rows])?
                .reshape(axes.reduced("prod", self.shape())?)
        })
    }
}

struct CumulativeSum {
    axis: isize,
}

impl<T: Float> Op<T> for CumulativeSum {
    fn name(&self) -> &str {
        "cumsum"
    }
    fn forward(&mut self, inputs: Inputs<'_, T>) -> Result<Tensor<T>> {
        let [x] = inputs.exactly()?;
        x.cumsum(self.axis)
    }
    fn saves(&self) -> Saves {
        Saves::NOTHING
    }
    fn vjp(&self, at: &Backward<'_, T>, dy: &Var<T>) -> Result<InputGradients<T>> {
        at.gradients().of(0, || from_the_end(dy, self.axis))
    }
}

/// The sum from each element on to the end.
fn from_the_end<T: Float>(x: &Var<T>, axis: isize) -> Result<Var<T>> {
    x.flip(axis)?.cumsum(axis)?.flip(axis)
}

/// The elements of the last axis, each one place later; `first` stands at the first place.
fn later<T: Float>(x: &Var<T>, first: T) -> Result<Var<T>> {
    let size = last_size(x.shape())?;
    if size == 0 {
        return Ok(x.clone());
    }
    let one = x.value().slice_axis(-1, 0..1)?;
    let first = Var::constant(Tensor::full(one.shape(), first)?);
    Var::concat(&[&first, &x.slice_axis(-1, 0..size as isize - 1)?], -1)
}

fn last_size(shape: &Shape) -> Result<usize> {
    shape
        .last()
        .copied()
        .ok_or_else(|| Error::axis("prod", "a 0-d tensor has no axis to multiply over"))
}

/// The running product along an axis that is not negative.
struct CumulativeProduct {
    axis: isize,
}

impl<T: Float> Op<T> for CumulativeProduct {
    fn name(&self) -> &str {
        "cumprod"
    }
    fn forward(&mut self, inputs: Inputs<'_, T>) -> Result<Tensor<T>> {
        let [x] = inputs.exactly()?;
        x.cumprod(self.axis)
    }
    fn saves(&self) -> Saves {
        Saves::INPUTS | Saves::OUTPUT
    }
    fn vjp(&self, at: &Backward<'_, T>, dy: &Var<T>) -> Result<InputGradients<T>> {
        at.gradients().of(0, || {
            let to_end = |x: &Var<T>| x.swap_axes(self.axis, -1);
            let (x, y, dy) = (to_end(&at.input(0)?)?, to_end(&at.output()?)?, to_end(dy)?);
            let factors = later(&x.flip(-1)?, T::ZERO)?;
            let collected = Recurrence.apply(&[&factors, &dy.flip(-1)?])?.flip(-1)?;
            later(&y, T::ONE)?.mul(&collected)?.swap_axes(self.axis, -1)
        })
    }
}

/// `yᵢ = aᵢ yᵢ₋₁ + bᵢ` along the last axis, with `y₋₁ = 0`. Derivatives: `dbᵢ = dyᵢ + aᵢ₊₁ dbᵢ₊₁`,
/// which is a recurrence from the end, and `daᵢ = dbᵢ yᵢ₋₁`.
struct Recurrence;

impl<T: Float> Op<T> for Recurrence {
    fn name(&self) -> &str {
        "recurrence"
    }
    fn forward(&mut self, inputs: Inputs<'_, T>) -> Result<Tensor<T>> {
        let [a, b] = inputs.exactly()?;
        let size = last_size(a.shape())?;
        if a.shape() != b.shape() {
            return Err(
                Error::shape("recurrence", "factors and terms differ in shape")
                    .with("factors", a.shape())
                    .with("terms", b.shape()),
            );
        }
        let mut previous = 0.0;
        let steps = a.iter().zip(b.iter()).enumerate().map(|(i, (a, b))| {
            let before = if i % size == 0 { 0.0 } else { previous };
            // A first factor, whatever it is, multiplies nothing.
            previous = match i % size {
                0 => b.to_f64(),
                _ => a.to_f64() * before + b.to_f64(),
            };
            T::constant(previous)
        });
        Tensor::from_vec(steps.collect(), a.shape())
    }
    fn saves(&self) -> Saves {
        Saves::input(0) | Saves::OUTPUT
    }
    fn vjp(&self, at: &Backward<'_, T>, dy: &Var<T>) -> Result<InputGradients<T>> {
        let a = at.input(0)?;
        let factors = later(&a.flip(-1)?, T::ZERO)?;
        let db = Recurrence.apply(&[&factors, &dy.flip(-1)?])?.flip(-1)?;
        at.gradients()
            .of(0, || db.mul(&later(&at.output()?, T::ZERO)?))?
            .of(1, || Ok(db.clone()))
    }
    fn flops(&self, _inputs: &[&Shape], output: &Shape) -> u64 {
        2 * output.elements() as u64
    }
}

/// The product over the last axis.
struct Product;

impl<T: Float> Op<T> for Product {
    fn name(&self) -> &str {
        "prod"
    }
    fn forward(&mut self, inputs: Inputs<'_, T>) -> Result<Tensor<T>> {
        let [x] = inputs.exactly()?;
        last_size(x.shape())?;
        x.prod(-1)
    }
    fn saves(&self) -> Saves {
        Saves::INPUTS
    }
    fn vjp(&self, at: &Backward<'_, T>, dy: &Var<T>) -> Result<InputGradients<T>> {
        at.gradients().of(0, || {
            let x = at.input(0)?;
            let before = later(&x.cumprod(-1)?, T::ONE)?;
            let behind = later(&x.flip(-1)?.cumprod(-1)?, T::ONE)?.flip(-1)?;
            dy.expand_dims(-1)?.mul(&before)?.mul(&behind)
        })
    }
    fn flops(&self, inputs: &[&Shape], _output: &Shape) -> u64 {
        inputs.first().map_or(0, |x| x.elements() as u64)
    }
}

/// Rows with no, one and two zeros.
fn with_zeros() -> Result<Tensor<f64>> {
    Ok(Tensor::from([
        [1.5, -0.7, 2.0, 0.4],
        [0.6, 0.0, -1.2, 1.1],
        [0.0, 1.3, 0.0, -0.8],
    ]))
}

#[inline]
pub(crate) fn entries() -> Vec<OpEntry> {
    vec![
        OpEntry::new("cumsum", "`yᵢ = Σ xⱼ` over `j ≤ i`", "`Σ dyₖ` over `k ≥ i`")
            .sample(&[&[2, 4]], |v| v[0].cumsum(1))
            .sample(&[&[3, 2]], |v| v[0].cumsum(-2)),
        OpEntry::new(
            "cumprod",
            "`yᵢ = Π xⱼ` over `j ≤ i`",
            "`yᵢ₋₁ gᵢ` with `gᵢ = dyᵢ + xᵢ₊₁ gᵢ₊₁`",
        )
        .edges("exact where elements are 0: nothing is divided")
        .sample_on(0.4..1.9, &[&[2, 4]], |v| v[0].cumprod(1))
        .sample(&[&[3, 2]], |v| v[0].cumprod(-2))
        .sample_at(&[with_zeros], |v| v[0].cumprod(1))
        .sample_at(&[with_zeros], |v| v[0].cumprod(0)),
        OpEntry::new(
            "prod",
            "`Π x` over axes",
            "`dy` times the product of the others",
        )
        .edges("exact where elements are 0: nothing is divided; 1 of no elements")
        .sample(&[&[2, 3, 2]], |v| v[0].prod([0, -1]))
        .sample(&[&[3]], |v| v[0].prod(keepdims(..)))
        .sample_at(&[with_zeros], |v| v[0].prod(1))
        .sample_at(&[with_zeros], |v| v[0].prod(..)),
    ]
}
