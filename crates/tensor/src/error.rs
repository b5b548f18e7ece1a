//! One error type: the operation, what is wrong, the offending shapes and values, and the fix.

use std::fmt;

/// What kind of mistake an [`Error`] reports, for programs that react to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Shapes that do not fit together, or a shape that an operation cannot take.
    Shape,
    /// An axis that does not exist, or is named twice.
    Axis,
    /// An index outside its axis.
    Index,
    /// A parameter outside its range (a stride of 0, a probability of 2).
    Value,
    /// More elements than memory or the address space can hold.
    Size,
    /// A number that became infinite or NaN where only finite ones make sense.
    NotFinite,
    /// A derivative that does not exist or can no longer be computed; for crates that
    /// differentiate.
    Gradient,
    /// A combination that is valid but not implemented by the operation.
    Unsupported,
}

/// An error of this crate.
///
/// Its text names the operation, says what is wrong, lists the shapes or values involved and,
/// where there is one, the fix:
///
/// ```
/// use tensor::Tensor;
/// let a = Tensor::<f32>::zeros([2, 3])?;
/// let b = Tensor::<f32>::zeros([4, 5])?;
/// let error = a.add(&b).unwrap_err();
/// assert!(error.to_string().contains("add"));
/// assert!(error.to_string().contains("[2, 3]"));
/// # Ok::<(), tensor::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Error(Box<Details>);

#[derive(Clone, PartialEq, Eq)]
struct Details {
    kind: ErrorKind,
    operation: String,
    message: String,
    facts: Vec<(String, String)>,
    fix: Option<String>,
}

/// The result of every named function of this crate that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error of `kind` in `operation`; `message` completes the sentence "operation: …".
    #[cold]
    pub fn new(kind: ErrorKind, operation: impl Into<String>, message: impl Into<String>) -> Self {
        Error(Box::new(Details {
            kind,
            operation: operation.into(),
            message: message.into(),
            facts: Vec::new(),
            fix: None,
        }))
    }

    /// [`ErrorKind::Shape`].
    #[cold]
    pub fn shape(operation: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Shape, operation, message)
    }

    /// [`ErrorKind::Axis`].
    #[cold]
    pub fn axis(operation: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Axis, operation, message)
    }

    /// [`ErrorKind::Index`].
    #[cold]
    pub fn index(operation: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Index, operation, message)
    }

    /// [`ErrorKind::Value`].
    #[cold]
    pub fn value(operation: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Value, operation, message)
    }

    /// [`ErrorKind::Size`].
    #[cold]
    pub fn size(operation: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Size, operation, message)
    }

    /// [`ErrorKind::Unsupported`].
    #[cold]
    pub fn unsupported(operation: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unsupported, operation, message)
    }

    /// Adds a line `label  value` below the message, usually an operand and its shape.
    #[cold]
    #[must_use]
    pub fn with(mut self, label: impl Into<String>, value: impl fmt::Display) -> Self {
        self.0.facts.push((label.into(), value.to_string()));
        self
    }

    /// Adds the last line, which says how to fix it.
    #[cold]
    #[must_use]
    pub fn fix(mut self, fix: impl Into<String>) -> Self {
        self.0.fix = Some(fix.into());
        self
    }

    /// Names the operation that was called, where a part of it found the mistake.
    ///
    /// ```
    /// use tensor::Tensor;
    /// let x = Tensor::<f32>::zeros([2, 3])?;
    /// let halves = x.reshape([4]).map_err(|error| error.in_operation("halves"));
    /// assert!(halves.unwrap_err().to_string().starts_with("halves: "));
    /// # Ok::<(), tensor::Error>(())
    /// ```
    #[cold]
    #[must_use]
    pub fn in_operation(mut self, operation: &str) -> Self {
        self.0.operation = operation.to_string();
        self
    }

    /// The kind of mistake.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The operation that reported it, such as `"matmul"`.
    pub fn operation(&self) -> &str {
        &self.0.operation
    }
}

/// Runs `body`, of which the function `operation` is made: its errors name the function.
pub(crate) fn named<R>(operation: &str, body: impl FnOnce() -> Result<R>) -> Result<R> {
    body().map_err(|error| error.in_operation(operation))
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Details {
            operation,
            message,
            facts,
            fix,
            ..
        } = &*self.0;
        write!(f, "{operation}: {message}")?;
        let width = facts
            .iter()
            .map(|(label, _)| label.chars().count())
            .max()
            .unwrap_or(0);
        for (label, value) in facts {
            write!(f, "\n  {label:<width$}  {value}")?;
        }
        if let Some(fix) = fix {
            write!(f, "\n  fix: {fix}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // `main() -> Result` prints Debug: people should meet the readable text there too.
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Error {}
