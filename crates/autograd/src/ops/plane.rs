//! Functions of a point in the plane.

use tensor::{Float, Result, Tensor};

use crate::op::Rule;
use crate::ops::Rule2;
use crate::samples::OpEntry;
use crate::saves::Saves;
use crate::var::Var;

/// Broadcasting functions of a point `(a, b)` in the plane, at the distance `r` from the origin.
///
/// Their derivatives are made of `a / r`, `b / r` and `1 / r`, which are computed without forming
/// `r²`: it would overflow, or vanish, long before the derivative does. At the origin, where no
/// direction is better than another, all three count as 0, and so derivatives of every order are 0.
impl<T: Float> Var<T> {
    /// The angle of the point `(other, self)` in `−π ..= π`. Derivatives: `other / r²` and
    /// `−self / r²`, with `r² = self² + other²`; 0 at the origin, of every order.
    ///
    /// # Errors
    /// If the shapes do not broadcast.
    #[track_caller]
    pub fn atan2(&self, other: &Var<T>) -> Result<Var<T>> {
        const {
            &Rule2 {
                name: "atan2",
                forward: Tensor::atan2,
                saves: Saves::INPUTS,
                vjp: |at, dy| {
                    let [y, x] = at.inputs()?;
                    let scaled = dy.mul(&inverse_radius(&x, &y)?)?;
                    at.gradients()
                        .of(0, || at.unbroadcast(0, scaled.mul(&cosine(&x, &y)?)?))?
                        .of(1, || at.unbroadcast(1, scaled.mul(&cosine(&y, &x)?)?.neg()))
                },
            }
        }
        .apply(&[self, other])
    }

    /// `√(self² + other²)` without overflow on the way. Derivatives: `self / y` and `other / y`;
    /// 0 at the origin, of every order.
    ///
    /// # Errors
    /// If the shapes do not broadcast.
    #[track_caller]
    pub fn hypot(&self, other: &Var<T>) -> Result<Var<T>> {
        const {
            &Rule2 {
                name: "hypot",
                forward: Tensor::hypot,
                saves: Saves::INPUTS,
                vjp: |at, dy| {
                    let [a, b] = at.inputs()?;
                    at.gradients()
                        .of(0, || at.unbroadcast(0, dy.mul(&cosine(&a, &b)?)?))?
                        .of(1, || at.unbroadcast(1, dy.mul(&cosine(&b, &a)?)?))
                },
            }
        }
        .apply(&[self, other])
    }
}

/// `a / r`, the cosine of the angle of the point `(a, b)`. Derivatives: `(b/r)² / r` and
/// `−(a/r) (b/r) / r`.
fn cosine<T: Float>(a: &Var<T>, b: &Var<T>) -> Result<Var<T>> {
    const {
        &Rule2 {
            name: "cosine",
            forward: |a, b| {
                a.zip_map(b, |a, b| {
                    let (_, a, b) = in_unit_square(a, b);
                    let square: T = a * a + b * b;
                    if square == T::ZERO {
                        T::ZERO
                    } else {
                        a / square.sqrt()
                    }
                })
            },
            saves: Saves::INPUTS,
            vjp: |at, dy| {
                let [a, b] = at.inputs()?;
                let across = dy.mul(&inverse_radius(&a, &b)?)?.mul(&cosine(&b, &a)?)?;
                at.gradients()
                    .of(0, || at.unbroadcast(0, across.mul(&cosine(&b, &a)?)?))?
                    .of(1, || at.unbroadcast(1, across.mul(&cosine(&a, &b)?)?.neg()))
            },
        }
    }
    .apply(&[a, b])
}

/// `1 / r`, and 0 at the origin. Derivatives: `−(a/r) / r²` and `−(b/r) / r²`.
fn inverse_radius<T: Float>(a: &Var<T>, b: &Var<T>) -> Result<Var<T>> {
    const {
        &Rule2 {
            name: "inverse_radius",
            forward: |a, b| {
                a.zip_map(b, |a, b| {
                    let (scale, a, b) = in_unit_square(a, b);
                    let square: T = a * a + b * b;
                    if square == T::ZERO {
                        T::ZERO
                    } else {
                        T::ONE / square.sqrt() / scale
                    }
                })
            },
            saves: Saves::INPUTS.and(Saves::OUTPUT),
            vjp: |at, dy| {
                let (a, b, inverse) = (at.input(0)?, at.input(1)?, at.output()?);
                let scaled = dy.mul(&inverse)?.mul(&inverse)?.neg();
                at.gradients()
                    .of(0, || at.unbroadcast(0, scaled.mul(&cosine(&a, &b)?)?))?
                    .of(1, || at.unbroadcast(1, scaled.mul(&cosine(&b, &a)?)?))
            },
        }
    }
    .apply(&[a, b])
}

/// A scale, and the point divided by it: one coordinate is ±1, and no square of the two overflows.
/// The origin stays where it is, and an infinite coordinate dwarfs a finite one.
#[inline(always)]
fn in_unit_square<T: Float>(a: T, b: T) -> (T, T, T) {
    let scale = a.magnitude().larger(b.magnitude());
    let divided = |x: T| match x.magnitude() == scale {
        // Also ∞ / ∞ and 0 / 0.
        true => x.signum_zero(),
        false => x / scale,
    };
    (scale, divided(a), divided(b))
}

#[inline]
pub(crate) fn entries() -> Vec<OpEntry> {
    let mut hypot = OpEntry::new("hypot", "`√(a² + b²)`", "`da = dy a / y`, `db = dy b / y`").edges(
        "0 at the origin, as of a norm, and derivatives of every order (PyTorch: NaN); no overflow \
         on the way",
    );
    let mut atan2 = OpEntry::new(
        "atan2",
        "the angle of the point `(b, a)`",
        "`da = dy b / (a² + b²)`, `db = −dy a / (a² + b²)`",
    )
    .edges("0 at the origin, derivatives of every order; a jump on the negative axis");
    let shapes: [[&[usize]; 2]; 4] = [
        [&[2, 3], &[2, 3]],
        [&[2, 3], &[3]],
        [&[1, 3], &[2, 1]],
        [&[0], &[1]],
    ];
    for pair in shapes {
        hypot = hypot.sample(&pair, |v| v[0].hypot(&v[1]));
        atan2 = atan2.sample_on(0.3..2.0, &pair, |v| v[0].atan2(&v[1].neg()));
    }
    vec![hypot, atan2]
}
