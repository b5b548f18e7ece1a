//! The axes of a view in the order of memory, whatever order the view shows them in.

use smallvec::SmallVec;

use crate::element::Element;
use crate::error::Result;
use crate::shape::{Shape, Strides};
use crate::tensor::Tensor;

/// An axis of the walk: size and stride, which is never negative here.
pub(super) type Step = (usize, usize);
pub(super) type Steps = SmallVec<[Step; 6]>;

/// A view's axes in the order of memory.
pub(super) struct Layout {
    /// Kept axes, outermost first, without the `columns`.
    pub(super) kept: Steps,
    pub(super) reduced: Steps,
    /// The innermost kept axis, if it is what lies innermost in memory.
    pub(super) columns: Option<usize>,
    pub(super) offset: usize,
    /// For each result axis in memory's order: the axis of the view, its size, whether it is
    /// walked backwards.
    pub(super) order: SmallVec<[(usize, usize, bool); 6]>,
}

impl Layout {
    /// What [`Layout::new`] finds, found faster for the usual case: a row-major tensor, reduced
    /// over its first axes. The results are in the caller's order then.
    pub(super) fn of_rows<T: Element>(x: &Tensor<T>, mask: &[bool]) -> Option<Self> {
        let first_kept = mask.iter().position(|&reduced| !reduced);
        let (reduced, kept) = x.shape.split_at(first_kept.unwrap_or(mask.len()));
        if mask[reduced.len()..].contains(&true) || !x.is_contiguous() {
            return None;
        }
        let [rows, columns] = [reduced, kept].map(|sizes| sizes.iter().product::<usize>());
        Some(Layout {
            kept: Steps::new(),
            reduced: Steps::from_slice(&[(rows, columns)]),
            columns: (columns > 1).then_some(columns),
            offset: x.offset,
            order: SmallVec::new(),
        })
    }

    pub(super) fn new<T: Element>(x: &Tensor<T>, mask: &[bool]) -> Self {
        let mut offset = x.offset as isize;
        let mut axes: SmallVec<[(usize, usize, usize, bool); 6]> = SmallVec::new();
        for (axis, (&size, &stride)) in x.shape.iter().zip(&x.strides).enumerate() {
            // The results along a kept broadcast axis are all the same: computed once.
            if size == 1 || (stride == 0 && !mask[axis]) {
                continue;
            }
            if stride < 0 {
                offset += stride * (size as isize - 1);
            }
            axes.push((axis, size, stride.unsigned_abs(), stride < 0));
        }
        axes.sort_by_key(|&(_, _, stride, _)| {
            std::cmp::Reverse(if stride == 0 { usize::MAX } else { stride })
        });
        let (mut kept, mut reduced) = (Steps::new(), Steps::new());
        let mut order = SmallVec::new();
        let mut previous = None;
        for &(axis, size, stride, backwards) in &axes {
            let steps = if mask[axis] {
                &mut reduced
            } else {
                order.push((axis, size, backwards));
                &mut kept
            };
            match steps.last_mut() {
                Some((outer, outer_stride))
                    if previous == Some(mask[axis]) && *outer_stride == size * stride =>
                {
                    *outer *= size;
                    *outer_stride = stride;
                }
                _ => steps.push((size, stride)),
            }
            previous = Some(mask[axis]);
        }
        let innermost_is_kept = previous == Some(false);
        let columns = match kept.last() {
            Some(&(size, 1)) if innermost_is_kept => {
                kept.pop();
                Some(size)
            }
            _ => None,
        };
        Layout {
            kept,
            reduced,
            columns,
            offset: offset as usize,
            order,
        }
    }

    /// The shape of the results in memory's order.
    pub(super) fn results(&self) -> Shape {
        self.order.iter().map(|&(_, size, _)| size).collect()
    }

    /// The results as the caller's `shape` orders them.
    pub(super) fn arranged<T: Element>(
        &self,
        operation: &str,
        results: Tensor<T>,
        shape: Shape,
        mask: &[bool],
        keep: bool,
    ) -> Result<Tensor<T>> {
        let mut by_axis: SmallVec<[isize; 6]> = SmallVec::from_elem(0, mask.len());
        let mut offset = 0;
        for (&(axis, size, backwards), &stride) in self.order.iter().zip(&results.strides) {
            by_axis[axis] = if backwards { -stride } else { stride };
            if backwards {
                offset += (size - 1) * stride.unsigned_abs();
            }
        }
        let strides: Strides = by_axis
            .iter()
            .zip(mask)
            .filter(|&(_, &reduced)| keep || !reduced)
            .map(|(&stride, _)| stride)
            .collect();
        let arranged = Tensor {
            storage: results.storage,
            shape,
            strides,
            offset,
        };
        let mut out = arranged.try_contiguous(operation)?;
        // Size-1 axes have lost their strides; a row-major tensor has them all in order.
        out.strides = out.shape.strides();
        Ok(out)
    }

    /// Whether all results are of whole runs, one after the other in memory.
    pub(super) fn runs_follow_each_other(&self) -> bool {
        let &[(len, 1)] = &self.reduced[..] else {
            return false;
        };
        matches!(self.kept[..], [] | [_]) && self.kept.iter().all(|&(_, stride)| stride == len)
    }
}

pub(super) fn count(steps: &[Step]) -> usize {
    steps
        .iter()
        .fold(1, |product: usize, &(size, _)| product.saturating_mul(size))
}

/// The offset of element `index`, counted in row-major order.
pub(super) fn offset_of(steps: &[Step], mut index: usize) -> usize {
    let mut offset = 0;
    for &(size, stride) in steps.iter().rev() {
        offset += index % size * stride;
        index /= size;
    }
    offset
}

/// The offsets of the elements from `start` on in row-major order, without end.
pub(super) struct Offsets<'a> {
    steps: &'a [Step],
    index: SmallVec<[usize; 6]>,
    offset: usize,
}

impl<'a> Offsets<'a> {
    pub(super) fn new(steps: &'a [Step], start: usize) -> Self {
        let mut index = SmallVec::from_elem(0, steps.len());
        let mut rest = start;
        for (index, &(size, _)) in index.iter_mut().zip(steps).rev() {
            *index = rest % size;
            rest /= size;
        }
        Offsets {
            steps,
            index,
            offset: offset_of(steps, start),
        }
    }
}

impl Iterator for Offsets<'_> {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        let offset = self.offset;
        for (index, &(size, stride)) in self.index.iter_mut().zip(self.steps).rev() {
            *index += 1;
            self.offset += stride;
            if *index < size {
                break;
            }
            self.offset -= *index * stride;
            *index = 0;
        }
        Some(offset)
    }
}
