//! `+ - * /` and unary `-` on variables and numbers: they panic at the caller's line with the
//! text of the named function's error.

use std::ops::{Add, Div, Mul, Neg, Sub};

use tensor::Float;

use crate::var::{Var, unwrap};

macro_rules! operator {
    ($trait:ident, $method:ident, |$x:ident, $number:ident| $right:expr, $left:expr) => {
        impl<T: Float> $trait<&Var<T>> for &Var<T> {
            type Output = Var<T>;
            #[track_caller]
            fn $method(self, other: &Var<T>) -> Var<T> {
                unwrap(Var::$method(self, other))
            }
        }
        impl<T: Float> $trait<Var<T>> for &Var<T> {
            type Output = Var<T>;
            #[track_caller]
            fn $method(self, other: Var<T>) -> Var<T> {
                unwrap(Var::$method(self, &other))
            }
        }
        impl<T: Float> $trait<&Var<T>> for Var<T> {
            type Output = Var<T>;
            #[track_caller]
            fn $method(self, other: &Var<T>) -> Var<T> {
                unwrap(Var::$method(&self, other))
            }
        }
        impl<T: Float> $trait<Var<T>> for Var<T> {
            type Output = Var<T>;
            #[track_caller]
            fn $method(self, other: Var<T>) -> Var<T> {
                unwrap(Var::$method(&self, &other))
            }
        }
        impl<T: Float> $trait<f64> for &Var<T> {
            type Output = Var<T>;
            #[track_caller]
            fn $method(self, $number: f64) -> Var<T> {
                let $x = self;
                $right
            }
        }
        impl<T: Float> $trait<f64> for Var<T> {
            type Output = Var<T>;
            #[track_caller]
            fn $method(self, number: f64) -> Var<T> {
                $trait::$method(&self, number)
            }
        }
        impl<T: Float> $trait<&Var<T>> for f64 {
            type Output = Var<T>;
            #[track_caller]
            fn $method(self, $x: &Var<T>) -> Var<T> {
                let $number = self;
                $left
            }
        }
        impl<T: Float> $trait<Var<T>> for f64 {
            type Output = Var<T>;
            #[track_caller]
            fn $method(self, x: Var<T>) -> Var<T> {
                $trait::$method(self, &x)
            }
        }
    };
}

operator!(Add, add, |x, number| x.shift(number), x.shift(number));
operator!(
    Sub,
    sub,
    |x, number| x.shift(-number),
    x.neg().shift(number)
);
operator!(Mul, mul, |x, number| x.scale(number), x.scale(number));
operator!(
    Div,
    div,
    |x, number| x.scale(1.0 / number),
    x.reciprocal().scale(number)
);

impl<T: Float> Neg for &Var<T> {
    type Output = Var<T>;
    #[track_caller]
    fn neg(self) -> Var<T> {
        Var::neg(self)
    }
}

impl<T: Float> Neg for Var<T> {
    type Output = Var<T>;
    #[track_caller]
    fn neg(self) -> Var<T> {
        Var::neg(&self)
    }
}
