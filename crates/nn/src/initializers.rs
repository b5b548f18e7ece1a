//! The first values of weights, drawn by Keras's formulas.

use rand::{Rng, RngExt};
use rand_distr::StandardNormal;
use serde_json::{Value, json};
use tensor::{Float, Shape, Tensor};

use crate::config::{ConfigReader, config, nested_object, object};
use crate::error::Result;

/// How the first values of a parameter are drawn.
///
/// `fan_in` and `fan_out` are the numbers of values that meet in one output and that one input
/// goes to: for a dense kernel `[in, out]` those two, for filters `[height, width, in, out]` each
/// times `height·width`.
///
/// ```
/// use nn::Initializer;
/// use nn::layers::Dense;
/// let layer = Dense::new(64).kernel_initializer(Initializer::HeNormal);
/// ```
#[derive(Clone, Debug, PartialEq, Default)]
#[non_exhaustive]
pub enum Initializer {
    /// Uniform in `±√(6 / (fan_in + fan_out))`, the default of kernels (Glorot and Bengio 2010).
    #[default]
    GlorotUniform,
    /// Normal of variance `2 / (fan_in + fan_out)`, truncated at two standard deviations of the
    /// untruncated normal, which is widened so that the variance is kept.
    GlorotNormal,
    /// Uniform in `±√(6 / fan_in)`, made for ReLU (He et al. 2015).
    HeUniform,
    /// Normal of variance `2 / fan_in`, truncated like [`Initializer::GlorotNormal`].
    HeNormal,
    /// Uniform in `±√(3 / fan_in)` (LeCun et al. 1998).
    LecunUniform,
    /// Normal of variance `1 / fan_in`, truncated like [`Initializer::GlorotNormal`].
    LecunNormal,
    /// All 0, the default of biases.
    Zeros,
    /// All 1.
    Ones,
    /// One value for all.
    Constant(f64),
    /// Uniform between two bounds.
    RandomUniform {
        /// Lower bound; Keras's default is −0.05.
        low: f64,
        /// Upper bound; Keras's default is 0.05.
        high: f64,
    },
    /// Normal, not truncated.
    RandomNormal {
        /// The mean; Keras's default is 0.
        mean: f64,
        /// The standard deviation; Keras's default is 0.05.
        deviation: f64,
    },
    /// Normal, with values further than two standard deviations from the mean drawn again; the
    /// variance is therefore smaller than `deviation²`.
    TruncatedNormal {
        /// The mean; Keras's default is 0.
        mean: f64,
        /// The standard deviation before truncation; Keras's default is 0.05.
        deviation: f64,
    },
}

/// Standard deviation of the standard normal distribution truncated to −2 … 2.
const TRUNCATED_DEVIATION: f64 = 0.879_625_661_034_239_8;

impl Initializer {
    /// A tensor of `shape` drawn from `generator`.
    ///
    /// The values are drawn in f64 and rounded, so that networks in f32 and f64 with one seed
    /// start from the same point.
    ///
    /// # Errors
    /// If the shape is too large for memory.
    pub fn sample<T: Float>(&self, shape: &Shape, generator: &mut impl Rng) -> Result<Tensor<T>> {
        let (fan_in, fan_out) = fans(shape);
        let mean_fan = (fan_in + fan_out) / 2.0;
        let mut out = Tensor::zeros(shape)?;
        let mut fill = |draw: &mut dyn FnMut() -> f64| {
            for value in out.make_mut() {
                *value = T::constant(draw());
            }
        };
        match *self {
            Self::Zeros => {}
            Self::Ones => fill(&mut || 1.0),
            Self::Constant(value) => fill(&mut || value),
            Self::RandomUniform { low, high } => fill(&mut || uniform(generator, low, high)),
            Self::RandomNormal { mean, deviation } => {
                fill(&mut || mean + deviation * normal(generator));
            }
            Self::TruncatedNormal { mean, deviation } => {
                fill(&mut || mean + deviation * truncated_normal(generator));
            }
            Self::GlorotUniform | Self::HeUniform | Self::LecunUniform => {
                let variance = match self {
                    Self::GlorotUniform => 1.0 / mean_fan,
                    Self::HeUniform => 2.0 / fan_in,
                    _ => 1.0 / fan_in,
                };
                let limit = (3.0 * variance).sqrt();
                fill(&mut || uniform(generator, -limit, limit));
            }
            Self::GlorotNormal | Self::HeNormal | Self::LecunNormal => {
                let variance = match self {
                    Self::GlorotNormal => 1.0 / mean_fan,
                    Self::HeNormal => 2.0 / fan_in,
                    _ => 1.0 / fan_in,
                };
                let deviation = variance.sqrt() / TRUNCATED_DEVIATION;
                fill(&mut || deviation * truncated_normal(generator));
            }
        }
        Ok(out)
    }

