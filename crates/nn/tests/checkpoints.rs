//! Checkpoints: nothing is lost, and nothing wrong is believed.
#![cfg(feature = "safetensors")]

use std::path::PathBuf;
use std::time::Duration;

use nn::files::{
    Checkpoint, SavedLayer, SavedModel, SavedObject, SavedRun, SavedState, SavedTraining,
    read_checkpoint, write_checkpoint,
};
use nn::training::{CallbackState, EpochRecord, History};
use proptest::prelude::*;
use serde_json::{Map, json};
use tempfile::TempDir;
use tensor::{Float, Shape, Tensor};

fn in_folder() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.safetensors");
    (folder, path)
}

/// Numbers without a short decimal form, and the special ones.
fn tensor<T: Float>(shape: &[usize], seed: usize) -> Tensor<T> {
    let special = [f64::INFINITY, -0.0, 1e-310, 1e-40, f64::MIN_POSITIVE];
    let mut count = 0;
    Tensor::from_fn(shape, |_| {
        count += 1;
        match special.get(count - 1) {
            Some(&value) => T::from_f64(value),
            None => T::from_f64(((count * 7 + seed) as f64).sqrt().sin()),
        }
    })
    .unwrap()
}

fn run<T: Float>() -> SavedRun<T> {
    let record = |epoch: usize, loss: f64| EpochRecord {
        epoch,
        values: vec![("loss".into(), loss), ("error".into(), 1.0 / 3.0)],
        learning_rate: 0.1,
        duration: Duration::from_nanos(1_234_567_890_123),
    };
    let map = |value: serde_json::Value| value.as_object().cloned().unwrap();
    SavedRun {
        settings: map(json!({"batch size": 3, "layer 0": {"rate": 0.1}})),
        learning_rate: 0.1 / 3.0,
        history: History {
            epochs: vec![record(0, f64::INFINITY), record(1, -0.0), record(2, 1e-310)],
        },
        stopped: true,
        callbacks: vec![
            CallbackState::default(),
            CallbackState {
                values: map(json!({"best": -0.1, "waited": 3})),
                tensors: vec![tensor(&[2, 3], 10), tensor(&[], 11)],
            },
        ],
    }
}

fn checkpoint<T: Float>() -> Checkpoint<T> {
    let config = |value| match value {
        serde_json::Value::Object(config) => config,
        _ => Map::new(),
    };
    let layer = |class: &str, name: &str, settings, weights| {
        let mut config: Map<String, serde_json::Value> = config(settings);
        config.insert("trainable".into(), true.into());
        config.insert("dtype".into(), "float32".into());
        SavedLayer {
            class: class.into(),
            name: name.into(),
            config,
            weights,
        }
    };
    let kernel: &[usize] = &[3, 3, 2, 4];
    Checkpoint {
        model: SavedModel {
            name: "net".into(),
            seed: u64::MAX,
            input_shape: Some(Shape::from([8, 8, 2])),
            layers: vec![
                layer(
                    "Conv2D",
                    "conv",
                    json!({"filters": 4}),
                    // Not in alphabetical order, which safetensors sorts by.
                    vec![
                        ("kernel".into(), tensor(kernel, 1)),
                        ("bias".into(), tensor(&[4], 2)),
                    ],
                ),
                layer("Flatten", "flatten", json!({}), vec![]),
                layer("Scale", "a", json!({}), vec![("s".into(), tensor(&[], 3))]),
            ],
            training: Some(SavedTraining {
                loss: SavedObject {
                    class: "categorical_crossentropy".into(),
                    config: Map::new(),
                },
                metrics: vec!["accuracy".into()],
                optimizer: Some(SavedObject {
                    class: "Adam".into(),
                    // Reading floats the quick way is off by one place for numbers like this one.
                    config: config(json!({"learning_rate": 0.004_999_999_888_241_291_f64 / 3.0})),
                }),
            }),
            optimizer_state: Some(SavedState {
                iterations: u64::MAX - 1,
                slot_names: vec!["momentum".into(), "velocity".into()],
                slots: vec![
                    vec![tensor(kernel, 4), tensor(kernel, 5)],
                    vec![tensor(&[4], 6), tensor(&[4], 7)],
                    vec![tensor(&[], 8), tensor(&[], 9)],
                ],
            }),
        },
        epoch: 11,
        run: Some(run()),
    }
}

fn bits<T: Float>(checkpoint: &Checkpoint<T>) -> Vec<u64> {
    let layers = checkpoint.model.layers.iter();
    let weights = layers.flat_map(|layer| layer.weights.iter().map(|(_, weight)| weight));
    let state = checkpoint.model.optimizer_state.iter();
    let slots = state.flat_map(|state| state.slots.iter().flatten());
    weights
        .chain(slots)
        .flat_map(|tensor| tensor.to_vec())
        .map(|x| x.to_f64().to_bits())
        .collect()
}

