//! Views: permutations, slices, flips, and axes that come and go.

use tensor::{Axes, Element, Error, Float, Result, Shape, Slice, Tensor};

use crate::backward::{Backward, InputGradients};
use crate::op::{Inputs, Op, composed};
use crate::samples::OpEntry;
use crate::saves::Saves;
use crate::var::{Var, unwrap};

/// Each shares the elements of the value and copies none; see the functions of the same names on
/// [`Tensor`].
impl<T: Float> Var<T> {
    /// The axes in a new order: axis `i` of the result is axis `order[i]`. Derivative: the
    /// gradient in the inverse order.
    ///
    /// # Errors
    /// If `order` is not a permutation of all axes.
    #[track_caller]
    pub fn permute(&self, order: &[isize]) -> Result<Var<T>> {
        composed("permute", || {
            let value = self.value().permute(order)?;
            let order = order
                .iter()
                .map(|&axis| self.shape().axis("permute", axis))
                .collect::<Result<Vec<_>>>()?;
            if order.iter().enumerate().all(|(i, &axis)| i == axis) {
                return Ok(self.clone());
            }
            debug_assert_eq!(value.rank(), order.len());
            Permute { order }.apply(&[self])
        })
    }

    /// The last two axes exchanged: the transpose of each matrix. Below two axes, `self`.
    #[must_use]
    #[track_caller]
    pub fn t(&self) -> Var<T> {
        if self.rank() < 2 {
            return self.clone();
        }
        unwrap(Transpose.apply(&[self]))
    }

    /// Two axes exchanged. Derivative: the gradient with them exchanged back.
    ///
    /// # Errors
    /// If an axis does not exist.
    #[track_caller]
    pub fn swap_axes(&self, a: isize, b: isize) -> Result<Var<T>> {
        composed("swap_axes", || {
            let (a, b) = (
                self.shape().axis("swap_axes", a)?,
                self.shape().axis("swap_axes", b)?,
            );
            if a == b {
                return Ok(self.clone());
            }
            let mut order: Vec<usize> = (0..self.rank()).collect();
            order.swap(a, b);
            Permute { order }.apply(&[self])
        })
    }

    /// The axes from `start` on merged into one. Derivative: the gradient under the old shape.
    ///
    /// # Errors
    /// If there are fewer than `start` axes.
    #[track_caller]
    pub fn flatten(&self, start: usize) -> Result<Var<T>> {
        composed("flatten", || {
            let shape = self.value().flatten(start)?.shape().clone();
            self.reshape(shape)
        })
    }

    /// A new axis of size 1 before `axis`; `-1` appends it. Derivative: the gradient without it.
    ///
    /// # Errors
    /// If the position is outside the result.
    #[track_caller]
    pub fn expand_dims(&self, axis: isize) -> Result<Var<T>> {
        composed("expand_dims", || {
            let shape = self.value().expand_dims(axis)?.shape().clone();
            self.reshape(shape)
        })
    }

    /// Without the axes `axes`, which must have size 1. Derivative: the gradient with them.
    ///
    /// # Errors
    /// If an axis does not exist or has another size.
    #[track_caller]
    pub fn squeeze(&self, axes: impl Into<Axes>) -> Result<Var<T>> {
        composed("squeeze", || {
            let shape = self.value().squeeze(axes)?.shape().clone();
            self.reshape(shape)
        })
    }

    /// The part that `slices` take, one per axis from the first. Derivative: the gradient in its
    /// place among zeros, [`Var::place`].
    ///
    /// # Errors
    /// If there are more slices than axes, or a step is 0.
    #[track_caller]
    pub fn slice(&self, slices: &[Slice]) -> Result<Var<T>> {
        TakeSlice {
            slices: slices.to_vec(),
        }
        .apply(&[self])
    }

    /// The part that `slice` takes of one axis; see [`Var::slice`].
    ///
    /// # Errors
    /// If the axis does not exist or the step is 0.
    #[track_caller]
    pub fn slice_axis(&self, axis: isize, slice: impl Into<Slice>) -> Result<Var<T>> {
        composed("slice_axis", || {
            let axis = self.shape().axis("slice_axis", axis)?;
            let mut slices = vec![Slice::from(..); axis];
            slices.push(slice.into());
            TakeSlice { slices }.apply(&[self])
        })
    }

    /// The element `index` of an axis, which disappears from the shape. Derivative: as
    /// [`Var::slice`].
    ///
    /// # Errors
    /// If the axis does not exist or the index is outside it.
    #[track_caller]
    pub fn index_axis(&self, axis: isize, index: usize) -> Result<Var<T>> {
        composed("index_axis", || {
            let shape = self.value().index_axis(axis, index)?.shape().clone();
            // An index of an existing axis is below the length of an allocation.
            let index = index as isize;
            self.slice_axis(axis, index..index + 1)?.reshape(shape)
        })
    }

