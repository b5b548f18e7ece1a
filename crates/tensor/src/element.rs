//! The types a tensor can hold.

use std::fmt;
use std::ops::{Add, AddAssign, Div, Mul, Rem, Sub};

use crate::matmul::Multiply;

/// The run-time name of an element type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DType {
    /// 32-bit floating point.
    F32,
    /// 64-bit floating point.
    F64,
    /// Truth values: masks and comparisons.
    Bool,
    /// Unsigned bytes: images.
    U8,
    /// 32-bit signed integers.
    I32,
    /// 64-bit signed integers: indices and labels.
    I64,
}

impl DType {
    /// The Rust name, such as `"f32"`.
    pub fn name(self) -> &'static str {
        match self {
            DType::F32 => "f32",
            DType::F64 => "f64",
            DType::Bool => "bool",
            DType::U8 => "u8",
            DType::I32 => "i32",
            DType::I64 => "i64",
        }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

mod sealed {
    /// Keeps [`super::Element`] to the types whose buffers may be recycled between one another.
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for f64 {}
    impl Sealed for bool {}
    impl Sealed for u8 {}
    impl Sealed for i32 {}
    impl Sealed for i64 {}
}

/// A type that a [`Tensor`](crate::Tensor) can store: `f32 f64 bool u8 i32 i64`.
pub trait Element:
    sealed::Sealed
    + Copy
    + Default
    + PartialEq
    + PartialOrd
    + fmt::Debug
    + fmt::Display
    + Send
    + Sync
    + 'static
{
    /// The run-time name of the type.
    const DTYPE: DType;
    /// Whether every bit pattern is a value, so that recycled memory needs no clearing.
    #[doc(hidden)]
    const ANY_BITS: bool;
    /// The value as `f64`; `true` is 1. `i64` beyond 2⁵³ rounds.
    fn to_f64(self) -> f64;
    /// The nearest value to `value`: integers truncate toward zero and saturate, NaN becomes 0,
    /// `bool` is `value != 0`.
    fn from_f64(value: f64) -> Self;
    /// The value as `i64`: floats truncate toward zero and saturate, NaN becomes 0.
    fn to_i64(self) -> i64;
    /// The value of an `i64`; narrower integers saturate.
    fn from_i64(value: i64) -> Self;
}

macro_rules! element {
    ($type:ty, $dtype:ident) => {
        impl Element for $type {
            const DTYPE: DType = DType::$dtype;
            const ANY_BITS: bool = true;
            #[inline(always)]
            fn to_f64(self) -> f64 {
                self as f64
            }
            #[inline(always)]
            fn from_f64(value: f64) -> Self {
                value as $type
            }
            #[inline(always)]
            fn to_i64(self) -> i64 {
                self as i64
            }
            #[inline(always)]
            fn from_i64(value: i64) -> Self {
                value.clamp(
                    <$type>::MIN.to_i64_saturating(),
                    <$type>::MAX.to_i64_saturating(),
                ) as $type
            }
        }
    };
}

/// `as i64` for bounds of every type, so that one clamp serves integers and floats.
trait ToI64Saturating {
    fn to_i64_saturating(self) -> i64;
}
macro_rules! to_i64_saturating {
    ($($type:ty)*) => { $(impl ToI64Saturating for $type {
        #[inline(always)]
        fn to_i64_saturating(self) -> i64 { self as i64 }
    })* };
}
to_i64_saturating!(f32 f64 u8 i32 i64);
element!(f32, F32);
element!(f64, F64);
element!(u8, U8);
element!(i32, I32);
element!(i64, I64);

impl Element for bool {
    const DTYPE: DType = DType::Bool;
    const ANY_BITS: bool = false;
    fn to_f64(self) -> f64 {
        f64::from(u8::from(self))
    }
    fn from_f64(value: f64) -> Self {
        value != 0.0
    }
    fn to_i64(self) -> i64 {
        i64::from(self)
    }
    fn from_i64(value: i64) -> Self {
        value != 0
    }
}

/// An element with arithmetic: every [`Element`] but `bool`.
///
/// Integer arithmetic wraps on overflow, as NumPy's does.
pub trait Number:
    Element
    + Multiply
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Rem<Output = Self>
    + AddAssign
{
    /// 0.
    const ZERO: Self;
    /// 1.
    const ONE: Self;
    /// The value below or equal to every other: −∞ for floats.
    const LOWEST: Self;
    /// The value above or equal to every other: +∞ for floats.
    const HIGHEST: Self;
    /// `self + other`; integers wrap.
    fn plus(self, other: Self) -> Self;
    /// `self − other`; integers wrap.
    fn minus(self, other: Self) -> Self;
    /// `self · other`; integers wrap.
    fn times(self, other: Self) -> Self;
    /// `self / other`; an integer divided by zero is 0, as in NumPy.
    fn over(self, other: Self) -> Self;
    /// Remainder with the sign of the divisor (Python's `%`); an integer remainder by zero is 0.
    fn modulo(self, other: Self) -> Self;
    /// The larger value; NaN if either is NaN.
    fn larger(self, other: Self) -> Self;
    /// The smaller value; NaN if either is NaN.
    fn smaller(self, other: Self) -> Self;
    /// `|self|`; the lowest integer wraps.
    fn magnitude(self) -> Self;
    /// −1, 0 or 1 by sign; NaN stays NaN.
    fn signum_zero(self) -> Self;
    /// Whether the value is NaN; never for integers.
    fn is_nan(self) -> bool;
}

macro_rules! integer {
    ($type:ty, $magnitude:expr, $sign:expr, $modulo:expr) => {
        impl Number for $type {
            const ZERO: Self = 0;
            const ONE: Self = 1;
            const LOWEST: Self = <$type>::MIN;
            const HIGHEST: Self = <$type>::MAX;
            #[inline(always)]
            fn plus(self, other: Self) -> Self {
                self.wrapping_add(other)
            }
            #[inline(always)]
            fn minus(self, other: Self) -> Self {
                self.wrapping_sub(other)
            }
            #[inline(always)]
            fn times(self, other: Self) -> Self {
                self.wrapping_mul(other)
            }
            #[inline(always)]
            fn over(self, other: Self) -> Self {
                if other == 0 {
                    0
                } else {
                    self.wrapping_div(other)
                }
            }
            #[inline(always)]
            fn modulo(self, other: Self) -> Self {
                if other == 0 { 0 } else { $modulo(self, other) }
            }
            #[inline(always)]
            fn larger(self, other: Self) -> Self {
                self.max(other)
            }
            #[inline(always)]
            fn smaller(self, other: Self) -> Self {
                self.min(other)
            }
            #[inline(always)]
            fn magnitude(self) -> Self {
                $magnitude(self)
            }
            #[inline(always)]
            fn signum_zero(self) -> Self {
                $sign(self)
            }
            #[inline(always)]
            fn is_nan(self) -> bool {
                false
            }
        }
    };
}

integer!(u8, |x| x, |x: u8| x.min(1), |a: u8, b: u8| a % b);
integer!(i32, i32::wrapping_abs, i32::signum, |a: i32, b: i32| {
    let rest = a.wrapping_rem(b);
    if rest != 0 && (rest < 0) != (b < 0) {
        rest + b
    } else {
        rest
    }
});
integer!(i64, i64::wrapping_abs, i64::signum, |a: i64, b: i64| {
    let rest = a.wrapping_rem(b);
    if rest != 0 && (rest < 0) != (b < 0) {
        rest + b
    } else {
        rest
    }
});

macro_rules! float_number {
    ($type:ty) => {
        impl Number for $type {
            const ZERO: Self = 0.0;
            const ONE: Self = 1.0;
            const LOWEST: Self = <$type>::NEG_INFINITY;
            const HIGHEST: Self = <$type>::INFINITY;
            #[inline(always)]
            fn plus(self, other: Self) -> Self {
                self + other
            }
            #[inline(always)]
            fn minus(self, other: Self) -> Self {
                self - other
            }
            #[inline(always)]
            fn times(self, other: Self) -> Self {
                self * other
            }
            #[inline(always)]
            fn over(self, other: Self) -> Self {
                self / other
            }
            #[inline(always)]
            fn modulo(self, other: Self) -> Self {
                let rest = self % other;
                if rest != 0.0 && (rest < 0.0) != (other < 0.0) {
                    rest + other
                } else {
                    // A zero remainder takes the divisor's sign, as in Python.
                    if rest == 0.0 {
                        (0.0 as $type).copysign(other)
                    } else {
                        rest
                    }
                }
            }
            #[inline(always)]
            fn larger(self, other: Self) -> Self {
                // Written so that NaN on either side wins and the compiler can vectorise it.
                if self > other || self.is_nan() {
                    self
                } else {
                    other
                }
            }
            #[inline(always)]
            fn smaller(self, other: Self) -> Self {
                if self < other || self.is_nan() {
                    self
                } else {
                    other
                }
            }
            #[inline(always)]
            fn magnitude(self) -> Self {
                self.abs()
            }
            #[inline(always)]
            fn signum_zero(self) -> Self {
                if self > 0.0 {
                    1.0
                } else if self < 0.0 {
                    -1.0
                } else {
                    // Keeps ±0 and NaN.
                    self
                }
            }
            #[inline(always)]
            fn is_nan(self) -> bool {
                self.is_nan()
            }
        }
    };
}
float_number!(f32);
float_number!(f64);
