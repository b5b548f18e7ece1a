//! `exp`, `exp_m1`, `ln`, `ln_1p` and `tanh` of `f32` without branches, so that loops over them are
//! compiled for vectors.
//!
//! Arguments are reduced as W. J. Cody and W. Waite do (*Software Manual for the Elementary
//! Functions*, 1980); the short series that remain are Taylor's. Nothing is fused, so all machines
//! find the same bits.

/// `ln 2`, in a part whose products with small integers are exact, and the rest.
const LN_2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];
/// Adding it rounds a number of up to 22 bits to an integer, which the last bits then hold.
const ROUND: f32 = 12_582_912.0;
/// The bits of 1.0, and where those of an exponent begin.
const ONE: u32 = 0x3f80_0000;
const MANTISSA_BITS: u32 = 23;

/// `x = n · ln 2 + r` with `|r| ≤ ln 2 / 2`: `n` in the last bits of a float, and `e^r − 1`.
#[inline(always)]
fn reduced(x: f32) -> (f32, f32) {
    let n = x * std::f32::consts::LOG2_E + ROUND;
    let whole = n - ROUND;
    let r = (x - whole * LN_2[0]) - whole * LN_2[1];
    // r + r²/2! + … + r⁷/7!
    let series = 1.0 / 720.0 + r * (1.0 / 5040.0);
    let series = 1.0 / 24.0 + r * (1.0 / 120.0 + r * series);
    let series = 0.5 + r * (1.0 / 6.0 + r * series);
    (n, r + r * r * series)
}

/// `2ⁿ` in two factors, as one need not be a normal number.
#[inline(always)]
fn powers_of_two(n: f32) -> [f32; 2] {
    let n = (n.to_bits() as i32).wrapping_sub(ROUND.to_bits() as i32);
    let half = n >> 1;
    let power = |n: i32| f32::from_bits(((n as u32) << MANTISSA_BITS).wrapping_add(ONE));
    [power(half), power(n.wrapping_sub(half))]
}

/// `x`, or the bound that it is beyond; NaN stays.
#[inline(always)]
pub(super) fn within(low: f32, high: f32, x: f32) -> f32 {
    let x = if x < low { low } else { x };
    if x > high { high } else { x }
}

/// `eˣ`.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    // Beyond these all results are 0 or infinite.
    let (n, less_one) = reduced(within(-105.0, 89.5, x));
    let [first, second] = powers_of_two(n);
    (1.0 + less_one) * first * second
}

/// `eˣ − 1` without cancellation near 0.
#[inline(always)]
pub(crate) fn exp_m1(x: f32) -> f32 {
    let (n, less_one) = reduced(within(-20.0, 89.5, x));
    let [first, second] = powers_of_two(n);
    // Small numbers, and a zero's sign, are their own result.
    let tiny = x.abs() < 1e-8;
    let scaled = (first * less_one + (first - 1.0 / second)) * second;
    if tiny { x } else { scaled }
}

/// Hyperbolic tangent.
#[inline(always)]
pub(crate) fn tanh(x: f32) -> f32 {
    // At 9.1 the result is 1.
    let power = exp_m1(2.0 * within(0.0, 10.0, x.abs()));
    let magnitude = power / (power + 2.0);
    magnitude.copysign(x)
}

/// Natural logarithm.
#[inline(always)]
pub(crate) fn ln(x: f32) -> f32 {
    const SUBNORMAL_SCALE: f32 = (1 << MANTISSA_BITS) as f32;
    let is_subnormal = x < f32::MIN_POSITIVE;
    let scaled = if is_subnormal { x * SUBNORMAL_SCALE } else { x };
    let shift = if is_subnormal { 23.0 } else { 0.0 };
    // x = m · 2ⁿ with m in √½ .. √2.
    let bits = scaled.to_bits();
    let n = (bits.wrapping_sub(std::f32::consts::FRAC_1_SQRT_2.to_bits()) as i32) >> MANTISSA_BITS;
    let m = f32::from_bits(bits.wrapping_sub((n as u32) << MANTISSA_BITS));
    let n = n as f32 - shift;
    // ln m = 2 artanh s = 2s + 2s³/3 + 2s⁵/5 + …, written as f − f²/2 + s·(…) for f = m − 1, whose
    // first terms are exact.
    let f = m - 1.0;
    let s = f / (2.0 + f);
    let square = s * s;
    let series = 2.0 / 7.0 + square * (2.0 / 9.0 + square * (2.0 / 11.0));
    let series = square * (2.0 / 3.0 + square * (2.0 / 5.0 + square * series));
    let half = 0.5 * f * f;
    let small = s * (half + series) + n * LN_2[1];
    let result = (n * LN_2[0]) + (f - (half - small));
    let result = if x == f32::INFINITY { x } else { result };
    let result = if x == 0.0 { f32::NEG_INFINITY } else { result };
    if x < 0.0 || x.is_nan() {
        f32::NAN
    } else {
        result
    }
}

