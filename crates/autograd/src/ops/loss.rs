//! Losses, one number an element or a row; their mean is `.mean(..)`.

use tensor::{Error, Float, Result, Shape, Tensor, keepdims, vec_with_capacity};

use crate::backward::{Backward, InputGradients};
use crate::op::{Inputs, Op, composed};
use crate::samples::OpEntry;
use crate::saves::Saves;
use crate::var::Var;

/// Each compares predictions with targets of the same shape.
impl<T: Float> Var<T> {
    /// `(x − target)²` of each element. Derivative: `2 (x − target)`.
    ///
    /// # Errors
    /// If the shapes differ.
    #[track_caller]
    pub fn squared_error(&self, target: &Var<T>) -> Result<Var<T>> {
        composed("squared_error", || {
            self.difference("squared_error", target)?.checked().square()
        })
    }

    /// `|x − target|` of each element. Derivative: the sign of the difference, 0 where both are
    /// equal.
    ///
    /// # Errors
    /// If the shapes differ.
    #[track_caller]
    pub fn absolute_error(&self, target: &Var<T>) -> Result<Var<T>> {
        composed("absolute_error", || {
            self.difference("absolute_error", target)?.checked().abs()
        })
    }

    /// Huber's loss of each element, with `d = x − target`: `d² / 2` up to `|d| = delta`, beyond it
    /// `delta · (|d| − delta / 2)`. Derivative: `d`, limited to `−delta ..= delta`.
    ///
    /// # Errors
    /// If the shapes differ, or `delta` is negative or NaN.
    #[track_caller]
    pub fn huber_loss(&self, target: &Var<T>, delta: f64) -> Result<Var<T>> {
        composed("huber_loss", || {
            let difference = self.difference("huber_loss", target)?;
            let inner = difference.clamp(T::constant(-delta), T::constant(delta))?;
            inner.mul(&difference.sub(&inner.checked().scale(0.5)?)?)
        })
    }

    /// `max(0, 1 − target · x)` of each element, for targets of ±1. Derivative: `−target` below the
    /// margin, 0 on it and beyond.
    ///
    /// # Errors
    /// If the shapes differ.
    #[track_caller]
    pub fn hinge_loss(&self, target: &Var<T>) -> Result<Var<T>> {
        composed("hinge_loss", || {
            same_shape("hinge_loss", self, target)?;
            let product = self.mul(target)?;
            product
                .checked()
                .neg()?
                .checked()
                .shift(1.0)?
                .checked()
                .relu()
        })
    }

    /// The Kullback–Leibler divergence `Σ t · ln(t / x)` of each row of predicted probabilities `x`
    /// from its target distribution `t`; the last axis disappears. Terms with target 0 are 0.
    /// Derivatives: `−t / x` and `ln(t / x) + 1`.
    ///
    /// # Errors
    /// If the shapes differ or have no axis.
    #[track_caller]
    pub fn kl_divergence(&self, target: &Var<T>) -> Result<Var<T>> {
        composed("kl_divergence", || {
            same_shape("kl_divergence", self, target)?;
            let nothing = target.value().eq(&Tensor::scalar(T::ZERO))?;
            // 1 instead of 0 keeps ln 0 out of the terms that are masked.
            let log_target = target.masked_fill(&nothing, T::ONE)?.checked().log()?;
            let log_prediction = self.masked_fill(&nothing, T::ONE)?.checked().log()?;
            target.mul(&log_target.sub(&log_prediction)?)?.sum(-1)
        })
    }

    /// The cosine of the angle between the rows of `self` and `other`, `a · b / (‖a‖ ‖b‖)`; the last
    /// axis disappears. Of a row of zeros it is 0, with gradient 0.
    ///
    /// # Errors
    /// If the shapes differ or have no axis.
    #[track_caller]
    pub fn cosine_similarity(&self, other: &Var<T>) -> Result<Var<T>> {
        composed("cosine_similarity", || {
            same_shape("cosine_similarity", self, other)?;
            self.direction()?.mul(&other.direction()?)?.sum(-1)
        })
    }