    /// Zeros of `shape`, with `self` where `slices` take it: the adjoint of [`Var::slice`].
    /// Derivative: the part of the gradient that the slices take.
    ///
    /// # Errors
    /// If the slices do not take the shape of `self` from `shape`.
    #[track_caller]
    pub fn place(&self, shape: impl Into<Shape>, slices: &[Slice]) -> Result<Var<T>> {
        Place {
            shape: shape.into(),
            slices: slices.to_vec(),
        }
        .apply(&[self])
    }

    /// The order along `axes` reversed. Derivative: the gradient, reversed.
    ///
    /// # Errors
    /// If an axis does not exist or is named twice.
    #[track_caller]
    pub fn flip(&self, axes: impl Into<Axes>) -> Result<Var<T>> {
        Flip { axes: axes.into() }.apply(&[self])
    }

    /// Pieces of the given sizes along `axis`, one after the other. Derivative: as
    /// [`Var::slice`].
    ///
    /// # Errors
    /// If the axis does not exist, or the sizes do not add up to it.
    #[track_caller]
    pub fn split(&self, sizes: &[usize], axis: isize) -> Result<Vec<Var<T>>> {
        composed("split", || {
            let resolved = self.shape().axis("split", axis)?;
            let total = sizes.iter().try_fold(0usize, |sum, &n| sum.checked_add(n));
            if total != Some(self.shape()[resolved]) {
                return Err(Error::shape(
                    "split",
                    format!("the sizes do not add up to axis {axis}"),
                )
                .with("shape", self.shape())
                .with("sizes", format!("{sizes:?}")));
            }
            let mut start = 0;
            let mut pieces = Vec::with_capacity(sizes.len());
            for &size in sizes {
                let stop = start + size as isize;
                pieces.push(self.slice_axis(axis, start..stop)?);
                start = stop;
            }
            Ok(pieces)
        })
    }
}

/// Axis `i` of the result is axis `order[i]`.
struct Permute {
    order: Vec<usize>,
}

/// The last two axes exchanged; one of the usual permutations, which needs no list.
struct Transpose;

impl<T: Float> Op<T> for Transpose {
    fn name(&self) -> &str {
        "transpose"
    }
    fn forward(&mut self, inputs: Inputs<'_, T>) -> Result<Tensor<T>> {
        let [x] = inputs.exactly()?;
        Ok(x.t())
    }
    fn saves(&self) -> Saves {
        Saves::NOTHING
    }
    fn flops(&self, _inputs: &[&Shape], _output: &Shape) -> u64 {
        0
    }
    fn vjp(&self, at: &Backward<'_, T>, dy: &Var<T>) -> Result<InputGradients<T>> {
        at.gradients().of(0, || Ok(dy.t()))
    }
}

fn permuted<E: Element>(x: &Tensor<E>, order: &[usize]) -> Result<Tensor<E>> {
    let order: Vec<isize> = order.iter().map(|&axis| axis as isize).collect();
    x.permute(&order)
}

impl<T: Float> Op<T> for Permute {
    fn name(&self) -> &str {
        "permute"
    }
    fn forward(&mut self, inputs: Inputs<'_, T>) -> Result<Tensor<T>> {
        let [x] = inputs.exactly()?;
        permuted(x, &self.order)
    }
    fn saves(&self) -> Saves {
        Saves::NOTHING
    }
    fn flops(&self, _inputs: &[&Shape], _output: &Shape) -> u64 {
        0
    }
    fn vjp(&self, at: &Backward<'_, T>, dy: &Var<T>) -> Result<InputGradients<T>> {
        at.gradients().of(0, || {
            let mut inverse = vec![0; self.order.len()];
            for (i, &axis) in self.order.iter().enumerate() {
                inverse[axis] = i;
            }
            Permute { order: inverse }.apply(&[dy])
        })
    }
}

/// The part that the slices take.
struct TakeSlice {
    slices: Vec<Slice>,
}

impl<T: Float> Op<T> for TakeSlice {
    fn name(&self) -> &str {
        "slice"
    }
    fn forward(&mut self, inputs: Inputs<'_, T>) -> Result<Tensor<T>> {
        let [x] = inputs.exactly()?;
        x.slice(&self.slices)
    }
    fn saves(&self) -> Saves {
        Saves::NOTHING
    }
    fn flops(&self, _inputs: &[&Shape], _output: &Shape) -> u64 {
        0
    }
    fn vjp(&self, at: &Backward<'_, T>, dy: &Var<T>) -> Result<InputGradients<T>> {
        at.gradients()
            .of(0, || dy.place(at.input_shape(0)?, &self.slices))
    }
}

