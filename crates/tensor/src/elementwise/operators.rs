//! `+ - * / %` and unary `-` for tensors and scalars: broadcasting; they panic at the caller's
//! line with the text of the named function's error. An owned operand lends its memory.

use std::ops::{Add, Div, Mul, Neg, Rem, Sub};

use super::walk::{unary, unary_in_place};
use crate::element::{Element, Number};
use crate::error::Result;
use crate::tensor::Tensor;

#[track_caller]
fn unwrap<T: Element>(result: Result<Tensor<T>>) -> Tensor<T> {
    match result {
        Ok(tensor) => tensor,
        Err(error) => panic!("{error}"),
    }
}

/// `f` of every element of `x`, in its own memory if nobody else sees it.
#[track_caller]
fn map_owned<T: Element>(
    operation: &str,
    mut x: Tensor<T>,
    f: impl Fn(T) -> T + Copy + Sync + Send,
) -> Tensor<T> {
    if x.is_unique() {
        unary_in_place(x.make_mut(), f);
        x
    } else {
        unwrap(unary(operation, &x, f))
    }
}

macro_rules! operator {
    ($trait:ident, $method:ident, $scalar:ident, $($left:ty),*) => {
        impl<T: Number> $trait<&Tensor<T>> for &Tensor<T> {
            type Output = Tensor<T>;
            #[track_caller]
            fn $method(self, other: &Tensor<T>) -> Tensor<T> {
                unwrap(Tensor::$method(self, other))
            }
        }
        impl<T: Number> $trait<Tensor<T>> for &Tensor<T> {
            type Output = Tensor<T>;
            #[track_caller]
            fn $method(self, other: Tensor<T>) -> Tensor<T> {
                unwrap(Tensor::$method(self, &other))
            }
        }
        impl<T: Number> $trait<&Tensor<T>> for Tensor<T> {
            type Output = Tensor<T>;
            #[track_caller]
            fn $method(self, other: &Tensor<T>) -> Tensor<T> {
                unwrap(Tensor::$method(&self, other))
            }
        }
        impl<T: Number> $trait<Tensor<T>> for Tensor<T> {
            type Output = Tensor<T>;
            #[track_caller]
            fn $method(self, other: Tensor<T>) -> Tensor<T> {
                unwrap(Tensor::$method(&self, &other))
            }
        }
        impl<T: Number> $trait<T> for &Tensor<T> {
            type Output = Tensor<T>;
            #[track_caller]
            fn $method(self, other: T) -> Tensor<T> {
                unwrap(unary(stringify!($method), self, move |x: T| x.$scalar(other)))
            }
        }
        impl<T: Number> $trait<T> for Tensor<T> {
            type Output = Tensor<T>;
            #[track_caller]
            fn $method(self, other: T) -> Tensor<T> {
                map_owned(stringify!($method), self, move |x: T| x.$scalar(other))
            }
        }
        $(
            impl $trait<&Tensor<$left>> for $left {
                type Output = Tensor<$left>;
                #[track_caller]
                fn $method(self, other: &Tensor<$left>) -> Tensor<$left> {
                    unwrap(unary(stringify!($method), other, move |x: $left| self.$scalar(x)))
                }
            }
            impl $trait<Tensor<$left>> for $left {
                type Output = Tensor<$left>;
                #[track_caller]
                fn $method(self, other: Tensor<$left>) -> Tensor<$left> {
                    map_owned(stringify!($method), other, move |x: $left| self.$scalar(x))
                }
            }
        )*
    };
}

operator!(Add, add, plus, f32, f64, u8, i32, i64);
operator!(Sub, sub, minus, f32, f64, u8, i32, i64);
operator!(Mul, mul, times, f32, f64, u8, i32, i64);
operator!(Div, div, over, f32, f64, u8, i32, i64);
operator!(Rem, rem, modulo, f32, f64, u8, i32, i64);

impl<T: Number + Neg<Output = T>> Neg for &Tensor<T> {
    type Output = Tensor<T>;
    #[track_caller]
    fn neg(self) -> Tensor<T> {
        // Not `0 − x`, which would lose the sign of zero.
        unwrap(unary("neg", self, |x: T| x.times(T::ZERO.minus(T::ONE))))
    }
}

impl<T: Number + Neg<Output = T>> Neg for Tensor<T> {
    type Output = Tensor<T>;
    #[track_caller]
    fn neg(self) -> Tensor<T> {
        map_owned("neg", self, |x: T| x.times(T::ZERO.minus(T::ONE)))
    }
}
