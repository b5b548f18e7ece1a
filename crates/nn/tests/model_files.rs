//! Saved models compute what they computed, Keras's models what Keras computed, and a resumed
//! training takes the steps of one that never stopped.
#![cfg(all(feature = "hdf5", feature = "safetensors"))]

use std::path::{Path, PathBuf};

use nn::data::npz;
use nn::files::{LoadOptions, SaveOptions, read_checkpoint, read_h5, write_checkpoint, write_h5};
use nn::prelude::*;
use nn::training::ModelCheckpoint;
use nn::{Context, Weights};
use tensor::{Float, Shape};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/fixtures/keras")
        .join(name)
}

/// Samples, one-hot targets, and what Keras computes: probabilities, loss and accuracy.
fn data(name: &str) -> (Tensor<f32>, Tensor<f32>, Tensor<f32>, f64, f64) {
    let arrays = npz::load(fixture(name)).unwrap();
    let array = |name: &str| {
        let named = arrays.iter().find(|(own, _)| own == name);
        &named.unwrap_or_else(|| panic!("no array `{name}`")).1
    };
    let tensor = |name: &str| array(name).to_f32().unwrap();
    let number = |name: &str| f64::from(array(name).to_f32().unwrap().item().unwrap());
    (
        tensor("x"),
        tensor("y"),
        tensor("probabilities"),
        number("loss"),
        number("accuracy"),
    )
}

fn close(found: f64, expected: f64, what: &str) {
    let difference = (found - expected).abs();
    println!("{what}: difference {difference:.3e}");
    assert!(
        difference <= 1e-6 + 1e-5 * expected.abs(),
        "{what}: {found}, Keras {expected}"
    );
}

#[test]
fn models_of_keras_compute_what_keras_computes() {
    for file in ["keras_2_2_2", "keras_2_3_1", "keras_2_15_0", "keras_3_15_1"] {
        let model = Sequential::load(fixture(&format!("{file}.h5"))).unwrap();
        let (x, y, probabilities, loss, accuracy) = data(&format!("{file}.npz"));
        let found = model.predict(&x).unwrap();
        assert_eq!(found.shape(), probabilities.shape());
        let pairs = found.iter().zip(probabilities.iter());
        let largest = pairs
            .map(|(a, b): (f32, f32)| (a - b).abs())
            .fold(0.0, f32::max);
        println!("{file}: probabilities differ by {largest:.3e}");
        assert!(largest <= 1e-6, "{file}: probabilities differ by {largest}");
        let scores = model.evaluate(&x, &y).unwrap();
        close(scores.loss(), loss, &format!("{file}: loss"));
        close(scores["accuracy"], accuracy, &format!("{file}: accuracy"));
        assert_eq!(model.compiled().unwrap().state().iterations, 72);
        assert!((model.compiled().unwrap().optimizer().learning_rate() - 0.005).abs() < 1e-9);
    }
    let model = Sequential::load(fixture("keras_3_15_1_without_optimizer.h5")).unwrap();
    assert!(model.compiled().is_none());
}

fn pictures() -> (Tensor<f32>, Tensor<f32>) {
    let pixel = |at: &[usize]| {
        let mix = at[0] * 31 + at[1] * 7 + at[2] * (at[0] % 4 + 1) * 3 + at[3];
        (mix as f32).sin()
    };
    let x = Tensor::from_fn([50, 8, 8, 2], pixel).unwrap();
    let one_hot = |at: &[usize]| f32::from(u8::from(at[0] % 4 == at[1]));
    (x, Tensor::from_fn([50, 4], one_hot).unwrap())
}

fn network<T: Float>() -> Sequential<T> {
    let mut model = Sequential::<T>::default().seed(7);
    model.add(
        Conv2d::new(4, [3, 3])
            .padding(Padding::Same)
            .input_shape(&[8, 8, 2]),
    );
    model.add(Activation::relu());
    model.add(MaxPool2d::new([2, 2]));
    model.add(Dropout::new(0.25));
    model.add(Conv2d::new(4, [2, 2]).activation(ActivationFunction::Elu { alpha: 0.5 }));
    model.add(AvgPool2d::new([2, 2]).stride([1, 1]).padding(Padding::Same));
    model.add(Flatten::new());
    model.add(Dense::new(8).named("hidden").use_bias(false));
    model.add(Activation::leaky_relu(0.1));
    model.add(Dropout::new(0.5));
    model.add(Dense::new(4).activation(ActivationFunction::Softmax));
    model
}

