//! Walking several operands in step: the loops under every elementwise operation.
//!
//! The output is always new and row-major; inputs may be any views. Axes that all inputs can walk
//! as one are merged, so that the inner loop is as long as possible, and the inner loop is
//! specialised for strides 0 and 1, which the compiler vectorises.

use smallvec::SmallVec;

use crate::element::Element;
use crate::error::Result;
use crate::parallel::{BLOCK, Par};
use crate::shape::{Shape, Strides};
use crate::simd::{Level, vectorize};
use crate::tensor::Tensor;

/// The joint iteration space of `N` inputs under one shape.
pub(crate) struct Walk<const N: usize> {
    sizes: SmallVec<[usize; 6]>,
    strides: SmallVec<[[isize; N]; 6]>,
    bases: [isize; N],
}

impl<const N: usize> Walk<N> {
    /// Inputs given by their strides under `shape` and their offsets.
    pub(crate) fn new(shape: &Shape, strides: [&Strides; N], offsets: [usize; N]) -> Self {
        let mut walk = Walk {
            sizes: SmallVec::new(),
            strides: SmallVec::new(),
            bases: offsets.map(|offset| offset as isize),
        };
        for (axis, &size) in shape.iter().enumerate() {
            if size == 1 {
                continue;
            }
            let steps: [isize; N] = std::array::from_fn(|operand| strides[operand][axis]);
            let merged = match (walk.sizes.last_mut(), walk.strides.last_mut()) {
                (Some(outer_size), Some(outer)) => {
                    let follows = (0..N).all(|operand| {
                        outer[operand] == steps[operand].wrapping_mul(size as isize)
                    });
                    if follows {
                        *outer_size *= size;
                        *outer = steps;
                    }
                    follows
                }
                _ => false,
            };
            if !merged {
                walk.sizes.push(size);
                walk.strides.push(steps);
            }
        }
        if walk.sizes.is_empty() {
            walk.sizes.push(1);
            walk.strides.push([0; N]);
        }
        walk
    }

    /// Calls `segment(position in 0..len, length, offsets, strides)` for the runs that make up
    /// elements `start .. start + len` in row-major order.
    #[inline(always)]
    pub(crate) fn segments(
        &self,
        start: usize,
        len: usize,
        mut segment: impl FnMut(usize, usize, [usize; N], [isize; N]),
    ) {
        let inner = self.sizes.len() - 1;
        let mut index: SmallVec<[usize; 6]> = SmallVec::from_elem(0, self.sizes.len());
        let mut rest = start;
        for axis in (0..=inner).rev() {
            index[axis] = rest % self.sizes[axis];
            rest /= self.sizes[axis];
        }
        let steps = self.strides[inner];
        let mut done = 0;
        while done < len {
            let mut offsets = self.bases;
            for axis in 0..=inner {
                for operand in 0..N {
                    offsets[operand] += index[axis] as isize * self.strides[axis][operand];
                }
            }
            let run = (self.sizes[inner] - index[inner]).min(len - done);
            segment(done, run, offsets.map(|offset| offset as usize), steps);
            done += run;
            index[inner] = 0;
            for axis in (0..inner).rev() {
                index[axis] += 1;
                if index[axis] < self.sizes[axis] {
                    break;
                }
                index[axis] = 0;
            }
        }
    }
}

/// Reads element `i` of a run.
#[inline(always)]
fn at<T: Copy>(source: &[T], offset: usize, stride: isize, i: usize) -> T {
    source[(offset as isize + i as isize * stride) as usize]
}

/// `out = f(a)` for each element.
pub(crate) fn unary<A: Element, B: Element>(
    operation: &str,
    a: &Tensor<A>,
    f: impl Fn(A) -> B + Copy + Sync + Send,
) -> Result<Tensor<B>> {
    if let Some(source) = a.as_slice() {
        return Tensor::build(operation, a.shape.clone(), |out| {
            for_blocks(out, |start, out| {
                let source = &source[start..start + out.len()];
                out.iter_mut().zip(source).for_each(|(out, &a)| *out = f(a));
            });
        });
    }
    let source = a.storage.as_slice();
    let walk = Walk::new(&a.shape, [&a.strides], [a.offset]);
    Tensor::build(operation, a.shape.clone(), |out| {
        for_blocks(out, |start, out| {
            walk.segments(start, out.len(), |done, run, [offset], [stride]| {
                let out = &mut out[done..done + run];
                match stride {
                    1 => {
                        let source = &source[offset..offset + run];
                        out.iter_mut().zip(source).for_each(|(out, &a)| *out = f(a));
                    }
                    0 => out.fill(f(source[offset])),
                    _ => {
                        for (i, out) in out.iter_mut().enumerate() {
                            *out = f(at(source, offset, stride, i));
                        }
                    }
                }
            });
        });
    })
}

/// `a = f(a)` for each element, in place.
pub(crate) fn unary_in_place<T: Element>(a: &mut [T], f: impl Fn(T) -> T + Copy + Sync + Send) {
    for_blocks(a, |_, a| a.iter_mut().for_each(|a| *a = f(*a)));
}

