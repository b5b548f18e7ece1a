//! Matrix products of tensors: NumPy's rules for vectors, matrices and batches.

use crate::element::{Element, Number};
use crate::error::{Error, Result};
use crate::float::Float;
use crate::parallel::Par;
use crate::simd::{Level, Real};
use crate::tensor::Tensor;

use super::stacks::{Products, matrix, matrix_strides, split};
use super::{Accum, Epilogue, MatrixMut, MatrixRef, finite, gemm};

impl<T: Number> Tensor<T> {
    /// Matrix product: `C[…, i, j] = Σₚ A[…, i, p] · B[…, p, j]`.
    ///
    /// Shapes follow NumPy: `[…, m, k] · […, k, n] → […, m, n]`, where the axes before the last
    /// two broadcast. A vector `[k]` is a row on the left and a column on the right, and its axis
    /// disappears from the result; two vectors give a 0-d tensor. Views (transposes, flips,
    /// broadcasts, slices) are multiplied where they are, without a copy. With `k = 0` the result
    /// is zero. Integers wrap on overflow; `f32` flushes subnormal numbers to zero.
    ///
    /// ```
    /// use tensor::Tensor;
    /// let a = Tensor::from([[1.0, 2.0], [3.0, 4.0]]);
    /// let b = Tensor::from([[0.0, 1.0], [1.0, 0.0]]);
    /// assert_eq!(a.matmul(&b)?, Tensor::from([[2.0, 1.0], [4.0, 3.0]]));
    /// assert_eq!(a.matmul(&Tensor::from([1.0, 10.0]))?, Tensor::from([21.0, 43.0]));
    ///
    /// let batch = Tensor::<f32>::ones([5, 1, 3, 4])?;
    /// let other = Tensor::<f32>::ones([2, 4, 6])?;
    /// assert_eq!(batch.matmul(&other)?.shape(), &[5, 2, 3, 6]);
    /// # Ok::<(), tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// If an operand is 0-d, the summed axes differ in size, the other axes do not broadcast, or
    /// memory for the result cannot be had.
    pub fn matmul(&self, other: &Tensor<T>) -> Result<Tensor<T>> {
        self.matmul_as("matmul", other)
    }

    /// Inner product of two vectors: `Σᵢ aᵢ · bᵢ`, a 0-d tensor.
    ///
    /// ```
    /// use tensor::Tensor;
    /// let a = Tensor::from([1.0, 2.0, 3.0]);
    /// assert_eq!(a.dot(&Tensor::from([4.0, 5.0, 6.0]))?.item()?, 32.0);
    /// # Ok::<(), tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// If an operand is no vector, or they differ in size.
    pub fn dot(&self, other: &Tensor<T>) -> Result<Tensor<T>> {
        vectors("dot", self, other)?;
        self.matmul_as("dot", other)
    }

    /// Outer product of two vectors: `C[i, j] = aᵢ · bⱼ`, of shape `[a.len(), b.len()]`.
    ///
    /// ```
    /// use tensor::Tensor;
    /// let a = Tensor::from([1.0, 2.0]);
    /// let b = Tensor::from([3.0, 4.0, 5.0]);
    /// assert_eq!(a.outer(&b)?, Tensor::from([[3.0, 4.0, 5.0], [6.0, 8.0, 10.0]]));
    /// # Ok::<(), tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// If an operand is no vector, or memory for the result cannot be had.
    pub fn outer(&self, other: &Tensor<T>) -> Result<Tensor<T>> {
        vectors("outer", self, other)?;
        self.expand_dims(1)?
            .matmul_as("outer", &other.expand_dims(0)?)
    }

