//! Models that are no chains: branches, merges, shared layers, several inputs and outputs, nesting.

use nn::prelude::*;
use nn::{Context, Scores, Symbol, Weights};
use tensor::{Float, Shape};

fn data(shape: &[usize]) -> Tensor<f32> {
    let mut strides = vec![1; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis] * shape[axis];
    }
    let at = |index: &[usize]| {
        let place: usize = index.iter().zip(&strides).map(|(i, s)| i * s).sum();
        (place as f32 * 0.7).sin()
    };
    Tensor::from_fn(shape, at).unwrap()
}

fn quiet<'a>() -> Fit<'a> {
    Fit::new().verbosity(Verbosity::Silent)
}

fn residual_block(x: &Symbol, filters: usize) -> nn::Result<Symbol> {
    let y = Conv2d::new(filters, [3, 3])
        .padding(Padding::Same)
        .apply(x)?;
    let y = Activation::relu().apply(&y)?;
    let y = Conv2d::new(filters, [3, 3])
        .padding(Padding::Same)
        .apply(&y)?;
    let y = Add::new().apply([x, &y])?;
    Activation::relu().apply(&y)
}

fn residual() -> nn::Result<Model> {
    let x = Input::new(&[8, 8, 3]);
    let y = Conv2d::new(4, [3, 3]).padding(Padding::Same).apply(&x)?;
    let y = residual_block(&residual_block(&y, 4)?, 4)?;
    let y = Dense::new(3).apply(&Flatten::new().apply(&y)?)?;
    Model::new(&x, &Activation::softmax().apply(&y)?)
}

#[test]
fn a_residual_network_learns() -> nn::Result<()> {
    let mut model = residual()?;
    let loss = SparseCategoricalCrossentropy::new();
    model.compile(loss, Adam::new(0.01), [Accuracy::new()])?;
    // Is the upper half brighter, or the lower, or neither?
    let x = Tensor::from_fn([48, 8, 8, 3], |at| {
        let bright = (at[0] % 3 == 0 && at[1] < 4) || (at[0] % 3 == 1 && at[1] >= 4);
        f32::from(u8::from(bright)) + ((at[0] * 7 + at[2] * 3 + at[3]) as f32).sin() * 0.2
    })?;
    let y = Tensor::from_fn([48], |at| (at[0] % 3) as i64)?;
    let history = model.fit(&x, &y, quiet().epochs(12).batch_size(8))?;
    let losses = history.get("loss");
    assert!(losses[11] < 0.2 * losses[0], "{losses:?}");
    Ok(())
}

#[test]
fn the_output_is_what_the_layers_give_one_by_one() -> nn::Result<()> {
    let model = residual()?;
    let x = data(&[2, 8, 8, 3]);
    let weights = model.weights();
    let options = tensor::Conv2dOptions::new().padding(Padding::Same);
    let conv = |x: &Tensor<f32>, at: usize| -> nn::Result<Tensor<f32>> {
        Ok(x.conv2d(&weights[at], &options)?.add(&weights[at + 1])?)
    };
    let mut y = conv(&x, 0)?;
    for block in 0..2 {
        let z = conv(&y, 2 + 4 * block)?.relu();
        y = y.add(&conv(&z, 4 + 4 * block)?)?.relu();
    }
    let y = y
        .reshape([2, 256])?
        .matmul(&weights[10])?
        .add(&weights[11])?;
    let expected = y.softmax(-1)?;
    let given = model.predict(&x)?;
    for (a, b) in given.iter().zip(expected.iter()) {
        assert!((a - b).abs() < 1e-5, "{a} {b}");
    }
    Ok(())
}

#[test]
fn shared_layers_have_one_set_of_weights_and_the_sum_of_their_gradients() -> nn::Result<()> {
    let (a, b) = (Input::new(&[4]), Input::new(&[4]));
    let encoder = Shared::new(Dense::new(3).use_bias(false));
    let distance = Subtract::new().apply([&encoder.apply(&a)?, &encoder.apply(&b)?])?;
    let mut model = Model::new([&a, &b], &distance)?;
    assert_eq!(model.layers().len(), 2);
    assert_eq!(model.parameter_count(), 12);
    model.compile(MeanSquaredError::new(), Sgd::new(0.5), None::<Accuracy>)?;

    let (x, z, y) = (
        data(&[5, 4]),
        data(&[6, 4]).slice_axis(0, 1..6)?,
        data(&[5, 3]),
    );
    let before = model.weights()[0].clone();
    model.train_on_batch([&x, &z], &y)?;
    // (xW − zW − y) has the gradient (x − z)ᵀ · 2(…)/15.
    let difference = x.sub(&z)?;
    let error = difference.matmul(&before)?.sub(&y)?;
    let gradient = difference.t().matmul(&error)? * (2.0 / 15.0);
    let expected = before.sub(&(gradient * 0.5))?;
    for (a, b) in model.weights()[0].iter().zip(expected.iter()) {
        assert!((a - b).abs() < 1e-6, "{a} {b}");
    }
    Ok(())
}

