//! Dropout that stores no mask.

use tensor::{Float, Result, Tensor};

use crate::backward::{Backward, InputGradients};
use crate::op::{Inputs, Op};
use crate::samples::OpEntry;
use crate::saves::Saves;
use crate::var::Var;

impl<T: Float> Var<T> {
    /// Each element is 0 with probability `rate`, else divided by `1 − rate`; see
    /// [`Tensor::dropout`]. Derivative: the same of the gradient.
    ///
    /// Which elements are dropped follows from `key` and `stream`; the derivative computes it again
    /// from there, so that the tape keeps two numbers instead of a mask. Use one key for a run and
    /// another stream for each layer and step.
    ///
    /// # Errors
    /// If `rate` is not in `0 ..= 1`.
    #[track_caller]
    pub fn dropout(&self, rate: f64, key: u64, stream: u64) -> Result<Var<T>> {
        Dropout { rate, key, stream }.apply(&[self])
    }
}

struct Dropout {
    rate: f64,
    key: u64,
    stream: u64,
}

impl<T: Float> Op<T> for Dropout {
    fn name(&self) -> &str {
        "dropout"
    }
    fn forward(&mut self, inputs: Inputs<'_, T>) -> Result<Tensor<T>> {
        let [x] = inputs.exactly()?;
        x.dropout(self.rate, self.key, self.stream)
    }
    fn saves(&self) -> Saves {
        Saves::NOTHING
    }
    fn vjp(&self, at: &Backward<'_, T>, dy: &Var<T>) -> Result<InputGradients<T>> {
        at.gradients()
            .of(0, || dy.dropout(self.rate, self.key, self.stream))
    }
}

#[inline]
pub(crate) fn entries() -> Vec<OpEntry> {
    vec![
        OpEntry::new(
            "dropout",
            "`x / (1 − rate)`, or 0 with probability `rate`",
            "`dy` at the same places, by recomputing them from the key",
        )
        .edges("what is dropped leaves no trace, NaN included; all is dropped at rate 1")
        .sample(&[&[5, 4]], |v| v[0].dropout(0.4, 17, 3)),
    ]
}