    fn matmul_as(&self, operation: &str, other: &Tensor<T>) -> Result<Tensor<T>> {
        if let (&[m, k], &[depth, n]) = (&self.shape[..], &other.shape[..])
            && k == depth
        {
            // The usual case needs none of what batches need.
            return product_of(operation, [self, other], [m, n], |left, right, out| {
                T::product(left, right, out, Par::Threads, Level::best())
            });
        }
        if self.rank() == 0 || other.rank() == 0 {
            return Err(Error::shape(operation, "an operand is 0-d")
                .with("left", &self.shape)
                .with("right", &other.shape)
                .fix("multiply by a single number with `*`"));
        }
        let left = if self.rank() == 1 {
            &self.expand_dims(0)?
        } else {
            self
        };
        let right = if other.rank() == 1 {
            &other.expand_dims(1)?
        } else {
            other
        };
        let (left_batch, [m, k]) = split(&left.shape);
        let (right_batch, [depth, n]) = split(&right.shape);
        if k != depth {
            let left_axis = self.rank() - 1;
            let right_axis = other.rank().saturating_sub(2);
            let message = format!(
                "axis {left_axis} of the left operand has size {k}, axis {right_axis} of the \
                 right one {depth}"
            );
            return Err(Error::shape(operation, message)
                .with("left", &self.shape)
                .with("right", &other.shape)
                .fix("they are summed over and must be equal; is a transpose (`t`) missing?"));
        }
        let batch = left_batch.broadcast(operation, &right_batch).map_err(|_| {
            Error::shape(operation, "the axes before the last two do not broadcast")
                .with("left", &self.shape)
                .with("right", &other.shape)
                .fix("their sizes must be equal or 1, counted from the last")
        })?;
        let whole = |[rows, columns]: [usize; 2]| {
            let mut shape = batch.clone();
            shape.push(rows);
            shape.push(columns);
            shape
        };
        let repeated = |x: &Tensor<T>, matrix| {
            x.broadcast_to(whole(matrix))
                .map_err(|error| error.in_operation(operation))
        };
        let products = Products {
            left: repeated(left, [m, k])?,
            right: repeated(right, [k, n])?,
            par: Par::Threads,
            level: Level::best(),
        };
        let mut result = Ok(());
        let out = Tensor::build(operation, whole([m, n]), |out| result = products.run(out))?;
        result?;
        let mut shape = batch;
        if self.rank() > 1 {
            shape.push(m);
        }
        if other.rank() > 1 {
            shape.push(n);
        }
        out.reshape(shape)
    }
}

impl<T: Float> Tensor<T> {
    /// `y = x · w + bias`, then `max(y, 0)` if `relu`, in one pass over memory: a fully connected
    /// layer. `self` is `[rows, k]`, `weights` are `[k, n]`, the bias is `[n]`, the result is
    /// `[rows, n]`. NaN stays NaN.
    ///
    /// Of large weights that serve a single row for the second time, those that meet a zero of it
    /// are not read, if all are finite: a rectifier leaves many. Results stay the same.
    ///
    /// ```
    /// use tensor::Tensor;
    /// let x = Tensor::from([[1.0_f32, 2.0]]);
    /// let weights = Tensor::from([[1.0, -1.0], [1.0, -1.0]]);
    /// let y = x.matmul_bias(&weights, &Tensor::from([0.5, 0.5]), true)?;
    /// assert_eq!(y, Tensor::from([[3.5, 0.0]]));
    /// # Ok::<(), tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// If the operands are no matrices that fit, or the bias has not a number for each column, or
    /// memory for the result cannot be had.
    pub fn matmul_bias(
        &self,
        weights: &Tensor<T>,
        bias: &Tensor<T>,
        relu: bool,
    ) -> Result<Tensor<T>> {
        let operation = "matmul_bias";
        let shapes = (&self.shape[..], &weights.shape[..], &bias.shape[..]);
        let (&[m, k], &[depth, n], &[columns]) = shapes else {
            return Err(unfit(self, weights, bias));
        };
        if k != depth || n != columns {
            return Err(unfit(self, weights, bias));
        }
        let bias = bias.try_contiguous(operation)?;
        let epilogue = Epilogue {
            bias: bias.as_slice(),
            relu,
        };
        product_of(operation, [self, weights], [m, n], |left, right, out| {
            let right = finite::mark(&left, right, weights);
            (T::kernels().product)(left, right, epilogue, out)
        })
    }
}

#[cold]
fn unfit<T: Float>(x: &Tensor<T>, weights: &Tensor<T>, bias: &Tensor<T>) -> Error {
    Error::shape("matmul_bias", "the operands do not fit together")
        .with("x", &x.shape)
        .with("weights", &weights.shape)
        .with("bias", &bias.shape)
        .fix("they must be [rows, k], [k, n] and [n]")
}