    /// Each row divided by its norm; a row of zeros, whose gradient is 0, stays as it is.
    fn direction(&self) -> Result<Var<T>> {
        let norms = self.norm(2.0, keepdims(-1))?;
        let nothing = norms.value().eq(&Tensor::scalar(T::ZERO))?;
        let directions = self.div(&norms.masked_fill(&nothing, T::ONE)?)?;
        directions.masked_fill(&nothing, T::ZERO)
    }

    /// The cross-entropy `−t · ln p − (1 − t) · ln(1 − p)` of each element with `p = sigmoid(x)`,
    /// computed as `max(x, 0) − x t + ln(1 + e⁻|x|)`, which neither overflows nor loses digits.
    /// Derivatives: `sigmoid(x) − t` and `−x`.
    ///
    /// # Errors
    /// If the shapes differ.
    #[track_caller]
    pub fn binary_cross_entropy_with_logits(&self, target: &Var<T>) -> Result<Var<T>> {
        same_shape("binary_cross_entropy_with_logits", self, target)?;
        LogitsCrossEntropy.apply(&[self, target])
    }

    /// The cross-entropy `−t · ln p − (1 − t) · ln(1 − p)` of each element with the probability
    /// `p = self`; logarithms count as −100 at least, and the slope's denominator as 10⁻¹² (both
    /// PyTorch's rules). Prefer [`Var::binary_cross_entropy_with_logits`]. Derivatives:
    /// `(p − t) / (p (1 − p))` and `ln(1 − p) − ln p`.
    ///
    /// # Errors
    /// If the shapes differ.
    #[track_caller]
    pub fn binary_cross_entropy(&self, target: &Var<T>) -> Result<Var<T>> {
        same_shape("binary_cross_entropy", self, target)?;
        BinaryCrossEntropy.apply(&[self, target])
    }

    /// The softmax cross-entropy of each row of scores `[…, classes]` with its label, by `options`.
    /// Derivative: `softmax(x) · Σ t − t` with the weighted, smoothed targets `t`.
    ///
    /// # Errors
    /// If the labels have not the shape of the scores less the last axis, a label is not in
    /// `0..classes`, the weights are not `[classes]`, or the smoothing is not in `0 ..= 1`.
    #[track_caller]
    pub fn cross_entropy(&self, labels: &Tensor<i64>, options: &CrossEntropy<T>) -> Result<Var<T>> {
        composed("cross_entropy", || {
            if options.is_plain() {
                return self.softmax_cross_entropy(labels);
            }
            let targets = options.targets(self.shape(), labels)?;
            self.softmax_cross_entropy_with(&Var::constant(targets))
        })
    }

    /// The mean of [`Var::cross_entropy`] over the rows that are not ignored, weighted by the
    /// weight of each label (PyTorch's mean); NaN, with gradient 0, if all are ignored.
    ///
    /// # Errors
    /// As [`Var::cross_entropy`].
    #[track_caller]
    pub fn mean_cross_entropy(
        &self,
        labels: &Tensor<i64>,
        options: &CrossEntropy<T>,
    ) -> Result<Var<T>> {
        composed("mean_cross_entropy", || {
            let sum = self.cross_entropy(labels, options)?.sum(..)?;
            let total: f64 = labels.iter().map(|label| options.weight(label)).sum();
            if total == 0.0 {
                // 0 / 0, but the gradient of what was ignored stays 0.
                return sum.add(&Var::from(T::NAN));
            }
            sum.checked().scale(1.0 / total)
        })
    }

    fn difference(&self, operation: &str, target: &Var<T>) -> Result<Var<T>> {
        same_shape(operation, self, target)?;
        self.sub(target)
    }
}

