//! What callbacks watch is known before training starts: that there is such a value, and which
//! values of it are better.

use nn::Targets;
use nn::metrics::{Metric, Tally};
use nn::prelude::*;
use nn::training::ModelCheckpoint;
use tensor::Float;

/// The mean absolute error, under any name.
struct Mae(&'static str, Option<bool>);

impl<T: Float> Metric<T> for Mae {
    fn name(&self) -> &str {
        self.0
    }
    fn higher_is_better(&self) -> Option<bool> {
        self.1
    }
    fn measure(&self, output: &Tensor<T>, targets: &Targets<T>) -> nn::Result<Tally> {
        let targets = targets.values_like("mae", output.shape())?;
        let sum = output.sub(&targets)?.abs().sum(..)?.item()?.to_f64();
        Ok(Tally {
            sum,
            count: output.len(),
        })
    }
}

fn model(metric: Mae) -> Sequential {
    let mut model = Sequential::new();
    model.add(Dense::new(1).input_shape(&[1]));
    let metrics: Vec<Box<dyn Metric>> = vec![Box::new(metric), Box::new(Accuracy::new())];
    let loss = MeanSquaredError::new();
    model.compile(loss, Sgd::new(0.05), metrics).unwrap();
    model
}

fn data() -> (Tensor<f32>, Tensor<f32>) {
    let x = Tensor::from_fn([20, 1], |at| at[0] as f32 / 10.0 - 1.0).unwrap();
    let y = Tensor::from_fn([20, 1], |at| at[0] as f32 / 4.0).unwrap();
    (x, y)
}

fn fit<'a>() -> Fit<'a> {
    Fit::new().epochs(6).verbosity(Verbosity::Silent)
}

/// How many epochs there are until `stopping` ends a training in which the error falls.
fn epochs(metric: Mae, stopping: EarlyStopping) -> nn::Result<usize> {
    let (x, y) = data();
    let history = model(metric).fit(&x, &y, fit().callback(stopping))?;
    Ok(history.epochs.len())
}

#[test]
fn metrics_users_and_names_say_what_is_better() {
    let early = EarlyStopping::new;
    assert_eq!(epochs(Mae("mae", Some(false)), early("mae")).unwrap(), 6);
    assert_eq!(epochs(Mae("mae", Some(true)), early("mae")).unwrap(), 2);
    let low = early("mae").higher_is_better(false);
    assert_eq!(epochs(Mae("mae", None), low.clone()).unwrap(), 6);
    assert_eq!(epochs(Mae("mae", Some(true)), low).unwrap(), 6);
    for name in ["absolute_error", "my_loss"] {
        assert_eq!(epochs(Mae(name, None), early(name)).unwrap(), 6);
    }
    assert_eq!(epochs(Mae("mae", None), early("loss")).unwrap(), 6);
    let high = early("loss").higher_is_better(true);
    assert_eq!(epochs(Mae("mae", None), high).unwrap(), 2);
}

#[test]
fn where_nobody_says_what_is_better_training_does_not_start() {
    let (x, y) = data();
    let expected = "fit: nothing says whether a high or a low `val_mae` is better
  fix: say so with `higher_is_better(false)` of the callback, or in `Metric::higher_is_better`";
    let mut model = model(Mae("mae", None));
    let before = model.weights();
    let early = fit().callback(EarlyStopping::new("val_mae"));
    let keep = ModelCheckpoint::new("val_mae", |_: &Model| Ok(()));
    for fit in [early, fit().callback(keep)] {
        let error = model.fit(&x, &y, fit.validation_split(0.2)).unwrap_err();
        assert_eq!(error.to_string(), expected);
    }
    assert_eq!(model.weights(), before);
    let keep = ModelCheckpoint::new("mae", |_: &Model| Ok(())).higher_is_better(false);
    model.fit(&x, &y, fit().callback(keep)).unwrap();
}

#[test]
fn a_name_that_no_epoch_gives_is_refused_before_the_first() {
    let (x, y) = data();
    let mut model = model(Mae("mae", Some(false)));
    let before = model.weights();
    let mut error = |name: &str, validation: bool| {
        let split = if validation { 0.2 } else { 0.0 };
        let fit = fit()
            .callback(EarlyStopping::new(name))
            .validation_split(split);
        model.fit(&x, &y, fit).unwrap_err().to_string()
    };
    assert_eq!(
        error("val_acc", true),
        "fit: there is no `val_acc` to watch
  there are  loss, mae, accuracy, val_loss, val_mae, val_accuracy
  fix: watch one of these, or `compile` the model with such a metric"
    );
    assert_eq!(
        error("val_mae", false),
        "fit: there is no `val_mae` to watch
  there are  loss, mae, accuracy
  fix: give validation data: `validation_data` or `validation_split`"
    );
    assert!(error("", false).contains("there is no `` to watch"));
    assert_eq!(model.weights(), before);
}
