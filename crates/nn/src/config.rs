//! Configurations of layers, losses and optimizers in the form that Keras's files have.

use std::cell::RefCell;
use std::collections::HashSet;

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

/// Class and settings of an object as Keras's files nest it: a name alone, `{"class_name": …,
/// "config": …}`, or a function's `{"class_name": "function", "config": NAME}`; none for anything
/// else, and where there are other entries that could mean something.
///
/// Classes that a user registered keep their package, `"Custom>Dense"`, so that they are not taken
/// for Keras's own.
pub(crate) fn nested_object(value: &Value) -> Option<(String, Config)> {
    /// What Keras writes beside, none of which says how the object computes.
    const BESIDE: [&str; 5] = [
        "module",
        "registered_name",
        "build_config",
        "compile_config",
        "shared_object_id",
    ];
    let object = match value {
        Value::String(name) => return Some((name.clone(), Config::new())),
        other => other.as_object()?,
    };
    let known = |key: &String| BESIDE.contains(&&**key) || key == "class_name" || key == "config";
    if !object.keys().all(known) {
        return None;
    }
    let class = object.get("class_name")?.as_str()?;
    let registered = object.get("registered_name").and_then(Value::as_str);
    let class = registered
        .filter(|name| name.contains('>'))
        .unwrap_or(class);
    match object.get("config") {
        Some(Value::String(function)) => Some((function.clone(), Config::new())),
        Some(Value::Object(config)) => Some((class.to_string(), config.clone())),
        None | Some(Value::Null) => Some((class.to_string(), Config::new())),
        Some(_) => None,
    }
}

/// What an object is made for, which decides which of its settings count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// To start from nothing: all of them.
    Start,
    /// To go on with the weights of a file: not how weights are first drawn.
    GoOn,
    /// To predict with the weights of a file: nor what only training looks at.
    Predict,
}

/// Reads the entries of a configuration, with errors that name class, key and value.
///
/// It remembers which entries were asked for, and [`finish`](ConfigReader::finish) refuses the
/// others: a setting that nobody reads would silently be dropped.
///
/// ```
/// use nn::{Config, ConfigReader};
/// let config: Config = [("rate".to_string(), 0.5.into())].into_iter().collect();
/// let reader = ConfigReader::new("Dropout", &config);
/// assert_eq!(reader.number("rate")?, 0.5);
/// assert!(reader.number("seed").unwrap_err().to_string().contains("`seed` is missing"));
/// reader.finish()?;
///
/// let config: Config = [("noise".to_string(), 0.5.into())].into_iter().collect();
/// let error = ConfigReader::new("Dropout", &config).finish().unwrap_err();
/// assert!(error.to_string().contains("`noise` = 0.5 is not supported"));
/// # Ok::<(), nn::Error>(())
/// ```
pub struct ConfigReader<'a> {
    class: &'a str,
    config: &'a Config,
    purpose: Purpose,
    read: RefCell<HashSet<String>>,
    set_aside: RefCell<Config>,
}

impl<'a> ConfigReader<'a> {
    /// Reads `config`, which belongs to an object of `class`.
    pub fn new(class: &'a str, config: &'a Config) -> Self {
        Self::with_purpose(class, config, Purpose::Start)
    }

    /// Reads `config` for an object that is made for `purpose`.
    pub(crate) fn with_purpose(class: &'a str, config: &'a Config, purpose: Purpose) -> Self {
        ConfigReader {
            class,
            config,
            purpose,
            read: RefCell::default(),
            set_aside: RefCell::default(),
        }
    }

