//! Models of Keras with settings that matter to training only, and in the middle of a training.
#![cfg(all(feature = "hdf5", feature = "safetensors"))]

use std::path::{Path, PathBuf};

use nn::data::npz;
use nn::files::{LoadOptions, read_h5};
use nn::prelude::*;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/fixtures/keras")
        .join(name)
}

fn array(file: &str, name: &str) -> Tensor<f32> {
    let arrays = npz::load(fixture(file)).unwrap();
    let found = arrays.iter().find(|(own, _)| own == name).unwrap();
    found.1.to_f32().unwrap()
}

fn largest_difference(a: &Tensor<f32>, b: &Tensor<f32>) -> f32 {
    assert_eq!(a.shape(), b.shape());
    let pairs = a.iter().zip(b.iter());
    pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

const PREDICTION: &str = "keras_3_15_1_prediction.h5";

/// The layers of `PREDICTION` in this crate's own terms.
fn by_hand() -> Sequential {
    let mut model = Sequential::new();
    model.add(Conv2d::new(2, [3, 3]).input_shape(&[4, 4, 1]));
    model.add(Flatten::new());
    model.add(Dense::new(3).activation(ActivationFunction::Softmax));
    model
}

#[test]
fn what_only_training_looks_at_does_not_keep_a_model_from_predicting() {
    let x = array("keras_3_15_1_prediction.npz", "x");
    let expected = array("keras_3_15_1_prediction.npz", "probabilities");
    let path = fixture(PREDICTION);
    let message = Sequential::load(&path).err().unwrap().to_string();
    assert!(message.contains("layer `conv2d`"), "{message}");
    assert!(message.contains("is not supported"), "{message}");
    assert!(message.contains("compile(false)"), "{message}");

    let predict = LoadOptions::new().compile(false);
    let mut model = predict.load::<f32>(&path).unwrap();
    assert!(largest_difference(&model.predict(&x).unwrap(), &expected) < 1e-6);

    let compile = |model: &mut Sequential| {
        let loss = CategoricalCrossentropy::new();
        model.compile(loss, Adam::default(), [Accuracy::new()])
    };
    let message = compile(&mut model).unwrap_err().to_string();
    assert!(message.contains("loaded to predict"), "{message}");
    assert!(message.contains("(conv2d)"), "{message}");
    assert!(message.contains("`activity_regularizer` = "), "{message}");
    assert!(message.contains("load_weights"), "{message}");

    // What was set aside is in the next file, of either format.
    let folder = tempfile::tempdir().unwrap();
    for name in ["again.h5", "again.safetensors"] {
        let again = folder.path().join(name);
        model.save(&again).unwrap();
        let mut model = predict.load::<f32>(&again).unwrap();
        assert!(largest_difference(&model.predict(&x).unwrap(), &expected) < 1e-6);
        assert!(compile(&mut model).is_err());
        assert!(Sequential::load(&again).is_err());
    }
    let saved = read_h5::<f32>(folder.path().join("again.h5")).unwrap();
    let mut original = read_h5::<f32>(&path).unwrap().layers.swap_remove(0).config;
    // This one is known, and written in another form.
    original.remove("bias_initializer");
    for (key, value) in &original {
        assert_eq!(saved.layers[0].config.get(key), Some(value), "{key}");
    }

    let mut model = by_hand();
    model.load_weights(&path).unwrap();
    assert!(largest_difference(&model.predict(&x).unwrap(), &expected) < 1e-6);
    compile(&mut model).unwrap();
}

#[test]
fn an_unknown_initializer_does_not_keep_a_model_from_training() {
    let path = fixture(PREDICTION);
    let folder = tempfile::tempdir().unwrap();
    let plain = folder.path().join("plain.h5");
    let mut saved = read_h5::<f32>(&path).unwrap();
    saved.training = None;
    saved.optimizer_state = None;
    for key in [
        "trainable",
        "kernel_regularizer",
        "activity_regularizer",
        "bias_constraint",
    ] {
        saved.layers[0].config.remove(key);
    }
    nn::files::write_h5(&plain, &saved).unwrap();
    let mut model = Sequential::load(&plain).unwrap();
    model
        .compile(
            CategoricalCrossentropy::new(),
            Adam::default(),
            None::<Accuracy>,
        )
        .unwrap();
    model.save(&plain).unwrap();
    let again = read_h5::<f32>(&plain).unwrap();
    let initializer = &again.layers[0].config["kernel_initializer"];
    assert_eq!(initializer["class_name"], "Orthogonal");
}

#[test]
fn training_goes_on_as_in_keras() {
    for (writer, optimizer) in [
        ("keras_3_15_1", "rmsprop"),
        ("tf_keras_2_21_0", "rmsprop"),
        ("tf_keras_2_21_0", "legacy_adam"),
        ("tf_keras_2_21_0", "legacy_sgd"),
        ("tf_keras_2_21_0", "legacy_rmsprop"),
    ] {
        let path = fixture(&format!("{writer}_{optimizer}.h5"));
        let states = format!("{writer}_states.npz");
        let mut model = Sequential::load(&path).unwrap();
        assert_eq!(model.compiled().unwrap().state().iterations, 3);
        let before = model.weights();
        model
            .train_on_batch(array(&states, "x"), array(&states, "y"))
            .unwrap();
        for (index, weight) in model.weights().iter().enumerate() {
            let expected = array(&states, &format!("{optimizer}/{index}"));
            let difference = largest_difference(weight, &expected);
            let step = largest_difference(&before[index], &expected);
            println!("{writer} {optimizer} {index}: {difference:.1e} of {step:.1e}");
            assert!(difference < 1e-4 * step + 1e-7, "{writer} {optimizer}");
        }
        let options = LoadOptions::new().compile(false);
        assert_eq!(options.load::<f32>(&path).unwrap().weights(), before);
    }
}
