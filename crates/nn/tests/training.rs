//! How models behave while they are built, trained and used.

use nn::prelude::*;
use nn::training::{
    Callback, Control, CsvLogger, EpochRecord, LearningRateSchedule, ModelCheckpoint,
};

fn quiet<'a>() -> Fit<'a> {
    Fit::new().verbosity(Verbosity::Silent)
}

/// Points in the plane and whether they lie in the upper half.
fn points(count: usize) -> (Tensor<f32>, Tensor<i64>) {
    let at = |i: usize, axis: usize| ((i * (7 + 6 * axis) + axis) % 29) as f32 / 14.5 - 1.0;
    let x = Tensor::from_fn([count, 2], |index| at(index[0], index[1])).unwrap();
    let y = Tensor::from_fn([count], |index| i64::from(at(index[0], 1) > 0.0)).unwrap();
    (x, y)
}

fn classifier(seed: u64) -> Sequential {
    let mut model = Sequential::new().seed(seed);
    model.add(Dense::new(8).input_shape(&[2]));
    model.add(Activation::relu());
    model.add(Dense::new(2));
    model.add(Activation::softmax());
    let loss = SparseCategoricalCrossentropy::new();
    model
        .compile(loss, Adam::new(0.02), [Accuracy::new()])
        .unwrap();
    model
}

#[test]
fn a_small_network_learns() {
    let (x, y) = points(200);
    let mut model = classifier(1);
    let history = model.fit(&x, &y, quiet().epochs(30)).unwrap();
    let losses = history.get("loss");
    assert_eq!(losses.len(), 30);
    assert!(losses[29] < 0.3 * losses[0], "{losses:?}");
    let scores = model.evaluate(&x, &y).unwrap();
    assert!(scores["accuracy"] > 0.95, "{scores}");
    assert_eq!(scores[0], scores.loss());
    assert_eq!(scores.get("loss"), Some(scores[0]));
    let probabilities = model.predict(&x).unwrap();
    assert_eq!(probabilities.shape(), &[200, 2]);
    for row in 0..200 {
        let sum = probabilities[[row, 0]] + probabilities[[row, 1]];
        assert!((sum - 1.0).abs() < 1e-6);
    }
}

#[test]
fn one_hot_rows_and_labels_are_the_same_training() {
    let (x, y) = points(60);
    let one_hot = to_categorical(&y, 2).unwrap();
    let mut sparse = classifier(5);
    sparse.fit(&x, &y, quiet()).unwrap();
    let mut dense = classifier(5);
    let loss = CategoricalCrossentropy::new();
    dense
        .compile(loss, Adam::new(0.02), [Accuracy::new()])
        .unwrap();
    dense.fit(&x, &one_hot, quiet()).unwrap();
    assert_eq!(sparse.weights(), dense.weights());
    assert_eq!(
        sparse.evaluate(&x, &y).unwrap()["accuracy"],
        dense.evaluate(&x, &one_hot).unwrap()["accuracy"]
    );
}

#[test]
fn the_fused_loss_equals_the_loss_of_probabilities() {
    let (x, y) = points(40);
    let mut model = Sequential::<f64>::default().seed(2);
    model.add(Dense::new(2).input_shape(&[2]));
    model.add(Activation::softmax());
    let loss = SparseCategoricalCrossentropy::new();
    model
        .compile(loss, Sgd::new(0.1), None::<Accuracy>)
        .unwrap();
    let fused = model.evaluate(&x, &y).unwrap().loss();
    let p = model.predict(&x).unwrap();
    let by_hand: f64 = (0..40).map(|i| -p[[i, y[[i]] as usize]].ln()).sum();
    assert!((fused - by_hand / 40.0).abs() < 1e-12);

    // A layer after the softmax keeps the loss from taking it over.
    model.add(Rescaling::new(1.0));
    let apart = model.evaluate(&x, &y).unwrap().loss();
    assert!((fused - apart).abs() < 1e-12);
}