/// The entry of `instances` for products with an epilogue.
pub(crate) type ProductKernel<T> =
    fn(MatrixRef<'_, T>, MatrixRef<'_, T>, Epilogue<'_, T>, &mut [T]) -> Result<()>;

/// `out = left · right`, finished by `epilogue`.
pub(crate) fn product_kernel<T: Real>(
    left: MatrixRef<'_, T>,
    right: MatrixRef<'_, T>,
    epilogue: Epilogue<'_, T>,
    out: &mut [T],
) -> Result<()> {
    let out = MatrixMut::row_major(out, [left.rows(), right.columns()])?;
    let (par, level) = (Par::Threads, Level::best());
    gemm(left, right, out, Accum::Replace, epilogue, par, level)
}

impl<T: Element> Tensor<T> {
    /// The elements of a tensor with two axes.
    pub(crate) fn matrix(&self) -> Result<MatrixRef<'_, T>> {
        let size = [self.shape[0], self.shape[1]];
        matrix(self, self.offset, size, matrix_strides(self))
    }
}

/// A new matrix that `multiply` fills from two.
fn product_of<T: Element>(
    operation: &str,
    operands: [&Tensor<T>; 2],
    shape: [usize; 2],
    multiply: impl FnOnce(MatrixRef<'_, T>, MatrixRef<'_, T>, &mut [T]) -> Result<()>,
) -> Result<Tensor<T>> {
    let [left, right] = operands.map(Tensor::matrix);
    let (left, right) = (left?, right?);
    let mut result = Ok(());
    let out = Tensor::build(operation, shape, |out| {
        if !out.is_empty() {
            result = multiply(left, right, out);
        }
    })?;
    result.map(|()| out)
}

