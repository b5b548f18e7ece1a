//! Softmax and its logarithm along an axis.

use super::rows::Rows;
use crate::element::Number;
use crate::error::Result;
use crate::float::Float;
use crate::tensor::Tensor;

impl<T: Float> Tensor<T> {
    /// `exp(xᵢ) / Σⱼ exp(xⱼ)` along `axis`: positive, and of sum 1.
    ///
    /// The largest element is subtracted first, so nothing overflows and differences are exact for
    /// logits of any size. NaN where the axis holds a NaN, +∞, or nothing but −∞, as in PyTorch.
    ///
    /// ```
    /// use tensor::Tensor;
    /// let logits = Tensor::from([[10_000.0, 10_000.0], [0.0, -10_000.0]]);
    /// assert_eq!(logits.softmax(-1)?.to_vec(), [0.5, 0.5, 1.0, 0.0]);
    /// # Ok::<(), tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// If the axis does not exist.
    pub fn softmax(&self, axis: isize) -> Result<Tensor<T>> {
        self.along_axis(
            "softmax",
            axis,
            #[inline(always)]
            |out, inner| {
                let sums = exp_shifted(out, inner);
                for row in out.chunks_exact_mut(inner) {
                    for (out, &sum) in row.iter_mut().zip(&sums) {
                        *out = *out / sum;
                    }
                }
            },
            #[inline(always)]
            |out| {
                let sum = exp_shifted_row(out);
                for out in out {
                    *out = *out / sum;
                }
            },
        )
    }

    /// `xᵢ − ln Σⱼ exp(xⱼ)` along `axis`: the logarithm of [`Tensor::softmax`], finite where the
    /// softmax itself would underflow to 0.
    ///
    /// ```
    /// use tensor::Tensor;
    /// let logits = Tensor::from([0.0, -10_000.0]);
    /// assert_eq!(logits.log_softmax(-1)?.to_vec(), [0.0, -10_000.0]);
    /// # Ok::<(), tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// If the axis does not exist.
    pub fn log_softmax(&self, axis: isize) -> Result<Tensor<T>> {
        self.along_axis(
            "log_softmax",
            axis,
            #[inline(always)]
            |out, inner| {
                let largest = subtract_largest(out, inner);
                let mut sums = largest;
                sums.fill(T::ZERO);
                for row in out.chunks_exact(inner) {
                    for (sum, &x) in sums.iter_mut().zip(row) {
                        *sum += x.exp();
                    }
                }
                for sum in &mut sums {
                    *sum = sum.ln();
                }
                for row in out.chunks_exact_mut(inner) {
                    for (out, &log) in row.iter_mut().zip(&sums) {
                        *out = *out - log;
                    }
                }
            },
            #[inline(always)]
            |out| {
                let largest = largest_of(out);
                for x in out.iter_mut() {
                    *x = *x - largest;
                }
                let log = T::constant(
                    sum_of(
                        out,
                        #[inline(always)]
                        |x| x.exp(),
                    )
                    .ln(),
                );
                for x in out {
                    *x = *x - log;
                }
            },
        )
    }

    /// A copy changed by `rows(slab, inner)` where the axis is not the innermost, by `row` where
    /// it is.
    fn along_axis(
        &self,
        operation: &str,
        axis: isize,
        rows: impl Fn(&mut [T], usize) + Copy + Send + Sync,
        row: impl Fn(&mut [T]) + Copy + Send + Sync,
    ) -> Result<Tensor<T>> {
        let cut = Rows::new(operation, self, axis)?;
        let (slab, inner) = (cut.slab, cut.inner);
        Tensor::build(operation, self.shape.clone(), |out| {
            cut.for_each(
                out,
                slab,
                #[inline(always)]
                |x, out| {
                    out.copy_from_slice(x);
                    if inner == 1 {
                        row(out);
                    } else {
                        rows(out, inner);
                    }
                },
            );
        })
    }
}

/// Lanes in which rows are folded; their sums join pairwise.
const LANES: usize = 16;
/// Lanes for long rows: so many that no join waits for the one before.
const MANY_LANES: usize = 64;

/// The largest element, NaN if there is one; −∞ of none.
#[inline(always)]
pub(super) fn largest_of<T: Float>(x: &[T]) -> T {
    fold(
        x,
        T::LOWEST,
        #[inline(always)]
        |x| x,
        #[inline(always)]
        |a, b| T::larger(a, b),
    )
}