fn two_outputs() -> nn::Result<(Model, Inputs, TargetArrays)> {
    let (a, b) = (Input::new(&[6]), Input::new(&[2]));
    let joined = Concatenate::new().apply([&a, &b])?;
    let body = Dense::new(8)
        .activation(ActivationFunction::Relu)
        .apply(&joined)?;
    let class = Dense::new(3).named("class").apply(&body)?;
    let class = Activation::softmax().named("probability").apply(&class)?;
    let size = Dense::new(1).named("size").apply(&body)?;
    let model = Model::new([&a, &b], [&class, &size])?;
    let x = Inputs::join([Inputs::from(&data(&[10, 6])), Inputs::from(&data(&[10, 2]))]);
    let labels = Tensor::from_fn([10], |at| (at[0] % 3) as i64)?;
    let y = TargetArrays::join([(&labels).into(), (&data(&[10, 1])).into()]);
    Ok((model, x, y))
}

#[test]
fn several_outputs_have_losses_weights_and_metrics_of_their_own() -> nn::Result<()> {
    let (mut model, x, y) = two_outputs()?;
    let losses = || {
        Losses::new(SparseCategoricalCrossentropy::new())
            .and(MeanSquaredError::new())
            .weights([1.0, 0.25])
    };
    let accuracy = nn::metrics::OfOutput::new("probability", Accuracy::new());
    model.compile_many(losses()?, Adam::new(0.02), [accuracy])?;
    let scores: Scores = model.evaluate(&x, &y)?;
    let names: Vec<&str> = scores.iter().map(|(name, _)| name).collect();
    assert_eq!(
        names,
        [
            "loss",
            "probability_loss",
            "size_loss",
            "probability_accuracy"
        ]
    );
    let sum = scores["probability_loss"] + 0.25 * scores["size_loss"];
    assert!((scores.loss() - sum).abs() < 1e-6);
    let outputs = model.predict_many(&x)?;
    assert_eq!(outputs[0].shape(), &[10, 3]);
    assert_eq!(outputs[1].shape(), &[10, 1]);
    let history = model.fit(&x, &y, quiet().epochs(30).batch_size(4))?;
    let totals = history.get("loss");
    assert!(totals[29] < 0.7 * totals[0], "{totals:?}");

    let error = model.predict(&x).unwrap_err().to_string();
    assert!(error.contains("predict_many"), "{error}");
    let one = model.compile(MeanSquaredError::new(), Sgd::new(0.1), None::<Accuracy>);
    let error = one.unwrap_err().to_string();
    assert!(error.contains("probability, size"), "{error}");
    let wrong = nn::metrics::OfOutput::new("colour", Accuracy::new());
    let error = model
        .compile_many(losses()?, Sgd::new(0.1), [wrong])
        .unwrap_err();
    assert!(error.to_string().contains("no output `colour`"), "{error}");
    Ok(())
}

