//! The catalogue of elementwise functions: one entry each, everything about it in one place.
//!
//! An entry gives the function's name, documentation, forward formula, derivative, the ranges on
//! which it is smooth, and an independent reference. [`elementwise_catalogue`] hands all entries
//! to a macro: here it makes the methods of [`Tensor`]; the `autograd` crate makes from the same
//! entries the methods of `Var`, gradient checks to second order, and oracle tests. To this
//! crate, the derivative is text that it does not read.
//!
//! In `forward`, `x` is one element (`T: Float`). In `derivative(…)`, the names in parentheses
//! say what the reverse pass needs of the input `x` and the output `y`; both are tracked values.
//! A derivative of many steps is given once more as `slope(…)`, of one element of `x` or `y`:
//! gradients that nobody records are then computed in one pass.

use super::walk::{unary, wide_binary};
use crate::error::Result;
use crate::float::Float;
use crate::tensor::Tensor;

/// Hands the entries of the catalogue to the macro `receive`.
#[doc(hidden)]
#[macro_export]
macro_rules! elementwise_catalogue {
    ($receive:ident) => {
        $receive! {
            /// `−x`.
            neg(x) -> y {
                forward: -x,
                derivative(x): -x.ones_like(),
                smooth_on: [-3.0..3.0],
                reference: |x: f64| 0.0 - x,
            }
            /// `x²`.
            square(x) -> y {
                forward: x * x,
                derivative(x): 2.0 * x,
                smooth_on: [-3.0..3.0],
                reference: |x: f64| x.powi(2),
            }
            /// `eˣ`.
            exp(x) -> y {
                forward: x.exp(),
                derivative(y): y.clone(),
                smooth_on: [-3.0..3.0],
                reference: |x: f64| 1.0 / (-x).exp(),
            }
            /// `eˣ − 1`, without cancellation near 0.
            expm1(x) -> y {
                forward: x.exp_m1(),
                // Not y + 1, which loses all digits for x below −17.
                derivative(x): x.exp(),
                smooth_on: [-3.0..3.0],
                reference: |x: f64| 2.0 * (x / 2.0).exp() * (x / 2.0).sinh(),
            }
            /// The natural logarithm `ln x`; −∞ at 0, NaN below.
            log(x) -> y {
                forward: x.ln(),
                derivative(x): x.reciprocal(),
                smooth_on: [0.2..4.0],
                reference: |x: f64| x.log2() * std::f64::consts::LN_2,
            }
            /// `ln(1 + x)`, without cancellation near 0.
            log1p(x) -> y {
                forward: x.ln_1p(),
                derivative(x): (x + 1.0).reciprocal(),
                smooth_on: [-0.8..4.0],
                reference: |x: f64| (1.0 + x).ln(),
            }
            /// The logarithm to base 2.
            log2(x) -> y {
                forward: x.log2(),
                derivative(x): (x * std::f64::consts::LN_2).reciprocal(),
                smooth_on: [0.2..4.0],
                reference: |x: f64| x.ln() / std::f64::consts::LN_2,
            }
            /// The square root `√x`; NaN below 0. The derivative at 0 is ∞.
            sqrt(x) -> y {
                forward: x.sqrt(),
                derivative(y): 0.5 * y.reciprocal(),
                smooth_on: [0.2..4.0],
                reference: |x: f64| x.powf(0.5),
            }
            /// `1 / √x`.
            rsqrt(x) -> y {
                forward: T::ONE / x.sqrt(),
                derivative(y): -0.5 * y * y * y,
                smooth_on: [0.3..4.0],
                reference: |x: f64| x.powf(-0.5),
            }
            /// `1 / x`.
            reciprocal(x) -> y {
                forward: T::ONE / x,
                derivative(y): -y * y,
                smooth_on: [-3.0..-0.4, 0.4..3.0],
                reference: |x: f64| x.powi(-1),
            }
            /// `|x|`. The derivative at 0 is 0, and at NaN it is NaN (PyTorch: 0).
            abs(x) -> y {
                forward: x.magnitude(),
                derivative(x): x.sign(),
                smooth_on: [-3.0..-0.1, 0.1..3.0],
                reference: |x: f64| x.max(-x),
            }
            /// −1, 0 or 1 by the sign of `x`; NaN stays NaN (PyTorch: 0). The
            /// derivative is 0 everywhere.
            sign(x) -> y {
                forward: x.signum_zero(),
                derivative(x): x.zeros_like(),
                smooth_on: [-3.0..-0.1, 0.1..3.0],
                reference: |x: f64| f64::from(i8::from(x > 0.0) - i8::from(x < 0.0)),
            }
            /// The sine of an angle in radians.
            sin(x) -> y {
                forward: x.sin(),
                derivative(x): x.cos(),
                smooth_on: [-3.0..3.0],
                reference: |x: f64| 2.0 * (x / 2.0).sin() * (x / 2.0).cos(),
            }
            /// The cosine of an angle in radians.
            cos(x) -> y {
                forward: x.cos(),
                derivative(x): -x.sin(),
                smooth_on: [-3.0..3.0],
                reference: |x: f64| 1.0 - 2.0 * (x / 2.0).sin().powi(2),
            }
            /// The tangent of an angle in radians.
            tan(x) -> y {
                forward: x.tan(),
                derivative(y): y * y + 1.0,
                smooth_on: [-1.2..1.2],
                reference: |x: f64| x.sin() / x.cos(),
            }
            /// The arcsine, in `−π/2 ..= π/2`; NaN outside `−1 ..= 1`.
            asin(x) -> y {
                forward: x.asin(),
                // Not 1 − x², which loses digits near ±1.
                derivative(x): ((1.0 - x) * (x + 1.0)).rsqrt(),
                smooth_on: [-0.8..0.8],
                reference: |x: f64| x.atan2((1.0 - x * x).sqrt()),
            }
            /// The arccosine, in `0 ..= π`; NaN outside `−1 ..= 1`.
            acos(x) -> y {
                forward: x.acos(),
                derivative(x): -((1.0 - x) * (x + 1.0)).rsqrt(),
                smooth_on: [-0.8..0.8],
                reference: |x: f64| (1.0 - x * x).sqrt().atan2(x),
            }
            /// The arctangent, in `−π/2 ..= π/2`.
            atan(x) -> y {
                forward: x.atan(),
                derivative(x): (x * x + 1.0).reciprocal(),
                smooth_on: [-3.0..3.0],
                reference: |x: f64| x.atan2(1.0),
            }
            /// The hyperbolic sine `(eˣ − e⁻ˣ) / 2`.
            sinh(x) -> y {
                forward: x.sinh(),
                derivative(x): x.cosh(),
                smooth_on: [-3.0..3.0],
                reference: |x: f64| (x.exp() - (-x).exp()) / 2.0,
            }
            /// The hyperbolic cosine `(eˣ + e⁻ˣ) / 2`.
            cosh(x) -> y {
                forward: x.cosh(),
                derivative(x): x.sinh(),
                smooth_on: [-3.0..3.0],
                reference: |x: f64| (x.exp() + (-x).exp()) / 2.0,
            }
            /// The hyperbolic tangent `(eˣ − e⁻ˣ) / (eˣ + e⁻ˣ)`; range −1 to 1.
            tanh(x) -> y {
                forward: x.tanh(),
                derivative(y): 1.0 - y * y,
                slope(y): T::ONE - y * y,
                smooth_on: [-3.0..3.0],
                reference: |x: f64| 1.0 - 2.0 / ((2.0 * x).exp() + 1.0),
            }
            /// The inverse hyperbolic sine.
            asinh(x) -> y {
                forward: x.asinh(),
                // Not √(x² + 1), which overflows for large x.
                derivative(x): x.hypot(&x.ones_like())?.reciprocal(),
                slope(x): {
                    let inverse = T::ONE / x;
                    if x.magnitude() > T::ONE {
                        inverse.magnitude() / (inverse * inverse + T::ONE).sqrt()
                    } else {
                        T::ONE / (x * x + T::ONE).sqrt()
                    }
                },
                smooth_on: [-3.0..3.0],
                reference: |x: f64| (x + (x * x + 1.0).sqrt()).ln(),
            }
            /// The inverse hyperbolic cosine; NaN below 1.
            acosh(x) -> y {
                forward: x.acosh(),
                // Not √(x² − 1), which loses digits near 1 and overflows for large x.
                derivative(x): (x - 1.0).rsqrt() * (x + 1.0).rsqrt(),
                smooth_on: [1.3..4.0],
                reference: |x: f64| (x + (x * x - 1.0).sqrt()).ln(),
            }
            /// The inverse hyperbolic tangent; NaN outside `−1 ..= 1`.
            atanh(x) -> y {
                forward: x.atanh(),
                derivative(x): ((1.0 - x) * (x + 1.0)).reciprocal(),
                smooth_on: [-0.8..0.8],
                reference: |x: f64| 0.5 * ((1.0 + x) / (1.0 - x)).ln(),
            }
            /// The logistic function `1 / (1 + e⁻ˣ)`; range 0 to 1, no overflow for any `x`.
            sigmoid(x) -> y {
                forward: T::ONE / (T::ONE + (-x).exp()),
                derivative(y): y * (1.0 - y),
                slope(y): y * (T::ONE - y),
                smooth_on: [-6.0..6.0],
                reference: |x: f64| 0.5 * (1.0 + (x / 2.0).tanh()),
            }
            /// `ln(1 + eˣ)`, without overflow: `max(x, 0) + ln(1 + e⁻|x|)`.
            softplus(x) -> y {
                forward: x.larger(T::ZERO) + (-x.magnitude()).exp().ln_1p(),
                derivative(x): x.sigmoid(),
                slope(x): T::ONE / (T::ONE + (-x).exp()),
                smooth_on: [-6.0..6.0],
                reference: |x: f64| (1.0 + x.exp()).ln(),
            }
            /// The sigmoid linear unit `x / (1 + e⁻ˣ)`, also called swish. At −∞ it is 0, with
            /// derivative 0: the limits (PyTorch: NaN).
            silu(x) -> y {
                // Long before the bound, the result is 0: no infinity can meet it.
                forward: x.larger(T::constant(-1e4)) / (T::ONE + (-x).exp()),
                derivative(x): {
                    // Beyond the bounds, the slope is 0 or 1: no infinity can meet a 0 here.
                    let x = &x.clamp(T::constant(-1e4), T::constant(1e4))?;
                    let s = x.sigmoid();
                    &s * (1.0 + x * (1.0 - &s))
                },
                slope(x): {
                    let x = x.larger(T::constant(-1e4)).smaller(T::constant(1e4));
                    let s = T::ONE / (T::ONE + (-x).exp());
                    s * (T::ONE + x * (T::ONE - s))
                },
                smooth_on: [-6.0..6.0],
                reference: |x: f64| x * 0.5 * (1.0 + (x / 2.0).tanh()),
            }
            /// The error function `2/√π · ∫₀ˣ e^(−t²) dt`; range −1 to 1.
            erf(x) -> y {
                forward: x.erf(),
                derivative(x): (-x * x).exp() * std::f64::consts::FRAC_2_SQRT_PI,
                smooth_on: [-3.0..3.0],
                // By its Taylor series, term `k` being `(−1)ᵏ x^(2k+1) / (k! (2k+1))`.
                reference: |x: f64| {
                    let (mut sum, mut power) = (0.0, x);
                    for k in 0..60 {
                        sum += power / f64::from(2 * k + 1);
                        power *= -x * x / f64::from(k + 1);
                    }
                    sum * std::f64::consts::FRAC_2_SQRT_PI
                },
            }
            /// `1 − erf x`, without cancellation for large `x`.
            erfc(x) -> y {
                forward: x.erfc(),
                derivative(x): (-x * x).exp() * -std::f64::consts::FRAC_2_SQRT_PI,
                smooth_on: [-3.0..3.0],
                // By Craig's integral `2/π · ∫ exp(−x² / sin²θ) dθ` over 0 ..= π/2, for x ≥ 0.
                reference: |x: f64| {
                    let intervals = 400;
                    let step = std::f64::consts::FRAC_PI_2 / f64::from(intervals);
                    let at = |i: i32| (-(x / (f64::from(i) * step).sin()).powi(2)).exp();
                    let inner: f64 = (1..intervals).map(at).sum();
                    let first = if x == 0.0 { 1.0 } else { 0.0 };
                    let ends = (first + at(intervals)) / 2.0;
                    let half = 4.0 / std::f64::consts::TAU * step * (inner + ends);
                    if x < 0.0 { 2.0 - half } else { half }
                },
            }
            /// `ln |Γ(x)|`; ∞ at 0 and the negative integers.
            lgamma(x) -> y {
                forward: x.ln_gamma(),
                derivative(x): x.digamma(),
                smooth_on: [0.3..6.0, -2.8..-2.2],
                // By Stirling's series, 30 above x, and the recurrence down to it.
                reference: |x: f64| {
                    let far = x + 30.0;
                    let series = (1.0 / 12.0 - (1.0 / 360.0 - 1.0 / (1260.0 * far * far)) / (far * far)) / far;
                    let product: f64 = (0..30).map(|k| (x + f64::from(k)).abs().ln()).sum();
                    (far - 0.5) * far.ln() - far + 0.5 * std::f64::consts::TAU.ln() + series - product
                },
            }
            /// The logarithmic derivative of the gamma function, `Γ′(x) / Γ(x)`.
            digamma(x) -> y {
                forward: x.polygamma(0),
                derivative(x): x.polygamma(1)?,
                smooth_on: [0.3..6.0, -2.8..-2.2],
                reference: |x: f64| {
                    let far = x + 40.0;
                    let series = (1.0 / 12.0 - (1.0 / 120.0 - 1.0 / (252.0 * far * far)) / (far * far)) / (far * far);
                    let sum: f64 = (0..40).map(|k| 1.0 / (x + f64::from(k))).sum();
                    far.ln() - 0.5 / far - series - sum
                },
            }
            /// The Gaussian error linear unit `x · Φ(x)`, with the normal distribution function `Φ`
            /// (Hendrycks and Gimpel, 2016). At −∞ it is 0, with derivative 0: the limits (PyTorch:
            /// NaN).
            gelu(x) -> y {
                forward: T::constant(0.5) * x.larger(T::constant(-1e4)) * (-x * T::constant(std::f64::consts::FRAC_1_SQRT_2)).erfc(),
                derivative(x): {
                    let x = &x.clamp(T::constant(-1e4), T::constant(1e4))?;
                    let distribution = (x * -std::f64::consts::FRAC_1_SQRT_2).erfc() * 0.5;
                    let density = (x * x * -0.5).exp() * (1.0 / std::f64::consts::TAU.sqrt());
                    distribution + x * density
                },
                slope(x): {
                    let x = x.larger(T::constant(-1e4)).smaller(T::constant(1e4));
                    let scaled = x * T::constant(-std::f64::consts::FRAC_1_SQRT_2);
                    let distribution = scaled.erfc() * T::constant(0.5);
                    let exponential = (x * x * T::constant(-0.5)).exp();
                    let density = exponential * T::constant(1.0 / std::f64::consts::TAU.sqrt());
                    distribution + x * density
                },
                smooth_on: [-4.0..4.0],
                reference: |x: f64| 0.5 * x * (1.0 + tensor::Float::erf(x / 2f64.sqrt())),
            }
            /// The approximation `x/2 · (1 + tanh u) = x / (1 + e⁻²ᵘ)` with
            /// `u = √(2/π) · (x + 0.044715 x³)` of [`gelu`](Self::gelu) that some models were
            /// trained with. At −∞ it is 0, with derivative 0: the limits (PyTorch: NaN).
            gelu_tanh(x) -> y {
                forward: {
                    let inner = x * (T::ONE + T::constant(0.044715) * x * x);
                    let scale = T::constant(2.0 * (2.0 / std::f64::consts::PI).sqrt());
                    x.larger(T::constant(-1e4)) / (T::ONE + (-scale * inner).exp())
                },
                derivative(x): {
                    let x = &x.clamp(T::constant(-1e4), T::constant(1e4))?;
                    let scale = 2.0 * (2.0 / std::f64::consts::PI).sqrt();
                    let square = x * x;
                    let s = (x * (&square * 0.044715 + 1.0) * scale).sigmoid();
                    let slope = (&square * (3.0 * 0.044715) + 1.0) * scale;
                    &s + x * slope * (&s * (1.0 - &s))
                },
                slope(x): {
                    let x = x.larger(T::constant(-1e4)).smaller(T::constant(1e4));
                    let scale = T::constant(2.0 * (2.0 / std::f64::consts::PI).sqrt());
                    let square = x * x;
                    let inner = x * (square * T::constant(0.044715) + T::ONE) * scale;
                    let s = T::ONE / (T::ONE + (-inner).exp());
                    let slope = (square * T::constant(3.0 * 0.044715) + T::ONE) * scale;
                    s + x * slope * (s * (T::ONE - s))
                },
                smooth_on: [-4.0..4.0],
                reference: |x: f64| {
                    0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3))).tanh())
                },
            }
            /// `x · tanh(ln(1 + eˣ))` (Misra, 2019). At −∞ it is 0, with derivative 0: the limits
            /// (PyTorch: NaN).
            mish(x) -> y {
                forward: {
                    // tanh(ln(1 + e)) = (e² + 2e) / (e² + 2e + 2), in e⁻|x| so that nothing overflows.
                    let e = (-x.magnitude()).exp();
                    let two = T::constant(2.0);
                    if x < T::ZERO {
                        x.larger(T::constant(-1e4)) * (e * (e + two) / (e * (e + two) + two))
                    } else {
                        x * ((T::ONE + two * e) / (T::ONE + two * e + two * e * e))
                    }
                },
                derivative(x): {
                    let x = &x.clamp(T::constant(-1e4), T::constant(1e4))?;
                    let t = x.softplus().tanh();
                    &t + x * x.sigmoid() * (1.0 - &t * &t)
                },
                slope(x): {
                    let x = x.larger(T::constant(-1e4)).smaller(T::constant(1e4));
                    let t = (x.larger(T::ZERO) + (-x.magnitude()).exp().ln_1p()).tanh();
                    t + x * (T::ONE / (T::ONE + (-x).exp())) * (T::ONE - t * t)
                },
                smooth_on: [-6.0..-0.1, 0.1..6.0],
                reference: |x: f64| x * (1.0 + x.exp()).ln().tanh(),
            }
            /// The self-normalising unit `λ·x` for `x > 0`, `λα·(eˣ − 1)` below, with
            /// `λ ≈ 1.0507` and `α ≈ 1.6733` (Klambauer et al., 2017). Derivatives at 0 are those from below: `λα`, of
            /// every order.
            selu(x) -> y {
                forward: T::constant(1.050_700_987_355_480_5)
                    * if x > T::ZERO { x } else { T::constant(1.673_263_242_354_377_2) * x.exp_m1() },
                derivative(x): {
                    let positive = x.value().le(&tensor::Tensor::scalar(T::ZERO))?.not();
                    // e⁰ instead of eˣ above 0: no overflow can meet the gradient of 0 there.
                    let below = x.masked_fill(&positive, T::ZERO)?.exp() * 1.758_099_340_847_376_8;
                    below.masked_fill(&positive, T::constant(1.050_700_987_355_480_5))?
                },
                slope(x): {
                    let negative = if x > T::ZERO { T::ZERO } else { x };
                    let below = negative.exp() * T::constant(1.758_099_340_847_376_8);
                    // Not `x <= 0`: at NaN the derivative is that of positive numbers.
                    if negative == x { below } else { T::constant(1.050_700_987_355_480_5) }
                },
                smooth_on: [-3.0..-0.1, 0.1..3.0],
                reference: |x: f64| {
                    1.050_700_987_355_480_5
                        * if x < 0.0 { 1.673_263_242_354_377_2 * (x.exp() - 1.0) } else { x }
                },
            }
            /// A sigmoid of straight lines, `clamp(x/6 + ½, 0, 1)`. The derivative is 0 at both
            /// corners.
            hardsigmoid(x) -> y {
                forward: {
                    let line = (x + T::constant(3.0)) / T::constant(6.0);
                    if line < T::ZERO { T::ZERO } else if line > T::ONE { T::ONE } else { line }
                },
                derivative(x): x.indicator(|x: T| x.magnitude() < T::constant(3.0)) * (1.0 / 6.0),
                smooth_on: [-5.0..-3.1, -2.9..2.9, 3.1..5.0],
                reference: |x: f64| (x / 6.0 + 0.5).clamp(0.0, 1.0),
            }
            /// `x · hardsigmoid(x)` (Howard et al., "Searching for MobileNetV3", 2019). The
            /// derivative at −3 is 0 and at 3 is 1. The value at −∞ is 0, the limit (PyTorch: NaN).
            hardswish(x) -> y {
                forward: {
                    let line = (x + T::constant(3.0)) / T::constant(6.0);
                    if x <= T::constant(-3.0) { T::ZERO } else if line > T::ONE { x } else { x * line }
                },
                derivative(x): {
                    // 0 instead of x outside the corners: no infinity can meet the slope of 0 there.
                    let outside = x.value().abs().ge(&tensor::Tensor::scalar(T::constant(3.0)))?;
                    x.hardsigmoid() + x.masked_fill(&outside, T::ZERO)? * (1.0 / 6.0)
                },
                slope(x): {
                    let three = T::constant(3.0);
                    let line = (x + three) / T::constant(6.0);
                    let sigmoid = if line < T::ZERO { T::ZERO } else { line };
                    let sigmoid = if sigmoid > T::ONE { T::ONE } else { sigmoid };
                    let inside = if x.magnitude() >= three { T::ZERO } else { x };
                    sigmoid + inside * T::constant(1.0 / 6.0)
                },
                smooth_on: [-5.0..-3.1, -2.9..2.9, 3.1..5.0],
                reference: |x: f64| x * (x / 6.0 + 0.5).clamp(0.0, 1.0),
            }
        }
    };
}

