//! Texts of the errors that a person who trains a network meets.

use nn::prelude::*;

fn classifier() -> Sequential {
    let mut model = Sequential::new();
    model.add(Dense::new(3).input_shape(&[2]));
    model.add(Activation::softmax());
    model
}

fn compiled() -> Sequential {
    let mut model = classifier();
    let loss = SparseCategoricalCrossentropy::new();
    model
        .compile(loss, Adam::default(), [Accuracy::new()])
        .unwrap();
    model
}

fn quiet<'a>() -> Fit<'a> {
    Fit::new().verbosity(Verbosity::Silent)
}

fn zeros(shape: &[usize]) -> Tensor<f32> {
    Tensor::zeros(shape).unwrap()
}

#[track_caller]
fn assert_text<T>(result: nn::Result<T>, expected: &str) {
    match result {
        Ok(_) => panic!("no error, expected:\n{expected}"),
        Err(error) => assert_eq!(error.to_string(), expected),
    }
}

#[test]
fn an_input_smaller_than_the_receptive_field_names_the_layer() {
    let mut model = Sequential::new();
    model.add(Conv2d::new(4, [3, 3]).input_shape(&[6, 6, 1]));
    model.add(MaxPool2d::new([2, 2]));
    model.add(Conv2d::new(4, [3, 3]));
    assert_text(
        model.build(),
        "conv2d: the input is smaller than the kernel along the height: the kernel covers 3, the input has 2
  options    stride [1, 1], padding valid
  input      [1, 2, 2, 4]   (batch, height, width, channels)
  filters    [3, 3, 4, 4]   (height, width, channels in, channels out)
  layer 2    `Conv2d 3×3` (conv2d_1)
  its input  [2, 2, 4]   (without the batch axis)
  fix: use a larger input, a smaller kernel, or `Padding::Same`",
    );
    // Whoever comes first reports it.
    assert!(model.summary().is_err());
    assert!(model.predict(zeros(&[1, 6, 6, 1])).is_err());
}

/// 3 · (2⁶⁴ − 1) / 3 + 1 wraps around to a kernel of no width.
#[test]
fn a_dilation_beyond_the_address_space_is_refused() {
    let mut model = Sequential::new();
    let dilation = [1, usize::MAX / 3];
    let layer = Conv2d::new(3, [1, 4]).dilation(dilation);
    model.add(layer.padding(Padding::Same).input_shape(&[8, 8, 2]));
    let error = model.build().err().unwrap().to_string();
    let expected = "conv2d: kernel, dilation and padding along the width exceed the address space";
    assert!(error.starts_with(expected), "{error}");
    assert!(error.contains(&format!("dilation {dilation:?}")), "{error}");
}

#[test]
fn few_channels_in_as_many_groups_are_convolved() {
    for channels in 2..8 {
        let mut model = Sequential::new();
        let layer = Conv2d::new(channels, [3, 3]).groups(channels);
        model.add(layer.input_shape(&[28, 28, channels]));
        let y = model.predict(zeros(&[2, 28, 28, channels])).unwrap();
        assert_eq!(*y.shape(), [2, 26, 26, channels]);
    }
}

#[test]
fn a_model_without_layers_shape_or_loss_says_what_to_do() {
    assert_text(
        Sequential::new().build(),
        "model: the model has no layers\n  fix: `add` some",
    );
    let mut model = Sequential::new();
    model.add(Dense::new(1));
    assert_text(
        model.predict(zeros(&[1, 2])),
        "model: the shape of the inputs is not known yet
  fix: give the first layer an `input_shape(…)`, or `fit` the model first",
    );
    assert_text(
        classifier().fit(zeros(&[1, 2]), zeros(&[1, 3]), quiet()),
        "fit: the model has no loss and no optimizer yet\n  fix: call `compile` first",
    );
    let mut model = Sequential::new();
    model.add(Dense::new(1).named("a").input_shape(&[1]));
    model.add(Dense::new(1).named("a"));
    assert_text(model.build(), "model: two layers are named `a`");
}

