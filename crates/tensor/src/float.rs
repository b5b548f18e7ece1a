//! The floating-point types and their scalar functions.
//!
//! Elementwise kernels call these inside loops compiled for the machine's widest vectors.

use std::ops::Neg;

use crate::element::Number;
use crate::elementwise::special::polygamma;
use crate::elementwise::{error_function, exponentials};
use crate::instances::Compiled;
use crate::simd::Real;

/// `f32` or `f64`: the types with arithmetic kernels and gradients.
///
/// Of `f32`, `exp` and `ln` are right to 1.5 units of the last place, `ln_1p` and `erf` to 2,
/// `exp_m1` to 2.5, `tanh` to 3 and `erfc` to 4, with the same bits on every machine; the other
/// functions are those of the standard library and of `libm`.
pub trait Float: Number + Real + Compiled + Neg<Output = Self> {
    /// Distance from 1 to the next larger value.
    const EPSILON: Self;
    /// NaN.
    const NAN: Self;
    /// `value` rounded to this type; for constants in generic formulas.
    fn constant(value: f64) -> Self;
    /// Whether the value is neither infinite nor NaN.
    fn is_finite(self) -> bool;
    /// `eˣ`.
    fn exp(self) -> Self;
    /// `eˣ − 1` without cancellation near 0.
    fn exp_m1(self) -> Self;
    /// Natural logarithm.
    fn ln(self) -> Self;
    /// `ln(1 + x)` without cancellation near 0.
    fn ln_1p(self) -> Self;
    /// Logarithm to base 2.
    fn log2(self) -> Self;
    /// Square root.
    fn sqrt(self) -> Self;
    /// `self ^ exponent`.
    fn powf(self, exponent: Self) -> Self;
    /// Sine of an angle in radians.
    fn sin(self) -> Self;
    /// Cosine of an angle in radians.
    fn cos(self) -> Self;
    /// Tangent of an angle in radians.
    fn tan(self) -> Self;
    /// Arcsine in `−π/2 ..= π/2`.
    fn asin(self) -> Self;
    /// Arccosine in `0 ..= π`.
    fn acos(self) -> Self;
    /// Arctangent in `−π/2 ..= π/2`.
    fn atan(self) -> Self;
    /// Angle of the point `(x, self)`.
    fn atan2(self, x: Self) -> Self;
    /// `√(self² + other²)`.
    fn hypot(self, other: Self) -> Self;
    /// Hyperbolic sine.
    fn sinh(self) -> Self;
    /// Hyperbolic cosine.
    fn cosh(self) -> Self;
    /// Hyperbolic tangent.
    fn tanh(self) -> Self;
    /// Inverse hyperbolic sine.
    fn asinh(self) -> Self;
    /// Inverse hyperbolic cosine.
    fn acosh(self) -> Self;
    /// Inverse hyperbolic tangent.
    fn atanh(self) -> Self;
    /// The error function `2/√π · ∫₀ˣ e^(−t²) dt`.
    fn erf(self) -> Self;
    /// `1 − erf(self)` without cancellation for large `self`.
    fn erfc(self) -> Self;
    /// `ln |Γ(self)|`.
    fn ln_gamma(self) -> Self;
    /// The derivative of order `order + 1` of `ln Γ(self)`; time grows with the order.
    fn polygamma(self, order: u32) -> Self;
}

macro_rules! float {
    ($type:ident, $erf:path, $erfc:path, $ln_gamma:path, [$($own:ident)*] from $path:ident) => {
        impl Float for $type {
            const EPSILON: Self = $type::EPSILON;
            const NAN: Self = $type::NAN;
            #[inline(always)]
            fn constant(value: f64) -> Self {
                value as $type
            }
            #[inline(always)]
            fn is_finite(self) -> bool {
                $type::is_finite(self)
            }
            float!(@forward $path: $($own)*);
            float!(@forward $type: log2 sqrt sin cos tan asin acos atan);
            float!(@forward $type: sinh cosh asinh acosh atanh);
            #[inline(always)]
            fn erf(self) -> Self {
                $erf(self)
            }
            #[inline(always)]
            fn erfc(self) -> Self {
                $erfc(self)
            }
            #[inline(always)]
            fn ln_gamma(self) -> Self {
                $ln_gamma(self)
            }
            #[inline(always)]
            fn polygamma(self, order: u32) -> Self {
                polygamma(order, self.into()) as $type
            }
            #[inline(always)]
            fn powf(self, exponent: Self) -> Self {
                $type::powf(self, exponent)
            }
            #[inline(always)]
            fn atan2(self, x: Self) -> Self {
                $type::atan2(self, x)
            }
            #[inline(always)]
            fn hypot(self, other: Self) -> Self {
                $type::hypot(self, other)
            }
        }
    };
    (@forward $type:ident: $($name:ident)*) => { $(
        #[inline(always)]
        fn $name(self) -> Self {
            $type::$name(self)
        }
    )* };
}

float!(f32, error_function::erf, error_function::erfc, libm::lgammaf, [exp exp_m1 ln ln_1p tanh] from exponentials);
float!(f64, libm::erf, libm::erfc, libm::lgamma, [exp exp_m1 ln ln_1p tanh] from f64);
