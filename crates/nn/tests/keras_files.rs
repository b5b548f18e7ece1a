//! Model files that Keras wrote, against what is known of the model in them.
#![cfg(feature = "hdf5")]

use std::path::Path;

use nn::files::{SavedModel, read_h5, write_h5};
use tensor::Shape;

fn read(name: &str) -> SavedModel {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/keras");
    read_h5(folder.join(name)).unwrap()
}

const FILES: [&str; 5] = [
    "keras_2_2_2.h5",
    "keras_2_3_1.h5",
    "keras_2_15_0.h5",
    "keras_3_15_1.h5",
    "keras_3_15_1_without_optimizer.h5",
];

#[test]
fn layers_and_weights_are_those_of_the_network() {
    let shapes: [(&str, &[usize], &[usize]); 6] = [
        ("conv2d", &[3, 3, 3, 4], &[4]),
        ("conv2d_1", &[3, 3, 4, 4], &[4]),
        ("conv2d_2", &[3, 3, 4, 8], &[8]),
        ("conv2d_3", &[3, 3, 8, 8], &[8]),
        ("dense", &[32, 16], &[16]),
        ("dense_1", &[16, 6], &[6]),
    ];
    for file in FILES {
        let model = read(file);
        assert_eq!(model.input_shape, Some(Shape::from([16, 16, 3])), "{file}");
        let classes: Vec<&str> = model.layers.iter().map(|layer| &*layer.class).collect();
        let block = |n: usize| ["Conv2D", "Activation"].into_iter().cycle().take(2 * n);
        let mut expected: Vec<&str> = Vec::new();
        for _ in 0..2 {
            expected.extend(block(2));
            expected.extend(["MaxPooling2D", "Dropout"]);
        }
        expected.extend([
            "Flatten",
            "Dense",
            "Activation",
            "Dropout",
            "Dense",
            "Activation",
        ]);
        assert_eq!(classes, expected, "{file}");

        let weighted = model
            .layers
            .iter()
            .filter(|layer| !layer.weights.is_empty());
        for (layer, (name, kernel, bias)) in weighted.zip(shapes) {
            // Keras 2.3 and earlier count layers from 1.
            assert!(
                layer
                    .name
                    .starts_with(name.trim_end_matches(char::is_numeric)),
                "{file}"
            );
            let [(k_name, k), (b_name, b)] = &layer.weights[..] else {
                panic!("{file}: {layer:?}")
            };
            assert_eq!((&**k_name, &**b_name), ("kernel", "bias"), "{file}");
            assert_eq!((&k.shape()[..], &b.shape()[..]), (kernel, bias), "{file}");
            assert!(k.iter().all(|x| x.is_finite() && x.abs() < 4.0), "{file}");
        }
    }
}

#[test]
fn loss_metrics_and_optimizer_are_read() {
    for file in FILES {
        let model = read(file);
        if file.contains("without") {
            assert_eq!(model.training, None);
            assert_eq!(model.optimizer_state, None);
            continue;
        }
        let training = model.training.unwrap();
        assert_eq!(training.loss.class, "categorical_crossentropy", "{file}");
        let metric = match file {
            "keras_2_15_0.h5" => "categorical_accuracy",
            _ => "accuracy",
        };
        assert_eq!(training.metrics, [metric], "{file}");
        let optimizer = training.optimizer.unwrap();
        assert_eq!(optimizer.class, "Adam", "{file}");
        let rate = optimizer.config.get("learning_rate");
        let rate = rate.or(optimizer.config.get("lr")).unwrap();
        assert_eq!(rate.as_f64().unwrap() as f32, 0.005, "{file}");

        let state = model.optimizer_state.unwrap();
        // 24 epochs of 96 samples in batches of 32.
        assert_eq!(state.iterations, 72, "{file}");
        let mut negative = 0;
        let weights = model.layers.iter().flat_map(|layer| &layer.weights);
        for ((name, weight), slots) in weights.zip(&state.slots) {
            let [momentum, velocity] = &slots[..] else {
                panic!("{file}: {} slots of {name}", slots.len())
            };
            assert_eq!(momentum.shape(), weight.shape(), "{file}");
            assert_eq!(velocity.shape(), weight.shape(), "{file}");
            // A mean of squares has no sign; a mean of gradients is of either sign.
            assert!(velocity.iter().all(|v| v >= 0.0), "{file}");
            negative += momentum.iter().filter(|&m| m < 0.0).count();
        }
        assert_eq!(state.slots.len(), 12, "{file}");
        assert!(negative > 300, "{file}: {negative} of 1810");
    }
}

#[test]
fn writing_what_was_read_gives_the_same_model_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("again.h5");
    for file in FILES {
        let model = read(file);
        write_h5(&path, &model).unwrap();
        let again: SavedModel = read_h5(&path).unwrap();
        assert_eq!(again.training, model.training, "{file}");
        assert_eq!(again.optimizer_state, model.optimizer_state, "{file}");
        assert_eq!(again.input_shape, model.input_shape, "{file}");
        for (ours, theirs) in again.layers.iter().zip(&model.layers) {
            assert_eq!((&ours.name, &ours.class), (&theirs.name, &theirs.class));
            assert_eq!(ours.weights, theirs.weights, "{file}");
            for (key, value) in &theirs.config {
                assert_eq!(ours.config.get(key), Some(value), "{file}: {key}");
            }
        }
    }
}
