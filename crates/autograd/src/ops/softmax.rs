//! Softmax, its logarithm, and the loss that is their usual end.

use tensor::{Float, Result, Shape, Tensor, keepdims};

use crate::backward::{Backward, InputGradients};
use crate::op::{Inputs, Op};
use crate::samples::OpEntry;
use crate::saves::Saves;
use crate::var::Var;

impl<T: Float> Var<T> {
    /// `e^xᵢ / Σ e^xⱼ` along `axis`, without overflow for any finite scores. Derivative:
    /// `y · (dy − Σ dy · y)`. Saves its output alone.
    ///
    /// ```
    /// use autograd::Var;
    /// use tensor::Tensor;
    /// let scores = Var::from(Tensor::from([-10_000.0, 10_000.0]));
    /// assert_eq!(scores.softmax(-1)?.value().to_vec(), [0.0, 1.0]);
    /// # Ok::<(), autograd::Error>(())
    /// ```
    ///
    /// # Errors
    /// If the axis does not exist.
    #[track_caller]
    pub fn softmax(&self, axis: isize) -> Result<Var<T>> {
        Softmax { axis }.apply(&[self])
    }

    /// The logarithm of [`Var::softmax`], exact where that would round to 0:
    /// `xᵢ − ln Σ e^xⱼ`. Derivative: `dy − softmax(x) · Σ dy`. Saves its output alone.
    ///
    /// # Errors
    /// If the axis does not exist.
    #[track_caller]
    pub fn log_softmax(&self, axis: isize) -> Result<Var<T>> {
        LogSoftmax { axis }.apply(&[self])
    }

    /// The cross-entropy `ln Σ e^xⱼ − x[label]` of each row of scores (logits) `[…, classes]` with
    /// its label, one number for each row. Derivative: `softmax(x) − one_hot(label)`, the famous
    /// `p − y`.
    ///
    /// One stable operation: nothing overflows for any finite scores.
    ///
    /// ```
    /// use autograd::Tape;
    /// use tensor::Tensor;
    /// let tape = Tape::new();
    /// let scores = tape.variable(Tensor::from([[1.0, 1.0]]));
    /// let loss = scores.softmax_cross_entropy(&Tensor::from([1_i64]))?;
    /// assert_eq!(loss.item()?, 2f64.ln());
    /// assert_eq!(loss.sum(..)?.backward()?.of(&scores)?.to_vec(), [0.5, -0.5]);
    /// # Ok::<(), autograd::Error>(())
    /// ```
    ///
    /// # Errors
    /// If the labels have not the shape of the scores less the last axis, or a label is not in
    /// `0..classes`.
    #[track_caller]
    pub fn softmax_cross_entropy(&self, labels: &Tensor<i64>) -> Result<Var<T>> {
        ClassCrossEntropy {
            labels: labels.clone(),
        }
        .apply(&[self])
    }

    /// The cross-entropy `−Σ tᵢ · ln softmax(x)ᵢ` of each row of scores (logits) with its target
    /// distribution, one number for each row: the last axis disappears.
    ///
    /// One stable operation: nothing overflows for any finite scores, and a score of −∞ whose
    /// target is 0 adds nothing. Derivative: `softmax(x) · Σ t − t` for the scores, which is
    /// `p − y` for distributions, and `−ln softmax(x)` for the targets. A row whose targets are all 0
    /// does not count: loss and gradient are 0, even if its scores are infinite or NaN.
    ///
    /// ```
    /// use autograd::{Tape, Var};
    /// use tensor::Tensor;
    /// let tape = Tape::new();
    /// let scores = tape.variable(Tensor::from([[1.0, 1.0]]));
    /// let loss = scores.softmax_cross_entropy_with(&Var::from(Tensor::from([[0.0, 1.0]])))?;
    /// assert_eq!(loss.item()?, 2f64.ln());
    /// # Ok::<(), autograd::Error>(())
    /// ```
    ///
    /// # Errors
    /// If the shapes differ, or are 0-d.
    #[track_caller]
    pub fn softmax_cross_entropy_with(&self, targets: &Var<T>) -> Result<Var<T>> {
        SoftmaxCrossEntropy.apply(&[self, targets])
    }
}

struct Softmax {
    axis: isize,
}

