//! The polygamma functions: derivatives of ln Γ to any order.

/// Where the asymptotic series take over.
const FAR: f64 = 12.0;

/// Bernoulli numbers `B₂, B₄, …`.
const BERNOULLI: [f64; 10] = [
    1.0 / 6.0,
    -1.0 / 30.0,
    1.0 / 42.0,
    -1.0 / 30.0,
    5.0 / 66.0,
    -691.0 / 2730.0,
    7.0 / 6.0,
    -3617.0 / 510.0,
    43867.0 / 798.0,
    -174_611.0 / 330.0,
];

/// `ψ⁽ⁿ⁾(x)`, the derivative of order `n + 1` of `ln Γ(x)`.
///
/// For `n = 0` by the recurrence and the asymptotic series ([DLMF](https://dlmf.nist.gov/5.11.2)
/// 5.11.2) and, below 0, by reflection (5.5.4); for higher `n` as `(−1)ⁿ⁺¹ n! ζ(n + 1, x)` with
/// Hurwitz's zeta function.
pub(crate) fn polygamma(n: u32, x: f64) -> f64 {
    if n == 0 {
        return digamma(x);
    }
    let factorial: f64 = (1..=n).map(f64::from).product();
    let sign = if n.is_multiple_of(2) { -1.0 } else { 1.0 };
    sign * factorial * zeta(f64::from(n) + 1.0, x)
}

/// `ψ(x)`: ∓∞ at ±0, NaN at the other poles.
fn digamma(x: f64) -> f64 {
    if x == 0.0 {
        return -1.0 / x;
    }
    if x < 0.0 {
        // The period of the tangent is taken off first: π·x loses it for large x.
        let fraction = x - x.floor();
        if fraction == 0.0 {
            return f64::NAN;
        }
        return digamma(1.0 - x) - std::f64::consts::PI / (std::f64::consts::PI * fraction).tan();
    }
    let (mut shifted, mut sum) = (x, 0.0);
    while shifted < FAR {
        sum -= 1.0 / shifted;
        shifted += 1.0;
    }
    let inverse_square = 1.0 / (shifted * shifted);
    let mut power = 1.0;
    let mut series = 0.0;
    for (k, b) in BERNOULLI.iter().enumerate() {
        power *= inverse_square;
        series += b * power / (2 * (k + 1)) as f64;
    }
    sum + shifted.ln() - 0.5 / shifted - series
}

/// Hurwitz's zeta function `Σ (q + k)⁻ˢ` over `k ≥ 0`, for integer `s ≥ 2`.
fn zeta(s: f64, q: f64) -> f64 {
    if q == f64::INFINITY {
        return 0.0;
    }
    if q > 0.0 {
        return zeta_right(s, q);
    }
    // The sum over all integers depends on the fraction of q alone; take off what lies left of q.
    let fraction = q - q.floor();
    if fraction == 0.0 {
        return f64::INFINITY;
    }
    let sign = if s % 2.0 == 0.0 { 1.0 } else { -1.0 };
    zeta_right(s, fraction) + sign * (zeta_right(s, 1.0 - fraction) - zeta_right(s, 1.0 - q))
}

/// [`zeta`] for `q > 0` by the Euler–Maclaurin formula ([DLMF](https://dlmf.nist.gov/25.11.5)).
fn zeta_right(s: f64, q: f64) -> f64 {
    let far = FAR + s;
    let (mut shifted, mut sum) = (q, 0.0);
    while shifted < far {
        sum += shifted.powf(-s);
        shifted += 1.0;
    }
    let power = shifted.powf(-s);
    sum += power * shifted / (s - 1.0) + 0.5 * power;
    // Term j: B₂ⱼ / (2j)! · s (s + 1) … (s + 2j − 2) · shifted^(−s − 2j + 1)
    let mut factor = s * power / shifted / 2.0;
    for (j, b) in BERNOULLI.iter().enumerate() {
        sum += b * factor;
        let k = 2.0 * (j as f64 + 1.0);
        factor *= (s + k - 1.0) * (s + k) / ((k + 1.0) * (k + 2.0)) / (shifted * shifted);
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::polygamma;

    #[test]
    fn polygamma_has_its_known_values() {
        // From mpmath with 30 digits: [mpmath.polygamma(n, x) for …]
        for (n, x, expected) in [
            (0, 1.0, -0.577_215_664_901_532_9),
            (0, 0.5, -1.963_510_026_021_423_5),
            (0, 10.0, 2.251_752_589_066_721),
            (0, -0.5, 0.036_489_973_978_576_52),
            (1, 1.0, 1.644_934_066_848_226_4),
            (1, 0.5, 4.934_802_200_544_679),
            (1, -0.5, 8.934_802_200_544_68),
            (2, 1.0, -2.404_113_806_319_188_6),
            (3, 1.0, 6.493_939_402_266_829),
        ] {
            let found = polygamma(n, x);
            let error = (found - expected).abs();
            assert!(
                error <= 2e-15 * expected.abs().max(1.0),
                "ψ{n}({x}) = {found}, not {expected}"
            );
        }
    }

    #[test]
    fn the_recurrence_holds_on_both_sides_of_zero() {
        for n in 0..5_u32 {
            for x in [-7.3_f64, -2.6, -0.4, 0.2, 1.7, 9.9, 40.5] {
                let factorial: f64 = (1..=n).map(f64::from).product();
                let sign = if n.is_multiple_of(2) { 1.0 } else { -1.0 };
                let step = sign * factorial / x.powi(n as i32 + 1);
                let (left, right) = (polygamma(n, x + 1.0), polygamma(n, x) + step);
                let scale = left.abs().max(step.abs());
                assert!(
                    (left - right).abs() <= 1e-13 * scale,
                    "ψ{n}({x}): {left} {right}"
                );
            }
        }
    }

    #[test]
    fn edges_end() {
        assert_eq!(polygamma(0, 0.0), f64::NEG_INFINITY);
        assert!(polygamma(0, -3.0).is_nan());
        assert_eq!(polygamma(1, -3.0), f64::INFINITY);
        for n in 0..4 {
            assert!(polygamma(n, f64::NAN).is_nan());
            for x in [
                -1e300,
                -1e9,
                1e-300,
                1e300,
                f64::INFINITY,
                f64::NEG_INFINITY,
            ] {
                polygamma(n, x);
            }
        }
        assert_eq!(polygamma(0, f64::INFINITY), f64::INFINITY);
        assert_eq!(polygamma(1, f64::INFINITY), 0.0);
    }
}