fn compiled<T: Float>() -> Sequential<T> {
    let mut model = network();
    let adam = Adam::new(0.01 / 3.0).beta_1(0.85).weight_decay(0.001);
    model
        .compile(CategoricalCrossentropy::new(), adam, [Accuracy::new()])
        .unwrap();
    model
}

fn fit<'a, T: Float>(from: usize, to: usize) -> Fit<'a, T> {
    let fit = Fit::new().batch_size(16).initial_epoch(from).epochs(to);
    fit.verbosity(Verbosity::Silent)
}

fn bits<T: Float>(model: &Sequential<T>) -> Vec<u64> {
    let state = model
        .compiled()
        .map(|compiled| compiled.state().slots.concat());
    let tensors = model.weights().into_iter().chain(state.unwrap_or_default());
    tensors
        .flat_map(|t| t.to_vec())
        .map(|x| x.to_f64().to_bits())
        .collect()
}

#[test]
fn resuming_equals_never_having_stopped() {
    fn check<T: Float>() {
        let (x, y) = pictures();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.safetensors");
        let mut straight = compiled::<T>();
        let expected = straight.fit(&x, &y, fit(0, 5)).unwrap();

        let mut first = compiled::<T>();
        first.fit(&x, &y, fit(0, 2)).unwrap();
        first.save_checkpoint(&path, 2).unwrap();
        drop(first);
        let (mut resumed, epoch) = LoadOptions::new().load_checkpoint::<T>(&path).unwrap();
        assert_eq!(epoch, 2);
        let history = resumed.fit(&x, &y, fit(epoch, 5)).unwrap();

        assert_eq!(bits(&resumed), bits(&straight));
        let losses = |history: &History| -> Vec<u64> {
            let losses = history
                .epochs
                .iter()
                .map(|epoch| epoch.get("loss").unwrap());
            losses.map(f64::to_bits).collect()
        };
        assert_eq!(losses(&history), losses(&expected)[2..]);
        // A file that only has the weights starts the optimizer, and dropout, anew.
        let path = folder.path().join("run.h5");
        let mut first = compiled::<T>();
        first.fit(&x, &y, fit(0, 2)).unwrap();
        first.save(&path).unwrap();
        let mut fresh = LoadOptions::new().load::<T>(&path).unwrap();
        fresh.fit(&x, &y, fit(2, 5)).unwrap();
        assert_ne!(bits(&fresh), bits(&straight));
    }
    check::<f32>();
    check::<f64>();
}

#[test]
fn a_saved_model_is_the_same_model() {
    fn check<T: Float>() {
        let (x, y) = pictures();
        let folder = tempfile::tempdir().unwrap();
        let mut model = compiled::<T>();
        model.set_name("creatures");
        model.fit(&x, &y, fit(0, 1)).unwrap();
        for name in ["m.h5", "m.H5", "m.hdf5", "m.safetensors"] {
            let path = folder.path().join(name);
            model
                .save_with(&path, SaveOptions::new().optimizer_state(true))
                .unwrap();
            let loaded = LoadOptions::new().load::<T>(&path).unwrap();
            assert_eq!(bits(&loaded), bits(&model), "{name}");
            assert_eq!(loaded.name(), "creatures");
            assert_eq!(
                loaded.summary().unwrap().to_string(),
                model.summary().unwrap().to_string()
            );
            assert_eq!(
                loaded.evaluate(&x, &y).unwrap(),
                model.evaluate(&x, &y).unwrap()
            );
            let (ours, theirs) = (loaded.compiled().unwrap(), model.compiled().unwrap());
            assert_eq!(ours.state().iterations, theirs.state().iterations);
            assert_eq!(ours.optimizer().config(), theirs.optimizer().config());
            assert_eq!(ours.loss().config(), theirs.loss().config());
            for (ours, theirs) in loaded.layers().iter().zip(model.layers()) {
                assert_eq!(ours.name(), theirs.name());
                assert_eq!(ours.layer().config(), theirs.layer().config(), "{name}");
            }

            model.save(&path).unwrap();
            let loaded = LoadOptions::new().load::<T>(&path).unwrap();
            let kept = loaded.compiled().unwrap().state().iterations;
            assert_eq!(kept, if name == "m.safetensors" { 4 } else { 0 });
            let loaded = LoadOptions::new().compile(false).load::<T>(&path).unwrap();
            assert!(loaded.compiled().is_none());
            assert_eq!(loaded.predict(&x).unwrap(), model.predict(&x).unwrap());

            let mut other = network::<T>();
            other.load_weights(&path).unwrap();
            assert_eq!(other.weights(), model.weights());
        }
    }
    check::<f32>();
    check::<f64>();
}