#[test]
fn nested_models_bring_their_weights_and_compute_the_same() -> nn::Result<()> {
    let mut encoder = Sequential::new();
    encoder.set_name("encoder");
    encoder.add(
        Dense::new(4)
            .activation(ActivationFunction::Tanh)
            .input_shape(&[6]),
    );
    encoder.add(Dropout::new(0.5));
    encoder.compile(MeanSquaredError::new(), Sgd::new(0.1), None::<Accuracy>)?;
    encoder.train_on_batch(data(&[3, 6]), data(&[3, 4]))?;
    let (x, inner) = (data(&[5, 6]), encoder.weights());
    let code = encoder.predict(&x)?;

    let input = Input::new(&[6]);
    let encoded = encoder.apply(&input)?;
    let mut decoder = Sequential::new();
    decoder.add(Dense::new(6));
    let mut model = Model::new(&input, &decoder.apply(&encoded)?)?;
    let names: Vec<&str> = model.layers().iter().map(|layer| layer.name()).collect();
    assert_eq!(names, ["encoder", "sequential"]);
    let weights: Vec<&str> = model.parameters().map(|weight| weight.name()).collect();
    assert_eq!(
        weights,
        ["dense/kernel", "dense/bias", "dense/kernel", "dense/bias"]
    );
    assert_eq!(model.weights()[..2], inner[..]);
    let all = model.weights();
    let expected = code.matmul(&all[2])?.add(&all[3])?;
    assert_eq!(model.predict(&x)?, expected);

    model.compile(MeanSquaredError::new(), Adam::new(0.01), None::<Accuracy>)?;
    let history = model.fit(&x, &x, quiet().epochs(200))?;
    let losses = history.get("loss");
    assert!(losses[199] < losses[0], "{losses:?}");
    Ok(())
}

#[test]
fn fresh_nested_models_draw_weights_that_differ() -> nn::Result<()> {
    let tower = || {
        let mut tower = Sequential::new();
        tower.add(Dense::new(3).input_shape(&[3]));
        tower
    };
    let x = Input::new(&[3]);
    let sum = Add::new().apply([&tower().apply(&x)?, &tower().apply(&x)?])?;
    let model = Model::new(&x, &sum)?;
    assert_ne!(model.weights()[0], model.weights()[2]);
    Ok(())
}

#[test]
fn frozen_layers_stay_and_get_no_gradient() -> nn::Result<()> {
    let mut model = Sequential::new();
    model.add(Dense::new(4).trainable(false).input_shape(&[3]));
    model.add(Dense::new(2));
    model.compile(MeanSquaredError::new(), Adam::new(0.1), None::<Accuracy>)?;
    let before = model.weights();
    model.fit(data(&[8, 3]), data(&[8, 2]), quiet().epochs(2))?;
    let after = model.weights();
    assert_eq!(before[..2], after[..2]);
    assert_ne!(before[2], after[2]);
    assert_eq!(model.trainable_parameters().count(), 2);
    assert_eq!(model.compiled().unwrap().state().slots.len(), 2);
    let summary = model.summary()?;
    assert_eq!((summary.parameters, summary.trainable), (26, 10));
    assert!(summary.to_string().ends_with("10 trainable, 16 not"));

    // Thawed, it learns, once the model is compiled again.
    model.layer_mut("dense").unwrap().set_trainable(true);
    let error = model
        .train_on_batch(data(&[8, 3]), data(&[8, 2]))
        .unwrap_err();
    assert!(error.to_string().contains("compile"), "{error}");
    model.compile(MeanSquaredError::new(), Adam::new(0.1), None::<Accuracy>)?;
    model.train_on_batch(data(&[8, 3]), data(&[8, 2]))?;
    assert_ne!(model.weights()[0], before[0]);
    Ok(())
}

/// Counts the samples that it has seen in training.
struct Counter;

impl<T: Float> Layer<T> for Counter {
    fn class_name(&self) -> &str {
        "Counter"
    }
    fn build(&self, input: &Shape, weights: &mut Weights<T>) -> nn::Result<Shape> {
        weights.add_state("count", [1], &Initializer::Zeros)?;
        Ok(input.clone())
    }
    fn forward(
        &self,
        x: &autograd::Var<T>,
        weights: &[autograd::Var<T>],
        context: &Context,
    ) -> nn::Result<autograd::Var<T>> {
        let seen = T::constant(x.shape()[0] as f64);
        context.set_state(0, weights[0].value() + seen);
        Ok(x.clone())
    }
}

#[test]
fn states_change_in_training_steps_alone() -> nn::Result<()> {
    let mut model = Sequential::new();
    model.add(Dense::new(2).input_shape(&[3]));
    let mut inner = Sequential::new();
    inner.add(Dense::new(2));
    inner.add(Counter);
    model.add(inner);
    model.compile(MeanSquaredError::new(), Adam::new(0.1), None::<Accuracy>)?;
    let (x, y) = (data(&[8, 3]), data(&[8, 2]));
    let count = |model: &Model| model.weights()[4].to_vec();
    model.predict(&x)?;
    model.evaluate(&x, &y)?;
    assert_eq!(count(&model), [0.0]);
    model.fit(&x, &y, quiet().epochs(3).batch_size(5))?;
    assert_eq!(count(&model), [24.0]);
    assert_eq!(model.trainable_parameters().count(), 4);
    Ok(())
}