/// `out = f(a, b)` for each element of the shape that both broadcast to.
pub(crate) fn binary<A: Element, B: Element, C: Element>(
    operation: &str,
    a: &Tensor<A>,
    b: &Tensor<B>,
    f: impl Fn(A, B) -> C + Copy + Sync + Send,
) -> Result<Tensor<C>> {
    if a.shape == b.shape
        && let (Some(left), Some(right)) = (a.as_slice(), b.as_slice())
    {
        return Tensor::build(operation, a.shape.clone(), |out| {
            for_blocks(out, |start, out| {
                let left = &left[start..start + out.len()];
                let right = &right[start..start + out.len()];
                for ((out, &a), &b) in out.iter_mut().zip(left).zip(right) {
                    *out = f(a, b);
                }
            });
        });
    }
    let shape = a.shape.broadcast(operation, &b.shape)?;
    let strides_a = a.broadcast_strides(operation, &shape)?;
    let strides_b = b.broadcast_strides(operation, &shape)?;
    let (left, right) = (a.storage.as_slice(), b.storage.as_slice());
    let walk = Walk::new(&shape, [&strides_a, &strides_b], [a.offset, b.offset]);
    Tensor::build(operation, shape, |out| {
        for_blocks(out, |start, out| {
            walk.segments(start, out.len(), |done, run, [oa, ob], [sa, sb]| {
                let out = &mut out[done..done + run];
                match (sa, sb) {
                    (1, 1) => {
                        let (left, right) = (&left[oa..oa + run], &right[ob..ob + run]);
                        for ((out, &a), &b) in out.iter_mut().zip(left).zip(right) {
                            *out = f(a, b);
                        }
                    }
                    (1, 0) => {
                        let b = right[ob];
                        let left = &left[oa..oa + run];
                        out.iter_mut()
                            .zip(left)
                            .for_each(|(out, &a)| *out = f(a, b));
                    }
                    (0, 1) => {
                        let a = left[oa];
                        let right = &right[ob..ob + run];
                        out.iter_mut()
                            .zip(right)
                            .for_each(|(out, &b)| *out = f(a, b));
                    }
                    _ => {
                        for (i, out) in out.iter_mut().enumerate() {
                            *out = f(at(left, oa, sa, i), at(right, ob, sb, i));
                        }
                    }
                }
            });
        });
    })
}

/// `out = f(a, b, c)` for each element of the shape that all three broadcast to.
pub(crate) fn ternary<A: Element, B: Element, C: Element, D: Element>(
    operation: &str,
    a: &Tensor<A>,
    b: &Tensor<B>,
    c: &Tensor<C>,
    f: impl Fn(A, B, C) -> D + Copy + Sync + Send,
) -> Result<Tensor<D>> {
    let shape = a
        .shape
        .broadcast(operation, &b.shape)?
        .broadcast(operation, &c.shape)?;
    let strides_a = a.broadcast_strides(operation, &shape)?;
    let strides_b = b.broadcast_strides(operation, &shape)?;
    let strides_c = c.broadcast_strides(operation, &shape)?;
    let (x, y, z) = (
        a.storage.as_slice(),
        b.storage.as_slice(),
        c.storage.as_slice(),
    );
    let offsets = [a.offset, b.offset, c.offset];
    let walk = Walk::new(&shape, [&strides_a, &strides_b, &strides_c], offsets);
    Tensor::build(operation, shape, |out| {
        for_blocks(out, |start, out| {
            walk.segments(start, out.len(), |done, run, [oa, ob, oc], strides| {
                let out = &mut out[done..done + run];
                if strides == [1, 1, 1] {
                    let (x, y, z) = (&x[oa..oa + run], &y[ob..ob + run], &z[oc..oc + run]);
                    for (i, out) in out.iter_mut().enumerate() {
                        *out = f(x[i], y[i], z[i]);
                    }
                } else {
                    let [sa, sb, sc] = strides;
                    for (i, out) in out.iter_mut().enumerate() {
                        *out = f(at(x, oa, sa, i), at(y, ob, sb, i), at(z, oc, sc, i));
                    }
                }
            });
        });
    })
}

/// Runs `body(start, block)` over fixed blocks of `out`, on threads, with this machine's vectors.
fn for_blocks<T: Send>(out: &mut [T], body: impl Fn(usize, &mut [T]) + Copy + Sync + Send) {
    let level = Level::best();
    Par::Threads.for_chunks(out, BLOCK, |block, out| {
        vectorize(level, || body(block * BLOCK, out));
    });
}

/// Side of the square tiles in which [`Tensor::copied`] transposes.
const TILE: usize = 32;

impl<T: Element> Tensor<T> {
    /// A row-major copy.
    pub(crate) fn copied(&self, operation: &str) -> Result<Tensor<T>> {
        match self.matrix_transpose() {
            Some((rows, columns, step)) => self.copied_by_tiles(operation, rows, columns, step),
            None => unary(operation, self, |x| x),
        }
    }

    /// If the view is one big transposed matrix: its rows, columns, and the stride along a row.
    fn matrix_transpose(&self) -> Option<(usize, usize, usize)> {
        let walk = Walk::new(&self.shape, [&self.strides], [self.offset]);
        match (&walk.sizes[..], &walk.strides[..]) {
            (&[rows, columns], &[[1], [step]]) if step > 1 && rows >= 8 && columns >= 8 => {
                Some((rows, columns, step as usize))
            }
            _ => None,
        }
    }

    /// Copies tile by tile, so that both the strided reads and the writes stay in the cache.
    fn copied_by_tiles(
        &self,
        operation: &str,
        rows: usize,
        columns: usize,
        step: usize,
    ) -> Result<Tensor<T>> {
        let source = &self.storage.as_slice()[self.offset..];
        Tensor::build(operation, self.shape.clone(), |out| {
            Par::Threads.for_chunks(out, TILE * columns, |block, out| {
                let first = block * TILE;
                let height = TILE.min(rows - first);
                for left in (0..columns).step_by(TILE) {
                    for row in 0..height {
                        let width = TILE.min(columns - left);
                        let out = &mut out[row * columns + left..][..width];
                        for (i, out) in out.iter_mut().enumerate() {
                            *out = source[(left + i) * step + first + row];
                        }
                    }
                }
            });
        })
    }
}
