//! Matrix products.

use tensor::{Float, Result, Shape, Tensor};

use super::activation::relu_gradient;
use crate::backward::{Backward, InputGradients};
use crate::op::{Inputs, Op, composed};
use crate::samples::OpEntry;
use crate::saves::Saves;
use crate::var::Var;

impl<T: Float> Var<T> {
    /// The matrix product over the last two axes, further axes broadcast as batches; a vector is a
    /// row on the left and a column on the right, as in NumPy. See [`Tensor::matmul`]. Derivatives:
    /// `dy · otherᵀ` and `selfᵀ · dy`. Saves its two operands and nothing else.
    ///
    /// ```
    /// use autograd::{Tape, Var};
    /// use tensor::Tensor;
    /// let tape = Tape::new();
    /// let w = tape.variable(Tensor::from([[1.0, 2.0], [3.0, 4.0]]));
    /// let x = Var::from(Tensor::from([[1.0, 1.0]]));
    /// let y = x.matmul(&w)?;
    /// assert_eq!(y.value().to_vec(), [4.0, 6.0]);
    /// assert_eq!(y.sum(..)?.backward()?.of(&w)?.to_vec(), [1.0; 4]);
    /// # Ok::<(), autograd::Error>(())
    /// ```
    ///
    /// # Errors
    /// If an operand is 0-d, the inner sizes differ, or the batch axes do not broadcast.
    #[track_caller]
    pub fn matmul(&self, other: &Var<T>) -> Result<Var<T>> {
        composed("matmul", || {
            // One matrix for all batches is one larger product, and its gradient needs no sum over
            // batches afterwards.
            if self.rank() > 2 && other.rank() == 2 {
                let (batch, depth) = self.shape().split_at(self.rank() - 1);
                let rows = Shape::from(batch).elements();
                let mut shape = Shape::from(batch);
                shape.push(other.shape()[1]);
                let flat = self.reshape([rows, depth[0]])?;
                return Matmul.apply(&[&flat, other])?.reshape(shape);
            }
            Matmul.apply(&[self, other])
        })
    }

    /// `x · weights + bias`, then `max(·, 0)` if `relu`, in one pass over memory: a fully connected
    /// layer. The weights are `[k, n]` and the bias is `[n]`; of the axes of `self`, the last has
    /// size `k`. Derivatives: as [`Var::matmul`], and the sum over all rows for the bias. Saves `x`
    /// and the weights, and the output if there is a rectifier.
    ///
    /// # Errors
    /// As [`Tensor::matmul_bias`], and if `self` is 0-d.
    #[track_caller]
    pub fn matmul_bias(&self, weights: &Var<T>, bias: &Var<T>, relu: bool) -> Result<Var<T>> {
        composed("matmul_bias", || {
            if self.rank() != 2
                && let (Some((_, batch)), Some(&columns)) =
                    (self.shape().split_last(), weights.shape().last())
            {
                let mut shape = Shape::from(batch);
                let rows = shape.checked_elements("matmul_bias", 1)?;
                shape.push(columns);
                let flat = self.reshape([rows, self.shape()[self.rank() - 1]])?;
                return flat.matmul_bias(weights, bias, relu)?.reshape(shape);
            }
            match relu {
                true => MatmulBias::<true>.apply(&[self, weights, bias]),
                false => MatmulBias::<false>.apply(&[self, weights, bias]),
            }
        })
    }

    /// The inner product `Σ aᵢ bᵢ` of two vectors. Derivatives: `dy · b` and `dy · a`.
    ///
    /// # Errors
    /// If they are not vectors of one length.
    #[track_caller]
    pub fn dot(&self, other: &Var<T>) -> Result<Var<T>> {
        composed("dot", || {
            if self.rank() != 1 || self.shape() != other.shape() {
                return Err(tensor::Error::shape(
                    "dot",
                    "the operands are not vectors of one length",
                )
                .with("left", self.shape())
                .with("right", other.shape())
                .fix("use `matmul` for matrices"));
            }
            self.matmul(other)
        })
    }

    /// The outer product `yᵢⱼ = aᵢ bⱼ` of two vectors. Derivatives: `dy · b` and `dyᵀ · a`.
    ///
    /// # Errors
    /// If they are not vectors.
    #[track_caller]
    pub fn outer(&self, other: &Var<T>) -> Result<Var<T>> {
        composed("outer", || {
            if self.rank() != 1 || other.rank() != 1 {
                return Err(
                    tensor::Error::shape("outer", "the operands are not vectors")
                        .with("left", self.shape())
                        .with("right", other.shape()),
                );
            }
            self.expand_dims(1)?.mul(other)
        })
    }
}

/// The gradients of two matrices (inputs 0 and 1) from that of their product.
fn of_matrices<T: Float>(at: &Backward<'_, T>, dy: &Var<T>) -> Result<InputGradients<T>> {
    at.gradients()
        .of(0, || dy.matmul(&at.input(1)?.t()))?
        .of_product(at, 1, || Ok([at.input(0)?.t(), dy.clone()]))
}

struct Matmul;

/// The vector as a matrix: one row, or one column.
fn as_matrix<T: Float>(x: &Var<T>, axis: isize) -> Result<Var<T>> {
    if x.rank() == 1 {
        x.expand_dims(axis)
    } else {
        Ok(x.clone())
    }
}

