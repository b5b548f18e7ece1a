//! Minimal filtering along one axis: the matrices of F(m, 3), as straight-line vector code.
//!
//! Two polynomials are multiplied by their values at points, after Toom and Cook. With `m + 1`
//! finite points and infinity,
//!
//! ```text
//! y = Aᵀ [(G g) ⊙ (Bᵀ d)]
//! ```
//!
//! gives `m` outputs of a filter `g` of 3 taps from `m + 2` inputs `d` with `m + 2`
//! multiplications instead of `3·m`. Nested in two dimensions, F(4×4, 3×3) takes 36 instead of
//! 144, F(2×2, 3×3) 16 instead of 36 (Winograd, *Arithmetic Complexity of Computations*, 1980;
//! Lavin & Gray, *Fast Algorithms for Convolutional Neural Networks*, 2015).
//!
//! The gradient with respect to the filter is the transpose of the same identity:
//! `dg = Gᵀ [(Bᵀ d) ⊙ (A dy)]`.
//!
//! Where two outputs or fewer are left at the end of an axis, F(2, 3) at four of the six points of
//! F(4, 3) computes them: its filters `G g` are four of the six that are there already, as long as
//! what they are divided by is taken back in `Bᵀ d`.

use std::ops::Range;

use crate::simd::{Real, Simd, Vector};

/// The longest side of an input tile.
pub(super) const LONGEST: usize = 6;

/// The vectors of one line of a tile; those beyond its side are not used.
pub(in crate::conv) type Line<T, S> = [<T as Real>::Vector<S>; LONGEST];

/// A side of a tile: what its values along an axis are transformed by.
pub(in crate::conv) trait Side: Sync {
    /// Outputs of a tile along one axis.
    const OUTPUT: usize;
    /// Inputs of a tile along one axis, and so of points.
    const INPUT: usize = Self::OUTPUT + 2;

    /// `Bᵀ d`.
    fn input<T: Real, S: Simd>(simd: S, d: Line<T, S>) -> Line<T, S>;
    /// `Aᵀ m`, the first `OUTPUT` of the result.
    fn output<T: Real, S: Simd>(simd: S, m: Line<T, S>) -> Line<T, S>;
    /// `A y` of the first `OUTPUT` vectors.
    fn output_transposed<T: Real, S: Simd>(simd: S, y: Line<T, S>) -> Line<T, S>;
}

/// F(m, 3): the side of most tiles, and the transforms of the filters for all.
pub(in crate::conv) trait Minimal: Side {
    /// Multiplications a tile takes for each pair of channels.
    const POINTS: usize = Self::INPUT * Self::INPUT;
    /// The side of the last tiles of an axis if it is long enough for what is left there. Its
    /// points are the first of the axis.
    type Narrow: Side;

    /// `G g` of the first three vectors.
    fn filter<T: Real, S: Simd>(simd: S, g: Line<T, S>) -> Line<T, S>;
    /// `Gᵀ u`, the first three of the result.
    fn filter_transposed<T: Real, S: Simd>(simd: S, u: Line<T, S>) -> Line<T, S>;

    /// The place of point `i` down and `j` across among all: first those that are points of all
    /// tiles, then those that tiles narrow down have, then those that tiles narrow across have.
    #[inline(always)]
    fn point(i: usize, j: usize) -> usize {
        let (all, narrow) = (Self::INPUT, Self::Narrow::INPUT);
        let others = all - narrow;
        match (i < narrow, j < narrow) {
            (true, true) => i * narrow + j,
            (true, false) => narrow * narrow + i * others + (j - narrow),
            (false, true) => narrow * all + (i - narrow) * narrow + j,
            (false, false) => all * narrow + others * narrow + (i - narrow) * others + (j - narrow),
        }
    }

    /// The points that have the same tiles: those of all, those of tiles that are wide across,
    /// wide down, and both.
    fn groups() -> [Range<usize>; 4] {
        let (all, narrow) = (Self::INPUT, Self::Narrow::INPUT);
        let ends = [
            narrow * narrow,
            narrow * all,
            narrow * (all + all - narrow),
            all * all,
        ];
        [
            0..ends[0],
            ends[0]..ends[1],
            ends[1]..ends[2],
            ends[2]..ends[3],
        ]
    }
}