/// `Σ f(x)`: piece by piece in the element type, from piece to piece in `f64`.
#[inline(always)]
pub(crate) fn sum_of<T: Number>(x: &[T], f: impl Fn(T) -> T + Copy) -> f64 {
    let mut sum = 0.0;
    // Not `map` and `sum`, which may not be inlined, and are then not compiled for vectors.
    for piece in x.chunks(16 * MANY_LANES) {
        let joined = fold(
            piece,
            T::ZERO,
            f,
            #[inline(always)]
            |a, b| T::plus(a, b),
        );
        sum += joined.to_f64();
    }
    sum
}

/// Joins `f` of all elements, lane by lane so that the compiler vectorises it.
#[inline(always)]
fn fold<T: Number>(x: &[T], empty: T, f: impl Fn(T) -> T, join: impl Fn(T, T) -> T) -> T {
    let mut lanes = [empty; LANES];
    let mut rest = x;
    if x.len() >= 2 * MANY_LANES {
        let mut many = [empty; MANY_LANES];
        let (chunks, after) = x.as_chunks();
        fold_lanes(chunks, &mut many, &f, &join);
        let (parts, _) = many.as_chunks::<LANES>();
        for i in 0..LANES {
            let [a, b] = [
                join(parts[0][i], parts[1][i]),
                join(parts[2][i], parts[3][i]),
            ];
            lanes[i] = join(a, b);
        }
        rest = after;
    }
    let (chunks, rest) = rest.as_chunks();
    fold_lanes(chunks, &mut lanes, &f, &join);
    if let Some(padded) = padded(rest) {
        for i in 0..LANES {
            let joined = join(lanes[i], f(padded[i]));
            lanes[i] = if i < rest.len() { joined } else { lanes[i] };
        }
    }
    let mut half = LANES / 2;
    while half > 0 {
        for i in 0..half {
            lanes[i] = join(lanes[i], lanes[i + half]);
        }
        half /= 2;
    }
    lanes[0]
}

/// Joins `f` of each chunk to `states`.
#[inline(always)]
fn fold_lanes<T: Copy, const W: usize>(
    chunks: &[[T; W]],
    states: &mut [T; W],
    f: impl Fn(T) -> T,
    join: impl Fn(T, T) -> T,
) {
    // A copy of the loop's own stays in registers.
    let mut lanes = *states;
    for chunk in chunks {
        for i in 0..W {
            lanes[i] = join(lanes[i], f(chunk[i]));
        }
    }
    *states = lanes;
}

/// Fewer than [`LANES`] elements, and the first of them as often as is missing: rows of few classes
/// are worth a vector, too.
#[inline(always)]
fn padded<T: Copy>(x: &[T]) -> Option<[T; LANES]> {
    let mut padded = [*x.first()?; LANES];
    for (padded, &x) in padded.iter_mut().zip(x) {
        *padded = x;
    }
    Some(padded)
}

/// Replaces a row by `exp(x − largest)` and returns the sum.
#[inline(always)]
pub(super) fn exp_shifted_row<T: Float>(row: &mut [T]) -> T {
    let largest = largest_of(row);
    let (chunks, rest) = row.as_chunks_mut::<LANES>();
    for x in chunks.as_flattened_mut() {
        *x = (*x - largest).exp();
    }
    if let Some(mut exponentials) = padded(rest) {
        for x in &mut exponentials {
            *x = (*x - largest).exp();
        }
        for (x, &exponential) in rest.iter_mut().zip(&exponentials) {
            *x = exponential;
        }
    }
    T::constant(sum_of(
        row,
        #[inline(always)]
        |x| x,
    ))
}

/// Subtracts from each column its largest element, and returns these.
#[inline(always)]
fn subtract_largest<T: Float>(slab: &mut [T], inner: usize) -> Vec<T> {
    let mut largest = vec![T::LOWEST; inner];
    for row in slab.chunks_exact(inner) {
        for (largest, &x) in largest.iter_mut().zip(row) {
            *largest = largest.larger(x);
        }
    }
    for row in slab.chunks_exact_mut(inner) {
        for (x, &largest) in row.iter_mut().zip(&largest) {
            *x = *x - largest;
        }
    }
    largest
}

/// Replaces columns by `exp(x − largest)` and returns their sums.
#[inline(always)]
fn exp_shifted<T: Float>(slab: &mut [T], inner: usize) -> Vec<T> {
    let mut sums = subtract_largest(slab, inner);
    sums.fill(T::ZERO);
    for row in slab.chunks_exact_mut(inner) {
        for (x, sum) in row.iter_mut().zip(&mut sums) {
            *x = x.exp();
            *sum += *x;
        }
    }
    sums
}
