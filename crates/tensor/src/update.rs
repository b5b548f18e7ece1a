//! One pass in place over a parameter, its gradient and an optimizer's state.

use crate::error::{Error, ErrorKind, Result};
use crate::factored::{Factored, Rows};
use crate::float::Float;
use crate::matmul::with_scratch;
use crate::parallel::{BLOCK, Par};
use crate::simd::{Level, vectorize};
use crate::tensor::Tensor;

impl<T: Float> Tensor<T> {
    /// Replaces each element `p`, and the element of each tensor in `slots` at the same place, by
    /// what `rule(p, g, slots)` returns for it, where `g` is the element of `gradient`.
    ///
    /// This is the update step of an optimizer: each array is read and written once, by all
    /// threads, in place where its memory has one owner (see [`Tensor::is_unique`]). The result
    /// does not depend on the number of threads, since no element looks at another. `rule` should
    /// be small arithmetic, so that the loop can be compiled for the widest vectors. A gradient that
    /// is a product (see [`Factored`]) is computed block by block, and never stored.
    ///
    /// ```
    /// use tensor::Tensor;
    /// let mut weights = Tensor::from([1.0, 2.0]);
    /// let mut velocity = Tensor::from([0.0, 1.0]);
    /// let gradient = Tensor::from([10.0, 10.0]);
    /// weights.update(&gradient, [&mut velocity], |w, g, [v]| {
    ///     let v = 0.9 * v - 0.01 * g;
    ///     (w + v, [v])
    /// })?;
    /// assert_eq!(weights.to_vec(), [0.9, 2.8]);
    /// assert_eq!(velocity.to_vec(), [-0.1, 0.8]);
    /// # Ok::<(), tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// If the shapes differ, or memory for a copy of shared elements cannot be allocated; nothing is
    /// changed then. And if the rule gives an element that is infinite or NaN
    /// ([`ErrorKind::NotFinite`](crate::ErrorKind::NotFinite)), which is noticed after the elements
    /// have been replaced.
    pub fn update<const N: usize>(
        &mut self,
        gradient: impl Into<Factored<T>>,
        slots: [&mut Tensor<T>; N],
        rule: impl Fn(T, T, [T; N]) -> (T, [T; N]) + Copy + Send + Sync,
    ) -> Result<()> {
        let mismatch = |what: &str, shape: &crate::Shape| {
            Error::shape("update", format!("the {what} has another shape"))
                .with("parameter", &self.shape)
                .with(what, shape)
        };
        let gradient = gradient.into();
        if *gradient.shape() != self.shape {
            return Err(mismatch("gradient", gradient.shape()));
        }
        if let Some(slot) = slots.iter().find(|slot| slot.shape != self.shape) {
            return Err(mismatch("slot", &slot.shape));
        }
        let parameter = self.try_make_mut("update")?;
        let mut states: [&mut [T]; N] = std::array::from_fn(|_| &mut [][..]);
        for (state, slot) in states.iter_mut().zip(slots) {
            *state = slot.try_make_mut("update")?;
        }
        let finite = gradient.with_rows("update", |gradient| {
            step(Level::best(), parameter, gradient, states, rule)
        })?;
        match finite {
            true => Ok(()),
            false => Err(Error::new(
                ErrorKind::NotFinite,
                "update",
                "an element became infinite or NaN, of the parameter or of a slot",
            )),
        }
    }
}

/// Halves the arrays until a piece is one block, each half for whoever is free. Returns whether all
/// new elements are finite.
fn step<T: Float, const N: usize>(
    level: Level,
    parameter: &mut [T],
    gradient: Rows<'_, T>,
    slots: [&mut [T]; N],
    rule: impl Fn(T, T, [T; N]) -> (T, [T; N]) + Copy + Send + Sync,
) -> Result<bool> {
    let len = parameter.len();
    let block_len = block_len(gradient.unit());
    if len <= block_len {
        return with_elements(level, gradient, len, |gradient| {
            vectorize(
                level,
                #[inline(always)]
                || block(parameter, gradient, slots, rule),
            )
        });
    }
    let middle = (len / 2).next_multiple_of(block_len);
    let (p0, p1) = parameter.split_at_mut(middle);
    let (g0, g1) = gradient.split_at(middle);
    let mut rest: [&mut [T]; N] = std::array::from_fn(|_| &mut [][..]);
    let mut taken = slots;
    for (slot, rest) in taken.iter_mut().zip(&mut rest) {
        let (head, tail) = std::mem::take(slot).split_at_mut(middle);
        (*slot, *rest) = (head, tail);
    }
    let (first, second) = rayon::join(
        || step(level, p0, g0, taken, rule),
        || step(level, p1, g1, rest, rule),
    );
    Ok(first? & second?)
}

