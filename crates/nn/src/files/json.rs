//! The JSON that Keras's files describe models with, of all versions when read, of Keras 3 when
//! written.

use serde_json::{Map, Value, json};
use tensor::{Float, Shape};

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
    /// or of an object by output name. Packages before the class (`"Custom>Adam"`) are dropped.
    fn from_value(value: &Value) -> Option<Self> {
        let named = |class: &str| SavedObject {
            class: class.rsplit('>').next().unwrap_or(class).to_string(),
            config: Map::new(),
        };
        match value {
            Value::String(name) => Some(named(name)),
            Value::Array(one) => match &one[..] {
                [single] => Self::from_value(single),
                _ => None,
            },
            Value::Object(object) => match (object.get("class_name"), object.get("config")) {
                (Some(Value::String(_)), Some(Value::String(function))) => Some(named(function)),
                (Some(Value::String(class)), Some(Value::Object(config))) => Some(SavedObject {
                    config: config.clone(),
                    ..named(class)
                }),
                (Some(Value::String(class)), _) => Some(named(class)),
                _ if object.len() == 1 => object.values().next().and_then(Self::from_value),
                _ => None,
            },
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
        let loss = value.get("loss").unwrap_or(&Value::Null);
        let Some(loss) = SavedObject::from_value(loss) else {
            return Err(format!(
                "the loss is {loss}; one name or class was expected"
            ));
        };
        let mut metrics = Vec::new();
        collect_metrics(value.get("metrics").unwrap_or(&Value::Null), &mut metrics);
        let optimizer = value.get("optimizer_config").unwrap_or(&Value::Null);
        Ok(SavedTraining {
            loss,
            metrics,
            optimizer: SavedObject::from_value(optimizer),
        })
    }
}

/// The names of metrics in a list of names, of objects, or of such lists for each output.
fn collect_metrics(value: &Value, names: &mut Vec<String>) {
    match value {
        Value::Array(list) => list.iter().for_each(|item| collect_metrics(item, names)),
        Value::Object(object) => match object.get("class_name").and_then(Value::as_str) {
            Some(class) => {
                // A wrapper tells the function it wraps; its own name is free for the user to set.
                let function = object
                    .get("config")
                    .and_then(|config| config.get("fn"))
                    .and_then(SavedObject::from_value);
                names.push(function.map_or_else(|| snake_case(class), |function| function.class));
            }
            None => object
                .values()
                .for_each(|item| collect_metrics(item, names)),
        },
        Value::String(name) => names.push(name.clone()),
        _ => {}
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
        // Keras before 2.2.3 put the list of layers straight here.
        let config = value.get("config").unwrap_or(&Value::Null);
        let list = match config {
            Value::Array(list) => list,
            object => object
                .get("layers")
                .and_then(Value::as_array)
                .ok_or("the model's configuration has no list of layers")?,
        };
        let mut model = SavedModel {
            name: config["name"].as_str().unwrap_or("sequential").to_string(),
            seed: 0,
            input_shape: config.get("build_input_shape").and_then(after_batch),
            layers: Vec::with_capacity(list.len()),
            training: None,
            optimizer_state: None,
        };
        for (index, entry) in list.iter().enumerate() {
            let class = entry.get("class_name").and_then(Value::as_str);
            let config = entry.get("config").and_then(Value::as_object);
            let Some((class, config)) = class.zip(config) else {
                return Err(format!("layer {index} has no class or no configuration"));
            };
            let mut config = config.clone();
            let shape = ["batch_shape", "batch_input_shape"].map(|key| config.remove(key));
            if let Some(shape) = shape.iter().flatten().find_map(after_batch)
                && model.layers.is_empty()
            {
                model.input_shape = Some(shape);
            }
            if class == INPUT_LAYER {
                continue;
            }
            let Some(Value::String(name)) = config.remove("name") else {
                return Err(format!("layer {index}, a `{class}`, has no name"));
            };
            model.layers.push(SavedLayer {
                class: class.rsplit('>').next().unwrap_or(class).to_string(),
                name,
                config,
                weights: Vec::new(),
            });
        }
        Ok(model)
    }
}
