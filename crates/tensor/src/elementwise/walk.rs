//! Walking several operands in step: the loops under every elementwise operation.
//!
//! The output is always new and row-major; inputs may be any views. Elements of a view are copied
//! into a row a piece at a time, so that every function runs over contiguous elements, in one
//! loop that the compiler vectorises. Axes of a view that can be walked as one are merged.

use smallvec::SmallVec;

use crate::element::Element;
use crate::error::Result;
use crate::parallel::{BLOCK, Par};
use crate::shape::{Shape, Strides};
use crate::simd::{Level, vectorize, vectorize_to_avx2};
use crate::tensor::Tensor;

/// The joint iteration space of `N` inputs under one shape.
pub(crate) struct Walk<const N: usize> {
    sizes: SmallVec<[usize; 4]>,
    strides: SmallVec<[[isize; N]; 4]>,
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
                        // Sizes of no elements may have a product that is none.
                        *outer_size = outer_size.saturating_mul(size);
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

/// Elements of a view that are laid out in a row before a function runs over them.
const PIECE: usize = 512;

/// Room for one piece, cleared only if it is needed.
type Buffer<T> = Option<Laid<T>>;

/// Elements that were laid out in a row.
struct Laid<T> {
    row: [T; PIECE],
    /// The stretch of repeated rows that they are of, if they are more than one piece.
    stretch: Option<usize>,
}

/// A short row that is read again and again before the next: the channels of a scale, or of a scale
/// for each image; a single number is one of one element.
#[derive(Clone, Copy)]
struct Repeated {
    /// Elements of the row.
    period: usize,
    /// Elements read before the next row.
    stretch: usize,
}

impl Repeated {
    fn of(walk: &Walk<1>) -> Option<Repeated> {
        let repeated = match (&walk.sizes[..], &walk.strides[..]) {
            (&[_], &[[0]]) => Repeated {
                period: 1,
                stretch: usize::MAX,
            },
            (&[.., times, period], &[.., [0], _]) => Repeated {
                period,
                stretch: times.saturating_mul(period).max(1),
            },
            _ => return None,
        };
        (repeated.period <= PIECE / 2).then_some(repeated)
    }
}

/// One input of an elementwise function, seen under the shape of the output.
struct Operand<'a, T: Element> {
    elements: &'a [T],
    /// How to walk a view; `None` if the elements lie in the order of the output.
    walk: Option<Walk<1>>,
    /// Whether it shows a short row again and again.
    repeated: Option<Repeated>,
}

impl<'a, T: Element> Operand<'a, T> {
    fn new(operation: &str, tensor: &'a Tensor<T>, shape: &Shape, same: bool) -> Result<Self> {
        if (same || tensor.shape == *shape)
            && let Some(elements) = tensor.as_slice()
        {
            return Ok(Operand {
                elements,
                walk: None,
                repeated: None,
            });
        }
        let strides = tensor.broadcast_strides(operation, shape)?;
        let walk = Walk::new(shape, [&strides], [tensor.offset]);
        let repeated = Repeated::of(&walk);
        Ok(Operand {
            elements: tensor.storage.as_slice(),
            walk: Some(walk),
            repeated,
        })
    }

    /// Elements `start .. start + len`, in `buffer` unless they lie in a row already.
    ///
    /// Not generic over the function that will run over them: each function is compiled for one
    /// contiguous loop only, which keeps builds short.
    fn piece<'b>(&'b self, start: usize, len: usize, buffer: &'b mut Buffer<T>) -> &'b [T] {
        let Some(walk) = &self.walk else {
            return &self.elements[start..start + len];
        };
        let laid = buffer.get_or_insert_with(|| Laid {
            row: [T::default(); PIECE],
            stretch: None,
        });
        if let Some(Repeated { period, stretch }) = self.repeated {
            let which = start / stretch;
            if (start + len - 1) / stretch == which {
                if laid.stretch != Some(which) {
                    // No later piece of a block is longer than its first.
                    let len = stretch.min(period - 1 + len);
                    self.lay_out(walk, which * stretch, &mut laid.row[..len]);
                    laid.stretch = Some(which);
                }
                return &laid.row[start % period..][..len];
            }
            laid.stretch = None;
        }
        self.lay_out(walk, start, &mut laid.row[..len]);
        &laid.row[..len]
    }

    /// The elements from `start` on, in a row.
    fn lay_out(&self, walk: &Walk<1>, start: usize, row: &mut [T]) {
        walk.segments(start, row.len(), |done, run, [offset], [stride]| {
            let out = &mut row[done..done + run];
            match stride {
                1 => out.copy_from_slice(&self.elements[offset..offset + run]),
                0 => out.fill(self.elements[offset]),
                -1 => {
                    let backwards = self.elements[offset + 1 - run..=offset].iter().rev();
                    for (out, &element) in out.iter_mut().zip(backwards) {
                        *out = element;
                    }
                }
                _ => {
                    let mut position = offset as isize;
                    for out in out {
                        *out = self.elements[position as usize];
                        position += stride;
                    }
                }
            }
        });
    }

    /// How many elements to take at a time.
    fn step(&self) -> usize {
        match (&self.walk, self.repeated) {
            (None, _) => BLOCK,
            (Some(_), None) => PIECE,
            // The rest of a buffer is for pieces that begin within the row.
            (Some(_), Some(repeated)) => PIECE + 1 - repeated.period,
        }
    }
}

