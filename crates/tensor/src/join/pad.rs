//! Padding: elements before and after each axis.

use std::ops::Range;

use smallvec::SmallVec;

use crate::element::Element;
use crate::error::{Error, Result};
use crate::parallel::{BLOCK, Par};
use crate::shape::Shape;
use crate::storage::vec_with_capacity;
use crate::tensor::Tensor;

/// What [`Tensor::pad`] fills with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pad<T> {
    /// One value.
    Constant(T),
    /// The nearest element: `1 1 | 1 2 3 | 3 3`.
    Edge,
    /// The mirror image about the border element, which is not repeated: `3 2 | 1 2 3 | 2 1`;
    /// reflected again where the padding is longer than the axis.
    Reflect,
}

/// Where each position of a padded axis comes from, as an offset; `None` for the constant.
type Sources = Vec<Option<isize>>;

impl<T: Element> Tensor<T> {
    /// The tensor with `padding[axis] = (before, after)` elements added to each axis.
    ///
    /// ```
    /// use tensor::{Pad, Tensor};
    /// let x = Tensor::from([1, 2, 3]);
    /// assert_eq!(x.pad(&[(1, 2)], Pad::Constant(0))?.to_vec(), [0, 1, 2, 3, 0, 0]);
    /// assert_eq!(x.pad(&[(2, 1)], Pad::Edge)?.to_vec(), [1, 1, 1, 2, 3, 3]);
    /// assert_eq!(x.pad(&[(2, 1)], Pad::Reflect)?.to_vec(), [3, 2, 1, 2, 3, 2]);
    /// # Ok::<(), tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// If there is not one pair per axis, an axis of size 0 is padded with anything but a
    /// constant, or the result is too large for memory.
    pub fn pad(&self, padding: &[(usize, usize)], mode: Pad<T>) -> Result<Tensor<T>> {
        let wrong = |error: Error| {
            error
                .with("shape", &self.shape)
                .with("padding", format!("{padding:?}"))
        };
        if padding.len() != self.rank() {
            return Err(wrong(Error::shape(
                "pad",
                "the padding has not one pair (before, after) per axis",
            )));
        }
        let mut shape = Shape::default();
        for (axis, (&size, &(before, after))) in self.shape.iter().zip(padding).enumerate() {
            if size == 0 && (before, after) != (0, 0) && !matches!(mode, Pad::Constant(_)) {
                return Err(wrong(
                    Error::shape("pad", format!("axis {axis} has no elements to repeat"))
                        .fix("pad it with `Pad::Constant`"),
                ));
            }
            let padded = size.checked_add(before).and_then(|n| n.checked_add(after));
            shape.push(Shape::checked_size("pad", padded).map_err(wrong)?);
        }
        shape.checked_elements("pad", size_of::<T>())?;
        if shape.contains(&0) {
            return Tensor::build("pad", shape, |_| {});
        }
        let axes = self.padded_axes(padding, mode);
        let sources = axes.iter().map(|axis| axis.sources(mode));
        let sources = sources.collect::<Result<SmallVec<[Sources; 6]>>>()?;
        let fill = match mode {
            Pad::Constant(value) => value,
            Pad::Edge | Pad::Reflect => T::default(),
        };
        self.padded(shape, &sources, fill)
    }

    /// The axes and their padding. With a constant, inner axes that get none are part of the axis
    /// around them, if its elements lie next to one another and are no more than a block.
    pub(super) fn padded_axes(
        &self,
        padding: &[(usize, usize)],
        mode: Pad<T>,
    ) -> SmallVec<[PaddedAxis; 6]> {
        let mut axes = SmallVec::<[PaddedAxis; 6]>::new();
        let all = self.shape.iter().zip(&self.strides).zip(padding);
        for ((&size, &stride), &(before, after)) in all.rev() {
            let axis = PaddedAxis {
                size,
                stride,
                before,
                after,
            };
            let padded = before + size + after;
            match axes.last_mut() {
                Some(inner)
                    if matches!(mode, Pad::Constant(_))
                        && padded.saturating_mul(inner.size) <= BLOCK
                        && (inner.before, inner.after) == (0, 0)
                        && stride == inner.stride * inner.size as isize =>
                {
                    *inner = PaddedAxis {
                        size: size * inner.size,
                        stride: inner.stride,
                        before: before * inner.size,
                        after: after * inner.size,
                    };
                }
                _ => axes.push(axis),
            }
        }
        axes.reverse();
        axes
    }

    fn padded(&self, shape: Shape, sources: &[Sources], fill: T) -> Result<Tensor<T>> {
        let elements = self.storage.as_slice();
        let Some((inner, outer)) = sources.split_last() else {
            return Ok(self.clone());
        };
        let run = run(inner);
        let row = inner.len();
        let rows = (BLOCK / row).max(1);
        Tensor::build("pad", shape, |out| {
            Par::Threads.for_chunks(out, rows * row, |chunk, out| {
                for (i, out) in out.chunks_exact_mut(row).enumerate() {
                    let mut index = chunk * rows + i;
                    let mut base = Some(self.offset as isize);
                    for sources in outer.iter().rev() {
                        let step = sources[index % sources.len()];
                        base = base.zip(step).map(|(base, step)| base + step);
                        index /= sources.len();
                    }
                    let Some(base) = base else {
                        out.fill(fill);
                        continue;
                    };
                    if let Some((places, first)) = &run {
                        let first = (base + first) as usize;
                        out[..places.start].fill(fill);
                        out[places.clone()].copy_from_slice(&elements[first..][..places.len()]);
                        out[places.end..].fill(fill);
                        continue;
                    }
                    for (out, source) in out.iter_mut().zip(inner) {
                        *out = source.map_or(fill, |step| elements[(base + step) as usize]);
                    }
                }
            });
        })
    }
}

/// The places in a row of a padded axis that come from elements next to one another, if all do that
/// come from elements, and the offset of the first.
fn run(sources: &Sources) -> Option<(Range<usize>, isize)> {
    let start = sources.iter().position(Option::is_some)?;
    let end = sources.iter().rposition(Option::is_some)? + 1;
    let first = sources[start]?;
    let mut offsets = first..;
    let is_run = sources[start..end]
        .iter()
        .all(|&source| source == offsets.next());
    is_run.then_some((start..end, first))
}

/// An axis of a tensor and what is added to it.
pub(super) struct PaddedAxis {
    pub(super) size: usize,
    stride: isize,
    before: usize,
    after: usize,
}

impl PaddedAxis {
    fn sources<T>(&self, mode: Pad<T>) -> Result<Sources> {
        let &PaddedAxis {
            size,
            stride,
            before,
            after,
        } = self;
        // A mirrored axis repeats with this period; one element is its own mirror image.
        let period = (2 * size).saturating_sub(2).max(1);
        let source = |at: usize| {
            if (before..before + size).contains(&at) {
                return Some(at - before);
            }
            match mode {
                Pad::Constant(_) => None,
                Pad::Edge => Some(if at < before { 0 } else { size - 1 }),
                Pad::Reflect => {
                    let phase = (at % period + period - before % period) % period;
                    Some(phase.min(period - phase).min(size - 1))
                }
            }
        };
        let places = 0..before + size + after;
        let mut sources = vec_with_capacity("pad", places.len())?;
        sources.extend(places.map(|at| source(at).map(|i| i as isize * stride)));
        Ok(sources)
    }
}
