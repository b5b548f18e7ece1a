//! Small linear algebra: solving, inverses, determinants, factorisations.

use tensor::{Float, Result, Tensor};

use crate::backward::{Backward, InputGradients};
use crate::op::{Inputs, Op, Rule, composed};
use crate::ops::Rule1;
use crate::samples::OpEntry;
use crate::saves::Saves;
use crate::var::Var;

/// On batches of square matrices `[…, n, n]`.
impl<T: Float> Var<T> {
    /// The solution `x` of `self · x = right`; see [`Tensor::solve`]. Derivatives: with
    /// `db = self⁻ᵀ · dx`, `db` for the right side and `−db · xᵀ` for the matrix.
    ///
    /// # Errors
    /// If the matrices are not square or singular, or the right sides do not fit.
    #[track_caller]
    pub fn solve(&self, right: &Var<T>) -> Result<Var<T>> {
        composed("solve", || {
            if right.rank() == 1 {
                return self.solve(&right.expand_dims(-1)?)?.squeeze(-1);
            }
            Solve.apply(&[self, right])
        })
    }

    /// The inverse of each matrix. Derivative: `−yᵀ · dy · yᵀ`.
    ///
    /// # Errors
    /// If the matrices are not square or singular.
    #[track_caller]
    pub fn inverse(&self) -> Result<Var<T>> {
        const {
            &Rule1 {
                name: "inverse",
                forward: Tensor::inverse,
                saves: Saves::OUTPUT,
                vjp: |at, dy| {
                    at.gradients().of(0, || {
                        let y = at.output()?.t();
                        y.matmul(dy)?.matmul(&y)?.checked().neg()
                    })
                },
            }
        }
        .apply(&[self])
    }

    /// The determinant of each matrix. Derivative: the matrix of cofactors, `dy · y · self⁻ᵀ`.
    ///
    /// # Errors
    /// If the matrices are not square.
    #[track_caller]
    pub fn det(&self) -> Result<Var<T>> {
        const {
            &Rule1 {
                name: "det",
                forward: Tensor::det,
                saves: Saves::INPUTS.and(Saves::OUTPUT),
                vjp: |at, dy| {
                    at.gradients().of(0, || {
                        let (a, y) = (at.input(0)?, at.output()?);
                        let matrix = |x: &Var<T>| x.expand_dims(-1)?.expand_dims(-1);
                        if y.value().iter().any(|y| y == T::ZERO) {
                            return matrix(dy)?.mul(&cofactors(&a)?);
                        }
                        matrix(&dy.mul(&y)?)?.mul(&a.inverse()?.t())
                    })
                },
            }
        }
        .apply(&[self])
    }

    /// `ln |det|` of each matrix. Derivative: `dy · self⁻ᵀ`.
    ///
    /// # Errors
    /// If the matrices are not square; in the reverse pass, if one is singular.
    #[track_caller]
    pub fn logabsdet(&self) -> Result<Var<T>> {
        const {
            &Rule1 {
                name: "logabsdet",
                forward: Tensor::logabsdet,
                saves: Saves::INPUTS,
                vjp: |at, dy| {
                    at.gradients().of(0, || {
                        let dy = dy.expand_dims(-1)?.expand_dims(-1)?;
                        dy.mul(&at.input(0)?.inverse()?.t())
                    })
                },
            }
        }
        .apply(&[self])
    }

    /// The lower triangular factor of the symmetric part of each matrix; see
    /// [`Tensor::cholesky`]. Derivative: the symmetric part of `L⁻ᵀ · Φ(Lᵀ · dL) · L⁻¹`, where `Φ`
    /// takes the lower triangle and half of the diagonal (Murray, "Differentiation of the Cholesky
    /// decomposition", 2016).
    ///
    /// # Errors
    /// If the matrices are not square, or a symmetric part is not positive definite.
    #[track_caller]
    pub fn cholesky(&self) -> Result<Var<T>> {
        const {
            &Rule1 {
                name: "cholesky",
                forward: Tensor::cholesky,
                saves: Saves::OUTPUT,
                vjp: |at, dy| {
                    at.gradients().of(0, || {
                        let l = at.output()?;
                        let product = l.t().matmul(dy)?;
                        let below = product.tril(-1)?;
                        let phi =
                            below.add(&product.tril(0)?.sub(&below)?.checked().scale(0.5)?)?;
                        let left = l.t().triangular_solve(&phi, true)?;
                        let both = l.t().triangular_solve(&left.t(), true)?;
                        both.add(&both.t())?.checked().scale(0.5)
                    })
                },
            }
        }
        .apply(&[self])
    }

    /// The solution `x` of `self · x = right` for triangular matrices; see
    /// [`Tensor::triangular_solve`]. Derivatives: as [`Var::solve`], the matrix's in its triangle.
    ///
    /// # Errors
    /// If the matrices are not square, an element of a diagonal is 0, or the right sides do not
    /// fit.
    #[track_caller]
    pub fn triangular_solve(&self, right: &Var<T>, upper: bool) -> Result<Var<T>> {
        composed("triangular_solve", || {
            if right.rank() == 1 {
                let column = right.expand_dims(-1)?;
                return self.triangular_solve(&column, upper)?.squeeze(-1);
            }
            TriangularSolve { upper }.apply(&[self, right])
        })
    }
}

