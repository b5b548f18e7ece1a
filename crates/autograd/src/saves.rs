//! What operations keep for their derivatives.

use crate::tape::{CONSTANT, NodeId};

/// What an [`Op`](crate::Op) keeps for its derivative: a set of inputs, and perhaps the output.
///
/// ```
/// use autograd::Saves;
/// let saves = Saves::input(1) | Saves::OUTPUT;
/// assert!(saves.has_input(1) && !saves.has_input(0) && saves.has_output());
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Saves {
    /// Bit `i` for input `i`; the highest bit stands for all further inputs too.
    inputs: u32,
    /// The same, for inputs that only the gradients of others need.
    for_others: u32,
    output: bool,
}

impl Saves {
    /// Neither inputs nor output.
    pub const NOTHING: Saves = Saves {
        inputs: 0,
        for_others: 0,
        output: false,
    };
    /// All inputs.
    pub const INPUTS: Saves = Saves {
        inputs: u32::MAX,
        ..Saves::NOTHING
    };
    /// The output.
    pub const OUTPUT: Saves = Saves {
        output: true,
        ..Saves::NOTHING
    };

    /// Input `index` alone (from 31 on, all inputs from 31 on).
    pub const fn input(index: usize) -> Saves {
        Saves {
            inputs: 1 << place(index),
            ..Saves::NOTHING
        }
    }

    /// The same inputs, each kept only if another input is tracked: for products, where the
    /// gradient of each factor needs the other factors. [`Backward::input`](crate::Backward::input) then has an input only
    /// where the gradient of another is wanted.
    ///
    /// ```
    /// use autograd::{Saves, Tape, Var};
    /// use tensor::Tensor;
    /// let tape = Tape::new();
    /// let x = tape.variable(Tensor::<f32>::ones([100])?);
    /// // A product saves its inputs `for_others`: no gradient of the constant will need `x`.
    /// x.mul(&Var::constant(Tensor::scalar(2.0)))?;
    /// assert_eq!(tape.saved_bytes(), 4);
    /// # Ok::<(), autograd::Error>(())
    /// ```
    #[must_use]
    pub const fn for_others(self) -> Saves {
        Saves {
            inputs: 0,
            for_others: self.inputs | self.for_others,
            ..self
        }
    }

    /// Both sets together, as `|` gives them, in a constant.
    #[must_use]
    pub const fn and(self, other: Saves) -> Saves {
        Saves {
            inputs: self.inputs | other.inputs,
            for_others: self.for_others | other.for_others,
            output: self.output || other.output,
        }
    }

    /// Whether input `index` is saved.
    pub fn has_input(self, index: usize) -> bool {
        (self.inputs | self.for_others) >> place(index) & 1 == 1
    }

    /// Whether the output is saved.
    pub fn has_output(self) -> bool {
        self.output
    }

    /// What is saved when these inputs are tracked.
    pub(crate) fn of_tracked(self, inputs: &[NodeId]) -> Saves {
        if self.for_others == 0 {
            return self;
        }
        let mut tracked = (0..inputs.len()).filter(|&index| inputs[index] != CONSTANT);
        let for_others = match (tracked.next(), tracked.next()) {
            (None, _) => 0,
            // Places from 31 on stand for several inputs, each of which has others.
            (Some(only), None) if only < 31 => self.for_others & !(1 << only),
            _ => self.for_others,
        };
        Saves {
            inputs: self.inputs | for_others,
            for_others: 0,
            ..self
        }
    }

    /// How many tensors are saved of an op with `inputs` inputs.
    pub(crate) fn count(self, inputs: usize) -> usize {
        (0..inputs).filter(|&i| self.has_input(i)).count() + usize::from(self.output)
    }
}

/// The bit of input `index`.
const fn place(index: usize) -> usize {
    if index < 31 { index } else { 31 }
}

impl std::ops::BitOr for Saves {
    type Output = Saves;
    fn bitor(self, other: Saves) -> Saves {
        self.and(other)
    }
}