/// `factor · v`.
#[inline(always)]
fn scaled<T: Real, V: Vector<T>>(simd: V::Simd, factor: f64, v: V) -> V {
    V::splat(simd, T::from_f64(factor)) * v
}

/// `sum + factor · v`.
#[inline(always)]
fn plus<T: Real, V: Vector<T>>(simd: V::Simd, sum: V, factor: f64, v: V) -> V {
    V::splat(simd, T::from_f64(factor)).mul_add(v, sum)
}

/// F(4, 3) at the points 0, ±`P`, ∞, ±`Q`.
///
/// `P·Q = 1` keeps the entries of all matrices near 1, which halves the rounding error of the
/// points 0, ±1, ±2, ∞ of the literature.
pub(in crate::conv) struct Four;

const P: f64 = std::f64::consts::FRAC_1_SQRT_2;
const Q: f64 = std::f64::consts::SQRT_2;
const P2: f64 = P * P;
const Q2: f64 = Q * Q;
/// `Π (p − other points)` for the points 0, ±P and ±Q.
const AT_ZERO: f64 = P2 * Q2;
const AT_P: f64 = 2.0 * P2 * (P2 - Q2);
const AT_Q: f64 = 2.0 * Q2 * (Q2 - P2);

impl Side for Four {
    const OUTPUT: usize = 4;

    #[inline(always)]
    fn input<T: Real, S: Simd>(simd: S, d: Line<T, S>) -> Line<T, S> {
        let even_p = plus(simd, d[4], -Q2, d[2]);
        let odd_p = plus(simd, d[3], -Q2, d[1]);
        let even_q = plus(simd, d[4], -P2, d[2]);
        let odd_q = plus(simd, d[3], -P2, d[1]);
        [
            plus(simd, plus(simd, d[4], -P2 - Q2, d[2]), P2 * Q2, d[0]),
            plus(simd, even_p, P, odd_p),
            plus(simd, even_p, -P, odd_p),
            plus(simd, plus(simd, d[5], -P2 - Q2, d[3]), P2 * Q2, d[1]),
            plus(simd, even_q, Q, odd_q),
            plus(simd, even_q, -Q, odd_q),
        ]
    }

    #[inline(always)]
    fn output<T: Real, S: Simd>(simd: S, m: Line<T, S>) -> Line<T, S> {
        let [zero, p, minus_p, infinity, q, minus_q] = m;
        let (sum_p, difference_p) = (p + minus_p, p - minus_p);
        let (sum_q, difference_q) = (q + minus_q, q - minus_q);
        let none = T::Vector::<S>::zero(simd);
        [
            zero + sum_p + sum_q,
            plus(simd, scaled(simd, P, difference_p), Q, difference_q),
            plus(simd, scaled(simd, P2, sum_p), Q2, sum_q),
            plus(
                simd,
                plus(simd, infinity, P * P2, difference_p),
                Q * Q2,
                difference_q,
            ),
            none,
            none,
        ]
    }

    #[inline(always)]
    fn output_transposed<T: Real, S: Simd>(simd: S, y: Line<T, S>) -> Line<T, S> {
        let even_p = plus(simd, y[0], P2, y[2]);
        let odd_p = plus(simd, scaled(simd, P, y[1]), P * P2, y[3]);
        let even_q = plus(simd, y[0], Q2, y[2]);
        let odd_q = plus(simd, scaled(simd, Q, y[1]), Q * Q2, y[3]);
        [
            y[0],
            even_p + odd_p,
            even_p - odd_p,
            y[3],
            even_q + odd_q,
            even_q - odd_q,
        ]
    }
}

impl Minimal for Four {
    type Narrow = NarrowFour;

    #[inline(always)]
    fn filter<T: Real, S: Simd>(simd: S, g: Line<T, S>) -> Line<T, S> {
        let even_p = plus(simd, scaled(simd, 1.0 / AT_P, g[0]), P2 / AT_P, g[2]);
        let even_q = plus(simd, scaled(simd, 1.0 / AT_Q, g[0]), Q2 / AT_Q, g[2]);
        [
            scaled(simd, 1.0 / AT_ZERO, g[0]),
            plus(simd, even_p, P / AT_P, g[1]),
            plus(simd, even_p, -P / AT_P, g[1]),
            g[2],
            plus(simd, even_q, Q / AT_Q, g[1]),
            plus(simd, even_q, -Q / AT_Q, g[1]),
        ]
    }

