//! Sparse matrices along an axis.

use tensor::{Float, Result, SparseMatrix, Tensor};

use crate::backward::{Backward, InputGradients};
use crate::op::{Inputs, Op};
use crate::samples::OpEntry;
use crate::saves::Saves;
use crate::var::Var;

impl<T: Float> Var<T> {
    /// `y[…, i, …] = Σⱼ matrix[i, j] x[…, j, …]` along `axis`; see [`Tensor::sparse_along`]. The matrix
    /// is a constant. Derivative: the same with the transposed matrix.
    ///
    /// # Errors
    /// As [`Tensor::sparse_along`].
    #[track_caller]
    pub fn sparse_along(&self, axis: isize, matrix: &SparseMatrix<T>) -> Result<Var<T>> {
        let matrix = matrix.clone();
        SparseAlong { axis, matrix }.apply(&[self])
    }
}

struct SparseAlong<T> {
    axis: isize,
    matrix: SparseMatrix<T>,
}

impl<T: Float> Op<T> for SparseAlong<T> {
    fn name(&self) -> &str {
        "sparse_along"
    }
    fn forward(&mut self, inputs: Inputs<'_, T>) -> Result<Tensor<T>> {
        let [x] = inputs.exactly()?;
        x.sparse_along(self.axis, &self.matrix)
    }
    fn saves(&self) -> Saves {
        Saves::NOTHING
    }
    fn extra_bytes(&self) -> usize {
        self.matrix.bytes()
    }
    fn vjp(&self, at: &Backward<'_, T>, dy: &Var<T>) -> Result<InputGradients<T>> {
        at.gradients()
            .of(0, || dy.sparse_along(self.axis, &self.matrix.transposed()?))
    }
}

#[inline]
pub(crate) fn entries() -> Vec<OpEntry> {
    let differences = || {
        let rows = (0..4).map(|i| [(i, -1.0), ((i + 2) % 4, 0.5)].into_iter().take(1 + i % 2));
        SparseMatrix::from_rows(4, rows)
    };
    vec![
        OpEntry::new(
            "sparse_along",
            "a constant sparse matrix times each vector along an axis",
            "the transposed matrix times `dy`",
        )
        .edges("numbers that the matrix does not hold meet nothing, NaN included")
        .sample(&[&[2, 4, 3]], move |v| {
            v[0].sparse_along(1, &differences()?)
        })
        .sample(&[&[3, 4]], move |v| v[0].sparse_along(-1, &differences()?)),
    ]
}