impl<T: Float> Op<T> for Softmax {
    fn name(&self) -> &str {
        "softmax"
    }
    fn forward(&mut self, inputs: Inputs<'_, T>) -> Result<Tensor<T>> {
        let [x] = inputs.exactly()?;
        x.softmax(self.axis)
    }
    fn saves(&self) -> Saves {
        Saves::OUTPUT
    }
    fn vjp(&self, at: &Backward<'_, T>, dy: &Var<T>) -> Result<InputGradients<T>> {
        at.gradients().of(0, || {
            let y = at.output()?;
            let product = dy.mul(&y)?;
            product.sub(&y.mul(&product.sum(keepdims(self.axis))?)?)
        })
    }
    fn flops(&self, _inputs: &[&Shape], output: &Shape) -> u64 {
        3 * output.elements() as u64
    }
}

struct LogSoftmax {
    axis: isize,
}

impl<T: Float> Op<T> for LogSoftmax {
    fn name(&self) -> &str {
        "log_softmax"
    }
    fn forward(&mut self, inputs: Inputs<'_, T>) -> Result<Tensor<T>> {
        let [x] = inputs.exactly()?;
        x.log_softmax(self.axis)
    }
    fn saves(&self) -> Saves {
        Saves::OUTPUT
    }
    fn vjp(&self, at: &Backward<'_, T>, dy: &Var<T>) -> Result<InputGradients<T>> {
        at.gradients().of(0, || {
            let y = at.output()?;
            dy.sub(&y.exp().mul(&dy.sum(keepdims(self.axis))?)?)
        })
    }
    fn flops(&self, _inputs: &[&Shape], output: &Shape) -> u64 {
        3 * output.elements() as u64
    }
}

/// Cross-entropy with class numbers.
struct ClassCrossEntropy {
    labels: Tensor<i64>,
}

impl<T: Float> Op<T> for ClassCrossEntropy {
    fn name(&self) -> &str {
        "softmax_cross_entropy"
    }
    fn forward(&mut self, inputs: Inputs<'_, T>) -> Result<Tensor<T>> {
        let [scores] = inputs.exactly()?;
        scores.softmax_cross_entropy(&self.labels)
    }
    fn saves(&self) -> Saves {
        Saves::INPUTS
    }
    fn extra_bytes(&self) -> usize {
        self.labels.len() * size_of::<i64>()
    }
    fn vjp(&self, at: &Backward<'_, T>, dy: &Var<T>) -> Result<InputGradients<T>> {
        at.gradients().of(0, || {
            let gradient = ClassCrossEntropyGradient {
                labels: self.labels.clone(),
            };
            dy.expand_dims(-1)?.mul(&gradient.apply(&[&at.input(0)?])?)
        })
    }
    fn flops(&self, inputs: &[&Shape], _output: &Shape) -> u64 {
        inputs.first().map_or(0, |x| 3 * x.elements() as u64)
    }
}

/// `softmax(x) − one_hot(label)`.
struct ClassCrossEntropyGradient {
    labels: Tensor<i64>,
}

impl<T: Float> Op<T> for ClassCrossEntropyGradient {
    fn name(&self) -> &str {
        "softmax_cross_entropy_gradient"
    }
    fn forward(&mut self, inputs: Inputs<'_, T>) -> Result<Tensor<T>> {
        let [scores] = inputs.exactly()?;
        scores.softmax_cross_entropy_gradient(&self.labels)
    }
    fn saves(&self) -> Saves {
        Saves::INPUTS
    }
    fn extra_bytes(&self) -> usize {
        self.labels.len() * size_of::<i64>()
    }
    fn vjp(&self, at: &Backward<'_, T>, dy: &Var<T>) -> Result<InputGradients<T>> {
        // The labels are constant: what is left is the derivative of softmax.
        at.gradients().of(0, || {
            let y = at.input(0)?.softmax(-1)?;
            let product = dy.mul(&y)?;
            product.sub(&y.mul(&product.sum(keepdims(-1))?)?)
        })
    }
    fn flops(&self, _inputs: &[&Shape], output: &Shape) -> u64 {
        3 * output.elements() as u64
    }
}

struct SoftmaxCrossEntropy;

