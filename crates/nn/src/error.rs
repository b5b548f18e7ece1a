//! One error type for layers, training, data and files.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::model::NotFinite;

/// An error of this crate.
///
/// Its text says what went wrong, where, and how to fix it. `main() -> nn::Result<()>` prints that
/// same text, because [`Debug`](fmt::Debug) is the readable form too.
///
/// ```
/// fn load() -> nn::Result<()> {
///     Err(nn::FileError::new("digits.npy", "the file is empty"))?
/// }
/// let error = load().unwrap_err();
/// assert!(matches!(error, nn::Error::File(_)));
/// assert_eq!(format!("{error:?}"), "digits.npy: the file is empty");
/// ```
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An operation that was given shapes or values it cannot take.
    #[error(transparent)]
    Tensor(#[from] tensor::Error),
    /// A file that cannot be read or written, or whose contents are not what they should be.
    #[error(transparent)]
    File(#[from] FileError),
    /// A loss, a gradient or a weight that became infinite or NaN.
    #[error(transparent)]
    NotFinite(Box<NotFinite>),
}

impl Error {
    /// Adds a line `label  value` below the message of an error of an operation: where in the
    /// model it was.
    #[cold]
    pub(crate) fn with(self, label: impl Into<String>, value: impl fmt::Display) -> Self {
        match self {
            Error::Tensor(error) => Error::Tensor(error.with(label, value)),
            other => other,
        }
    }

    /// Says that the model is half updated.
    #[cold]
    pub(crate) fn half_updated(self, what: &str) -> Self {
        match self {
            Error::NotFinite(mut error) => {
                error.half_updated = true;
                Error::NotFinite(error)
            }
            other => other.with("model", what),
        }
    }

    /// Says how to fix an error of an operation.
    #[cold]
    pub(crate) fn fix(self, fix: impl Into<String>) -> Self {
        match self {
            Error::Tensor(error) => Error::Tensor(error.fix(fix)),
            other => other,
        }
    }

    /// Says in which epoch and batch (counted from 1) the loss stopped being finite.
    #[cold]
    pub(crate) fn at_batch(self, epoch: usize, batch: usize) -> Self {
        match self {
            Error::NotFinite(mut error) => {
                error.epoch_and_batch = Some((epoch, batch));
                Error::NotFinite(error)
            }
            other => other,
        }
    }
}

/// The result of every function of this crate that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What is wrong with a file: its path, the place in it, the cause and the fix.
///
/// ```
/// use nn::FileError;
/// let error = FileError::new("digits.npy", "the file ends too early")
///     .at("byte 128")
///     .fix("copy it again");
/// assert_eq!(
///     error.to_string(),
///     "digits.npy: the file ends too early\n  at   byte 128\n  fix: copy it again"
/// );
/// ```
pub struct FileError(Box<Details>);

struct Details {
    path: PathBuf,
    cause: String,
    place: Option<String>,
    fix: Option<String>,
    source: Option<io::Error>,
}

impl FileError {
    /// `cause` completes the sentence "`path`: …".
    #[cold]
    pub fn new(path: impl Into<PathBuf>, cause: impl Into<String>) -> Self {
        FileError(Box::new(Details {
            path: path.into(),
            cause: cause.into(),
            place: None,
            fix: None,
            source: None,
        }))
    }

    /// The operating system refused to `action` (such as `"open"`) the file.
    #[cold]
    pub fn io(path: impl Into<PathBuf>, action: &str, source: io::Error) -> Self {
        let mut error = Self::new(path, format!("cannot {action}: {source}"));
        error.0.source = Some(source);
        error
    }

    /// Names the place: a byte, an array, a line.
    #[cold]
    #[must_use]
    pub fn at(mut self, place: impl Into<String>) -> Self {
        self.0.place = Some(place.into());
        self
    }

    /// Says how to fix it.
    #[cold]
    #[must_use]
    pub fn fix(mut self, fix: impl Into<String>) -> Self {
        self.0.fix = Some(fix.into());
        self
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// What is wrong, without path, place and fix.
    pub fn cause(&self) -> &str {
        &self.0.cause
    }

    /// The place in the file, where there is one.
    pub fn place(&self) -> Option<&str> {
        self.0.place.as_deref()
    }
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0.path.display(), self.0.cause)?;
        if let Some(place) = &self.0.place {
            write!(f, "\n  at   {place}")?;
        }
        if let Some(fix) = &self.0.fix {
            write!(f, "\n  fix: {fix}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for FileError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_ref().map(|source| source as _)
    }
}