    #[inline(always)]
    fn filter_transposed<T: Real, S: Simd>(simd: S, u: Line<T, S>) -> Line<T, S> {
        let [zero, p, minus_p, infinity, q, minus_q] = u;
        let (sum_p, difference_p) = (p + minus_p, p - minus_p);
        let (sum_q, difference_q) = (q + minus_q, q - minus_q);
        let none = T::Vector::<S>::zero(simd);
        let first = plus(simd, scaled(simd, 1.0 / AT_ZERO, zero), 1.0 / AT_P, sum_p);
        [
            plus(simd, first, 1.0 / AT_Q, sum_q),
            plus(
                simd,
                scaled(simd, P / AT_P, difference_p),
                Q / AT_Q,
                difference_q,
            ),
            plus(
                simd,
                plus(simd, infinity, P2 / AT_P, sum_p),
                Q2 / AT_Q,
                sum_q,
            ),
            none,
            none,
            none,
        ]
    }
}

/// F(2, 3) at the points 0, ±`P`, ∞, for filters that [`Four`] has transformed.
///
/// Those are divided by products over more points, `AT_ZERO` instead of `−P²` and `AT_P` instead of
/// `2·P²`; so inputs are multiplied by the ratio.
pub(in crate::conv) struct NarrowFour;

/// `AT_P / (2·P²)`.
const RATIO_AT_P: f64 = P2 - Q2;

impl Side for NarrowFour {
    const OUTPUT: usize = 2;

    #[inline(always)]
    fn input<T: Real, S: Simd>(simd: S, d: Line<T, S>) -> Line<T, S> {
        let none = T::Vector::<S>::zero(simd);
        let even = scaled(simd, RATIO_AT_P, d[2]);
        [
            plus(simd, scaled(simd, P2 * Q2, d[0]), -Q2, d[2]),
            plus(simd, even, P * RATIO_AT_P, d[1]),
            plus(simd, even, -P * RATIO_AT_P, d[1]),
            plus(simd, d[3], -P2, d[1]),
            none,
            none,
        ]
    }

    #[inline(always)]
    fn output<T: Real, S: Simd>(simd: S, m: Line<T, S>) -> Line<T, S> {
        let [zero, p, minus_p, infinity, ..] = m;
        let none = T::Vector::<S>::zero(simd);
        [
            zero + p + minus_p,
            plus(simd, infinity, P, p - minus_p),
            none,
            none,
            none,
            none,
        ]
    }

    #[inline(always)]
    fn output_transposed<T: Real, S: Simd>(simd: S, y: Line<T, S>) -> Line<T, S> {
        let none = T::Vector::<S>::zero(simd);
        [
            y[0],
            plus(simd, y[0], P, y[1]),
            plus(simd, y[0], -P, y[1]),
            y[1],
            none,
            none,
        ]
    }
}

/// F(2, 3) at the points 0, 1, −1, ∞.
pub(in crate::conv) struct Two;

impl Side for Two {
    const OUTPUT: usize = 2;

    #[inline(always)]
    fn input<T: Real, S: Simd>(simd: S, d: Line<T, S>) -> Line<T, S> {
        let zero = T::Vector::<S>::zero(simd);
        [
            d[0] - d[2],
            d[1] + d[2],
            d[2] - d[1],
            d[3] - d[1],
            zero,
            zero,
        ]
    }

    #[inline(always)]
    fn output<T: Real, S: Simd>(simd: S, m: Line<T, S>) -> Line<T, S> {
        let zero = T::Vector::<S>::zero(simd);
        [
            m[0] + m[1] + m[2],
            m[1] - m[2] + m[3],
            zero,
            zero,
            zero,
            zero,
        ]
    }

    #[inline(always)]
    fn output_transposed<T: Real, S: Simd>(simd: S, y: Line<T, S>) -> Line<T, S> {
        let zero = T::Vector::<S>::zero(simd);
        [y[0], y[0] + y[1], y[0] - y[1], y[1], zero, zero]
    }
}

impl Minimal for Two {
    /// Nothing is left that half a tile would do for.
    type Narrow = Two;

