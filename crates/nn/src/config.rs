//! Configurations of layers, losses and optimizers in the form that Keras's files have.

use serde_json::{Map, Value};

use crate::error::{Error, Result};

/// A JSON object: the `config` of a layer, initializer, loss or optimizer in a Keras file.
pub type Config = Map<String, Value>;

/// Builds a [`Config`] from pairs of key and value.
pub(crate) fn config<const N: usize>(entries: [(&str, Value); N]) -> Config {
    entries
        .into_iter()
        .map(|(key, value)| (key.to_string(), value))
        .collect()
}

/// `{"class_name": …, "config": …}` as Keras nests objects in a configuration.
pub(crate) fn object(module: &str, class: &str, config: Config) -> Value {
    serde_json::json!({
        "module": module,
        "class_name": class,
        "config": config,
        "registered_name": null,
    })
}

/// Reads the entries of a configuration, with errors that name class, key and value.
///
/// ```
/// use nn::{Config, ConfigReader};
/// let config: Config = [("rate".to_string(), 0.5.into())].into_iter().collect();
/// let reader = ConfigReader::new("Dropout", &config);
/// assert_eq!(reader.number("rate")?, 0.5);
/// assert!(reader.number("seed").unwrap_err().to_string().contains("`seed` is missing"));
/// # Ok::<(), nn::Error>(())
/// ```
#[derive(Clone, Copy)]
pub struct ConfigReader<'a> {
    class: &'a str,
    config: &'a Config,
}

impl<'a> ConfigReader<'a> {
    /// Reads `config`, which belongs to an object of `class`.
    pub fn new(class: &'a str, config: &'a Config) -> Self {
        ConfigReader { class, config }
    }

    /// The class that the configuration belongs to.
    pub fn class(&self) -> &'a str {
        self.class
    }

    /// The entry `key`, unless it is missing or null.
    pub fn get(&self, key: &str) -> Option<&'a Value> {
        self.config.get(key).filter(|value| !value.is_null())
    }

    /// The entry `key`.
    ///
    /// # Errors
    /// If it is missing or null.
    pub fn required(&self, key: &str) -> Result<&'a Value> {
        self.get(key)
            .ok_or_else(|| self.error(format!("`{key}` is missing")).into())
    }

    /// A number.
    ///
    /// # Errors
    /// If it is missing or something else.
    pub fn number(&self, key: &str) -> Result<f64> {
        let value = self.required(key)?;
        value
            .as_f64()
            .ok_or_else(|| self.unexpected(key, value, "a number"))
    }

    /// A number, or `default` if there is none.
    ///
    /// # Errors
    /// If it is something else.
    pub fn number_or(&self, key: &str, default: f64) -> Result<f64> {
        self.get(key).map_or(Ok(default), |_| self.number(key))
    }

    /// A whole number that is not negative.
    ///
    /// # Errors
    /// If it is missing or something else.
    pub fn size(&self, key: &str) -> Result<usize> {
        let value = self.required(key)?;
        as_size(value).ok_or_else(|| self.unexpected(key, value, "a whole number"))
    }

    /// Two whole numbers, or one that stands for both (height and width).
    ///
    /// # Errors
    /// If it is missing or something else.
    pub fn pair(&self, key: &str) -> Result<[usize; 2]> {
        let value = self.required(key)?;
        let pair = match value {
            Value::Array(both) => match &both[..] {
                [a, b] => as_size(a).zip(as_size(b)),
                _ => None,
            },
            single => as_size(single).map(|n| (n, n)),
        };
        pair.map(|(a, b)| [a, b])
            .ok_or_else(|| self.unexpected(key, value, "two whole numbers"))
    }

    /// Two whole numbers, or `default` if there are none.
    ///
    /// # Errors
    /// If it is something else.
    pub fn pair_or(&self, key: &str, default: [usize; 2]) -> Result<[usize; 2]> {
        self.get(key).map_or(Ok(default), |_| self.pair(key))
    }

    /// A whole number, or `default` if there is none.
    ///
    /// # Errors
    /// If it is something else.
    pub fn integer_or(&self, key: &str, default: isize) -> Result<isize> {
        self.get(key).map_or(Ok(default), |value| {
            let whole = value.as_i64().and_then(|n| isize::try_from(n).ok());
            whole.ok_or_else(|| self.unexpected(key, value, "a whole number"))
        })
    }

    /// `true` or `false`, or `default` if there is neither.
    ///
    /// # Errors
    /// If it is something else.
    pub fn flag_or(&self, key: &str, default: bool) -> Result<bool> {
        self.get(key).map_or(Ok(default), |value| {
            value
                .as_bool()
                .ok_or_else(|| self.unexpected(key, value, "true or false"))
        })
    }

    /// A string.
    ///
    /// # Errors
    /// If it is missing or something else.
    pub fn text(&self, key: &str) -> Result<&'a str> {
        let value = self.required(key)?;
        value
            .as_str()
            .ok_or_else(|| self.unexpected(key, value, "a string"))
    }

    /// Refuses the configuration if one of `keys` has a value: it stands for something that this
    /// crate does not do, and leaving it out would silently change the result.
    ///
    /// # Errors
    /// If one has a value other than null and `false`.
    pub fn refuse(&self, keys: &[&str]) -> Result<()> {
        for key in keys {
            if let Some(value) = self.get(key).filter(|value| **value != Value::Bool(false)) {
                return Err(self
                    .error(format!("`{key}` = {value} is not supported"))
                    .into());
            }
        }
        Ok(())
    }

    /// Refuses image layouts other than `[batch, height, width, channels]`.
    ///
    /// # Errors
    /// If `data_format` says something else.
    pub fn require_channels_last(&self) -> Result<()> {
        match self.get("data_format") {
            Some(value) if value != "channels_last" => Err(self
                .error(format!("`data_format` = {value} is not supported"))
                .fix("save the model with `data_format=\"channels_last\"`")
                .into()),
            _ => Ok(()),
        }
    }

    /// An error about `key`, whose value is not `expected`.
    #[cold]
    pub fn unexpected(&self, key: &str, value: &Value, expected: &str) -> Error {
        self.error(format!("`{key}` is {value}; {expected} was expected"))
            .into()
    }

    #[cold]
    fn error(&self, message: String) -> tensor::Error {
        tensor::Error::value(format!("configuration of {}", self.class), message)
    }
}

/// Files write whole numbers as `3` and, rarely, as `3.0`.
fn as_size(value: &Value) -> Option<usize> {
    let whole = value.as_u64().or_else(|| {
        value
            .as_f64()
            .filter(|x| x.fract() == 0.0 && (0.0..=9e15).contains(x))
            .map(|x| x as u64)
    });
    whole.and_then(|n| usize::try_from(n).ok())
}
