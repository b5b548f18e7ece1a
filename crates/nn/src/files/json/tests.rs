//! Every setting that Keras writes is acted on, refused, or known to make no difference.

use std::path::Path;

use serde_json::Value;

use super::*;
use crate::config::Purpose;
use crate::{layers, losses, metrics, optimizers};

/// The cases of `scripts/keras_settings.py`, as Keras 3 and TF-Keras write them.
fn cases() -> Vec<(String, Value)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/keras");
    let files = [
        "keras_3_15_1_settings.json",
        "tf_keras_2_21_0_settings.json",
    ];
    let read = |file: &str| -> Vec<(String, Value)> {
        let text = std::fs::read(folder.join(file)).unwrap();
        let cases: Config = serde_json::from_slice(&text).unwrap();
        assert!(cases.len() > 40);
        cases.into_iter().collect()
    };
    files.into_iter().flat_map(read).collect()
}

/// All that is made of what the file says: it differs where a setting makes a difference.
fn made(case: &Value, purpose: Purpose) -> Result<String, String> {
    let text = |error: crate::Error| error.to_string();
    if let Some(training) = case.get("training_config") {
        let training = SavedTraining::from_json(training)?;
        let SavedObject { class, config } = &training.loss;
        let loss = losses::from_config::<f32>(class, config).map_err(text)?;
        let optimizer = training.optimizer.as_ref().unwrap();
        let optimizer = optimizers::from_config::<f32>(&optimizer.class, &optimizer.config);
        let optimizer = optimizer.map_err(text)?;
        let mut made = format!("{:?} {:?}", loss.config(), optimizer.config());
        for metric in &training.metrics {
            made += metrics::from_name::<f32>(metric).map_err(text)?.name();
        }
        return Ok(made + optimizer.class_name());
    }
    let model = SavedModel::<f32>::architecture_from_json(&case["model_config"])?;
    let mut made = format!("{} {:?}", model.name, model.input_shape);
    for layer in model.layers {
        let (own, _) = layers::for_purpose::<f32>(&layer.class, &layer.config, purpose)
            .map_err(|error| format!("{}: {error}", layer.name))?;
        made += &format!("{} {} {:?}", layer.name, own.label(), own.config());
    }
    Ok(made)
}

/// Cases that are refused even to predict, with words of the message.
const WRONG_OUTPUTS: [(&str, &str); 7] = [
    ("half", "`dtype` = "),
    ("mixed", "mixed_float16"),
    ("channels_first", "`data_format` = \"channels_first\""),
    ("relu6", "`max_value` = 6"),
    ("softmax_axis", "`axis` = 1"),
    ("own_layer", "no layer of class `Custom>Dense`"),
    ("sparse_input", "`sparse` = true"),
];

/// Cases that are refused where they would be trained.
const WRONG_TRAINING: [(&str, &str); 24] = [
    ("reduction", "`reduction` = \"sum\""),
    ("no_reduction", "`reduction` = "),
    ("label_smoothing", "`label_smoothing` = 0.1"),
    ("ignore_class", "`ignore_class` = 2"),
    ("own_loss", "no loss called `Custom>own_loss`"),
    ("loss_weights", "`loss_weights` = [2.0]"),
    ("weighted_metrics", "`weighted_metrics` = "),
    ("threshold", "`threshold` = 0.7"),
    ("auc", "no metric called"),
    ("own_metric", "no metric called `own_metric`"),
    ("amsgrad", "`amsgrad` = true"),
    ("average", "`use_ema` = true"),
    ("schedule", "ExponentialDecay"),
    ("nadam", "no optimizer `Nadam`"),
    ("accumulation", "`gradient_accumulation_steps` = 4"),
    ("loss_scale", "`loss_scale_factor` = 4"),
    ("loss_scale_optimizer", "no optimizer `LossScaleOptimizer`"),
    ("decay", "`decay` = "),
    ("two_limits", "`clipnorm` = 1.0"),
    ("frozen_layer", "`trainable` = false"),
    ("frozen", "`trainable` = false"),
    ("regularizer", "`kernel_regularizer` = "),
    ("activity_regularizer", "`activity_regularizer` = "),
    ("constraint", "`bias_constraint` = "),
];