    #[inline(always)]
    fn filter<T: Real, S: Simd>(simd: S, g: Line<T, S>) -> Line<T, S> {
        let (zero, half) = (
            T::Vector::<S>::zero(simd),
            T::Vector::<S>::splat(simd, T::from_f64(0.5)),
        );
        let even = half * (g[0] + g[2]);
        [
            g[0],
            half.mul_add(g[1], even),
            even - half * g[1],
            g[2],
            zero,
            zero,
        ]
    }

    #[inline(always)]
    fn filter_transposed<T: Real, S: Simd>(simd: S, u: Line<T, S>) -> Line<T, S> {
        let (zero, half) = (
            T::Vector::<S>::zero(simd),
            T::Vector::<S>::splat(simd, T::from_f64(0.5)),
        );
        let even = half * (u[1] + u[2]);
        [
            u[0] + even,
            half * (u[1] - u[2]),
            even + u[3],
            zero,
            zero,
            zero,
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::{Kernel, Level, dispatch};
    use std::marker::PhantomData;

    /// A matrix: the results of each unit vector.
    type Matrix = [[f64; LONGEST]; LONGEST];

    /// `G`, `Bᵀ` and `Aᵀ` of a side `D` of tiles whose filters are those of `M`, column by column.
    struct Matrices<M, D>(PhantomData<(M, D)>);

    impl<M: Minimal, D: Side> Kernel for Matrices<M, D> {
        type Scalar = f64;
        type Output = [Matrix; 3];
        #[inline(always)]
        fn run<S: Simd>(self, simd: S) -> [Matrix; 3] {
            fn columns<S: Simd>(
                simd: S,
                transform: impl Fn(Line<f64, S>) -> Line<f64, S>,
            ) -> Matrix {
                let splat = |x: f64| <f64 as Real>::Vector::<S>::splat(simd, x);
                let number = |v: <f64 as Real>::Vector<S>| {
                    let mut lanes = [0.0; 16];
                    v.store(&mut lanes);
                    lanes[0]
                };
                std::array::from_fn(|i| {
                    let mut unit = [splat(0.0); LONGEST];
                    unit[i] = splat(1.0);
                    transform(unit).map(number)
                })
            }
            [
                columns(simd, |line| M::filter::<f64, S>(simd, line)),
                columns(simd, |line| D::input::<f64, S>(simd, line)),
                columns(simd, |line| D::output::<f64, S>(simd, line)),
            ]
        }
    }

    /// `Σ |Aᵀ|[i][p] · |G|[p][t] · Σ |Bᵀ|[p][j]` over points `p` and inputs `j`, the largest for outputs `i`
    /// and taps `t`: by how much rounding along an axis is amplified.
    fn amplification<M: Minimal, D: Side>() -> f64 {
        let matrices = Matrices::<M, D>(PhantomData);
        let [g, b, a] = dispatch(Level::Baseline, matrices);
        let mut most = 0.0_f64;
        for (i, t) in (0..D::OUTPUT).flat_map(|i| (0..3).map(move |t| (i, t))) {
            for j in 0..D::INPUT {
                let products = (0..D::INPUT).map(|p| a[p][i] * g[t][p] * b[j][p]);
                let expected = if j == i + t { 1.0 } else { 0.0 };
                assert!(
                    (products.sum::<f64>() - expected).abs() < 1e-14,
                    "{i} {t} {j}"
                );
            }
            let inputs = |p: usize| (0..D::INPUT).map(|j| b[j][p].abs()).sum::<f64>();
            let products = (0..D::INPUT).map(|p| (a[p][i] * g[t][p]).abs() * inputs(p));
            most = most.max(products.sum());
        }
        most
    }

    /// The factors `K` of [`ConvAlgorithm`](crate::ConvAlgorithm) are the squares of these.
    #[test]
    fn transforms_are_inverse_and_amplify_as_stated() {
        let four = amplification::<Four, Four>();
        assert!((12.53..12.54).contains(&four), "{four}");
        assert!(four * four < 160.0);
        let narrow = amplification::<Four, NarrowFour>();
        assert!(narrow < four, "{narrow}");
        let two = amplification::<Two, Two>();
        assert!((two - 4.0).abs() < 1e-14, "{two}");
    }
}
