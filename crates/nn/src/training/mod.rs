//! Training: epochs over batches, with history, callbacks and progress.

mod callbacks;
mod fit;
mod history;
mod monitor;
mod progress;
mod resume;

pub use callbacks::{
    Callback, Control, CsvLogger, EarlyStopping, LearningRateSchedule, ModelCheckpoint,
};
pub use fit::Fit;
pub use history::{EpochRecord, History};
pub use progress::Verbosity;
pub use resume::CallbackState;