#[test]
fn the_binary_losses_agree_too() {
    let (x, y) = points(40);
    let mut model = Sequential::<f64>::default().seed(2);
    model.add(
        Dense::new(1)
            .activation(ActivationFunction::Sigmoid)
            .input_shape(&[2]),
    );
    let loss = BinaryCrossentropy::new();
    model
        .compile(loss, Adam::new(0.1), [Accuracy::new()])
        .unwrap();
    let fused = model.evaluate(&x, &y).unwrap();
    let p = model.predict(&x).unwrap();
    let by_hand = |i: usize| match y[[i]] {
        1 => -p[[i, 0]].ln(),
        _ => -(1.0 - p[[i, 0]]).ln(),
    };
    let mean = (0..40).map(by_hand).sum::<f64>() / 40.0;
    assert!((fused.loss() - mean).abs() < 1e-12);
    let right = (0..40)
        .filter(|&i| (p[[i, 0]] > 0.5) == (y[[i]] == 1))
        .count();
    assert_eq!(fused["accuracy"], right as f64 / 40.0);
    model
        .fit(&x, &y, Fit::new().epochs(40).verbosity(Verbosity::Silent))
        .unwrap();
    assert!(model.evaluate(&x, &y).unwrap().loss() < 0.3 * mean);
}

#[test]
fn activations_in_layers_of_their_own_are_fused_without_a_difference() {
    let x = Tensor::<f32>::from_fn([3, 8, 8, 2], |at| {
        (at[1] * 5 + at[2] * 3 + at[3]) as f32 % 7.0 - 3.0
    });
    let x = x.unwrap();
    let apart = |wall: bool| {
        let mut model = Sequential::new().seed(4);
        model.add(Conv2d::new(5, [3, 3]).input_shape(&[8, 8, 2]));
        if wall {
            // Stands between the convolution and its rectifier, and does nothing.
            model.add(Rescaling::new(1.0));
        }
        model.add(Activation::relu());
        model.add(Flatten::new());
        model.predict(&x).unwrap()
    };
    assert_eq!(apart(false), apart(true));
    let mut inside = Sequential::new().seed(4);
    inside.add(
        Conv2d::new(5, [3, 3])
            .activation(ActivationFunction::Relu)
            .input_shape(&[8, 8, 2]),
    );
    inside.add(Flatten::new());
    assert_eq!(inside.predict(&x).unwrap(), apart(true));
    assert!(apart(true).iter().any(|value| value == 0.0));
}

#[test]
fn dropout_acts_in_training_alone() {
    let mut model = Sequential::new();
    model.add(Dropout::new(0.5).input_shape(&[100]));
    model.add(Dense::new(1).kernel_initializer(Initializer::Ones));
    model
        .compile(MeanSquaredError::new(), Sgd::new(0.0), None::<Accuracy>)
        .unwrap();
    let (x, y) = (
        Tensor::<f32>::ones([1, 100]).unwrap(),
        Tensor::<f32>::zeros([1, 1]).unwrap(),
    );
    assert_eq!(model.predict(&x).unwrap().to_vec(), [100.0]);
    assert_eq!(model.evaluate(&x, &y).unwrap().loss(), 10_000.0);
    let losses: Vec<f64> = (0..8)
        .map(|_| model.train_on_batch(&x, &y).unwrap().loss())
        .collect();
    // What is kept is doubled: twice an even number, squared, another one at most steps.
    assert!(
        losses.iter().all(|loss| loss.sqrt() % 2.0 == 0.0),
        "{losses:?}"
    );
    let mut distinct = losses.clone();
    distinct.sort_by(f64::total_cmp);
    distinct.dedup();
    assert!(distinct.len() > 3, "{losses:?}");
}

#[test]
fn the_same_seed_gives_the_same_run_and_another_one_another() {
    let (x, y) = points(50);
    let run = |seed: u64, order: Option<u64>| {
        let mut model = classifier(seed);
        let mut fit = quiet().epochs(2).batch_size(8);
        if let Some(seed) = order {
            fit = fit.seed(seed);
        }
        model.fit(&x, &y, fit).unwrap();
        model.weights()
    };
    assert_eq!(run(1, None), run(1, None));
    assert_ne!(run(1, None), run(2, None));
    assert_ne!(run(1, None), run(1, Some(9)));
}

