//! `erf` and `erfc` of `f32` without branches, so that loops over them are compiled for vectors.
//!
//! Far from 0, `erfc x = e^(−x²) · g(x) / (1 + 2x)`, where `g` is smooth up to infinity and a short
//! polynomial in `q = (x − 2) / (x + 2)` (M. M. Shepherd and J. G. Laframboise, *Chebyshev
//! approximation of (1 + 2x) exp(x²) erfc x in 0 ≤ x < ∞*, Mathematics of Computation 36, 1981).
//! Coefficients are those of least largest relative error, found by weighted least squares
//! (C. L. Lawson, 1961). Nothing is fused, so all machines find the same bits.

use super::exponentials::{exp, within};

/// `g` by powers of `q`; relative error below 1.4e-8 up to 10.1.
const FAR: [f32; 10] = [
    1.276_978_4,
    -0.092_763_98,
    -0.166_031_42,
    0.164_055_35,
    -0.054_204_3,
    -0.008_059_875,
    0.008_631_681,
    0.001_313_522_8,
    -0.001_229_927_6,
    -0.000_400_576_97,
];
/// `erf x / x − 1` by powers of `x²`; error below 3e-10 up to 0.9.
const NEAR: [f32; 7] = [
    0.128_379_23,
    -0.376_126_35,
    0.112_837_15,
    -0.026_860_509,
    0.005_203_859,
    -0.000_817_563_9,
    8.513_104e-5,
];
/// Where one form takes over from the other.
const BORDER: f32 = 0.65;

#[inline(always)]
fn polynomial<const N: usize>(coefficients: [f32; N], x: f32) -> f32 {
    let mut value = coefficients[N - 1];
    for i in (0..N - 1).rev() {
        value = value * x + coefficients[i];
    }
    value
}

/// `erf x` for `|x| ≤ 0.9`.
#[inline(always)]
fn near(x: f32) -> f32 {
    x + x * polynomial(NEAR, x * x)
}

/// `erfc x` for `x ≥ 0`.
#[inline(always)]
fn far(x: f32) -> f32 {
    // At 10.1 the result is 0.
    let x = within(0.0, 10.1, x);
    let g = polynomial(FAR, (x - 2.0) / (x + 2.0));
    // What rounding takes from x² is found with a factor whose square is exact.
    const UPPER_BITS: u32 = 0xffff_f000;
    let upper = f32::from_bits(x.to_bits() & UPPER_BITS);
    let square = x * x;
    let lost = (upper * upper - square) + (x - upper) * (x + upper);
    let power = exp(-square);
    g / (1.0 + 2.0 * x) * (power - power * lost)
}

/// `2/√π · ∫₀ˣ e^(−t²) dt`.
#[inline(always)]
pub(crate) fn erf(x: f32) -> f32 {
    let magnitude = x.abs();
    let far = (1.0 - far(magnitude)).copysign(x);
    if magnitude < BORDER { near(x) } else { far }
}

/// `1 − erf x`.
#[inline(always)]
pub(crate) fn erfc(x: f32) -> f32 {
    let magnitude = x.abs();
    let tail = far(magnitude);
    let far = if x < 0.0 { 2.0 - tail } else { tail };
    if magnitude < BORDER {
        1.0 - near(x)
    } else {
        far
    }
}

#[cfg(test)]
mod tests {
    use super::super::exponentials::tests::worst;
    use super::*;

    #[test]
    fn errors_are_of_a_few_units_of_the_last_place() {
        let (all, none) = (f32::INFINITY, f32::NEG_INFINITY);
        for (name, (error, x), bound) in [
            ("erf", worst(erf, libm::erf, none, all), 2.0),
            ("erfc", worst(erfc, libm::erfc, none, all), 4.0),
        ] {
            assert!(error <= bound, "{name}({x}): {error} units");
        }
    }

    #[test]
    fn special_values() {
        assert_eq!(erf(0.0).to_bits(), 0.0_f32.to_bits());
        assert_eq!(erf(-0.0).to_bits(), (-0.0_f32).to_bits());
        assert_eq!([erf(f32::INFINITY), erf(-f32::INFINITY)], [1.0, -1.0]);
        assert_eq!(
            [erfc(f32::INFINITY), erfc(0.0), erfc(-f32::INFINITY)],
            [0.0, 1.0, 2.0]
        );
        assert!(erf(f32::NAN).is_nan() && erfc(f32::NAN).is_nan());
        // Both forms meet at the border.
        let next = f32::from_bits(BORDER.to_bits() - 1);
        assert!((erf(BORDER) - erf(next)).abs() < 1e-6);
        assert!((erfc(BORDER) - erfc(next)).abs() < 1e-6);
    }
}