#[test]
fn samples_and_targets_that_do_not_fit() {
    let mut model = compiled();
    let labels = |labels: &[i64]| Tensor::from(labels.to_vec());
    assert_text(
        model.fit(zeros(&[0, 2]), labels(&[]), quiet()),
        "fit: there are no samples\n  x  [0, 2]",
    );
    assert_text(
        model.fit(zeros(&[3, 2]), labels(&[0, 1]), quiet()),
        "fit: there are 3 samples but 2 targets\n  x  [3, 2]\n  y  [2]",
    );
    assert_text(
        model.fit(zeros(&[2, 5]), labels(&[0, 1]), quiet()),
        "fit: the samples have another shape than the model takes
  samples  [2, 5]   (samples first)
  model    [2]   (one sample)
  fix: add the axis of samples with `expand_dims(0)` if this is a single one",
    );
    for label in [3, -1] {
        assert_text(
            model.fit(zeros(&[2, 2]), labels(&[0, label]), quiet()),
            &format!(
                "sparse_categorical_crossentropy: the label of sample 1 is {label}, which is no class
  classes  0 … 2
  fix: number the classes from 0, and give the last layer one output a class"
            ),
        );
    }
    let one_hot = zeros(&[2, 3]);
    let error = model.fit(zeros(&[2, 2]), &one_hot, quiet()).unwrap_err();
    assert!(
        error.to_string().contains("`CategoricalCrossentropy`"),
        "{error}"
    );
    let mut model = classifier();
    model
        .compile(
            CategoricalCrossentropy::new(),
            Sgd::default(),
            None::<Accuracy>,
        )
        .unwrap();
    assert_text(
        model.fit(zeros(&[2, 2]), labels(&[0, 1]), quiet()),
        "categorical_crossentropy: the targets are not one-hot rows of the outputs' shape
  targets  [2]
  outputs  [2, 3]
  fix: use `to_categorical(&labels, classes)`, or `SparseCategoricalCrossentropy` for labels",
    );
}

#[test]
fn labels_are_printed_as_they_are() {
    let mut model = compiled();
    let x = zeros(&[2, 2]);
    for label in [i64::MAX, i64::MIN, i64::MAX - 1, 1 << 53 | 1] {
        let error = model.fit(&x, Tensor::from([0_i64, label]), quiet());
        let error = error.unwrap_err().to_string();
        assert!(
            error.contains(&format!(" is {label}, which is no class")),
            "{error}"
        );
    }
    assert_text(
        model.fit(&x, Tensor::from([0.0_f32, 1.5]), quiet()),
        "sparse_categorical_crossentropy: the label of sample 1 is 1.5, which is no whole number
  fix: labels are the numbers of classes; other numbers belong to `MeanSquaredError`",
    );
    assert_text(
        to_categorical(Tensor::from([0.0_f64, 0.5]), 2),
        "to_categorical: 0.5 is no whole number
  element  [1]
  array    f64 [2]",
    );
}

#[test]
fn a_forgotten_flatten_is_named() {
    let fit = |loss: Box<dyn Loss>, y: nn::data::Array| {
        let mut model = Sequential::new();
        model.add(Conv2d::new(4, [3, 3]).input_shape(&[6, 6, 1]));
        model.add(Dense::new(3));
        model.add(Activation::softmax());
        model
            .compile(loss, Adam::default(), None::<Accuracy>)
            .unwrap();
        model.fit(zeros(&[2, 6, 6, 1]), y, quiet())
    };
    let labels = Tensor::from([0_i64, 1]);
    let one_hot = to_categorical(&labels, 3).unwrap();
    assert_text(
        fit(Box::new(CategoricalCrossentropy::new()), (&one_hot).into()),
        "categorical_crossentropy: the targets are not one-hot rows of the outputs' shape
  targets  [2, 3]
  outputs  [2, 4, 4, 3]
  fix: if a layer before the last `Dense` puts out images, add `Flatten` behind it",
    );
    assert_text(
        fit(
            Box::new(SparseCategoricalCrossentropy::new()),
            labels.into(),
        ),
        "sparse_categorical_crossentropy: the outputs are not one row a sample
  outputs  [2, 4, 4, 3]
  fix: if a layer before the last `Dense` puts out images, add `Flatten` behind it",
    );
    assert_text(
        fit(Box::new(MeanSquaredError::new()), one_hot.into()),
        "mean_squared_error: the targets do not fit the outputs
  targets     [2, 3]
  one output  [4, 4, 3]
  fix: if a layer before the last `Dense` puts out images, add `Flatten` behind it",
    );
}