/// Zeros, but for the part that the slices take.
struct Place {
    shape: Shape,
    slices: Vec<Slice>,
}

impl<T: Float> Op<T> for Place {
    fn name(&self) -> &str {
        "place"
    }
    fn forward(&mut self, inputs: Inputs<'_, T>) -> Result<Tensor<T>> {
        let [x] = inputs.exactly()?;
        x.place(&self.shape, &self.slices)
    }
    fn saves(&self) -> Saves {
        Saves::NOTHING
    }
    fn vjp(&self, at: &Backward<'_, T>, dy: &Var<T>) -> Result<InputGradients<T>> {
        at.gradients().of(0, || dy.slice(&self.slices))
    }
}

/// Reversed along the axes.
struct Flip {
    axes: Axes,
}

impl<T: Float> Op<T> for Flip {
    fn name(&self) -> &str {
        "flip"
    }
    fn forward(&mut self, inputs: Inputs<'_, T>) -> Result<Tensor<T>> {
        let [x] = inputs.exactly()?;
        x.flip(self.axes.clone())
    }
    fn saves(&self) -> Saves {
        Saves::NOTHING
    }
    fn flops(&self, _inputs: &[&Shape], _output: &Shape) -> u64 {
        0
    }
    fn vjp(&self, at: &Backward<'_, T>, dy: &Var<T>) -> Result<InputGradients<T>> {
        at.gradients().of(0, || dy.flip(self.axes.clone()))
    }
}

#[inline]
pub(crate) fn entries() -> Vec<OpEntry> {
    let stepped: [Slice; 3] = [
        Slice::from(..).step(-2),
        (1..).into(),
        Slice::from(..-1).step(3),
    ];
    vec![
        OpEntry::new(
            "permute",
            "axis `i` of `y` is axis `order[i]` of `x`",
            "`dy` in the inverse order",
        )
        .sample(&[&[2, 3, 4]], |v| v[0].permute(&[1, -1, 0])),
        OpEntry::new("t", "`y[…, i, j] = x[…, j, i]`", "`dyᵀ`")
            .sample(&[&[2, 3]], |v| Ok(v[0].t()))
            .sample(&[&[2, 3, 2]], |v| Ok(v[0].t())),
        OpEntry::new("swap_axes", "two axes exchanged", "exchanged back")
            .sample(&[&[2, 3, 4]], |v| v[0].swap_axes(0, -1)),
        OpEntry::new(
            "flatten",
            "axes from `start` on merged",
            "`dy` under the old shape",
        )
        .sample(&[&[2, 3, 2]], |v| v[0].flatten(1))
        .sample(&[&[]], |v| v[0].flatten(0)),
        OpEntry::new("expand_dims", "a new axis of size 1", "`dy` without it")
            .sample(&[&[3]], |v| v[0].expand_dims(-1)),
        OpEntry::new("squeeze", "without axes of size 1", "`dy` with them")
            .sample(&[&[1, 3, 1]], |v| v[0].squeeze([0, 2])),
        OpEntry::new(
            "slice",
            "`y[i] = x[start + i · step]` on each axis",
            "`dy` placed among zeros",
        )
        .edges("bounds are clipped as in Python")
        .sample(&[&[5, 3, 7]], move |v| v[0].slice(&stepped))
        .sample(&[&[4]], |v| v[0].slice(&[(2..2).into()])),
        OpEntry::new("slice_axis", "`slice` on one axis", "as `slice`")
            .sample(&[&[3, 5]], |v| v[0].slice_axis(-1, 1..4)),
        OpEntry::new(
            "index_axis",
            "`y = x[…, index, …]`, without the axis",
            "as `slice`",
        )
        .sample(&[&[3, 4]], |v| v[0].index_axis(1, 2)),
        OpEntry::new(
            "place",
            "zeros with `x` where the slices take it",
            "the slice of `dy`",
        )
        .sample(&[&[2, 2]], |v| {
            v[0].place([4, 3], &[Slice::from(..).step(-2), (1..).into()])
        }),
        OpEntry::new("flip", "the order along axes reversed", "`dy` reversed")
            .sample(&[&[3, 4]], |v| v[0].flip(0))
            .sample(&[&[3, 4]], |v| v[0].flip(..)),
        OpEntry::new(
            "split",
            "pieces along an axis",
            "each `dy` placed among zeros",
        )
        .sample(&[&[5, 2]], |v| {
            let pieces = v[0].split(&[2, 0, 3], 0)?;
            pieces[0].sum(0)?.mul(&pieces[2].slice_axis(0, 1..)?)
        }),
    ]
}