/// Elements in a block: whole units, and where they are rows of a product, whole tiles of rows.
fn block_len(unit: usize) -> usize {
    /// A multiple of what tiles have at all levels but the narrowest.
    const TILE_ROWS: usize = 14;
    if unit <= 1 {
        return BLOCK;
    }
    let rows = 2 * BLOCK / unit;
    unit * if rows < TILE_ROWS {
        rows.max(1)
    } else {
        rows / TILE_ROWS * TILE_ROWS
    }
}

/// Calls `body` with the `len` elements.
fn with_elements<T: Float, R>(
    level: Level,
    rows: Rows<'_, T>,
    len: usize,
    body: impl FnOnce(&[T]) -> R,
) -> Result<R> {
    match rows {
        Rows::Known(elements) => Ok(body(elements)),
        Rows::Product(left, right) => with_scratch(len, |product| {
            if len > 0 {
                T::product(left, right, product, Par::Sequential, level)?;
            }
            Ok(body(product))
        }),
    }
}

#[inline(always)]
fn block<T: Float, const N: usize>(
    parameter: &mut [T],
    gradient: &[T],
    mut slots: [&mut [T]; N],
    rule: impl Fn(T, T, [T; N]) -> (T, [T; N]),
) -> bool {
    let len = parameter.len();
    // Equal lengths, seen here, free the loop of bounds checks.
    let gradient = &gradient[..len];
    for slot in &mut slots {
        *slot = &mut std::mem::take(slot)[..len];
    }
    let mut finite = true;
    for i in 0..len {
        let mut state = [T::ZERO; N];
        for k in 0..N {
            state[k] = slots[k][i];
        }
        let (p, state) = rule(parameter[i], gradient[i], state);
        parameter[i] = p;
        // A number less itself is 0, unless it is infinite or NaN: one comparison for all of them.
        let mut probe = less_itself(p);
        for k in 0..N {
            slots[k][i] = state[k];
            probe += less_itself(state[k]);
        }
        finite &= probe == T::ZERO;
    }
    finite
}