    /// The form in which Keras's files hold it.
    pub fn to_value(&self) -> Value {
        let unseeded = || config([("seed", Value::Null)]);
        let (class, config) = match *self {
            Self::GlorotUniform => ("GlorotUniform", unseeded()),
            Self::GlorotNormal => ("GlorotNormal", unseeded()),
            Self::HeUniform => ("HeUniform", unseeded()),
            Self::HeNormal => ("HeNormal", unseeded()),
            Self::LecunUniform => ("LecunUniform", unseeded()),
            Self::LecunNormal => ("LecunNormal", unseeded()),
            Self::Zeros => ("Zeros", config([])),
            Self::Ones => ("Ones", config([])),
            Self::Constant(value) => ("Constant", config([("value", json!(value))])),
            Self::RandomUniform { low, high } => (
                "RandomUniform",
                config([
                    ("minval", json!(low)),
                    ("maxval", json!(high)),
                    ("seed", Value::Null),
                ]),
            ),
            Self::RandomNormal { mean, deviation } | Self::TruncatedNormal { mean, deviation } => {
                let truncated = matches!(self, Self::TruncatedNormal { .. });
                (
                    if truncated {
                        "TruncatedNormal"
                    } else {
                        "RandomNormal"
                    },
                    config([
                        ("mean", json!(mean)),
                        ("stddev", json!(deviation)),
                        ("seed", Value::Null),
                    ]),
                )
            }
        };
        object("keras.initializers", class, config)
    }

    /// Reads the entry `key` of a configuration: an object as in Keras's files, old or new, or a
    /// name such as `"he_normal"`. Its seed is not kept: it is for Keras's generator, whose numbers
    /// are others.
    ///
    /// # Errors
    /// If it is an initializer that this crate does not have.
    pub fn from_config(reader: &ConfigReader<'_>, key: &str, default: Self) -> Result<Self> {
        let Some(value) = reader.get(key) else {
            return Ok(default);
        };
        match Self::from_value(reader, key, value) {
            // Weights of a file are not drawn, however they once were.
            Err(_) if reader.has_weights() => {
                reader.set_aside(key);
                Ok(default)
            }
            result => result,
        }
    }

    fn from_value(reader: &ConfigReader<'_>, key: &str, value: &Value) -> Result<Self> {
        let unknown = || reader.unexpected(key, value, "an initializer of this crate");
        let (class, config) = nested_object(value).ok_or_else(unknown)?;
        let reader = ConfigReader::new(&class, &config);
        reader.ignore(&["seed", "dtype"]);
        let initializer = match &*class {
            "GlorotUniform" | "glorot_uniform" => Self::GlorotUniform,
            "GlorotNormal" | "glorot_normal" => Self::GlorotNormal,
            "HeUniform" | "he_uniform" => Self::HeUniform,
            "HeNormal" | "he_normal" => Self::HeNormal,
            "LecunUniform" | "lecun_uniform" => Self::LecunUniform,
            "LecunNormal" | "lecun_normal" => Self::LecunNormal,
            "Zeros" | "zeros" => Self::Zeros,
            "Ones" | "ones" => Self::Ones,
            "Constant" | "constant" => Self::Constant(reader.number_or("value", 0.0)?),
            "RandomUniform" | "random_uniform" => Self::RandomUniform {
                low: reader.number_or("minval", -0.05)?,
                high: reader.number_or("maxval", 0.05)?,
            },
            "RandomNormal" | "random_normal" => Self::RandomNormal {
                mean: reader.number_or("mean", 0.0)?,
                deviation: reader.number_or("stddev", 0.05)?,
            },
            "TruncatedNormal" | "truncated_normal" => Self::TruncatedNormal {
                mean: reader.number_or("mean", 0.0)?,
                deviation: reader.number_or("stddev", 0.05)?,
            },
            // Keras 2 wrote the named schemes by their general form.
            "VarianceScaling" | "variance_scaling" => {
                let scale = reader.number_or("scale", 1.0)?;
                let mode = reader
                    .get("mode")
                    .and_then(Value::as_str)
                    .unwrap_or("fan_in");
                let distribution = reader.get("distribution").and_then(Value::as_str);
                let uniform = match distribution.unwrap_or("truncated_normal") {
                    "uniform" => true,
                    "truncated_normal" | "normal" => false,
                    _ => return Err(unknown()),
                };
                match (mode, scale, uniform) {
                    ("fan_avg", 1.0, true) => Self::GlorotUniform,
                    ("fan_avg", 1.0, false) => Self::GlorotNormal,
                    ("fan_in", 2.0, true) => Self::HeUniform,
                    ("fan_in", 2.0, false) => Self::HeNormal,
                    ("fan_in", 1.0, true) => Self::LecunUniform,
                    ("fan_in", 1.0, false) => Self::LecunNormal,
                    _ => return Err(unknown()),
                }
            }
            _ => return Err(unknown()),
        };
        reader.finish()?;
        Ok(initializer)
    }
}

/// Keras's `compute_fans`.
fn fans(shape: &Shape) -> (f64, f64) {
    match shape[..] {
        [] => (1.0, 1.0),
        [n] => (n.max(1) as f64, n.max(1) as f64),
        [ref window @ .., input, output] => {
            let window: f64 = window.iter().map(|&n| n as f64).product();
            // Keras keeps the fans from dividing by zero in the same way.
            let fan = |channels: usize| (channels as f64 * window).max(1.0);
            (fan(input), fan(output))
        }
    }
}