#[test]
fn settings_that_change_the_result_are_refused_by_name() {
    let mut refused = 0;
    for (name, case) in cases() {
        let words = |list: &[(&str, &'static str)]| {
            let known = list.iter().find(|(own, _)| *own == name);
            known.map(|(_, words)| *words)
        };
        let (outputs, training) = (words(&WRONG_OUTPUTS), words(&WRONG_TRAINING));
        let training = training.or((name == "noise_shape").then_some("`noise_shape` = "));
        match (made(&case, Purpose::GoOn), outputs.or(training)) {
            (Err(error), Some(words)) => assert!(error.contains(words), "{name}: {error}"),
            (Ok(_), None) => {}
            (result, _) => panic!("{name}: {result:?}"),
        }
        if case.get("model_config").is_some() {
            let result = made(&case, Purpose::Predict);
            assert_eq!(result.is_err(), outputs.is_some(), "{name}: {result:?}");
        }
        refused += usize::from(outputs.or(training).is_some());
    }
    assert!(refused >= 2 * 25, "{refused}");
}

#[test]
fn initializers_count_only_where_weights_are_drawn() {
    for (name, case) in cases() {
        if ["initializer", "distribution"].contains(&&*name) {
            let error = made(&case, Purpose::Start).unwrap_err();
            assert!(error.contains("an initializer of this crate"), "{error}");
            made(&case, Purpose::GoOn).unwrap();
        }
    }
}

/// The JSON pointers of all values in `value`.
fn places(value: &Value, place: &str, all: &mut Vec<String>) {
    all.push(place.to_string());
    match value {
        Value::Array(list) => {
            for (index, item) in list.iter().enumerate() {
                places(item, &format!("{place}/{index}"), all);
            }
        }
        Value::Object(object) => {
            for (key, item) in object {
                places(item, &format!("{place}/{key}"), all);
            }
        }
        _ => {}
    }
}

/// Another value of the same kind; none for lists and objects, whose entries change by themselves.
fn other(value: &Value) -> Option<Value> {
    Some(match value {
        Value::Null => json!(1),
        Value::Bool(flag) => json!(!flag),
        Value::Number(number) => json!(number.as_f64()? + 1.0),
        Value::String(text) => json!(format!("{text}_")),
        _ => return None,
    })
}

#[test]
fn no_entry_is_read_and_dropped() {
    // Labels, details of what is off, how Keras runs, seeds of its generators, and the batch size.
    let harmless = |place: &str| {
        let key = place.rsplit('/').next().unwrap();
        let is_label = key == "name" && !place.contains("/layers/");
        let keys = [
            "module",
            "registered_name",
            "seed",
            "ema_momentum",
            "ema_overwrite_frequency",
            "jit_compile",
            "is_legacy_optimizer",
            "run_eagerly",
            "steps_per_execution",
        ];
        let is_input = place.contains("/layers/0/") && key == "name";
        is_label || is_input || keys.contains(&key) || place.contains("_shape/")
    };
    let mut tried = 0;
    let mut dropped = Vec::new();
    for (name, case) in cases() {
        let Ok(whole) = made(&case, Purpose::Start) else {
            continue;
        };
        let mut all = Vec::new();
        places(&case, "", &mut all);
        // The model's precision counts for layers that have none, and all of these have one.
        all.retain(|place| !place.starts_with("/model_config/config/dtype"));
        for place in all {
            let value = case.pointer(&place).unwrap();
            let mut changed = case.clone();
            if value.is_object() && !place.is_empty() {
                let object = changed.pointer_mut(&place).unwrap();
                object["unheard_of"] = json!(1);
                let result = made(&changed, Purpose::Start);
                if result.is_ok() {
                    dropped.push(format!("{name}: an unknown entry in {place}"));
                }
            } else if let Some(other) = other(value)
                && !harmless(&place)
            {
                *changed.pointer_mut(&place).unwrap() = other;
                let result = made(&changed, Purpose::Start);
                if result.as_ref() == Ok(&whole) {
                    dropped.push(format!("{name}: {place}"));
                }
            } else {
                continue;
            }
            tried += 1;
        }
    }
    println!("{tried} entries");
    assert!(dropped.is_empty(), "{dropped:#?}");
    assert!(tried > 700);
}