/// Broadcasting a loss is a mistake more often than not: `[n, 1]` against `[n]` would compare all
/// pairs.
fn same_shape<T: Float>(operation: &str, x: &Var<T>, target: &Var<T>) -> Result<()> {
    if x.shape() == target.shape() {
        return Ok(());
    }
    Err(
        Error::shape(operation, "predictions and targets differ in shape")
            .with("predictions", x.shape())
            .with("targets", target.shape())
            .fix("reshape or broadcast one of them to the other's shape"),
    )
}

/// `max(x, 0) − x t + ln(1 + e⁻|x|)`.
struct LogitsCrossEntropy;

impl<T: Float> Op<T> for LogitsCrossEntropy {
    fn name(&self) -> &str {
        "binary_cross_entropy_with_logits"
    }
    fn forward(&mut self, inputs: Inputs<'_, T>) -> Result<Tensor<T>> {
        let [x, target] = inputs.exactly()?;
        x.zip_map(target, |x, t| {
            x.larger(T::ZERO) - x * t + (-x.magnitude()).exp().ln_1p()
        })
        .map_err(|error| error.in_operation("binary_cross_entropy_with_logits"))
    }
    fn saves(&self) -> Saves {
        Saves::INPUTS
    }
    fn vjp(&self, at: &Backward<'_, T>, dy: &Var<T>) -> Result<InputGradients<T>> {
        let [x, target] = at.inputs()?;
        at.gradients()
            .of(0, || dy.mul(&x.sigmoid().sub(&target)?))?
            .of(1, || dy.mul(&x.neg()))
    }
    fn flops(&self, _inputs: &[&Shape], output: &Shape) -> u64 {
        5 * output.elements() as u64
    }
}

/// `−t · ln p − (1 − t) · ln(1 − p)`.
struct BinaryCrossEntropy;

/// The least value that a logarithm counts as.
const LEAST_LOG: f64 = -100.0;

impl<T: Float> Op<T> for BinaryCrossEntropy {
    fn name(&self) -> &str {
        "binary_cross_entropy"
    }
    fn forward(&mut self, inputs: Inputs<'_, T>) -> Result<Tensor<T>> {
        let [p, target] = inputs.exactly()?;
        let least = T::constant(LEAST_LOG);
        p.zip_map(target, move |p, t| {
            let (yes, no) = (p.ln().larger(least), (-p).ln_1p().larger(least));
            -t * yes - (T::ONE - t) * no
        })
        .map_err(|error| error.in_operation("binary_cross_entropy"))
    }
    fn saves(&self) -> Saves {
        Saves::INPUTS
    }
    fn vjp(&self, at: &Backward<'_, T>, dy: &Var<T>) -> Result<InputGradients<T>> {
        let [p, target] = at.inputs()?;
        at.gradients()
            .of(0, || {
                let spread = p.mul(&(1.0 - &p))?.clamp(T::constant(1e-12), T::HIGHEST)?;
                dy.mul(&p.sub(&target)?.div(&spread)?)
            })?
            .of(1, || {
                let least = T::constant(LEAST_LOG);
                let yes = p.log().clamp(least, T::HIGHEST)?;
                let no = p.neg().log1p().clamp(least, T::HIGHEST)?;
                dy.mul(&no.sub(&yes)?)
            })
    }
    fn flops(&self, _inputs: &[&Shape], output: &Shape) -> u64 {
        6 * output.elements() as u64
    }
}

/// Softmax cross-entropy with class numbers and the options that it comes with: class weights,
/// label smoothing, an ignored label.
///
/// ```
/// use autograd::{CrossEntropy, Var};
/// use tensor::Tensor;
/// let scores = Var::from(Tensor::from([[2.0, 0.0], [0.0, 0.0], [5.0, 5.0]]));
/// let labels = Tensor::from([0_i64, 1, -1]);
/// let loss = scores.mean_cross_entropy(&labels, &CrossEntropy::new().ignored(-1))?;
/// let expected = ((1.0 + (-2_f64).exp()).ln() + 2_f64.ln()) / 2.0;
/// assert!((loss.item()? - expected).abs() < 1e-15);
/// # Ok::<(), autograd::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct CrossEntropy<T: Float> {
    weights: Option<Tensor<T>>,
    smoothing: f64,
    ignored: Option<i64>,
}