#[test]
fn models_that_are_not_compiled_are_saved_too() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["m.h5", "m.safetensors"] {
        let path = folder.path().join(name);
        let model = network::<f32>();
        model.save(&path).unwrap();
        let loaded = Sequential::load(&path).unwrap();
        assert!(loaded.compiled().is_none());
        assert_eq!(loaded.weights(), model.weights());
    }
}

#[test]
fn what_cannot_be_saved_or_loaded_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.h5");
    let error = |result: nn::Result<Sequential>| result.err().unwrap().to_string();

    let mut unbuilt = Sequential::new();
    unbuilt.add(Dense::new(3));
    let message = unbuilt.save(&path).unwrap_err().to_string();
    assert!(message.contains("no weights yet"), "{message}");
    let model = compiled::<f32>();
    for (name, expected) in [
        ("m.keras", "`.keras` format"),
        ("m", "does not end in that of a model format"),
        ("m.onnx", "does not end in that of a model format"),
        ("missing/m.h5", "missing does not exist"),
        ("missing/m.safetensors", "missing does not exist"),
    ] {
        let message = model
            .save(folder.path().join(name))
            .unwrap_err()
            .to_string();
        assert!(message.contains(expected), "{message}");
        assert!(error(Sequential::load(folder.path().join(name))).contains(name));
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);

    model.save(&path).unwrap();
    let saved = || read_h5::<f32>(&path).unwrap();
    let other = folder.path().join("other.h5");
    let load = |saved| {
        write_h5(&other, &saved).unwrap();
        error(Sequential::load(&other))
    };
    let mut unknown = saved();
    unknown.layers[2].class = "LSTM".into();
    let message = load(unknown);
    assert!(
        message.contains("`LSTM`") && message.contains("`max_pooling2d`"),
        "{message}"
    );

    let mut huge = saved();
    huge.layers[7]
        .config
        .insert("units".into(), (1_u64 << 40).into());
    let message = load(huge);
    assert!(message.contains("another shape in the file"), "{message}");
    assert!(
        message.contains("layer `hidden`") && message.contains("[36, 8]"),
        "{message}"
    );
    assert!(message.contains("[36, 1099511627776]"), "{message}");

    let mut wide = saved();
    wide.input_shape = Some(tensor::Shape::from([1 << 40, 1 << 40, 2]));
    assert!(load(wide).contains("other.h5"));

    let mut missing = saved();
    missing.layers[0].weights.pop();
    assert!(load(missing).contains("`bias` is missing"));
    let mut more = saved();
    let weight = more.layers[0].weights[0].clone();
    more.layers[2].weights.push(weight);
    assert!(load(more).contains("1 more in the file"));
    let mut shapeless = saved();
    shapeless.input_shape = None;
    assert!(load(shapeless).contains("does not say the shape"));

    let mut loss = saved();
    loss.training.as_mut().unwrap().loss.class = "Poisson".into();
    let message = load(loss.clone());
    assert!(
        message.contains("`Poisson`") && message.contains("LoadOptions"),
        "{message}"
    );
    assert!(
        LoadOptions::new()
            .compile(false)
            .load::<f32>(&other)
            .is_ok()
    );

    let run = folder.path().join("run.safetensors");
    let mut trained = compiled::<f32>();
    let (x, y) = pictures();
    trained.fit(&x, &y, fit(0, 1)).unwrap();
    trained.save_checkpoint(&run, 1).unwrap();
    let mut checkpoint = read_checkpoint::<f32>(&run).unwrap();
    let state = checkpoint.model.optimizer_state.as_mut().unwrap();
    state.slots.iter_mut().for_each(|slots| slots.truncate(1));
    state.slot_names.truncate(1);
    write_checkpoint(&run, &checkpoint).unwrap();
    assert!(error(Sequential::load(&run)).contains("what the optimizer remembers"));
    assert!(LoadOptions::new().compile(false).load::<f32>(&run).is_ok());

    let mut small = Sequential::new();
    small.add(Dense::new(3).named("small").input_shape(&[2]));
    let before = small.weights();
    let message = small.load_weights(&path).unwrap_err().to_string();
    assert!(
        message.contains("weights of 4 layers; 1 layers"),
        "{message}"
    );
    let mut wider = network::<f32>();
    wider.add(Dense::new(3));
    let message = wider.load_weights(&path).unwrap_err().to_string();
    assert!(
        message.contains("weights of 4 layers; 5 layers"),
        "{message}"
    );
    let mut narrow = Sequential::new();
    narrow.add(Dense::new(4).input_shape(&[3]));
    narrow.save(&other).unwrap();
    let message = small.load_weights(&other).unwrap_err().to_string();
    assert!(
        message.contains("[3, 4], [4]") && message.contains("[2, 3], [3]"),
        "{message}"
    );
    assert_eq!(small.weights(), before);
}