/// `out = f(a)` for each element.
pub(crate) fn unary<A: Element, B: Element>(
    operation: &str,
    a: &Tensor<A>,
    f: impl Fn(A) -> B + Copy + Sync + Send,
) -> Result<Tensor<B>> {
    let operand = Operand::new(operation, a, &a.shape, true)?;
    Tensor::build(operation, a.shape.clone(), |out| {
        for_wide_blocks(
            out,
            #[inline(always)]
            |start, out| {
                // A copy of this block's own, whose captures no write to `out` can change.
                let function = f;
                let mut buffer = None;
                let mut at = start;
                for out in out.chunks_mut(operand.step()) {
                    let a = operand.piece(at, out.len(), &mut buffer);
                    for (out, &a) in out.iter_mut().zip(a) {
                        *out = function(a);
                    }
                    at += out.len();
                }
            },
        );
    })
}

/// `a = f(a)` for each element, in place.
pub(crate) fn unary_in_place<T: Element>(a: &mut [T], f: impl Fn(T) -> T + Copy + Sync + Send) {
    for_wide_blocks(
        a,
        #[inline(always)]
        |_, a| {
            let function = f;
            for a in a {
                *a = function(*a);
            }
        },
    );
}

/// `out = f(a, b)` for each element of the shape that both broadcast to.
pub(crate) fn binary<A: Element, B: Element, C: Element>(
    operation: &str,
    a: &Tensor<A>,
    b: &Tensor<B>,
    f: impl Fn(A, B) -> C + Copy + Sync + Send,
) -> Result<Tensor<C>> {
    let pair = Pair::new(operation, a, b)?;
    Tensor::build(operation, pair.shape.clone(), |out| {
        for_blocks(
            out,
            #[inline(always)]
            |start, out| pair.block(start, out, f),
        );
    })
}

/// [`binary`] for functions that compute more than they wait for memory.
pub(crate) fn wide_binary<T: Element>(
    operation: &str,
    a: &Tensor<T>,
    b: &Tensor<T>,
    f: impl Fn(T, T) -> T + Copy + Sync + Send,
) -> Result<Tensor<T>> {
    let pair = Pair::new(operation, a, b)?;
    Tensor::build(operation, pair.shape.clone(), |out| {
        for_wide_blocks(
            out,
            #[inline(always)]
            |start, out| pair.block(start, out, f),
        );
    })
}

/// Two inputs under the shape that both broadcast to.
struct Pair<'a, A: Element, B: Element> {
    left: Operand<'a, A>,
    right: Operand<'a, B>,
    shape: Shape,
}

impl<'a, A: Element, B: Element> Pair<'a, A, B> {
    fn new(operation: &str, a: &'a Tensor<A>, b: &'a Tensor<B>) -> Result<Self> {
        let same = a.shape == b.shape;
        let shape = if same {
            a.shape.clone()
        } else {
            a.shape.broadcast(operation, &b.shape)?
        };
        Ok(Pair {
            left: Operand::new(operation, a, &shape, same)?,
            right: Operand::new(operation, b, &shape, same)?,
            shape,
        })
    }

    /// Elements from `start` on.
    #[inline(always)]
    fn block<C>(&self, start: usize, out: &mut [C], f: impl Fn(A, B) -> C) {
        let step = self.left.step().min(self.right.step());
        let (mut buffer_a, mut buffer_b) = (None, None);
        let mut at = start;
        for out in out.chunks_mut(step) {
            let a = self.left.piece(at, out.len(), &mut buffer_a);
            let b = self.right.piece(at, out.len(), &mut buffer_b);
            for ((out, &a), &b) in out.iter_mut().zip(a).zip(b) {
                *out = f(a, b);
            }
            at += out.len();
        }
    }
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
    let first = Operand::new(operation, a, &shape, false)?;
    let second = Operand::new(operation, b, &shape, false)?;
    let third = Operand::new(operation, c, &shape, false)?;
    let step = first.step().min(second.step()).min(third.step());
    Tensor::build(operation, shape, |out| {
        for_blocks(
            out,
            #[inline(always)]
            |start, out| {
                let function = f;
                let (mut buffer_a, mut buffer_b) = (None, None);
                let mut buffer_c = None;
                let mut at = start;
                for out in out.chunks_mut(step) {
                    let a = first.piece(at, out.len(), &mut buffer_a);
                    let b = second.piece(at, out.len(), &mut buffer_b);
                    let c = third.piece(at, out.len(), &mut buffer_c);
                    for (((out, &a), &b), &c) in out.iter_mut().zip(a).zip(b).zip(c) {
                        *out = function(a, b, c);
                    }
                    at += out.len();
                }
            },
        );
    })
}

/// Runs `body(start, block)` over fixed blocks of `out`, on threads, with this machine's vectors.
///
/// Pays for functions of one operand alone, many of which compute more than they wait for memory.
fn for_wide_blocks<T: Send>(out: &mut [T], body: impl Fn(usize, &mut [T]) + Copy + Sync + Send) {
    let level = Level::best();
    Par::Threads.for_chunks(out, BLOCK, |block, out| {
        vectorize(
            level,
            #[inline(always)]
            || body(block * BLOCK, out),
        );
    });
}

/// [`for_wide_blocks`] with vectors of AVX2 at most: arithmetic waits for memory, and a third copy
/// of each loop would only make builds longer.
fn for_blocks<T: Send>(out: &mut [T], body: impl Fn(usize, &mut [T]) + Copy + Sync + Send) {
    let level = Level::best();
    Par::Threads.for_chunks(out, BLOCK, |block, out| {
        vectorize_to_avx2(
            level,
            #[inline(always)]
            || body(block * BLOCK, out),
        );
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
