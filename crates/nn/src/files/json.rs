//! The JSON that Keras's files describe models with, of all versions when read, of Keras 3 when
//! written.

use serde_json::{Value, json};
use tensor::{Error, Float, Shape};

use crate::config::{Config, ConfigReader, nested_object};

use super::saved::{SavedLayer, SavedModel, SavedObject, SavedTraining};

impl SavedObject {
    /// `{"class_name": …, "config": …}`, or the name alone where there are no settings.
    fn to_value(&self) -> Value {
        if self.config.is_empty() {
            return Value::from(&*self.class);
        }
        json!({"class_name": self.class, "config": self.config})
    }

    /// Reads a name, a class with settings, or a function object; also as the only entry of a list
    /// or of an object by output name.
    fn from_value(value: &Value) -> Option<Self> {
        if let Some((class, config)) = nested_object(value) {
            return Some(SavedObject { class, config });
        }
        match value {
            Value::Array(one) if one.len() == 1 => Self::from_value(&one[0]),
            Value::Object(one) if one.len() == 1 => one.values().next().and_then(Self::from_value),
            _ => None,
        }
    }
}

impl SavedTraining {
    /// Keras's `training_config`.
    pub(super) fn to_json(&self) -> Value {
        let optimizer = self
            .optimizer
            .as_ref()
            .map(|optimizer| json!({"class_name": optimizer.class, "config": optimizer.config}));
        json!({
            "loss": self.loss.to_value(),
            "loss_weights": null,
            "metrics": self.metrics,
            "weighted_metrics": null,
            "run_eagerly": false,
            "steps_per_execution": 1,
            "jit_compile": false,
            "optimizer_config": optimizer,
        })
    }

    /// Reads Keras's `training_config`, of any version.
    pub(super) fn from_json(value: &Value) -> Result<Self, String> {
        let config = value.as_object().ok_or("it is not a JSON object")?;
        let reader = ConfigReader::new("`compile`", config);
        // How Keras runs the steps, not what they compute.
        reader.ignore(&[
            "run_eagerly",
            "steps_per_execution",
            "jit_compile",
            "auto_scale_loss",
        ]);
        for key in ["loss_weights", "weighted_metrics", "sample_weight_mode"] {
            if let Some(value) = reader.get(key).filter(|value| !is_empty(value)) {
                return Err(reader.unsupported(key, value).to_string());
            }
        }
        let loss = reader.get("loss").unwrap_or(&Value::Null);
        let Some(loss) = SavedObject::from_value(loss) else {
            return Err(format!(
                "the loss is {loss}; one name or class was expected"
            ));
        };
        let mut metrics = Vec::new();
        if let Some(value) = reader.get("metrics") {
            collect_metrics(value, &mut metrics).map_err(|error| error.to_string())?;
        }
        let optimizer = match reader.get("optimizer_config") {
            None => None,
            Some(value) => {
                let mut optimizer = SavedObject::from_value(value)
                    .ok_or("`optimizer_config` is not one class with settings")?;
                // The package of Keras's own optimizers from 2.11 on.
                if let Some(class) = optimizer.class.strip_prefix("Custom>") {
                    optimizer.class = class.to_string();
                }
                Some(optimizer)
            }
        };
        reader.finish().map_err(|error| error.to_string())?;
        Ok(SavedTraining {
            loss,
            metrics,
            optimizer,
        })
    }
}

/// Null, or a list or object by output of nothing else.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(list) => list.iter().all(is_empty),
        Value::Object(object) => object.values().all(is_empty),
        _ => false,
    }
}

/// The names of metrics in a list of names, of objects, or of such lists for each output. Names
/// are all that is kept, so metrics of this crate must have no other settings.
fn collect_metrics(value: &Value, names: &mut Vec<String>) -> crate::Result<()> {
    match value {
        Value::Array(list) => list
            .iter()
            .try_for_each(|item| collect_metrics(item, names)),
        Value::Object(object) if !object.contains_key("class_name") => object
            .values()
            .try_for_each(|item| collect_metrics(item, names)),
        Value::Null => Ok(()),
        _ => {
            let Some((class, config)) = nested_object(value) else {
                let message = format!("the metric {value} is not one name or class");
                return Err(Error::unsupported("model", message).into());
            };
            let reader = ConfigReader::new(&class, &config);
            reader.ignore(&["name"]);
            // A wrapper tells the function it wraps; its own name is free for the user to set.
            let name = match (&*class, value) {
                ("MeanMetricWrapper", _) => reader.text("fn")?.to_string(),
                (_, Value::String(name)) => name.clone(),
                _ => snake_case(&class),
            };
            // Others are refused by their names, once they are needed.
            if crate::metrics::from_name::<f32>(&name).is_ok() {
                reader.expect("threshold", 0.5)?;
                reader.expect_single_or_double()?;
                reader.finish()?;
            }
            names.push(name);
            Ok(())
        }
    }
}

/// `CategoricalAccuracy` → `categorical_accuracy`.
fn snake_case(class: &str) -> String {
    let mut name = String::with_capacity(class.len() + 4);
    for (i, c) in class.chars().enumerate() {
        if i > 0 && c.is_uppercase() {
            name.push('_');
        }
        name.extend(c.to_lowercase());
    }
    name
}

/// Keras's form of a shape: the batch axis, of unknown size, in front.
fn batch_shape(shape: &Shape) -> Value {
    std::iter::once(Value::Null)
        .chain(shape.iter().map(|&size| Value::from(size)))
        .collect()
}