impl<T: Float> Op<T> for SoftmaxCrossEntropy {
    fn name(&self) -> &str {
        "softmax_cross_entropy_with"
    }
    fn forward(&mut self, inputs: Inputs<'_, T>) -> Result<Tensor<T>> {
        let [scores, targets] = inputs.exactly()?;
        scores.softmax_cross_entropy_with(targets)
    }
    fn saves(&self) -> Saves {
        Saves::INPUTS
    }
    fn vjp(&self, at: &Backward<'_, T>, dy: &Var<T>) -> Result<InputGradients<T>> {
        let [scores, targets] = at.inputs()?;
        let dy = dy.expand_dims(-1)?;
        at.gradients()
            .of(0, || {
                dy.mul(&SoftmaxCrossEntropyGradient.apply(&[&scores, &targets])?)
            })?
            .of(1, || dy.mul(&scores.log_softmax(-1)?.neg()))
    }
    fn flops(&self, inputs: &[&Shape], _output: &Shape) -> u64 {
        inputs.first().map_or(0, |x| 5 * x.elements() as u64)
    }
}

/// `softmax(x) · Σ t − t`.
struct SoftmaxCrossEntropyGradient;

impl<T: Float> Op<T> for SoftmaxCrossEntropyGradient {
    fn name(&self) -> &str {
        "softmax_cross_entropy_with_gradient"
    }
    fn forward(&mut self, inputs: Inputs<'_, T>) -> Result<Tensor<T>> {
        let [scores, targets] = inputs.exactly()?;
        scores.softmax_cross_entropy_with_gradient(targets)
    }
    fn saves(&self) -> Saves {
        Saves::INPUTS
    }
    fn vjp(&self, at: &Backward<'_, T>, dy: &Var<T>) -> Result<InputGradients<T>> {
        let [scores, targets] = at.inputs()?;
        at.gradients()
            .of(0, || {
                // A row whose targets are all 0 does not count, whatever its scores.
                let weight = targets.value().abs().sum(keepdims(-1))?;
                let uncounted = weight.eq(&Tensor::scalar(T::ZERO))?;
                let p = scores.masked_fill(&uncounted, T::ZERO)?.softmax(-1)?;
                let product = dy.mul(&p)?;
                let sum = product.sum(keepdims(-1))?;
                let total = targets.sum(keepdims(-1))?;
                product.sub(&p.mul(&sum)?)?.mul(&total)
            })?
            .of(1, || {
                let p = scores.softmax(-1)?;
                dy.mul(&p)?.sum(keepdims(-1))?.sub(dy)
            })
    }
    fn flops(&self, _inputs: &[&Shape], output: &Shape) -> u64 {
        5 * output.elements() as u64
    }
}

#[inline]
pub(crate) fn entries() -> Vec<OpEntry> {
    vec![
        OpEntry::new(
            "softmax",
            "`e^xᵢ / Σ e^xⱼ` along an axis",
            "`y (dy − Σ dy y)`",
        )
        .edges("exact for scores of ±10⁴; a row of −∞ is NaN")
        .sample(&[&[3, 4]], |v| v[0].softmax(-1))
        .sample(&[&[2, 3, 2]], |v| v[0].softmax(1)),
        OpEntry::new(
            "log_softmax",
            "`xᵢ − ln Σ e^xⱼ` along an axis",
            "`dy − eʸ Σ dy`",
        )
        .edges("exact for scores of ±10⁴; a row of −∞ is NaN")
        .sample(&[&[3, 4]], |v| v[0].log_softmax(-1))
        .sample(&[&[2, 3, 2]], |v| v[0].log_softmax(0)),
        OpEntry::new(
            "softmax_cross_entropy",
            "`ln Σ e^xⱼ − x[label]`, one a row",
            "`dy (softmax(x) − one_hot(label))`",
        )
        .edges("exact for scores of ±10⁴; a score of −∞ that is not the label's adds 0")
        .sample(&[&[3, 4]], |v| {
            v[0].softmax_cross_entropy(&Tensor::from([2, 0, 3]))
        }),
        OpEntry::new(
            "softmax_cross_entropy_with",
            "`−Σ tᵢ ln softmax(x)ᵢ`, one a row",
            "`dx = dy (softmax(x) Σ t − t)`, `dt = −dy ln softmax(x)`",
        )
        .edges(
            "a score of −∞ at target 0 adds 0, as 0 · ln 0 does (PyTorch: NaN); a row of targets 0 has \
             gradient 0, whatever its scores",
        )
        .sample_on(0.1..1.7, &[&[3, 4], &[3, 4]], |v| {
            v[0].softmax_cross_entropy_with(&v[1])
        })
        .sample(&[&[4], &[4]], |v| v[0].softmax_cross_entropy_with(&v[1])),
    ]
}
