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

use super::walk::unary;
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
                derivative(y): y + 1.0,
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
            /// `|x|`. The derivative at 0 is 0.
            abs(x) -> y {
                forward: x.magnitude(),
                derivative(x): x.sign(),
                smooth_on: [-3.0..-0.1, 0.1..3.0],
                reference: |x: f64| x.max(-x),
            }
            /// −1, 0 or 1 by the sign of `x`; NaN stays NaN. The derivative is 0 everywhere.
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
                derivative(x): (1.0 - x * x).rsqrt(),
                smooth_on: [-0.8..0.8],
                reference: |x: f64| x.atan2((1.0 - x * x).sqrt()),
            }
            /// The arccosine, in `0 ..= π`; NaN outside `−1 ..= 1`.
            acos(x) -> y {
                forward: x.acos(),
                derivative(x): -(1.0 - x * x).rsqrt(),
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
                smooth_on: [-3.0..3.0],
                reference: |x: f64| 1.0 - 2.0 / ((2.0 * x).exp() + 1.0),
            }
            /// The inverse hyperbolic sine.
            asinh(x) -> y {
                forward: x.asinh(),
                derivative(x): (x * x + 1.0).rsqrt(),
                smooth_on: [-3.0..3.0],
                reference: |x: f64| (x + (x * x + 1.0).sqrt()).ln(),
            }
            /// The inverse hyperbolic cosine; NaN below 1.
            acosh(x) -> y {
                forward: x.acosh(),
                derivative(x): (x * x - 1.0).rsqrt(),
                smooth_on: [1.3..4.0],
                reference: |x: f64| (x + (x * x - 1.0).sqrt()).ln(),
            }
            /// The inverse hyperbolic tangent; NaN outside `−1 ..= 1`.
            atanh(x) -> y {
                forward: x.atanh(),
                derivative(x): (1.0 - x * x).reciprocal(),
                smooth_on: [-0.8..0.8],
                reference: |x: f64| 0.5 * ((1.0 + x) / (1.0 - x)).ln(),
            }
            /// The logistic function `1 / (1 + e⁻ˣ)`; range 0 to 1, no overflow for any `x`.
            sigmoid(x) -> y {
                forward: T::ONE / (T::ONE + (-x).exp()),
                derivative(y): y * (1.0 - y),
                smooth_on: [-6.0..6.0],
                reference: |x: f64| 0.5 * (1.0 + (x / 2.0).tanh()),
            }
            /// `ln(1 + eˣ)`, without overflow: `max(x, 0) + ln(1 + e⁻|x|)`.
            softplus(x) -> y {
                forward: x.larger(T::ZERO) + (-x.magnitude()).exp().ln_1p(),
                derivative(x): x.sigmoid(),
                smooth_on: [-6.0..6.0],
                reference: |x: f64| (1.0 + x.exp()).ln(),
            }
            /// The sigmoid linear unit `x / (1 + e⁻ˣ)`, also called swish.
            silu(x) -> y {
                forward: x / (T::ONE + (-x).exp()),
                derivative(x): {
                    let s = x.sigmoid();
                    &s * (1.0 + x * (1.0 - &s))
                },
                smooth_on: [-6.0..6.0],
                reference: |x: f64| x * 0.5 * (1.0 + (x / 2.0).tanh()),
            }
        }
    };
}

/// The methods of `Tensor`, one an entry.
macro_rules! tensor_methods {
    ($(
        $(#[$doc:meta])*
        $name:ident($x:ident) -> $y:ident {
            forward: $forward:expr,
            derivative($($saved:ident),*): $derivative:expr,
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
                    #[inline(always)]
                    fn scalar<T: Float>($x: T) -> T {
                        $forward
                    }
                    match unary(stringify!($name), self, scalar::<T>) {
                        Ok(tensor) => tensor,
                        Err(error) => panic!("{error}"),
                    }
                }
            )*
        }
    };
}

elementwise_catalogue!(tensor_methods);

/// Functions with parameters, and those whose derivative has a kernel of its own.
impl<T: Float> Tensor<T> {
    /// The rectifier `max(x, 0)`; NaN stays NaN.
    ///
    /// ```
    /// use tensor::Tensor;
    /// assert_eq!(Tensor::from([-1.0, 2.0]).relu().to_vec(), [0.0, 2.0]);
    /// ```
    ///
    /// # Panics
    /// If memory for the result cannot be allocated.
    #[must_use]
    #[track_caller]
    pub fn relu(&self) -> Tensor<T> {
        // `x < 0` is false for NaN, so NaN passes through.
        self.map(|x| if x < T::ZERO { T::ZERO } else { x })
    }

    /// `self ^ exponent` with one exponent for all elements.
    ///
    /// # Panics
    /// If memory for the result cannot be allocated.
    #[must_use]
    #[track_caller]
    pub fn powf(&self, exponent: T) -> Tensor<T> {
        self.map(move |x| x.powf(exponent))
    }

    /// `f` of each element.
    ///
    /// ```
    /// use tensor::Tensor;
    /// assert_eq!(Tensor::from([1.0, 4.0]).map(|x: f64| x + 0.5).to_vec(), [1.5, 4.5]);
    /// ```
    ///
    /// # Panics
    /// If memory for the result cannot be allocated.
    #[must_use]
    #[track_caller]
    pub fn map(&self, f: impl Fn(T) -> T + Copy + Sync + Send) -> Tensor<T> {
        unary("map", self, f).unwrap_or_else(|error| panic!("{error}"))
    }
}