/// The sizes after the batch axis, if all of them are known.
fn after_batch(value: &Value) -> Option<Shape> {
    let (_, sizes) = value.as_array()?.split_first()?;
    let size = |size: &Value| usize::try_from(size.as_u64()?).ok();
    let sizes: Option<Vec<usize>> = sizes.iter().map(size).collect();
    sizes.map(|sizes| Shape::from(&sizes[..]))
}

/// The class that Keras gives the pseudo-layer which says the shape of the inputs.
const INPUT_LAYER: &str = "InputLayer";

impl<T: Float> SavedModel<T> {
    /// Keras 3's `model_config`.
    pub(super) fn architecture_to_json(&self) -> Value {
        let dtype = json!({
            "module": "keras",
            "class_name": "DTypePolicy",
            "config": {"name": format!("float{}", 8 * size_of::<T>())},
            "registered_name": null,
        });
        let mut layers = Vec::with_capacity(self.layers.len() + 1);
        if let Some(shape) = &self.input_shape {
            let mut name = "input_layer".to_string();
            while self.layers.iter().any(|layer| layer.name == name) {
                name.push('_');
            }
            layers.push(json!({
                "class_name": INPUT_LAYER,
                "config": {
                    "batch_shape": batch_shape(shape),
                    "dtype": dtype["config"]["name"],
                    "sparse": false,
                    "name": name,
                },
            }));
        }
        for layer in &self.layers {
            let mut config = layer.config.clone();
            config.insert("name".into(), Value::from(&*layer.name));
            config.entry("trainable").or_insert(Value::Bool(true));
            config.entry("dtype").or_insert_with(|| dtype.clone());
            layers.push(json!({"class_name": layer.class, "config": config}));
        }
        let mut config = json!({
            "name": self.name,
            "trainable": true,
            "dtype": dtype,
            "layers": layers,
        });
        if let Some(shape) = &self.input_shape {
            config["build_input_shape"] = batch_shape(shape);
        }
        json!({"class_name": "Sequential", "config": config})
    }

    /// Reads the `model_config` of a sequential model, of any version of Keras; without weights.
    pub(super) fn architecture_from_json(value: &Value) -> Result<Self, String> {
        let class = value.get("class_name").and_then(Value::as_str);
        if class != Some("Sequential") {
            let class = class.unwrap_or("of no class");
            return Err(format!("the model is `{class}`, not `Sequential`"));
        }
        let no_settings = Config::new();
        let reader = ConfigReader::new("the model", value.as_object().unwrap_or(&no_settings));
        reader.ignore(&[
            "class_name",
            "config",
            "module",
            "registered_name",
            "build_config",
            "compile_config",
            "keras_version",
            "backend",
        ]);
        reader.finish().map_err(|error| error.to_string())?;
        let config = value.get("config").unwrap_or(&Value::Null);
        let settings = config.as_object().unwrap_or(&no_settings);
        let reader = ConfigReader::new("Sequential", settings);
        // Keras before 2.2.3 put the list of layers straight here.
        let list = match config {
            Value::Array(list) => list,
            _ => reader
                .get("layers")
                .and_then(Value::as_array)
                .ok_or("the model's configuration has no list of layers")?,
        };
        let name = reader.get("name").and_then(Value::as_str);
        let mut model = SavedModel {
            name: name.unwrap_or("sequential").to_string(),
            seed: 0,
            input_shape: reader.get("build_input_shape").and_then(after_batch),
            layers: Vec::with_capacity(list.len()),
            training: None,
            optimizer_state: None,
        };
        for (index, entry) in list.iter().enumerate() {
            let config = entry.get("config").filter(|config| config.is_object());
            if config.is_none() || !entry["class_name"].is_string() {
                return Err(format!("layer {index} has no class or no configuration"));
            }
            let Some((class, mut config)) = nested_object(entry) else {
                return Err(format!(
                    "layer {index} has entries beside class and configuration that are not known"
                ));
            };
            let shape = ["batch_shape", "batch_input_shape"].map(|key| config.remove(key));
            if let Some(shape) = shape.iter().flatten().find_map(after_batch)
                && model.layers.is_empty()
            {
                model.input_shape = Some(shape);
            }
            if class == INPUT_LAYER {
                check_input_layer(&config).map_err(|error| error.to_string())?;
                continue;
            }
            let Some(Value::String(name)) = config.remove("name") else {
                return Err(format!("layer {index}, a `{class}`, has no name"));
            };
            model.layers.push(SavedLayer {
                class,
                name,
                config,
                weights: Vec::new(),
            });
        }
        // What a model says for all its layers.
        let frozen = reader.get("trainable").filter(|value| **value != true);
        let dtype = reader.get("dtype");
        for layer in &mut model.layers {
            if let Some(frozen) = frozen {
                layer.config.insert("trainable".into(), frozen.clone());
            }
            if let Some(dtype) = dtype {
                let own = layer.config.entry("dtype");
                own.or_insert_with(|| dtype.clone());
            }
        }
        reader.finish().map_err(|error| error.to_string())?;
        Ok(model)
    }
}

/// Refuses inputs that are more than an array of numbers.
fn check_input_layer(config: &Config) -> crate::Result<()> {
    let reader = ConfigReader::new(INPUT_LAYER, config);
    reader.ignore(&["name"]);
    for key in ["sparse", "ragged", "optional"] {
        reader.expect(key, false)?;
    }
    // Inputs of whole numbers are given as such; half precision would round.
    let types = [
        "float32", "float64", "uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64",
        "int64",
    ];
    reader.one_of("dtype", &types)?;
    reader.finish()
}

#[cfg(test)]
mod tests;