#[test]
fn branches_of_the_same_value_each_see_it_whole() -> nn::Result<()> {
    // The convolution's value is used twice, so its rectifier must not run inside it.
    let x = Input::new(&[6, 6, 2]);
    let y = Conv2d::new(2, [3, 3]).padding(Padding::Same).apply(&x)?;
    let rectified = Activation::relu().apply(&y)?;
    let difference = Subtract::new().apply([&rectified, &y])?;
    let model = Model::new(&x, [&difference, &y])?;
    let outputs = model.predict_many(data(&[3, 6, 6, 2]))?;
    for (negative, y) in outputs[0].iter().zip(outputs[1].iter()) {
        assert_eq!(negative, if y < 0.0 { -y } else { 0.0 });
    }
    Ok(())
}

#[test]
fn what_does_not_fit_is_refused_with_names_and_a_fix() -> nn::Result<()> {
    let (a, b) = (Input::new(&[4]), Input::new(&[5]));
    let error = |result: nn::Result<Symbol>| result.unwrap_err().to_string();
    assert!(error(Add::new().apply([&a, &b])).contains("Add"));
    let text = error(Dense::new(2).apply([&a, &b]));
    assert!(
        text.contains("takes one input") && text.contains("Concatenate"),
        "{text}"
    );
    let text = error(Conv2d::new(2, [3, 3]).apply(&a));
    assert!(text.contains("not one of images"), "{text}");
    let text = error(Concatenate::new().axis(0).apply([&a, &a]));
    assert!(text.contains("axis"), "{text}");

    let y = Concatenate::new().apply([&a, &b])?;
    let text = Model::new(&a, &y).err().unwrap().to_string();
    assert!(text.contains("input that is not given"), "{text}");
    let text = Model::new([&a, &a], &y).err().unwrap().to_string();
    assert!(text.contains("twice"), "{text}");
    let text = Model::new(&y, &y).err().unwrap().to_string();
    assert!(text.contains("output of a layer"), "{text}");
    let model = Model::new([&a, &b], &y)?;
    let text = model.predict(data(&[2, 4])).unwrap_err().to_string();
    assert!(text.contains("takes 2 inputs, 1 are given"), "{text}");
    let same = |name: &str| Dense::new(1).named(name).apply(&y);
    let twins = [&same("twin")?, &same("twin")?];
    let text = Model::new([&a, &b], twins).err().unwrap().to_string();
    assert!(text.contains("two layers are named `twin`"), "{text}");
    Ok(())
}

#[test]
fn what_no_file_holds_is_refused_before_anything_is_written() -> nn::Result<()> {
    let folder = tempfile::tempdir().unwrap();
    let mut outer = Sequential::new();
    let mut inner = Sequential::new();
    inner.add(Dense::new(2).input_shape(&[3]));
    outer.add(inner);
    for model in [residual()?, outer.into()] {
        for name in ["m.h5", "m.safetensors"] {
            let path = folder.path().join(name);
            let text = model.save(&path).unwrap_err().to_string();
            assert!(text.contains("cannot be saved"), "{text}");
            assert!(!path.exists());
        }
    }
    Ok(())
}

#[test]
fn long_chains_of_symbols_do_not_exhaust_the_stack() -> nn::Result<()> {
    let run = || -> nn::Result<()> {
        let x = Input::new(&[1]);
        let mut y = x.clone();
        for _ in 0..20_000 {
            y = Activation::relu().named("r").apply(&y)?;
        }
        // Dropped here without a model.
        drop(y);
        Ok(())
    };
    let thread = std::thread::Builder::new().stack_size(1 << 18).spawn(run);
    thread.unwrap().join().unwrap()
}

#[test]
fn a_summary_names_layers_and_connections() -> nn::Result<()> {
    let (model, ..) = two_outputs()?;
    let table = model.summary()?.to_string();
    let lines: Vec<&str> = table.lines().collect();
    assert!(lines[0].ends_with("Connected to"), "{table}");
    let row = |name: &str| lines.iter().find(|line| line.contains(name)).unwrap();
    assert!(
        row("concatenate").contains("input_layer, input_layer_1"),
        "{table}"
    );
    assert!(row(" size ").ends_with("dense"), "{table}");
    Ok(())
}