impl<T: Float> Op<T> for Matmul {
    fn name(&self) -> &str {
        "matmul"
    }
    fn forward(&mut self, inputs: Inputs<'_, T>) -> Result<Tensor<T>> {
        let [a, b] = inputs.exactly()?;
        a.matmul(b)
    }
    fn saves(&self) -> Saves {
        Saves::INPUTS.for_others()
    }
    fn vjp(&self, at: &Backward<'_, T>, dy: &Var<T>) -> Result<InputGradients<T>> {
        let (a, b) = (at.input_shape(0)?, at.input_shape(1)?);
        if a.rank() == 2 && b.rank() == 2 {
            return of_matrices(at, dy);
        }
        // The axis that a vector operand took from the result comes back.
        let mut dy = dy.clone();
        if b.rank() == 1 {
            dy = dy.expand_dims(-1)?;
        }
        if a.rank() == 1 {
            dy = dy.expand_dims(-2)?;
        }
        at.gradients()
            .of(0, || {
                let right = as_matrix(&at.input(1)?, -1)?;
                let da = dy.matmul(&right.t())?;
                if a.rank() == 1 {
                    da.sum_to(&Shape::from([1, a[0]]))?.reshape(&a)
                } else {
                    da.sum_to(&a)
                }
            })?
            .of(1, || {
                let left = as_matrix(&at.input(0)?, 0)?;
                let db = left.t().matmul(&dy)?;
                if b.rank() == 1 {
                    db.sum_to(&Shape::from([b[0], 1]))?.reshape(&b)
                } else {
                    db.sum_to(&b)
                }
            })
    }
    fn flops(&self, inputs: &[&Shape], output: &Shape) -> u64 {
        let depth = inputs.first().and_then(|a| a.last()).copied().unwrap_or(0);
        2 * (output.elements() as u64).saturating_mul(depth as u64)
    }
}

/// `x · w + b` of matrices, rectified if `RELU`.
struct MatmulBias<const RELU: bool>;

impl<T: Float, const RELU: bool> Op<T> for MatmulBias<RELU> {
    fn name(&self) -> &str {
        match RELU {
            true => "matmul_bias_relu",
            false => "matmul_bias",
        }
    }
    fn forward(&mut self, inputs: Inputs<'_, T>) -> Result<Tensor<T>> {
        let [x, w, bias] = inputs.exactly()?;
        x.matmul_bias(w, bias, RELU)
    }
    fn saves(&self) -> Saves {
        let operands = (Saves::input(0) | Saves::input(1)).for_others();
        match RELU {
            true => operands | Saves::OUTPUT,
            false => operands,
        }
    }
    fn vjp(&self, at: &Backward<'_, T>, dy: &Var<T>) -> Result<InputGradients<T>> {
        let dz = match RELU {
            true => &relu_gradient(at, dy)?,
            false => dy,
        };
        of_matrices(at, dz)?.of(2, || dz.sum(0))
    }
    fn gates_gradient(&self) -> bool {
        RELU
    }
    fn flops(&self, inputs: &[&Shape], output: &Shape) -> u64 {
        let depth = inputs.first().and_then(|x| x.last()).copied().unwrap_or(0);
        2 * (output.elements() as u64).saturating_mul(depth as u64 + 1)
    }
}

#[inline]
pub(crate) fn entries() -> Vec<OpEntry> {
    let mut matmul = OpEntry::new(
        "matmul",
        "`y = a · b` over the last two axes",
        "`da = dy · bᵀ`, `db = aᵀ · dy`",
    )
    .edges("an empty inner axis gives zeros");
    let shapes: [[&[usize]; 2]; 12] = [
        [&[2, 3], &[3, 4]],
        [&[3, 3], &[3, 3]],
        [&[3], &[3]],
        [&[3], &[3, 2]],
        [&[2, 3], &[3]],
        [&[2, 2, 3], &[3, 2]],
        [&[2, 3], &[2, 3, 2]],
        [&[2, 1, 2, 3], &[3, 3, 2]],
        [&[3], &[2, 3, 2]],
        [&[2, 2, 3], &[3]],
        [&[2, 0], &[0, 3]],
        [&[0, 2], &[2, 3]],
    ];
    for pair in shapes {
        matmul = matmul.sample(&pair, |v| v[0].matmul(&v[1]));
    }
    vec![
        matmul,
        OpEntry::new(
            "matmul_bias",
            "`x · w + b`, rectified or not",
            "as `matmul` of `dz`, `db = Σ dz` over the rows, with `dz = dy` where `y > 0`",
        )
        .edges("rectified at 0: 0")
        .sample(&[&[2, 3], &[3, 4], &[4]], |v| {
            v[0].matmul_bias(&v[1], &v[2], false)
        })
        .sample(&[&[2, 2, 3], &[3, 2], &[2]], |v| {
            v[0].matmul_bias(&v[1], &v[2], false)
        })
        .sample_on(-1.9..2.1, &[&[3, 2], &[2, 4], &[4]], |v| {
            v[0].matmul_bias(&v[1], &v[2], true)
        })
        .distinct(),
        OpEntry::new("dot", "`Σ aᵢ bᵢ`", "`da = dy b`, `db = dy a`")
            .sample(&[&[4], &[4]], |v| v[0].dot(&v[1])),
        OpEntry::new("outer", "`yᵢⱼ = aᵢ bⱼ`", "`da = dy · b`, `db = dyᵀ · a`")
            .sample(&[&[2], &[3]], |v| v[0].outer(&v[1])),
    ]
}
