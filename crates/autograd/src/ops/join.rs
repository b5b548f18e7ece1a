//! Joining, padding, repeating and rotating.

use tensor::{Element, Error, Float, Pad, Result, Shape, Slice, Tensor};

use crate::backward::{Backward, InputGradients};
use crate::op::{Inputs, Op, composed};
use crate::samples::OpEntry;
use crate::saves::Saves;
use crate::var::Var;

impl<T: Float> Var<T> {
    /// The values one after the other along `axis`; see [`Tensor::concat`]. Derivative: to each its
    /// part of the gradient.
    ///
    /// # Errors
    /// As [`Tensor::concat`].
    #[track_caller]
    pub fn concat(values: &[&Var<T>], axis: isize) -> Result<Var<T>> {
        Concat {
            axis,
            sizes: Vec::new(),
        }
        .apply(values)
    }

    /// The values side by side along a new axis; see [`Tensor::stack`]. Derivative: to each its
    /// part of the gradient.
    ///
    /// # Errors
    /// As [`Tensor::stack`].
    #[track_caller]
    pub fn stack(values: &[&Var<T>], axis: isize) -> Result<Var<T>> {
        composed("stack", || {
            let spread = values
                .iter()
                .map(|value| value.expand_dims(axis))
                .collect::<Result<Vec<_>>>()?;
            let axis = match spread.first() {
                Some(first) => first.shape().axis("stack", axis)? as isize,
                None => axis,
            };
            Var::concat(&spread.iter().collect::<Vec<_>>(), axis)
        })
    }

    /// `padding[axis] = (before, after)` elements added to each axis; see [`Tensor::pad`].
    /// Derivative: the inner part of the gradient, and what falls on a repeated element added to
    /// it.
    ///
    /// # Errors
    /// As [`Tensor::pad`].
    #[track_caller]
    pub fn pad(&self, padding: &[(usize, usize)], mode: Pad<T>) -> Result<Var<T>> {
        composed("pad", || {
            let positions = match mode {
                Pad::Constant(_) => {
                    let padding = padding.to_vec();
                    return ConstantPad { padding, mode }.apply(&[self]);
                }
                Pad::Edge => Pad::Edge,
                Pad::Reflect => Pad::Reflect,
            };
            if padding.len() != self.rank() {
                return Err(Error::shape(
                    "pad",
                    "the padding has not one pair (before, after) per axis",
                )
                .with("shape", self.shape())
                .with("padding", format!("{padding:?}")));
            }
            let mut padded = self.clone();
            for (axis, &pair) in padding.iter().enumerate() {
                if pair != (0, 0) {
                    let sources = Tensor::arange(0, self.shape()[axis] as i64, 1)?;
                    let sources = sources.pad(&[pair], positions)?;
                    padded = padded.index_select(axis as isize, &sources)?;
                }
            }
            Ok(padded)
        })
    }

    /// Each element `count` times along `axis` (NumPy's `repeat`). Derivative: the sum of the
    /// gradients of the copies.
    ///
    /// # Errors
    /// As [`Tensor::repeat`].
    #[track_caller]
    pub fn repeat(&self, count: usize, axis: isize) -> Result<Var<T>> {
        composed("repeat", || {
            let axis = self.shape().axis("repeat", axis)?;
            let apart = self.expand_dims(axis as isize + 1)?;
            let sizes = apart.shape().iter().enumerate();
            let spread: Shape = sizes
                .map(|(i, &size)| if i == axis + 1 { count } else { size })
                .collect();
            let sizes = self.shape().iter().enumerate();
            let merged: Shape = sizes
                .map(|(i, &size)| match i == axis {
                    true => size.saturating_mul(count),
                    false => size,
                })
                .collect();
            apart.broadcast_to(spread)?.reshape(merged)
        })
    }

    /// The whole value `counts[axis]` times along each axis (NumPy's `tile`). Derivative: the sum
    /// of the gradients of the copies.
    ///
    /// # Errors
    /// As [`Tensor::tile`].
    #[track_caller]
    pub fn tile(&self, counts: &[usize]) -> Result<Var<T>> {
        composed("tile", || {
            let rank = self.rank().max(counts.len());
            let from_end = |sizes: &[usize], axis: usize| {
                let missing = rank - sizes.len();
                axis.checked_sub(missing).map_or(1, |axis| sizes[axis])
            };
            let pairs =
                (0..rank).map(|axis| (from_end(counts, axis), from_end(self.shape(), axis)));
            let apart: Shape = pairs.clone().flat_map(|(_, size)| [1, size]).collect();
            let spread: Shape = pairs
                .clone()
                .flat_map(|(count, size)| [count, size])
                .collect();
            let merged: Shape = pairs
                .map(|(count, size)| count.saturating_mul(size))
                .collect();
            self.reshape(apart)?.broadcast_to(spread)?.reshape(merged)
        })
    }

    /// The value rotated along `axis`: element `i` moves to `i + shift`. Derivative: the gradient,
    /// rotated back.
    ///
    /// # Errors
    /// If the axis does not exist.
    #[track_caller]
    pub fn roll(&self, shift: isize, axis: isize) -> Result<Var<T>> {
        Roll { shift, axis }.apply(&[self])
    }
}