fn uniform(generator: &mut impl Rng, low: f64, high: f64) -> f64 {
    low + (high - low) * generator.random::<f64>()
}

fn normal(generator: &mut impl Rng) -> f64 {
    generator.sample(StandardNormal)
}

/// A standard normal value, drawn again until it lies in −2 … 2.
fn truncated_normal(generator: &mut impl Rng) -> f64 {
    loop {
        let value = normal(generator);
        if value.abs() <= 2.0 {
            return value;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand::rngs::ChaCha8Rng;

    fn draw(initializer: &Initializer, shape: &[usize]) -> Vec<f64> {
        let mut generator = ChaCha8Rng::seed_from_u64(7);
        let tensor = initializer.sample::<f64>(&Shape::from(shape), &mut generator);
        tensor.unwrap().to_vec()
    }

    /// Standard deviation and largest magnitude of 3×3 filters from 32 to 64 channels.
    fn spread(initializer: &Initializer) -> (f64, f64) {
        let values = draw(initializer, &[3, 3, 32, 64]);
        let square = values.iter().map(|x| x * x).sum::<f64>() / values.len() as f64;
        let largest = values.iter().fold(0.0, |m: f64, x| m.max(x.abs()));
        (square.sqrt(), largest)
    }

    #[test]
    fn variances_and_bounds_are_those_of_keras() {
        let (fan_in, fan_out) = (288.0, 576.0);
        let glorot: f64 = 2.0 / (fan_in + fan_out);
        for (initializer, variance, uniform) in [
            (Initializer::GlorotUniform, glorot, true),
            (Initializer::GlorotNormal, glorot, false),
            (Initializer::HeUniform, 2.0 / fan_in, true),
            (Initializer::HeNormal, 2.0 / fan_in, false),
            (Initializer::LecunUniform, 1.0 / fan_in, true),
            (Initializer::LecunNormal, 1.0 / fan_in, false),
        ] {
            let (deviation, largest) = spread(&initializer);
            let expected = variance.sqrt();
            assert!((deviation / expected - 1.0).abs() < 0.02, "{initializer:?}");
            let bound = if uniform {
                (3.0 * variance).sqrt()
            } else {
                2.0 * expected / TRUNCATED_DEVIATION
            };
            assert!(
                largest <= bound && largest > 0.99 * bound,
                "{initializer:?}"
            );
        }
    }

    #[test]
    fn constants_and_ranges() {
        assert_eq!(draw(&Initializer::Zeros, &[2]), [0.0; 2]);
        assert_eq!(draw(&Initializer::Ones, &[2]), [1.0; 2]);
        assert_eq!(draw(&Initializer::Constant(0.5), &[2]), [0.5; 2]);
        let uniform = Initializer::RandomUniform {
            low: 1.0,
            high: 2.0,
        };
        assert!(
            draw(&uniform, &[100])
                .iter()
                .all(|x| (1.0..2.0).contains(x))
        );
        let mean = 3.0;
        let truncated = Initializer::TruncatedNormal {
            mean,
            deviation: 0.5,
        };
        let values = draw(&truncated, &[10_000]);
        assert!(values.iter().all(|x| (x - mean).abs() <= 1.0));
        assert_eq!(draw(&Initializer::HeNormal, &[3, 0]), [0.0; 0]);
    }

    #[test]
    fn configurations_survive_the_round_trip() {
        for initializer in [
            Initializer::GlorotUniform,
            Initializer::GlorotNormal,
            Initializer::HeUniform,
            Initializer::HeNormal,
            Initializer::LecunUniform,
            Initializer::LecunNormal,
            Initializer::Zeros,
            Initializer::Ones,
            Initializer::Constant(0.25),
            Initializer::RandomUniform {
                low: -1.0,
                high: 2.0,
            },
            Initializer::RandomNormal {
                mean: 1.0,
                deviation: 2.0,
            },
            Initializer::TruncatedNormal {
                mean: 1.0,
                deviation: 2.0,
            },
        ] {
            let config = config([("kernel_initializer", initializer.to_value())]);
            let reader = ConfigReader::new("Dense", &config);
            let read = Initializer::from_config(&reader, "kernel_initializer", Initializer::Ones);
            assert_eq!(read.unwrap(), initializer);
        }
    }

    #[test]
    fn the_old_general_form_is_read() {
        let old = json!({"class_name": "VarianceScaling", "config":
            {"scale": 1.0, "mode": "fan_avg", "distribution": "uniform", "seed": null}});
        let config = config([("k", old), ("bad", json!("orthogonal"))]);
        let reader = ConfigReader::new("Dense", &config);
        let read = Initializer::from_config(&reader, "k", Initializer::Zeros);
        assert_eq!(read.unwrap(), Initializer::GlorotUniform);
        let error = Initializer::from_config(&reader, "bad", Initializer::Zeros).unwrap_err();
        assert!(error.to_string().contains("orthogonal"), "{error}");
    }
}