#[expect(
    clippy::eq_op,
    reason = "infinite or NaN for what is not finite, and 0 for all else"
)]
#[inline(always)]
fn less_itself<T: Float>(x: T) -> T {
    x - x
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_level_and_length_follows_the_rule() {
        let rule = |p: f32, g: f32, [m, v]: [f32; 2]| {
            let m = m + (g - m) * 0.1;
            let v = v + (g * g - v) * 0.01;
            (p - m / (v.sqrt() + 1e-7), [m, v])
        };
        for len in [0, 1, 7, 16, 33, BLOCK - 1, BLOCK, BLOCK + 1, 5 * BLOCK + 3] {
            let values =
                |k: usize| -> Vec<f32> { (0..len).map(|i| ((i * k) % 17) as f32 / 8.0).collect() };
            let (p, g, m, v) = (values(3), values(5), values(7), values(11));
            let expected: Vec<(f32, [f32; 2])> =
                (0..len).map(|i| rule(p[i], g[i], [m[i], v[i]])).collect();
            for level in Level::available() {
                let (mut p, mut m, mut v) = (p.clone(), m.clone(), v.clone());
                assert!(step(level, &mut p, Rows::Known(&g), [&mut m, &mut v], rule).unwrap());
                for (i, expected) in expected.iter().enumerate() {
                    assert_eq!((p[i], [m[i], v[i]]), *expected, "{level:?} {len} {i}");
                }
            }
        }
    }

    #[test]
    fn what_is_not_finite_is_noticed_wherever_it_is() {
        let momentum = |p: f32, g: f32, [v]: [f32; 1]| (p - 0.5 * (0.5 * v + g), [0.5 * v + g]);
        for len in [1, 7, 16, 33, BLOCK, BLOCK + 1, 5 * BLOCK + 3] {
            for at in [0, len / 2, len - 1] {
                for level in Level::available() {
                    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                        let (mut p, mut g, mut v) =
                            (vec![1.0; len], vec![2.0; len], vec![0.0; len]);
                        g[at] = bad;
                        let slots = [&mut v[..]];
                        let finite = step(level, &mut p, Rows::Known(&g), slots, momentum);
                        assert!(!finite.unwrap(), "{level:?} {len} {at} {bad}");
                    }
                    // A slot alone, of finite parameters and gradients.
                    let (mut p, g, mut v) = (vec![1.0; len], vec![0.0; len], vec![0.0; len]);
                    v[at] = f32::MAX;
                    let double = |p: f32, _, [v]: [f32; 1]| (p, [2.0 * v]);
                    let finite = step(level, &mut p, Rows::Known(&g), [&mut v], double);
                    assert!(!finite.unwrap(), "{level:?} {len} {at}");
                    // The largest numbers are finite, and so are their sums no matter.
                    let (mut p, mut v) = (vec![f32::MAX; len], vec![f32::MAX; len]);
                    let keep = |p: f32, _, v: [f32; 1]| (p, v);
                    assert!(step(level, &mut p, Rows::Known(&g), [&mut v], keep).unwrap());
                }
            }
        }
        let mut p = Tensor::from([1.0, 2.0]);
        let gradient = Tensor::from([0.0, f64::INFINITY]);
        let error = p.update(&gradient, [], |p, g, []| (p - g, [])).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFinite);
        assert!(error.to_string().contains("infinite or NaN"), "{error}");
    }

    #[test]
    fn a_product_is_the_gradient_that_it_would_give() {
        let mut generator = crate::generator(3);
        // Rows of one block and of several, whole tiles and rests, no depth, nothing at all.
        for [m, k, n] in [
            [5, 3, 7],
            [700, 4, 130],
            [9, 2, 40_000],
            [61, 0, 5],
            [0, 3, 4],
        ] {
            let mut matrix = |shape: [usize; 2]| {
                Tensor::<f32>::uniform(shape, -1.0..1.0, &mut generator).unwrap()
            };
            // Both as views, as a reverse pass gives them.
            let (left, right) = (matrix([k, m]).t(), matrix([n, k]).t());
            let (mut expected, mut expected_slot) = (matrix([m, n]), matrix([m, n]));
            let (mut found, mut slot) = (expected.clone(), expected_slot.clone());
            let rule = |p: f32, g: f32, [s]: [f32; 1]| (p - 0.1 * g, [s + g * g]);
            let gradient = left.matmul(&right).unwrap();
            let known = expected.update(&gradient, [&mut expected_slot], rule);
            known.unwrap();
            let product = Factored::product(left, right).unwrap();
            found.update(product, [&mut slot], rule).unwrap();
            for (found, expected) in [(found, expected), (slot, expected_slot)] {
                for (found, expected) in found.iter().zip(expected.iter()) {
                    assert!((found - expected).abs() < 1e-5, "{m}×{k}×{n}");
                }
            }
        }
        let (left, right) = (Tensor::<f32>::ones([4, 3]), Tensor::ones([2, 4]));
        let error = Factored::product(left.unwrap(), right.unwrap()).unwrap_err();
        assert!(error.to_string().contains("[2, 4]"), "{error}");
    }

    #[test]
    fn shared_elements_are_copied_and_views_are_read_right() {
        let mut p = Tensor::from([[1.0, 2.0], [3.0, 4.0]]);
        let before = p.clone();
        let gradient = Tensor::from([[10.0, 20.0], [30.0, 40.0]]).t();
        p.update(&gradient, [], |p, g, []| (p - g, [])).unwrap();
        assert_eq!(p.to_vec(), [-9.0, -28.0, -17.0, -36.0]);
        assert_eq!(before.to_vec(), [1.0, 2.0, 3.0, 4.0]);
        let address = p.as_slice().unwrap().as_ptr();
        p.update(&gradient, [], |p, g, []| (p + g, [])).unwrap();
        assert_eq!(p.as_slice().unwrap().as_ptr(), address);
        assert_eq!(p.to_vec(), before.to_vec());
    }

    #[test]
    fn other_shapes_are_refused() {
        let mut p = Tensor::<f64>::zeros([2, 3]).unwrap();
        let transposed = Tensor::zeros([3, 2]).unwrap();
        let mut slot = Tensor::zeros([6]).unwrap();
        let error = p.update(&transposed, [], |p, _, []| (p, [])).unwrap_err();
        assert!(error.to_string().contains("[3, 2]"), "{error}");
        let gradient = p.clone();
        let error = p
            .update(&gradient, [&mut slot], |p, _, s| (p, s))
            .unwrap_err();
        assert!(error.to_string().contains("[6]"), "{error}");
    }
}