    /// The class that the configuration belongs to.
    pub fn class(&self) -> &'a str {
        self.class
    }

    /// The entry `key`, unless it is missing or null.
    pub fn get(&self, key: &str) -> Option<&'a Value> {
        self.ignore(&[key]);
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

    /// Takes note of entries that make no difference to what the object computes.
    pub fn ignore(&self, keys: &[&str]) {
        let mut read = self.read.borrow_mut();
        read.extend(keys.iter().map(ToString::to_string));
    }

    /// Refuses every value of `key` but `neutral`, the one with which the setting changes nothing;
    /// it may also be missing or null.
    ///
    /// # Errors
    /// If there is another value.
    pub fn expect(&self, key: &str, neutral: impl Into<Value>) -> Result<()> {
        match self.get(key) {
            Some(value) if !same(value, &neutral.into()) => Err(self.unsupported(key, value)),
            _ => Ok(()),
        }
    }

    /// Refuses every value of `key` but one of these strings; it may also be missing, not null.
    ///
    /// # Errors
    /// If there is another value.
    pub fn one_of(&self, key: &str, choices: &[&str]) -> Result<()> {
        self.ignore(&[key]);
        match self.config.get(key) {
            Some(value) if !choices.iter().any(|choice| value == choice) => {
                Err(self.unsupported(key, value))
            }
            _ => Ok(()),
        }
    }

    /// [`ConfigReader::expect`] for what only training looks at: to predict, other values are set
    /// aside.
    pub(crate) fn expect_for_training(&self, key: &str, neutral: impl Into<Value>) -> Result<()> {
        match (self.expect(key, neutral), self.purpose) {
            (Err(_), Purpose::Predict) => {
                self.set_aside(key);
                Ok(())
            }
            (Err(error), Purpose::GoOn) => {
                Err(error.fix("load with `LoadOptions::new().compile(false)` to predict"))
            }
            (result, _) => result,
        }
    }

    /// Refuses half and mixed precision, in which Keras computes other values. Which of the two
    /// precisions this crate takes is not up to the file.
    ///
    /// # Errors
    /// If `dtype` is another than `float32` and `float64`.
    pub fn expect_single_or_double(&self) -> Result<()> {
        let Some(value) = self.get("dtype") else {
            return Ok(());
        };
        let name = nested_object(value).and_then(|(class, config)| match &*class {
            // A policy, whose only setting is its name.
            "DTypePolicy" | "FloatDTypePolicy" | "Policy" => {
                let policy = ConfigReader::new(&class, &config);
                let name = policy.text("name").ok()?;
                policy.finish().is_ok().then(|| name.to_string())
            }
            _ => config.is_empty().then(|| class.clone()),
        });
        match name.as_deref() {
            Some("float32" | "float64") => Ok(()),
            _ => Err(self
                .unsupported("dtype", value)
                .fix("save the model in `float32`, or build it in code and `load_weights`")),
        }
    }

    /// Whether the object gets the weights of a file and draws none.
    pub(crate) fn has_weights(&self) -> bool {
        self.purpose != Purpose::Start
    }

    /// Keeps the entry `key`, which this crate cannot act on and the purpose does not need, so that
    /// it is not lost when the object is saved again.
    pub(crate) fn set_aside(&self, key: &str) {
        if let Some(value) = self.get(key) {
            let mut set_aside = self.set_aside.borrow_mut();
            set_aside.insert(key.to_string(), value.clone());
        }
    }

    /// The entries that were [set aside](ConfigReader::set_aside).
    pub(crate) fn into_set_aside(self) -> Config {
        self.set_aside.into_inner()
    }

    /// Refuses the configuration if it has entries that were not read: they stand for something
    /// that this crate does not do, and leaving them out would silently change the result. Entries
    /// that are null stand for nothing.
    ///
    /// # Errors
    /// If there are such entries; the error lists them.
    pub fn finish(&self) -> Result<()> {
        let read = self.read.borrow();
        let left = |(key, value): &(&String, &Value)| !value.is_null() && !read.contains(*key);
        let left: Vec<String> = (self.config.iter().filter(left))
            .map(|(key, value)| format!("`{key}` = {}", shortened(value)))
            .collect();
        match &left[..] {
            [] => Ok(()),
            [one] => Err(self.error(format!("{one} is not supported")).into()),
            several => {
                let list = several.join(", ");
                Err(self.error(format!("{list} are not supported")).into())
            }
        }
    }

    /// Refuses image layouts other than `[batch, height, width, channels]`.
    ///
    /// # Errors
    /// If `data_format` says something else.
    pub fn require_channels_last(&self) -> Result<()> {
        match self.get("data_format") {
            Some(value) if value != "channels_last" => Err(self
                .error(format!(
                    "`data_format` = {} is not supported",
                    shortened(value)
                ))
                .fix("save the model with `data_format=\"channels_last\"`")
                .into()),
            _ => Ok(()),
        }
    }

    /// An error about `key`, whose value is not `expected`.
    #[cold]
    pub fn unexpected(&self, key: &str, value: &Value, expected: &str) -> Error {
        let value = shortened(value);
        self.error(format!("`{key}` is {value}; {expected} was expected"))
            .into()
    }

    /// An error about `key`, whose value stands for something that this crate does not do.
    #[cold]
    pub fn unsupported(&self, key: &str, value: &Value) -> Error {
        let value = shortened(value);
        self.error(format!("`{key}` = {value} is not supported"))
            .into()
    }

    #[cold]
    fn error(&self, message: String) -> tensor::Error {
        tensor::Error::value(format!("configuration of {}", self.class), message)
    }
}

/// A number as JSON, which has none that is infinite or NaN: those are texts.
pub(crate) fn float_to_json(value: f64) -> Value {
    match value.is_finite() {
        true => value.into(),
        false => value.to_string().into(),
    }
}

/// Reads [`float_to_json`].
pub(crate) fn float(value: &Value) -> Option<f64> {
    let special = value.as_str().and_then(|text| text.parse().ok());
    value.as_f64().or(special)
}

/// Whether two entries are equal, numbers by value: files write both `0` and `0.0`.
fn same(a: &Value, b: &Value) -> bool {
    match (a.as_f64(), b.as_f64()) {
        (Some(a), Some(b)) => a == b,
        _ => a == b,
    }
}

/// The value as JSON, cut off where it is too long for a message.
fn shortened(value: &Value) -> String {
    const LONGEST: usize = 200;
    let text = value.to_string();
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{} …", &text[..end]),
        None => text,
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
