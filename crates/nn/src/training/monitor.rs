//! A value of the records that is watched for its best.

use serde_json::Value;
use tensor::{Error, Float};

use super::history::EpochRecord;
use crate::config::{Config, ConfigReader, config, float, float_to_json};
use crate::error::Result;
use crate::model::Model;

/// What stands before the names of scores of validation data.
pub(super) const VALIDATION: &str = "val_";
/// The best value, in the state.
const BEST: &str = "best";

/// The name of a value, which values of it are better, and the best so far.
#[derive(Clone, Debug)]
pub(super) struct Monitor {
    pub(super) name: String,
    pub(super) min_delta: f64,
    pub(super) higher_is_better: Option<bool>,
    pub(super) best: Option<f64>,
}

impl Monitor {
    pub(super) fn new(name: &str) -> Self {
        Monitor {
            name: name.to_string(),
            min_delta: 0.0,
            higher_is_better: None,
            best: None,
        }
    }

    /// The best so far, for a training that is resumed.
    pub(super) fn state(&self) -> Config {
        config([(BEST, self.best.map_or(Value::Null, float_to_json))])
    }

    /// Restores [`Monitor::state`].
    ///
    /// # Errors
    /// If the best is no number.
    pub(super) fn restore(&mut self, state: &Config) -> Result<()> {
        let reader = ConfigReader::new("the callback's state", state);
        self.best = match reader.get(BEST) {
            None => None,
            Some(best) => {
                let unexpected = || reader.unexpected(BEST, best, "a number");
                Some(float(best).ok_or_else(unexpected)?)
            }
        };
        Ok(())
    }

    /// Whether high values are better: as the user, the metric, or a name such as `val_loss` says.
    ///
    /// # Errors
    /// If none of them does.
    pub(super) fn higher_is_better<T: Float>(&self, model: &Model<T>) -> Result<bool> {
        let score = self.name.strip_prefix(VALIDATION).unwrap_or(&self.name);
        let of_metric = || {
            let mut metrics = model.compiled().into_iter().flat_map(|c| c.metrics());
            metrics
                .find(|metric| metric.name() == score)?
                .higher_is_better()
        };
        let is_loss = score.contains("loss") || score.contains("error");
        self.higher_is_better
            .or_else(of_metric)
            .or(is_loss.then_some(false))
            .ok_or_else(|| {
                let message = format!(
                    "nothing says whether a high or a low `{}` is better",
                    self.name
                );
                Error::value("fit", message)
                    .fix(
                        "say so with `higher_is_better(false)` of the callback, or in \
                         `Metric::higher_is_better`",
                    )
                    .into()
            })
    }

    /// Whether the record is better than all before. NaN never is.
    pub(super) fn improves<T: Float>(
        &mut self,
        record: &EpochRecord,
        model: &Model<T>,
    ) -> Result<bool> {
        let Some(value) = record.get(&self.name) else {
            let known = record.values.iter().map(|(name, _)| &**name);
            return Err(unknown(&self.name, &known.collect::<Vec<_>>()));
        };
        let higher_is_better = self.higher_is_better(model)?;
        let better = match self.best {
            None => !value.is_nan(),
            Some(best) if higher_is_better => value > best + self.min_delta,
            Some(best) => value < best - self.min_delta,
        };
        if better {
            self.best = Some(value);
        }
        Ok(better)
    }
}

/// Refuses to watch `name` if an epoch gives no such value.
pub(super) fn require_known<T: Float>(
    name: &str,
    model: &Model<T>,
    has_validation: bool,
) -> Result<()> {
    let metrics = model.compiled().into_iter().flat_map(|c| c.metrics());
    let scores: Vec<String> = std::iter::once("loss".to_string())
        .chain(metrics.map(|metric| metric.name().to_string()))
        .collect();
    let validation = scores.iter().map(|score| format!("{VALIDATION}{score}"));
    let mut known = scores.clone();
    known.extend(validation.filter(|_| has_validation));
    if known.iter().any(|known| known == name) {
        return Ok(());
    }
    let known: Vec<&str> = known.iter().map(|name| &**name).collect();
    Err(unknown(name, &known))
}

#[cold]
fn unknown(name: &str, known: &[&str]) -> crate::Error {
    let error = Error::value("fit", format!("there is no `{name}` to watch"))
        .with("there are", known.join(", "));
    let of_training = name.strip_prefix(VALIDATION);
    let fix = match of_training {
        Some(score) if known.contains(&score) => {
            "give validation data: `validation_data` or `validation_split`"
        }
        _ => "watch one of these, or `compile` the model with such a metric",
    };
    error.fix(fix).into()
}