/// The methods of `Tensor`, one an entry, and the functions of [`values`] and [`slopes`].
macro_rules! tensor_methods {
    ($(
        $(#[$doc:meta])*
        $name:ident($x:ident) -> $y:ident {
            forward: $forward:expr,
            derivative($($saved:ident),*): $derivative:expr,
            $(slope($of:ident): $slope:expr,)?
            smooth_on: $smooth_on:expr,
            reference: $reference:expr $(,)?
        }
    )*) => {
        /// The elementwise functions of the catalogue; each panics only if memory is short.
        impl<T: Float> Tensor<T> {
            $(
                $(#[$doc])*
                #[must_use]
                #[track_caller]
                #[allow(clippy::should_implement_trait)]
                pub fn $name(&self) -> Tensor<T> {
                    match values::$name(self) {
                        Ok(tensor) => tensor,
                        Err(error) => panic!("{error}"),
                    }
                }
            )*
        }

        /// The functions of the catalogue, with an error where memory is short; for the `autograd`
        /// crate.
        #[doc(hidden)]
        pub mod values {
            use super::{Float, Result, Tensor, unary};

            $(
                #[allow(missing_docs)]
                pub fn $name<T: Float>(x: &Tensor<T>) -> Result<Tensor<T>> {
                    #[inline(always)]
                    fn scalar<T: Float>($x: T) -> T {
                        $forward
                    }
                    // A closure, since a function that is passed on by its name need not be inlined.
                    unary(
                        stringify!($name),
                        x,
                        #[inline(always)]
                        |x| scalar(x),
                    )
                }
            )*
        }

        /// The gradients of those functions of the catalogue that have a slope: `dy · slope`, from
        /// the input or the output and `dy`; for the `autograd` crate.
        #[doc(hidden)]
        pub mod slopes {
            use super::{Float, Result, Tensor, wide_binary};

            $($(
                #[allow(missing_docs)]
                pub fn $name<T: Float>($of: &Tensor<T>, dy: &Tensor<T>) -> Result<Tensor<T>> {
                    #[inline(always)]
                    fn chained<T: Float>($of: T, dy: T) -> T {
                        dy * $slope
                    }
                    wide_binary(
                        concat!(stringify!($name), "_gradient"),
                        $of,
                        dy,
                        #[inline(always)]
                        |x, dy| chained(x, dy),
                    )
                }
            )?)*
        }
    };
}

elementwise_catalogue!(tensor_methods);