impl<T: Float> Default for CrossEntropy<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Float> CrossEntropy<T> {
    /// No weights, no smoothing, nothing ignored.
    pub fn new() -> Self {
        CrossEntropy {
            weights: None,
            smoothing: 0.0,
            ignored: None,
        }
    }

    /// A factor for the loss of each class, `[classes]`.
    pub fn class_weights(self, weights: Tensor<T>) -> Self {
        CrossEntropy {
            weights: Some(weights),
            ..self
        }
    }

    /// Moves this share of the target, in `0 ..= 1`, from the label to all classes alike (Szegedy
    /// et al., 2015).
    pub fn label_smoothing(self, smoothing: f64) -> Self {
        CrossEntropy { smoothing, ..self }
    }

    /// Rows with this label have loss 0 and do not count in the mean. Their scores, which may even be
    /// infinite or NaN, get gradient 0.
    pub fn ignored(self, label: i64) -> Self {
        CrossEntropy {
            ignored: Some(label),
            ..self
        }
    }

    fn is_plain(&self) -> bool {
        self.weights.is_none() && self.smoothing == 0.0 && self.ignored.is_none()
    }

    /// What a row with this label counts in the mean.
    fn weight(&self, label: i64) -> f64 {
        match (&self.weights, usize::try_from(label)) {
            _ if self.ignored == Some(label) => 0.0,
            (Some(weights), Ok(label)) => weights.get(&[label]).map_or(0.0, T::to_f64),
            _ => 1.0,
        }
    }

    /// The target distribution of each row, times its weights.
    fn targets(&self, scores: &Shape, labels: &Tensor<i64>) -> Result<Tensor<T>> {
        let operation = "cross_entropy";
        let fits = scores
            .split_last()
            .filter(|(_, rows)| **rows == labels.shape()[..]);
        let Some((&classes, _)) = fits else {
            return Err(
                Error::shape(operation, "there must be one label for each row")
                    .with("scores", scores)
                    .with("labels", labels.shape()),
            );
        };
        if !(0.0..=1.0).contains(&self.smoothing) {
            return Err(Error::value(operation, "the smoothing is not a share")
                .with("smoothing", self.smoothing));
        }
        let weights = match &self.weights {
            None => {
                let mut ones = vec_with_capacity(operation, classes)?;
                ones.resize(classes, T::ONE);
                ones
            }
            Some(weights) if weights.shape() == &[classes] => weights.try_to_vec(operation)?,
            Some(weights) => {
                return Err(Error::shape(operation, "there must be one weight a class")
                    .with("scores", scores)
                    .with("weights", weights.shape()));
            }
        };
        let everywhere = T::constant(self.smoothing / classes as f64);
        let at_label = T::constant(1.0 - self.smoothing);
        let mut targets = Tensor::zeros(scores)?;
        let rows = targets.try_make_mut(operation)?;
        let rows = rows.chunks_exact_mut(classes.max(1));
        for (row, label) in rows.zip(labels.iter()) {
            if self.ignored == Some(label) {
                continue;
            }
            let Some(label) = usize::try_from(label).ok().filter(|&l| l < classes) else {
                return Err(Error::index(operation, format!("{label} is no class"))
                    .with("scores", scores)
                    .fix(format!("labels go from 0 to {}", classes.saturating_sub(1))));
            };
            row.fill(everywhere);
            row[label] += at_label;
            for (target, &weight) in row.iter_mut().zip(&weights) {
                *target = *target * weight;
            }
        }
        Ok(targets)
    }
}