#[test]
fn everything_comes_back_bit_for_bit() {
    fn check<T: Float>() {
        let (folder, path) = in_folder();
        let checkpoint = checkpoint::<T>();
        write_checkpoint(&path, &checkpoint).unwrap();
        let back: Checkpoint<T> = read_checkpoint(&path).unwrap();
        assert_eq!(back, checkpoint);
        assert_eq!(bits(&back), bits(&checkpoint));
        let first = std::fs::read(&path).unwrap();
        write_checkpoint(&path, &back).unwrap();
        assert_eq!(
            std::fs::read(&path).unwrap(),
            first,
            "same checkpoint, same bytes"
        );
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
    check::<f32>();
    check::<f64>();
}

#[test]
fn an_optimizer_that_has_not_started_has_no_tensors() {
    let (_folder, path) = in_folder();
    let mut checkpoint = checkpoint::<f32>();
    checkpoint.model.optimizer_state = Some(SavedState {
        iterations: 0,
        slot_names: vec!["momentum".into()],
        slots: vec![],
    });
    write_checkpoint(&path, &checkpoint).unwrap();
    assert_eq!(read_checkpoint::<f32>(&path).unwrap(), checkpoint);
}

#[test]
fn each_kind_of_wrong_file_has_its_message() {
    let (_folder, path) = in_folder();
    let written = |path: &PathBuf| {
        write_checkpoint(path, &checkpoint::<f32>()).unwrap();
        std::fs::read(path).unwrap()
    };
    let whole = written(&path);
    let error = read_checkpoint::<f64>(&path).unwrap_err().to_string();
    assert!(error.contains("type F32; the model's are f64"), "{error}");
    assert!(error.contains("tensor `model.conv.kernel`"), "{error}");

    for length in [0, 7, 8, 100, whole.len() / 2, whole.len() - 1] {
        std::fs::write(&path, &whole[..length]).unwrap();
        let error = read_checkpoint::<f32>(&path).unwrap_err();
        assert!(error.cause().contains("or damaged"), "{length}: {error}");
    }
    // A header of 2⁶³ bytes.
    let mut hostile = whole.clone();
    hostile[7] = 0x80;
    std::fs::write(&path, &hostile).unwrap();
    assert!(read_checkpoint::<f32>(&path).is_err());

    let swapped = |from: &str, to: &str| {
        assert_eq!(from.len(), to.len());
        let at = whole.windows(from.len()).position(|w| w == from.as_bytes());
        let at = at.unwrap_or_else(|| panic!("{from} is not in the file"));
        let mut bytes = whole.clone();
        bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
        std::fs::write(&path, &bytes).unwrap();
        read_checkpoint::<f32>(&path).unwrap_err().to_string()
    };
    for (from, to, expected) in [
        ("\"checkpoint\"", "\"checkpoinX\"", "is no checkpoint"),
        ("\\\"format\\\":2", "\\\"format\\\":9", "is of format 9"),
        ("model.conv.bias", "model.conv.bia5", "a tensor is missing"),
        ("\\\"epoch\\\":11", "\\\"epoch\\\":-1", "`epoch` is -1"),
        (
            "\\\"stopped\\\":true",
            "\\\"stopped\\\":nope",
            "is not valid",
        ),
        (
            "\\\"stopped\\\":true",
            "\\\"stoppe_\\\":true",
            "`run.stopped`",
        ),
        ("callback.1.1", "callback.1.7", "`callback.1.1`"),
        ("\\\"seed\\\":1844", "\\\"see_\\\":1844", "`seed` is null"),
        (
            "\\\"Sequential\\\"",
            "\\\"Sequentia1\\\"",
            "not `Sequential`",
        ),
    ] {
        let error = swapped(from, to);
        assert!(error.contains(expected), "{expected}: {error}");
        assert!(error.contains("run.safetensors"), "{error}");
    }
}

#[test]
fn tensors_of_one_name_are_refused() {
    let (folder, path) = in_folder();
    let mut checkpoint = checkpoint::<f32>();
    checkpoint.model.layers[0].name = "a.b".into();
    checkpoint.model.layers[0].weights[0].0 = "c".into();
    checkpoint.model.layers[2].weights[0].0 = "b.c".into();
    let error = write_checkpoint(&path, &checkpoint).unwrap_err();
    assert!(error.cause().contains("`model.a.b.c`"), "{error}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Damage anywhere gives an error or a checkpoint.
    #[test]
    fn damage_is_survived(
        places in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let (_folder, path) = in_folder();
        write_checkpoint(&path, &checkpoint::<f32>()).unwrap();
        let mut bytes = std::fs::read(&path).unwrap();
        for (place, byte) in places {
            let at = place.index(bytes.len());
            bytes[at] = byte;
        }
        std::fs::write(&path, &bytes).unwrap();
        if let Err(error) = read_checkpoint::<f32>(&path) {
            prop_assert!(error.to_string().contains("run.safetensors"));
        }
    }
}