/// `(−1)^(i + j)` times the determinant without row `i` and column `j`: finite also where the
/// matrix has no inverse.
fn cofactors<T: Float>(a: &Var<T>) -> Result<Var<T>> {
    let n = a.shape().last().copied().unwrap_or(0);
    if n == 0 {
        return Ok(a.clone());
    }
    let others: Vec<i64> = (0..n as i64)
        .flat_map(|left_out| (0..n as i64).filter(move |&i| i != left_out))
        .collect();
    let others = Tensor::from(others);
    let batch = &a.shape()[..a.rank() - 2];
    let mut split: Vec<usize> = batch.to_vec();
    split.extend([n, n - 1, n, n - 1]);
    let minors = a
        .index_select(-2, &others)?
        .index_select(-1, &others)?
        .reshape(split)?
        .swap_axes(-3, -2)?
        .det()?;
    let signs = Tensor::from_fn([n, n], |at| {
        T::constant(if (at[0] + at[1]) % 2 == 0 { 1.0 } else { -1.0 })
    })?;
    minors.mul(&Var::constant(signs))
}

struct Solve;

impl<T: Float> Op<T> for Solve {
    fn name(&self) -> &str {
        "solve"
    }
    fn forward(&mut self, inputs: Inputs<'_, T>) -> Result<Tensor<T>> {
        let [a, b] = inputs.exactly()?;
        a.solve(b)
    }
    fn saves(&self) -> Saves {
        Saves::INPUTS | Saves::OUTPUT
    }
    fn vjp(&self, at: &Backward<'_, T>, dx: &Var<T>) -> Result<InputGradients<T>> {
        let [a, b] = at.inputs()?;
        let x = at.output()?;
        let db = a.t().solve(dx)?;
        at.gradients()
            .of(0, || db.matmul(&x.t())?.checked().neg()?.sum_to(a.shape()))?
            .of(1, || db.sum_to(b.shape()))
    }
}

struct TriangularSolve {
    upper: bool,
}

impl<T: Float> Op<T> for TriangularSolve {
    fn name(&self) -> &str {
        "triangular_solve"
    }
    fn forward(&mut self, inputs: Inputs<'_, T>) -> Result<Tensor<T>> {
        let [a, b] = inputs.exactly()?;
        a.triangular_solve(b, self.upper)
    }
    fn saves(&self) -> Saves {
        Saves::INPUTS | Saves::OUTPUT
    }
    fn vjp(&self, at: &Backward<'_, T>, dx: &Var<T>) -> Result<InputGradients<T>> {
        let [a, b] = at.inputs()?;
        let x = at.output()?;
        let db = a.t().triangular_solve(dx, !self.upper)?;
        at.gradients()
            .of(0, || {
                let da = db.matmul(&x.t())?.checked().neg()?.sum_to(a.shape())?;
                if self.upper { da.triu(0) } else { da.tril(0) }
            })?
            .of(1, || db.sum_to(b.shape()))
    }
}

#[inline]
pub(crate) fn entries() -> Vec<OpEntry> {
    // Far from singular: 4 on the diagonal beside values in −1 .. 1.
    let regular = |x: &Var<f64>| -> Result<Var<f64>> {
        let n = x.shape().last().copied().unwrap_or(0);
        let unit = Tensor::from_fn([n, n], |at| f64::from(u8::from(at[0] == at[1])))?;
        x.add(&Var::constant(unit * 4.0))
    };
    let on = -1.0..1.0;
    vec![
        OpEntry::new(
            "solve",
            "`x` with `a · x = b`",
            "`db = a⁻ᵀ dx`, `da = −db · xᵀ`",
        )
        .edges("a singular matrix is an error")
        .sample_on(on.clone(), &[&[3, 3], &[3, 2]], move |v| {
            regular(&v[0])?.solve(&v[1])
        })
        .sample_on(on.clone(), &[&[2, 2, 2], &[2, 1]], move |v| {
            regular(&v[0])?.solve(&v[1])
        })
        .sample_on(on.clone(), &[&[3, 3], &[3]], move |v| {
            regular(&v[0])?.solve(&v[1])
        }),
        OpEntry::new("inverse", "`a⁻¹`", "`−yᵀ · dy · yᵀ`")
            .edges("a singular matrix is an error")
            .sample_on(on.clone(), &[&[2, 3, 3]], move |v| {
                regular(&v[0])?.inverse()
            }),
        OpEntry::new("det", "the determinant", "`dy y a⁻ᵀ`, the cofactors")
            .edges("singular matrices have the gradient that their cofactors give")
            .sample_on(on.clone(), &[&[2, 3, 3]], move |v| regular(&v[0])?.det())
            .sample_at(&[|| Ok(Tensor::from([[1.0, 2.0], [2.0, 4.0]]))], |v| {
                v[0].det()
            })
            .sample_on(0.5..1.5, &[&[1, 1]], |v| v[0].det()),
        OpEntry::new("logabsdet", "`ln |det a|`", "`dy a⁻ᵀ`")
            .edges("−∞ of a singular matrix, whose derivative is an error")
            .sample_on(on.clone(), &[&[2, 3, 3]], move |v| {
                regular(&v[0])?.logabsdet()
            }),
        OpEntry::new(
            "cholesky",
            "lower triangular `L` with `L · Lᵀ = (a + aᵀ)/2`",
            "the symmetric part of `L⁻ᵀ Φ(Lᵀ dL) L⁻¹`",
        )
        .edges("a matrix that is not positive definite is an error")
        .sample_on(on.clone(), &[&[2, 3, 3]], move |v| {
            regular(&v[0])?.cholesky()
        }),
        OpEntry::new(
            "triangular_solve",
            "`x` with `a · x = b`, `a` triangular",
            "`db = a⁻ᵀ dx`, `da = −db · xᵀ` in the triangle",
        )
        .edges("a 0 on the diagonal is an error")
        .sample_on(on.clone(), &[&[3, 3], &[3, 2]], move |v| {
            regular(&v[0])?.triangular_solve(&v[1], false)
        })
        .sample_on(on, &[&[2, 3, 3], &[3]], move |v| {
            regular(&v[0])?.triangular_solve(&v[1], true)
        }),
    ]
}