fn vectors<T: Element>(operation: &str, left: &Tensor<T>, right: &Tensor<T>) -> Result<()> {
    if left.rank() == 1 && right.rank() == 1 {
        return Ok(());
    }
    Err(Error::shape(operation, "the operands must be vectors")
        .with("left", &left.shape)
        .with("right", &right.shape)
        .fix("`matmul` multiplies matrices; `flatten` makes vectors"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `Σ a · b` by the definition, on indices.
    fn oracle(a: &Tensor<f64>, b: &Tensor<f64>) -> Tensor<f64> {
        let (left_batch, [m, k]) = split(a.shape());
        let (right_batch, [_, n]) = split(b.shape());
        let batch = left_batch.broadcast("oracle", &right_batch).unwrap();
        let at = |stack: &Tensor<f64>, index: &[usize], row: usize, column: usize| {
            let axes = stack.rank() - 2;
            let mut full: Vec<usize> = index[index.len() - axes..]
                .iter()
                .zip(&stack.shape()[..])
                .map(|(&i, &size)| if size == 1 { 0 } else { i })
                .collect();
            full.extend([row, column]);
            stack.get(&full).unwrap()
        };
        let mut values = Vec::new();
        for flat in 0..batch.elements() {
            let mut rest = flat;
            let mut index = vec![0; batch.rank()];
            for axis in (0..batch.rank()).rev() {
                index[axis] = rest % batch[axis];
                rest /= batch[axis];
            }
            for (i, j) in (0..m * n).map(|at| (at / n, at % n)) {
                let terms = (0..k).map(|p| at(a, &index, i, p) * at(b, &index, p, j));
                values.push(terms.sum());
            }
        }
        let mut shape: Vec<usize> = batch.to_vec();
        shape.extend([m, n]);
        Tensor::from_vec(values, shape.as_slice()).unwrap()
    }

    /// Small whole numbers, so that sums are exact in any order and type.
    fn whole(shape: &[usize], seed: usize) -> Tensor<f64> {
        let len = shape.iter().product();
        let values = (0..len).map(|i| ((i * 7 + seed * 5 + i / 3) % 11) as f64 - 5.0);
        Tensor::from_vec(values.collect(), shape).unwrap()
    }

    fn same(a: &Tensor<f64>, b: &Tensor<f64>) {
        let expected = oracle(a, b);
        let context = format!("{:?} · {:?}", a.shape(), b.shape());
        assert_eq!(a.matmul(b).unwrap(), expected, "{context}");
        let (a32, b32) = (a.cast::<f32>(), b.cast::<f32>());
        assert_eq!(
            a32.matmul(&b32).unwrap().cast::<f64>(),
            expected,
            "{context}"
        );
        let (a_i32, b_i32) = (a.cast::<i32>(), b.cast::<i32>());
        assert_eq!(
            a_i32.matmul(&b_i32).unwrap().cast::<f64>(),
            expected,
            "{context}"
        );
        let (a_i64, b_i64) = (a.cast::<i64>(), b.cast::<i64>());
        assert_eq!(
            a_i64.matmul(&b_i64).unwrap().cast::<f64>(),
            expected,
            "{context}"
        );
    }

    #[test]
    fn batches_broadcast() {
        for (left, right) in [
            (&[3, 4][..], &[4, 5][..]),
            (&[2, 3, 4], &[4, 5]),
            (&[3, 4], &[2, 4, 5]),
            (&[2, 3, 4], &[2, 4, 5]),
            (&[2, 1, 3, 4], &[3, 4, 5]),
            (&[1, 3, 4], &[6, 4, 5]),
            (&[2, 3, 1, 40, 30], &[4, 30, 20]),
            (&[9, 20, 30], &[9, 30, 20]),
            (&[0, 3, 4], &[4, 5]),
            (&[2, 3, 0], &[0, 5]),
            (&[2, 0, 4], &[4, 5]),
            (&[2, 3, 4], &[4, 0]),
        ] {
            same(&whole(left, 1), &whole(right, 2));
        }
    }

    #[test]
    fn views_are_multiplied_where_they_are() {
        let a = whole(&[4, 6, 5], 1);
        let b = whole(&[4, 5, 7], 2);
        same(&a.swap_axes(1, 2).unwrap(), &whole(&[6, 3], 3));
        same(&a.swap_axes(0, 1).unwrap(), &whole(&[5, 3], 3));
        same(&a.flip(..).unwrap(), &b.flip([0]).unwrap());
        let stepped = |x: &Tensor<f64>| {
            let every_other = crate::slice::Slice::from(..).step(-2);
            x.slice(&[every_other]).unwrap()
        };
        same(&stepped(&a), &stepped(&b));
        let row = whole(&[1, 5], 4);
        same(&row.broadcast_to([4, 6, 5]).unwrap(), &b);
        same(&a, &whole(&[5, 1], 5).broadcast_to([5, 9]).unwrap());
    }

    #[test]
    fn vectors_lose_their_axis() {
        let matrix = whole(&[2, 3, 4], 1);
        let (three, four) = (whole(&[3], 2), whole(&[4], 3));
        let column = matrix.matmul(&four).unwrap();
        assert_eq!(column.shape(), &[2, 3]);
        let expected = oracle(&matrix, &four.expand_dims(1).unwrap());
        assert_eq!(column.to_vec(), expected.to_vec());
        let row = three.matmul(&matrix).unwrap();
        assert_eq!(row.shape(), &[2, 4]);
        let expected = oracle(&three.expand_dims(0).unwrap(), &matrix);
        assert_eq!(row.to_vec(), expected.to_vec());
        let dot = four.matmul(&four).unwrap();
        assert_eq!(dot.rank(), 0);
        assert_eq!(dot, four.dot(&four).unwrap());
        assert_eq!(three.outer(&four).unwrap().shape(), &[3, 4]);
        let empty = Tensor::<f32>::zeros([0]).unwrap();
        assert_eq!(empty.dot(&empty).unwrap().item().unwrap(), 0.0);
        assert_eq!(empty.outer(&empty).unwrap().shape(), &[0, 0]);
    }

    #[test]
    fn integers_wrap() {
        let a = Tensor::from([[i32::MAX, 2]]);
        assert_eq!(
            a.matmul(&Tensor::from([[2], [3]])).unwrap().item().unwrap(),
            4
        );
    }

    #[test]
    fn errors_show_both_shapes() {
        let zeros = |shape: &[usize]| Tensor::<f32>::zeros(shape).unwrap();
        let message = |left: &[usize], right: &[usize]| {
            zeros(left).matmul(&zeros(right)).unwrap_err().to_string()
        };
        assert_eq!(
            message(&[2, 3], &[4, 5]),
            "matmul: axis 1 of the left operand has size 3, axis 0 of the right one 4\n  \
             left   [2, 3]\n  right  [4, 5]\n  \
             fix: they are summed over and must be equal; is a transpose (`t`) missing?"
        );
        assert!(message(&[2, 2, 3], &[3, 3, 5]).contains("before the last two"));
        assert!(message(&[], &[3]).contains("0-d"));
        assert!(zeros(&[2, 2]).dot(&zeros(&[2])).is_err());
        assert!(zeros(&[2, 2]).outer(&zeros(&[2])).is_err());
        let huge = zeros(&[1, 0]).broadcast_to([1 << 40, 0]).unwrap();
        assert!(huge.matmul(&huge.t()).is_err());
    }
}