#[test]
fn images_with_their_channels_first_are_recognised() {
    let mut model = Sequential::new();
    model.add(Conv2d::new(4, [3, 3]).input_shape(&[32, 30, 3]));
    model.build().unwrap();
    assert_text(
        model.predict(zeros(&[2, 3, 32, 30])),
        "predict: the samples have another shape than the model takes
  samples  [2, 3, 32, 30]   (samples first)
  model    [32, 30, 3]   (one sample)
  fix: move the channels behind height and width: `x.permute(&[0, 2, 3, 1])`",
    );
    let mut model = Sequential::new();
    model.add(Conv2d::new(4, [5, 5]).input_shape(&[3, 32, 30]));
    let error = model.build().unwrap_err().to_string();
    assert!(
        error.contains("if the 3 are channels and not the height"),
        "{error}"
    );
    let mut model = Sequential::new();
    model.add(MaxPool2d::new([2, 2]).input_shape(&[1, 28, 28]));
    let error = model.build().unwrap_err().to_string();
    assert!(
        error.contains("if the 1 are channels and not the height"),
        "{error}"
    );
}

#[test]
fn settings_that_cannot_be() {
    let mut model = compiled();
    let (x, y) = (zeros(&[4, 2]), Tensor::from([0_i64, 1, 2, 0]));
    assert_text(
        model.fit(&x, &y, quiet().batch_size(0)),
        "fit: the batch size is 0\n  fix: use at least 1",
    );
    for fraction in [1.0, -0.1, 0.99, f64::NAN] {
        let error = model.fit(&x, &y, quiet().validation_split(fraction));
        let error = error.unwrap_err().to_string();
        assert!(error.contains("leaves nothing to train on"), "{error}");
    }
    for rate in [1.0, -0.5, f64::NAN] {
        let mut model = Sequential::new();
        model.add(Dropout::new(rate).input_shape(&[2]));
        let error = model.build().unwrap_err().to_string();
        assert!(
            error.starts_with(&format!("dropout: the rate is {rate}")),
            "{error}"
        );
    }
    let stop = EarlyStopping::new("val_loss");
    let error = model.fit(&x, &y, quiet().callback(stop)).unwrap_err();
    let error = error.to_string();
    assert!(error.contains("no `val_loss` to watch"), "{error}");
    assert!(error.contains("loss, accuracy"), "{error}");
}

#[test]
fn weights_of_other_shapes_change_nothing() {
    let mut model = classifier();
    let before = model.weights();
    assert_text(
        model.set_weights(vec![zeros(&[2, 3])]),
        "set_weights: 1 weights given, the model has 2",
    );
    assert_text(
        model.set_weights(vec![zeros(&[2, 3]), zeros(&[4])]),
        "set_weights: a weight has another shape
  weight       dense/bias
  the model's  [3]
  given        [4]",
    );
    assert_eq!(model.weights(), before);
}