#[test]
fn a_run_in_two_parts_is_the_run_in_one() {
    let (x, y) = points(50);
    let mut whole = classifier(1);
    whole.fit(&x, &y, quiet().epochs(4)).unwrap();
    let mut parts = classifier(1);
    parts.fit(&x, &y, quiet().epochs(2)).unwrap();
    parts
        .fit(&x, &y, quiet().initial_epoch(2).epochs(4))
        .unwrap();
    assert_eq!(whole.weights(), parts.weights());
}

#[test]
fn validation_takes_the_last_samples() {
    let (x, y) = points(40);
    let mut split = classifier(1);
    let history = split
        .fit(&x, &y, quiet().validation_split(0.25).epochs(2))
        .unwrap();
    let mut given = classifier(1);
    let part = |range: std::ops::Range<isize>| {
        (
            x.slice_axis(0, range.clone()).unwrap(),
            y.slice_axis(0, range).unwrap(),
        )
    };
    let ((x_train, y_train), (x_held, y_held)) = (part(0..30), part(30..40));
    let fit = quiet().validation_data(&x_held, &y_held).epochs(2);
    let same = given.fit(&x_train, &y_train, fit).unwrap();
    for name in ["loss", "accuracy", "val_loss", "val_accuracy"] {
        assert_eq!(history.get(name), same.get(name), "{name}");
        assert_eq!(history.get(name).len(), 2);
    }
    let scores = given.evaluate(&x_held, &y_held).unwrap();
    assert_eq!(Some(scores.loss()), same.epochs[1].get("val_loss"));
}

#[test]
fn bytes_stay_bytes_and_train_like_their_values() {
    let bytes = Tensor::from_fn([30, 4], |at| ((at[0] * 37 + at[1] * 91) % 256) as u8).unwrap();
    let y = Tensor::from_fn([30], |at| (at[0] % 2) as i64).unwrap();
    let run = |x: nn::data::Array| {
        let mut model = Sequential::new().seed(1);
        model.add(Rescaling::new(1.0 / 256.0).input_shape(&[4]));
        model.add(Dense::new(2));
        model.add(Activation::softmax());
        let loss = SparseCategoricalCrossentropy::new();
        model
            .compile(loss, Adam::default(), [Accuracy::new()])
            .unwrap();
        model.fit(&x, &y, quiet().epochs(3)).unwrap();
        (model.weights(), model.predict(&x).unwrap())
    };
    assert_eq!(run((&bytes).into()), run((&bytes.cast::<f32>()).into()));
}

#[test]
fn views_are_read_in_their_own_order() {
    let (x, y) = points(40);
    let backwards = |array: &Tensor<f32>| array.flip(0).unwrap();
    let copied = backwards(&x).contiguous();
    let labels = y.flip(0).unwrap();
    let run = |x: &Tensor<f32>, y: &Tensor<i64>| {
        let mut model = classifier(3);
        model.fit(x, y, quiet()).unwrap();
        model.weights()
    };
    assert_eq!(
        run(&backwards(&x), &labels),
        run(&copied, &labels.contiguous())
    );
}

#[test]
fn evaluation_weighs_the_last_batch_by_its_size() {
    let (x, y) = points(37);
    let model = classifier(1);
    let whole = model.evaluate(&x, &y).unwrap();
    let one = |i: isize| {
        let (x, y) = (
            x.slice_axis(0, i..i + 1).unwrap(),
            y.slice_axis(0, i..i + 1).unwrap(),
        );
        model.evaluate(&x, &y).unwrap()
    };
    let scores: Vec<_> = (0..37).map(one).collect();
    let mean = |k: usize| scores.iter().map(|scores| scores[k]).sum::<f64>() / 37.0;
    assert!((whole[0] - mean(0)).abs() < 1e-6);
    assert!((whole[1] - mean(1)).abs() < 1e-12);
}

#[test]
fn names_are_keras_names_and_layers_draw_from_their_own_streams() {
    let mut model = Sequential::new().seed(1);
    model.add(Conv2d::new(2, [3, 3]).input_shape(&[8, 8, 1]));
    model.add(Activation::relu());
    model.add(Conv2d::new(2, [3, 3]).named("mine"));
    model.add(Activation::leaky_relu(0.3));
    model.add(Conv2d::new(2, [3, 3]));
    let names: Vec<&str> = model.layers().iter().map(nn::Stage::name).collect();
    assert_eq!(
        names,
        ["conv2d", "activation", "mine", "leaky_re_lu", "conv2d_1"]
    );
    let kernels: Vec<_> = model.weights().into_iter().step_by(2).collect();
    assert_ne!(kernels[1], kernels[2]);
    assert!(model.weights()[1].iter().all(|bias| bias == 0.0));
}