/// `y = a·x`: a layer that this crate knows nothing of.
struct Scale;

impl<T: Float> Layer<T> for Scale {
    fn class_name(&self) -> &str {
        "Scale"
    }
    fn build(&self, input: &Shape, weights: &mut Weights<T>) -> nn::Result<Shape> {
        weights.add("factor", [1], &Initializer::Ones)?;
        Ok(input.clone())
    }
    fn forward(
        &self,
        x: &autograd::Var<T>,
        weights: &[autograd::Var<T>],
        _: &Context,
    ) -> nn::Result<autograd::Var<T>> {
        Ok(x.mul(&weights[0])?)
    }
}

#[test]
fn what_could_not_be_loaded_is_said_before_training() {
    let folder = tempfile::tempdir().unwrap();
    let own_layer = || {
        let mut model = Sequential::new();
        model.add(Dense::new(2).input_shape(&[3]));
        model.add(Scale);
        model
    };
    let mut model = own_layer();
    model
        .compile(MeanSquaredError::new(), Sgd::new(0.1), None::<Accuracy>)
        .unwrap();
    for name in ["m.h5", "m.safetensors"] {
        let path = folder.path().join(name);
        let message = model.check_save(&path).unwrap_err().to_string();
        assert!(message.contains("layer `scale`"), "{message}");
        assert!(message.contains("no layer of class `Scale`"), "{message}");
        assert!(message.contains("load_weights"), "{message}");
        assert!(!path.exists());
        model.save(&path).unwrap();
        let message = Sequential::load(&path).err().unwrap().to_string();
        assert!(message.contains("no layer of class `Scale`"), "{message}");
        let mut again = own_layer();
        again.load_weights(&path).unwrap();
        assert_eq!(again.weights(), model.weights());
    }
    // The note that `fit` prints does not keep it from training.
    let x = Tensor::<f32>::ones([4, 3]).unwrap();
    let y = Tensor::<f32>::ones([4, 2]).unwrap();
    let keep = ModelCheckpoint::new("loss", |_: &Model| Ok(()));
    let fit = Fit::new().epochs(1).verbosity(Verbosity::Lines);
    model.fit(&x, &y, fit.callback(keep)).unwrap();

    let model = compiled::<f32>();
    for name in ["m.h5", "m.safetensors"] {
        model.check_save(folder.path().join(name)).unwrap();
    }
    let padding = Padding::Explicit {
        height: [1, 2],
        width: [0, 1],
    };
    let mut model = Sequential::new();
    model.add(
        Conv2d::new(1, [2, 2])
            .padding(padding)
            .input_shape(&[4, 4, 1]),
    );
    let path = folder.path().join("padded.h5");
    for message in [model.check_save(&path), model.save(&path)] {
        let message = message.unwrap_err().to_string();
        assert!(message.contains("layer `conv2d` pads"), "{message}");
        assert!(message.contains(".safetensors"), "{message}");
    }
    assert!(!path.exists());
    let path = folder.path().join("padded.safetensors");
    model.check_save(&path).unwrap();
    model.save(&path).unwrap();
    assert_eq!(Sequential::load(&path).unwrap().weights(), model.weights());
}