#[inline(always)]
pub(crate) fn ln_1p(x: f32) -> f32 {
    // What rounding 1 + x takes away is found exactly, and is worth that much over 1 + x.
    let sum = 1.0 + x;
    let lost = if x < 1.0 {
        x - (sum - 1.0)
    } else {
        1.0 - (sum - x)
    };
    let result = ln(sum) + lost / sum;
    let result = if sum == 1.0 { x } else { result };
    if sum == 0.0 || sum == f32::INFINITY {
        ln(sum)
    } else {
        result
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// The largest error in units of the last place of the true result, over numbers of all sizes.
    pub(crate) fn worst(
        function: fn(f32) -> f32,
        truth: fn(f64) -> f64,
        from: f32,
        to: f32,
    ) -> (f64, f32) {
        let mut worst = (0.0, 0.0);
        for bits in (0..=u32::MAX).step_by(1009) {
            let x = f32::from_bits(bits);
            if !(from..=to).contains(&x) {
                continue;
            }
            let (found, expected) = (f64::from(function(x)), truth(f64::from(x)));
            if expected.abs() > f64::from(f32::MAX) {
                assert_eq!(found, expected as f32 as f64, "{x}");
                continue;
            }
            let magnitude = (expected.abs() as f32).max(f32::MIN_POSITIVE);
            let unit = f64::from(f32::from_bits(magnitude.to_bits() + 1)) - f64::from(magnitude);
            let error = (found - expected).abs() / unit;
            assert!(!error.is_nan(), "{x}: {found}, not {expected}");
            if error > worst.0 {
                worst = (error, x);
            }
        }
        worst
    }

    #[test]
    fn errors_are_of_one_or_two_units_of_the_last_place() {
        let (all, none) = (f32::INFINITY, f32::NEG_INFINITY);
        for (name, (error, x), bound) in [
            ("exp", worst(exp, f64::exp, none, all), 1.5),
            ("exp_m1", worst(exp_m1, f64::exp_m1, none, all), 2.5),
            ("tanh", worst(tanh, f64::tanh, none, all), 3.0),
            ("ln", worst(ln, f64::ln, 0.0, all), 1.5),
            ("ln_1p", worst(ln_1p, f64::ln_1p, -1.0, all), 2.0),
        ] {
            assert!(error <= bound, "{name}({x}): {error} units");
        }
    }

    #[test]
    fn special_values() {
        let infinity = f32::INFINITY;
        let same = |found: f32, expected: f32| {
            assert!(
                found.to_bits() == expected.to_bits() || found.is_nan() && expected.is_nan(),
                "{found}, not {expected}"
            );
        };
        for x in [
            0.0,
            -0.0,
            infinity,
            -infinity,
            f32::NAN,
            1e-30,
            -1e-30,
            1e-42,
        ] {
            same(exp(x), x.exp());
            same(exp_m1(x), x.exp_m1());
            same(tanh(x), x.tanh());
            same(ln_1p(x), x.ln_1p());
        }
        for x in [-1.0, -1.5, f32::MIN_POSITIVE, f32::MAX] {
            same(ln_1p(x), x.ln_1p());
        }
        for x in [0.0, -0.0, 1.0, infinity, -infinity, f32::NAN, -1.0, -1e-42] {
            same(ln(x), x.ln());
        }
        // Gradual underflow, as far as the thread's mode allows it.
        assert!((exp(-100.0) / (-100_f32).exp() - 1.0).abs() < 0.02);
        assert!((ln(1e-42) - 1e-42_f32.ln()).abs() < 1e-5);
    }
}