#[inline]
pub(crate) fn entries() -> Vec<OpEntry> {
    let pair: [&[usize]; 2] = [&[2, 4], &[2, 4]];
    vec![
        OpEntry::new(
            "squared_error",
            "`(x − t)²`, one an element",
            "`2 dy (x − t)`",
        )
        .sample(&pair, |v| v[0].squared_error(&v[1])),
        OpEntry::new(
            "absolute_error",
            "`|x − t|`, one an element",
            "`dy sign(x − t)`",
        )
        .edges("0 where `x = t`")
        .sample(&pair, |v| v[0].absolute_error(&v[1]))
        .distinct(),
        OpEntry::new(
            "huber_loss",
            "`d²/2` up to `δ`, then `δ (|d| − δ/2)`, with `d = x − t`",
            "`dy clamp(d, −δ, δ)`",
        )
        .sample(&pair, |v| v[0].huber_loss(&v[1], 0.8))
        .distinct(),
        OpEntry::new(
            "hinge_loss",
            "`max(0, 1 − t x)`, one an element",
            "`−dy t` below the margin, else 0",
        )
        .edges("on the margin 0")
        .sample(&pair, |v| v[0].hinge_loss(&v[1]))
        .distinct(),
        OpEntry::new(
            "kl_divergence",
            "`Σ t ln(t / x)`, one a row",
            "`dx = −dy t / x`, `dt = dy (ln(t / x) + 1)`",
        )
        .edges("terms with target 0 are 0, value and gradient")
        .sample_on(0.1..0.9, &pair, |v| v[0].kl_divergence(&v[1])),
        OpEntry::new(
            "cosine_similarity",
            "`a · b / (‖a‖ ‖b‖)`, one a row",
            "`da = dy (b/‖b‖ − y a/‖a‖) / ‖a‖`",
        )
        .edges("0 of a row of zeros, with gradient 0 (PyTorch's grows to 10⁸)")
        .sample(&pair, |v| v[0].cosine_similarity(&v[1])),
        OpEntry::new(
            "binary_cross_entropy_with_logits",
            "`max(x, 0) − x t + ln(1 + e⁻|x|)`, one an element",
            "`dx = dy (sigmoid(x) − t)`, `dt = −dy x`",
        )
        .edges("exact for scores of ±10⁴")
        .sample(&pair, |v| v[0].binary_cross_entropy_with_logits(&v[1])),
        OpEntry::new(
            "binary_cross_entropy",
            "`−t ln p − (1 − t) ln(1 − p)`, one an element",
            "`dp = dy (p − t) / (p (1 − p))`, `dt = dy (ln(1 − p) − ln p)`",
        )
        .edges("logarithms count as −100 at least, `p (1 − p)` as 10⁻¹² (PyTorch: \
             as the number of single precision nearest to it)")
        .sample_on(0.1..0.9, &pair, |v| v[0].binary_cross_entropy(&v[1])),
        OpEntry::new(
            "cross_entropy",
            "softmax cross-entropy with class weights, label smoothing, an ignored label; one a row",
            "`dy (softmax(x) Σ t − t)` with the weighted, smoothed targets `t`",
        )
        .edges("0 of a row that is ignored, or of weight 0, with gradient 0, even of NaN")
        .sample(&[&[4, 3]], |v| v[0].cross_entropy(&labels(), &options()))
        .sample(&[&[4, 3]], |v| {
            v[0].cross_entropy(&Tensor::from([2, 0, 1, 1]), &CrossEntropy::new())
        }),
        OpEntry::new(
            "mean_cross_entropy",
            "the mean of `cross_entropy` over rows that are not ignored, weighted by their labels",
            "as `cross_entropy`",
        )
        .edges("NaN if all rows are ignored, with gradient 0")
        .sample(&[&[4, 3]], |v| {
            v[0].mean_cross_entropy(&labels(), &options())
        }),
    ]
}

fn options() -> CrossEntropy<f64> {
    CrossEntropy::new()
        .class_weights(Tensor::from([0.5, 2.0, 1.5]))
        .label_smoothing(0.1)
        .ignored(-100)
}

fn labels() -> Tensor<i64> {
    Tensor::from([2, 0, -100, 1])
}