/// All inputs along one axis.
struct Concat {
    axis: isize,
    /// The inputs' sizes along the axis; known after the forward pass.
    sizes: Vec<usize>,
}

impl<T: Float> Op<T> for Concat {
    fn name(&self) -> &str {
        "concat"
    }
    fn forward(&mut self, inputs: Inputs<'_, T>) -> Result<Tensor<T>> {
        let y = Tensor::concat(&inputs.all().collect::<Vec<_>>(), self.axis)?;
        let axis = y.shape().axis("concat", self.axis)?;
        self.sizes = inputs.all().map(|x| x.shape()[axis]).collect();
        Ok(y)
    }
    fn saves(&self) -> Saves {
        Saves::NOTHING
    }
    fn vjp(&self, at: &Backward<'_, T>, dy: &Var<T>) -> Result<InputGradients<T>> {
        let mut gradients = at.gradients();
        let mut start = 0;
        for (index, &size) in self.sizes.iter().enumerate() {
            let stop = start + size as isize;
            gradients = gradients.of(index, || dy.slice_axis(self.axis, start..stop))?;
            start = stop;
        }
        Ok(gradients)
    }
}

/// A frame of one value.
struct ConstantPad<T: Element> {
    padding: Vec<(usize, usize)>,
    mode: Pad<T>,
}

impl<T: Float> Op<T> for ConstantPad<T> {
    fn name(&self) -> &str {
        "pad"
    }
    fn forward(&mut self, inputs: Inputs<'_, T>) -> Result<Tensor<T>> {
        let [x] = inputs.exactly()?;
        x.pad(&self.padding, self.mode)
    }
    fn saves(&self) -> Saves {
        Saves::NOTHING
    }
    fn vjp(&self, at: &Backward<'_, T>, dy: &Var<T>) -> Result<InputGradients<T>> {
        at.gradients().of(0, || {
            let shape = at.input_shape(0)?;
            let inner = self.padding.iter().zip(&shape[..]);
            let slices: Vec<Slice> = inner
                .map(|(&(before, _), &size)| {
                    let before = before as isize;
                    Slice::from(before..before + size as isize)
                })
                .collect();
            dy.slice(&slices)
        })
    }
}

/// Element `i` at `i + shift`.
struct Roll {
    shift: isize,
    axis: isize,
}

impl<T: Float> Op<T> for Roll {
    fn name(&self) -> &str {
        "roll"
    }
    fn forward(&mut self, inputs: Inputs<'_, T>) -> Result<Tensor<T>> {
        let [x] = inputs.exactly()?;
        x.roll(self.shift, self.axis)
    }
    fn saves(&self) -> Saves {
        Saves::NOTHING
    }
    fn vjp(&self, at: &Backward<'_, T>, dy: &Var<T>) -> Result<InputGradients<T>> {
        let back = self.shift.saturating_neg();
        at.gradients().of(0, || dy.roll(back, self.axis))
    }
}

#[inline]
pub(crate) fn entries() -> Vec<OpEntry> {
    vec![
        OpEntry::new(
            "concat",
            "the values one after the other along an axis",
            "to each its part of `dy`",
        )
        .sample(&[&[2, 3], &[2, 0], &[2, 2]], |v| {
            Var::concat(&[&v[0], &v[1], &v[2], &v[0]], 1)
        })
        .sample(&[&[1, 2], &[3, 2]], |v| Var::concat(&[&v[0], &v[1]], -2)),
        OpEntry::new(
            "stack",
            "the values side by side along a new axis",
            "to each its part of `dy`",
        )
        .sample(&[&[2, 3], &[2, 3]], |v| Var::stack(&[&v[0], &v[1]], -1))
        .sample(&[&[2], &[2]], |v| Var::stack(&[&v[0], &v[1]], 0)),
        OpEntry::new(
            "pad",
            "elements before and after each axis: a constant, the edge, or a mirror image",
            "the inner part of `dy`, plus what falls on copies",
        )
        .sample(&[&[2, 3]], |v| {
            v[0].pad(&[(1, 2), (0, 3)], Pad::Constant(0.7))
        })
        .sample(&[&[2, 3]], |v| v[0].pad(&[(1, 2), (0, 3)], Pad::Edge))
        .sample(&[&[2, 3]], |v| v[0].pad(&[(1, 2), (0, 3)], Pad::Reflect)),
        OpEntry::new(
            "repeat",
            "each element `count` times",
            "the sum over copies",
        )
        .sample(&[&[2, 3]], |v| v[0].repeat(3, 0))
        .sample(&[&[2, 3]], |v| v[0].repeat(2, -1)),
        OpEntry::new(
            "tile",
            "the whole value `count` times",
            "the sum over copies",
        )
        .sample(&[&[2, 3]], |v| v[0].tile(&[2, 2]))
        .sample(&[&[3]], |v| v[0].tile(&[2, 2])),
        OpEntry::new(
            "roll",
            "element `i` moves to `i + shift`",
            "`dy` rotated back",
        )
        .sample(&[&[2, 5]], |v| v[0].roll(-7, 1)),
    ]
}