#[test]
fn a_loss_that_is_not_finite_names_step_and_layer() {
    let mut model = Sequential::new();
    model.add(Dense::new(2).named("first").input_shape(&[2]));
    model.add(Activation::new(ActivationFunction::Exponential).named("growth"));
    model.add(Dense::new(1).named("last"));
    let loss = MeanSquaredError::new();
    model
        .compile(loss, Sgd::new(1e4), None::<Accuracy>)
        .unwrap();
    let x = Tensor::<f32>::ones([8, 2]).unwrap();
    let y = Tensor::<f32>::ones([8, 1]).unwrap();
    let fit = quiet().batch_size(4).epochs(100);
    let Err(nn::Error::NotFinite(error)) = model.fit(&x, &y, fit) else {
        panic!("a step of that size diverges");
    };
    assert!(error.layer.is_some(), "{error}");
    assert!(error.epoch_and_batch.is_some() && error.step > 1, "{error}");
    let text = error.to_string();
    assert!(
        text.contains("at step") && text.contains("(epoch"),
        "{text}"
    );
    // The weights are those before the step that was not taken.
    let good = model.weights();
    assert!(model.train_on_batch(&x, &y).is_err());
    let bits = |weights: &[Tensor<f32>]| -> Vec<u32> {
        let values = weights.iter().flat_map(Tensor::iter);
        values.map(f32::to_bits).collect()
    };
    assert_eq!(bits(&model.weights()), bits(&good));

    let mut model = compiled();
    let mut x = zeros(&[3, 2]);
    x[[1, 0]] = f32::NAN;
    let y = Tensor::from([0_i64, 1, 2]);
    let error = model.fit(&x, &y, quiet().shuffle(false)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "fit: the loss is NaN at step 1 (epoch 1, batch 1)
  first  the input, NaN at [1, 0] of [3, 2]
  fix: use a smaller learning rate, scale the inputs (pixels / 256), or look for NaN in the data"
    );
}

#[test]
fn configurations_from_elsewhere_are_refused_by_name() {
    use serde_json::json;
    let layer = |class: &str, config: serde_json::Value| {
        let config = config.as_object().cloned().unwrap_or_default();
        match nn::layers::from_config::<f32>(class, &config) {
            Ok(layer) => layer.label(),
            Err(error) => error.to_string(),
        }
    };
    assert_eq!(
        layer("LSTM", json!({})),
        "model: there is no layer of class `LSTM`"
    );
    assert_eq!(
        layer("Dense", json!({})),
        "configuration of Dense: `units` is missing"
    );
    assert_eq!(
        layer("Dense", json!({"units": -3})),
        "configuration of Dense: `units` is -3; a whole number was expected"
    );
    assert_eq!(
        layer("Dense", json!({"units": 3, "activation": "maxout"})),
        "configuration of Dense: `activation` is \"maxout\"; an activation function of this crate was expected"
    );
    assert_eq!(
        layer(
            "Dense",
            json!({"units": 3, "kernel_regularizer": {"class_name": "L2"}})
        ),
        "configuration of Dense: `kernel_regularizer` = {\"class_name\":\"L2\"} is not supported"
    );
    let channels_first = json!({"filters": 1, "kernel_size": 3, "data_format": "channels_first"});
    let error = layer("Conv2D", channels_first);
    assert!(
        error.contains("`data_format` = \"channels_first\" is not supported"),
        "{error}"
    );
    let huge = json!({"filters": 1e300, "kernel_size": [3, 3]});
    let error = layer("Conv2D", huge);
    assert!(error.contains("`filters` is 1e+300"), "{error}");
    let three = json!({"filters": 1, "kernel_size": [3, 3, 3]});
    assert!(layer("Conv2D", three).contains("two whole numbers"));
}

#[test]
fn layers_of_no_filters_are_not_built() {
    let mut model = Sequential::<f32>::new();
    model.add(Conv2d::new(0, [3, 3]).input_shape(&[8, 8, 1]));
    let error = model.build().unwrap_err().to_string();
    assert!(
        error.starts_with("conv2d: there is nothing to convolve"),
        "{error}"
    );
}

#[test]
fn gradients_that_do_not_fit_change_nothing() {
    let mut model = classifier();
    assert_text(
        model.apply_gradients(vec![]),
        "apply_gradients: the model has no loss and no optimizer yet
  fix: call `compile` first",
    );
    let mut model = compiled();
    let before = model.weights();
    assert_text(
        model.apply_gradients(vec![zeros(&[2, 3])]),
        "apply_gradients: 1 gradients given, the model has 2 parameters",
    );
    let ones = Tensor::ones([2, 3]).unwrap();
    assert_text(
        model.apply_gradients(vec![ones, zeros(&[1])]),
        "apply_gradients: a gradient has another shape than its parameter
  parameter  bias
  its shape  [3]
  gradient   [1]",
    );
    assert_eq!(model.weights(), before);
}