#[test]
fn early_stopping_waits_and_restores() {
    /// Reports a made-up validation loss by ending the epoch with weights that say so.
    struct Scripted<'a>(&'a mut EarlyStopping, &'a [f64], Vec<Vec<Tensor<f32>>>);
    impl Callback for Scripted<'_> {
        fn train_begin(&mut self, model: &mut Model) -> nn::Result<()> {
            self.0.train_begin(model)
        }
        fn epoch_end(&mut self, record: &EpochRecord, model: &mut Model) -> nn::Result<Control> {
            let mut record = record.clone();
            record
                .values
                .push(("val_loss".to_string(), self.1[record.epoch]));
            self.2.push(model.weights());
            self.0.epoch_end(&record, model)
        }
        fn train_end(&mut self, model: &mut Model) -> nn::Result<()> {
            self.0.train_end(model)
        }
    }
    let (x, y) = points(20);
    let mut model = classifier(1);
    let mut stopping = EarlyStopping::new("val_loss")
        .patience(2)
        .restore_best_weights();
    let losses = [3.0, 2.0, 2.5, 1.0, 1.0, 1.5, 0.0];
    let mut scripted = Scripted(&mut stopping, &losses, Vec::new());
    let fit = quiet().epochs(7).callback(&mut scripted);
    let history = model.fit(&x, &y, fit).unwrap();
    assert_eq!(history.epochs.len(), 6, "an equal value is no improvement");
    assert_eq!(model.weights(), scripted.2[3]);
}

#[test]
fn callbacks_schedule_log_and_keep_the_best() {
    let (x, y) = points(40);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log.csv");
    let mut saved = Vec::new();
    let mut model = classifier(1);
    let fit = quiet()
        .epochs(3)
        .callback(LearningRateSchedule::new(|epoch, rate| {
            if epoch == 2 { rate / 4.0 } else { rate }
        }))
        .callback(CsvLogger::new(&path))
        .callback(ModelCheckpoint::new("loss", |model: &Model| {
            saved.push(model.weights());
            Ok(())
        }));
    let history = model.fit(&x, &y, fit).unwrap();
    let rates: Vec<f64> = history
        .epochs
        .iter()
        .map(|epoch| epoch.learning_rate)
        .collect();
    assert_eq!(rates, [0.02, 0.02, 0.005]);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), history.to_csv());
    assert_eq!(history.to_csv().lines().count(), 4);
    assert_eq!(saved.last(), Some(&model.weights()));

    let nowhere = folder.path().join("missing/log.csv");
    let error = model.fit(&x, &y, quiet().callback(CsvLogger::new(nowhere)));
    assert!(error.unwrap_err().to_string().contains("missing/log.csv"));
}

#[test]
fn compiling_again_keeps_weights_and_forgets_the_optimizer() {
    let (x, y) = points(20);
    let mut model = classifier(1);
    model.fit(&x, &y, quiet().epochs(2)).unwrap();
    assert_eq!(model.compiled().unwrap().state().iterations, 2);
    let weights = model.weights();
    let loss = SparseCategoricalCrossentropy::new();
    model
        .compile(loss, Sgd::new(0.1), None::<Accuracy>)
        .unwrap();
    assert_eq!(model.weights(), weights);
    assert_eq!(model.compiled().unwrap().state().iterations, 0);
    assert_eq!(
        model.fit(&x, &y, quiet()).unwrap().epochs[0].values.len(),
        1
    );
}

#[test]
fn models_move_between_threads() {
    let (x, y) = points(20);
    let mut model = classifier(1);
    let trained = std::thread::spawn(move || {
        model.fit(&x, &y, quiet()).unwrap();
        model
    });
    assert_eq!(trained.join().unwrap().layers().len(), 4);
}
