//! Products over an axis, and running sums and products.

use tensor::{Axes, Error, Float, Result, Shape, Tensor, keepdims};

use crate::op::{Backward, InputGradients, Inputs, Op, Saves};
use crate::samples::OpEntry;
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

    /// The running product along `axis`. Derivative: `Σ dyₖ yₖ / xᵢ` over `k ≥ i`; where an element
    /// is 0, by the products without it.
    ///
    /// # Errors
    /// If the axis does not exist.
    #[track_caller]
    pub fn cumprod(&self, axis: isize) -> Result<Var<T>> {
        let axis = self.shape().axis("cumprod", axis)? as isize;
        CumulativeProduct { axis }.apply(&[self])
    }

    /// The product over `axes`; 1 of no elements. Derivative: `dy · y / x`; where an element is
    /// 0, by the product of the others.
    ///
    /// # Errors
    /// If an axis does not exist or is named twice.
    #[track_caller]
    pub fn prod(&self, axes: impl Into<Axes>) -> Result<Var<T>> {
        let axes = axes.into();
        let mask = axes.mask("prod", self.shape())?;
        // The reduced axes become one, at the end.
        let mut order: Vec<isize> = (0..self.rank() as isize).collect();
        order.sort_by_key(|&axis| mask[axis as usize]);
        let kept = mask.iter().filter(|&&reduced| !reduced).count();
        let rows = self.permute(&order)?.flatten(kept)?;
        Product
            .apply(&[&rows])?
            .reshape(axes.reduced("prod", self.shape())?)
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

fn has_zeros<T: Float>(x: &Var<T>) -> bool {
    x.value().iter().any(|x| x == T::ZERO)
}

/// `x` repeated along a new last axis of the same size, with 1 on the diagonal: row `i` holds all
/// elements of the last axis but the `i`-th. Its products are those without element `i`, whatever
/// that is.
fn others<T: Float>(x: &Var<T>) -> Result<Var<T>> {
    let size = last_size(x.shape())?;
    let mut shape = x.shape().clone();
    shape.push(size);
    let diagonal = Tensor::<bool>::from_fn([size, size], |at| at[0] == at[1])?;
    x.expand_dims(-2)?
        .broadcast_to(shape)?
        .masked_fill(&diagonal, T::ONE)
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
            let x = at.input(0)?;
            if !has_zeros(&x) {
                return from_the_end(&dy.mul(&at.output()?)?, self.axis)?.div(&x);
            }
            // Quadratic in the length, but exact: Σ over k ≥ i of dyₖ · Π of xⱼ, j ≤ k, j ≠ i.
            let (x, dy) = (x.swap_axes(self.axis, -1)?, dy.swap_axes(self.axis, -1)?);
            let products = others(&x)?.cumprod(-1)?.triu(0)?;
            products
                .mul(&dy.expand_dims(-2)?)?
                .sum(-1)?
                .swap_axes(self.axis, -1)
        })
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
        Saves::INPUTS | Saves::OUTPUT
    }
    fn vjp(&self, at: &Backward<'_, T>, dy: &Var<T>) -> Result<InputGradients<T>> {
        at.gradients().of(0, || {
            let x = at.input(0)?;
            let dy = dy.expand_dims(-1)?;
            if !has_zeros(&x) {
                return dy.mul(&at.output()?.expand_dims(-1)?)?.div(&x);
            }
            dy.mul(&Product.apply(&[&others(&x)?])?)
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

pub(crate) fn entries() -> Vec<OpEntry> {
    vec![
        OpEntry::new("cumsum", "`yᵢ = Σ xⱼ` over `j ≤ i`", "`Σ dyₖ` over `k ≥ i`")
            .sample(&[&[2, 4]], |v| v[0].cumsum(1))
            .sample(&[&[3, 2]], |v| v[0].cumsum(-2)),
        OpEntry::new(
            "cumprod",
            "`yᵢ = Π xⱼ` over `j ≤ i`",
            "`Σ dyₖ yₖ / xᵢ` over `k ≥ i`",
        )
        .edges("where an element is 0, by the products without it")
        .sample_on(0.4..1.9, &[&[2, 4]], |v| v[0].cumprod(1))
        .sample(&[&[3, 2]], |v| v[0].cumprod(-2))
        .sample_at(&[with_zeros], |v| v[0].cumprod(1))
        .sample_at(&[with_zeros], |v| v[0].cumprod(0)),
        OpEntry::new("prod", "`Π x` over axes", "`dy y / x`")
            .edges("where an element is 0, by the product of the others; 1 of no elements")
            .sample(&[&[2, 3, 2]], |v| v[0].prod([0, -1]))
            .sample(&[&[3]], |v| v[0].prod(keepdims(..)))
            .sample_at(&[with_zeros], |v| v[0].prod(1))
            .sample_at(&[with_zeros], |v| v[0].prod(..)),
    ]
}
