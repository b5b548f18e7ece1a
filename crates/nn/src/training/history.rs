//! What training reported, epoch by epoch.

use std::fmt::Write;
use std::time::Duration;

/// Loss, metrics and time of one epoch.
#[derive(Clone, Debug, PartialEq)]
pub struct EpochRecord {
    /// The epoch, counted from 0.
    pub epoch: usize,
    /// Names and values: `loss` and the metrics, averaged over the epoch's batches while training
    /// went on; then the same of the validation data, their names preceded by `val_`.
    pub values: Vec<(String, f64)>,
    /// The learning rate during the epoch.
    pub learning_rate: f64,
    /// How long the epoch took, validation included.
    pub duration: Duration,
}

impl EpochRecord {
    /// The value of this name.
    pub fn get(&self, name: &str) -> Option<f64> {
        let found = self.values.iter().find(|(own, _)| own == name);
        found.map(|&(_, value)| value)
    }
}

/// The records of all epochs; what [`Model::fit`](crate::Model::fit) returns.
///
/// ```
/// use nn::prelude::*;
/// # let mut model = Sequential::new();
/// # model.add(Dense::new(1).input_shape(&[1]));
/// # model.compile(MeanSquaredError::new(), Sgd::new(0.1), None::<Accuracy>)?;
/// # let (x, y) = (Tensor::from([[0.0_f32], [1.0]]), Tensor::from([[1.0_f32], [3.0]]));
/// let history = model.fit(&x, &y, Fit::new().epochs(3).verbosity(Verbosity::Silent))?;
/// let losses = history.get("loss");
/// assert_eq!(losses.len(), 3);
/// assert!(losses[2] < losses[0]);
/// assert!(history.to_csv().starts_with("epoch,loss,learning_rate,seconds\n1,"));
/// # Ok::<(), nn::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct History {
    /// One record an epoch.
    pub epochs: Vec<EpochRecord>,
}

impl History {
    /// The values of this name, one an epoch that has it.
    pub fn get(&self, name: &str) -> Vec<f64> {
        let values = self.epochs.iter().filter_map(|record| record.get(name));
        values.collect()
    }

    /// A table with a title line: epoch (counted from 1), values, learning rate, seconds.
    pub fn to_csv(&self) -> String {
        let mut text = String::new();
        for (i, record) in self.epochs.iter().enumerate() {
            if i == 0 {
                text.push_str(&csv_title(record));
            }
            text.push_str(&csv_line(record));
        }
        text
    }
}

pub(super) fn csv_title(record: &EpochRecord) -> String {
    let names = record.values.iter().map(|(name, _)| format!("{name},"));
    format!("epoch,{}learning_rate,seconds\n", names.collect::<String>())
}

pub(super) fn csv_line(record: &EpochRecord) -> String {
    let mut line = (record.epoch + 1).to_string();
    let seconds = (record.duration.as_secs_f64() * 1e3).round() / 1e3;
    let values = record.values.iter().map(|(_, value)| *value);
    for value in values.chain([record.learning_rate, seconds]) {
        // Writing to a string cannot fail.
        let _ = write!(line, ",{value}");
    }
    line.push('\n');
    line
}
