//! A training step happens whole or not at all, or the model refuses to go on.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use autograd::Var;
use nn::optimizers::Clipped;
use nn::prelude::*;
use nn::training::LearningRateSchedule;
use nn::{Context, NotFinite, Targets, Weights};
use tensor::{Float, Shape};

/// A layer that does nothing, and whose derivative fails (1), panics (2) or is infinite (3).
#[derive(Clone, Default)]
struct Brittle(Arc<AtomicU8>);

impl<T: Float> Layer<T> for Brittle {
    fn class_name(&self) -> &str {
        "Brittle"
    }
    fn build(&self, input: &Shape, _: &mut Weights<T>) -> nn::Result<Shape> {
        Ok(input.clone())
    }
    fn forward(&self, x: &Var<T>, _: &[Var<T>], _: &Context) -> nn::Result<Var<T>> {
        let (y, behaviour) = (x.scale(1.0), self.0.clone());
        if y.tape().is_some() {
            y.on_gradient(move |dy| match behaviour.load(Ordering::Relaxed) {
                0 => Ok(dy.clone()),
                1 => Err(tensor::Error::value("brittle", "it broke")),
                2 => panic!("it broke"),
                _ => Ok(dy.scale(f64::INFINITY)),
            })?;
        }
        Ok(y)
    }
}

/// Two dense layers with the brittle one between them or at the end.
fn model(optimizer: impl Optimizer + 'static, at_end: bool) -> (Sequential, Arc<AtomicU8>) {
    let brittle = Brittle::default();
    let mut model = Sequential::new().seed(3);
    model.add(Dense::new(3).named("first").input_shape(&[2]));
    if !at_end {
        model.add(brittle.clone());
    }
    model.add(Dense::new(2).named("last"));
    if at_end {
        model.add(brittle.clone());
    }
    let loss = MeanSquaredError::new();
    model.compile(loss, optimizer, [Accuracy::new()]).unwrap();
    (model, brittle.0)
}

fn data() -> (Tensor<f32>, Tensor<f32>) {
    let x = Tensor::from([[1.0, 2.0], [-1.0, 0.5], [0.25, -3.0]]);
    (x, Tensor::from([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]]))
}

fn quiet<'a>() -> Fit<'a> {
    Fit::new().verbosity(Verbosity::Silent)
}

fn iterations(model: &Sequential) -> u64 {
    model.compiled().unwrap().state().iterations
}

fn not_finite(error: nn::Error) -> NotFinite {
    match error {
        nn::Error::NotFinite(error) => *error,
        other => panic!("{other}"),
    }
}

#[test]
fn a_pass_that_fails_before_the_first_update_changes_nothing() {
    let (x, y) = data();
    for behaviour in [1, 2] {
        let (mut model, breaks) = self::model(Adam::new(0.1), true);
        let (mut unbroken, _) = self::model(Adam::new(0.1), true);
        for model in [&mut model, &mut unbroken] {
            model.train_on_batch(&x, &y).unwrap();
        }
        let before = model.weights();
        breaks.store(behaviour, Ordering::Relaxed);
        let step = catch_unwind(AssertUnwindSafe(|| model.train_on_batch(&x, &y)));
        assert_eq!(step.is_err(), behaviour == 2);
        if let Ok(step) = step {
            let text = step.unwrap_err().to_string();
            assert!(
                text.contains("it broke") && !text.contains("half"),
                "{text}"
            );
        }
        assert_eq!(model.weights(), before);
        assert_eq!(iterations(&model), 1);
        breaks.store(0, Ordering::Relaxed);
        for model in [&mut model, &mut unbroken] {
            model.fit(&x, &y, quiet().epochs(3)).unwrap();
        }
        assert_eq!(model.weights(), unbroken.weights());
    }
}

#[test]
fn a_half_updated_model_refuses_to_go_on_until_its_weights_are_replaced() {
    let (x, y) = data();
    let folder = tempfile::tempdir().unwrap();
    for behaviour in [1, 2] {
        let (mut model, breaks) = self::model(Adam::new(0.1), false);
        model.train_on_batch(&x, &y).unwrap();
        let good = model.weights();
        let path = folder.path().join("good.h5");
        model.save(&path).unwrap();
        breaks.store(behaviour, Ordering::Relaxed);
        let step = catch_unwind(AssertUnwindSafe(|| model.train_on_batch(&x, &y)));
        if let Ok(step) = step {
            let text = step.unwrap_err().to_string();
            assert!(text.contains("it broke"), "{text}");
            assert!(
                text.contains("half updated: replace all its weights"),
                "{text}"
            );
        }
        breaks.store(0, Ordering::Relaxed);
        assert_ne!(model.weights(), good);
        // Compiling anew does not heal weights.
        let loss = MeanSquaredError::new();
        model
            .compile(loss, Adam::new(0.1), [Accuracy::new()])
            .unwrap();
        let gradients = good.clone();
        let refusals = [
            model.train_on_batch(&x, &y).err(),
            model.fit(&x, &y, quiet()).err(),
            model.evaluate(&x, &y).err(),
            model.predict(&x).err(),
            model.profile(&x, &y, 1).err(),
            model.apply_gradients(gradients).err(),
            model.save(&path).err(),
            model
                .save_checkpoint(folder.path().join("m.safetensors"), 0)
                .err(),
            model.forward(&Var::from(x.clone()), &[]).err(),
        ];
        for (place, refusal) in refusals.into_iter().enumerate() {
            let text = refusal.unwrap().to_string();
            assert!(
                text.contains("half updated: step 2 failed"),
                "{place}: {text}"
            );
        }
        match behaviour {
            1 => model.set_weights(good.clone()).unwrap(),
            _ => model.load_weights(&path).unwrap(),
        }
        assert_eq!(model.weights(), good);
        assert_eq!(iterations(&model), 0, "a fresh optimizer");
        model.fit(&x, &y, quiet()).unwrap();
    }
}

#[test]
fn with_all_gradients_at_hand_a_step_that_fails_changes_nothing() {
    let (x, y) = data();
    for behaviour in [1, 3] {
        let clipped = Clipped::norm(Adam::new(0.1), 1.0);
        let (mut model, breaks) = self::model(clipped, false);
        model.train_on_batch(&x, &y).unwrap();
        let before = model.weights();
        breaks.store(behaviour, Ordering::Relaxed);
        let error = model.train_on_batch(&x, &y).unwrap_err();
        if behaviour == 3 {
            let error = not_finite(error);
            assert_eq!(error.layer.as_deref(), Some("first"));
            assert!(error.place.contains("the gradient of `bias`"), "{error}");
            assert!(!error.half_updated);
        }
        assert_eq!((model.weights(), iterations(&model)), (before, 1));
        breaks.store(0, Ordering::Relaxed);
        model.train_on_batch(&x, &y).unwrap();
    }
    // A limit on each element does away with infinities.
    let (mut model, _) = self::model(Clipped::value(Adam::new(0.1), 1.0), false);
    let infinite = |weight: &Tensor<f32>| Tensor::full(weight.shape(), f32::INFINITY).unwrap();
    let gradients = model.weights().iter().map(infinite).collect();
    model.apply_gradients(gradients).unwrap();
}

#[test]
fn a_norm_whose_squares_overflow_is_clipped_like_any_other() {
    let kernel = |value: f32| Tensor::full([2, 1], value).unwrap();
    for clipped in [Clipped::norm, Clipped::global_norm] {
        let steps = [1e4, 1e30].map(|size| {
            let mut model = Sequential::new();
            model.add(Dense::new(1).use_bias(false).input_shape(&[2]));
            let optimizer = clipped(Sgd::new(0.5), 2.0);
            let loss = MeanSquaredError::new();
            model.compile(loss, optimizer, None::<Accuracy>).unwrap();
            model.set_weights(vec![kernel(0.0)]).unwrap();
            model.apply_gradients(vec![kernel(size)]).unwrap();
            model.weights()[0].to_vec()
        });
        for (found, expected) in steps[1].iter().zip(&steps[0]) {
            assert!(
                (found - expected).abs() < 1e-6 && *found < -0.7,
                "{steps:?}"
            );
        }
    }
}

/// `mean √output`: 0 at 0, where its derivative is infinite.
struct Root;

impl<T: Float> Loss<T> for Root {
    fn name(&self) -> &str {
        "root"
    }
    fn loss(&self, output: &Var<T>, _: &Targets<T>, _: bool) -> nn::Result<Var<T>> {
        Ok(output.sqrt().mean(..)?)
    }
}

#[test]
fn an_infinite_gradient_of_a_finite_loss_is_an_error_of_its_own_step() {
    let (x, y) = data();
    let optimizers: [fn() -> Box<dyn Optimizer>; 5] = [
        || Box::new(Sgd::new(0.1)),
        || Box::new(Sgd::new(0.1).momentum(0.9)),
        || Box::new(Adam::new(0.1)),
        || Box::new(RmsProp::new(0.1)),
        || Box::new(Clipped::global_norm(Sgd::new(0.1), 1.0)),
    ];
    for optimizer in optimizers {
        let mut model = Sequential::new();
        model.add(Dense::new(4).named("first").input_shape(&[2]));
        let last = Dense::new(2).kernel_initializer(Initializer::Zeros);
        model.add(last.named("last"));
        model.compile(Root, optimizer(), None::<Accuracy>).unwrap();
        let error = not_finite(model.fit(&x, &y, quiet()).unwrap_err());
        assert_eq!((error.loss, error.step), (Some(0.0), 1), "{error}");
        assert_eq!(error.epoch_and_batch, Some((1, 1)));
        assert_eq!(error.layer.as_deref(), Some("last"));
        let text = error.to_string();
        let start = "fit: the loss is 0, but its step is not finite, at step 1 (epoch 1, batch 1)\n  \
                     first  the gradient of `";
        assert!(text.starts_with(start), "{text}");
        assert!(text.contains("of layer `Dense 2` (last), "), "{text}");
        assert_eq!(text.contains("half updated"), error.half_updated);
        assert_eq!(model.predict(&x).is_err(), error.half_updated);
    }
}

#[test]
fn a_step_that_leads_to_infinity_is_an_error_too() {
    let ones = |value: f32| Tensor::full([2, 1], value).unwrap();
    let apply = |optimizer: Box<dyn Optimizer>, gradient: f32| {
        let mut model = Sequential::new();
        model.add(Dense::new(1).use_bias(false).input_shape(&[2]));
        let loss = MeanSquaredError::new();
        model.compile(loss, optimizer, None::<Accuracy>).unwrap();
        let error = not_finite(model.apply_gradients(vec![ones(gradient)]).unwrap_err());
        assert_eq!(model.predict(ones(1.0).t()).is_err(), error.half_updated);
        error
    };
    let error = apply(Box::new(Sgd::new(1e30)), 1e30);
    assert!(
        error
            .place
            .contains("the updated `kernel` of layer `Dense 1` (dense), -inf at [0, 0]"),
        "{error}"
    );
    assert!(error.half_updated && error.loss.is_none());
    // The square overflows: the weight would never move again.
    let error = apply(Box::<Adam>::default(), 1e30);
    assert!(
        error.place.contains("the optimizer remembers of `kernel`"),
        "{error}"
    );
    let error = apply(Box::<Sgd>::default(), f32::NAN);
    assert!(
        error
            .to_string()
            .starts_with("apply_gradients: the step is not finite, at step 1")
    );
    assert!(
        error.place.contains("gradient of `kernel`") && !error.half_updated,
        "{error}"
    );
}

#[test]
fn a_weight_that_is_not_finite_is_reported_as_such() {
    let (x, y) = data();
    let classifier = || {
        let mut model = Sequential::new();
        model.add(Dense::new(4).named("first").input_shape(&[2]));
        model.add(Dense::new(2).named("last"));
        model.add(Activation::softmax());
        let loss = CategoricalCrossentropy::new();
        model
            .compile(loss, Adam::new(0.1), [Accuracy::new()])
            .unwrap();
        model
    };
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        for number in 0..4 {
            let mut model = classifier();
            let mut weights = model.weights();
            weights[number].make_mut()[0] = bad;
            model.set_weights(weights).unwrap();
            let error = not_finite(model.fit(&x, &y, quiet()).unwrap_err());
            let name = ["`kernel`", "`bias`"][number % 2];
            assert!(error.place.starts_with(name), "{bad} {number}: {error}");
            assert_eq!(error.layer.as_deref(), Some(["first", "last"][number / 2]));
        }
    }
}

#[test]
fn settings_that_no_training_can_use_are_refused_when_compiled() {
    let refused = |optimizer: Box<dyn Optimizer>| -> String {
        let mut model = Sequential::new();
        model.add(Dense::new(1).input_shape(&[1]));
        let loss = MeanSquaredError::new();
        let compiled = model.compile(loss, optimizer, None::<Accuracy>);
        assert!(model.compiled().is_none());
        compiled.unwrap_err().to_string()
    };
    for rate in [f64::NAN, -0.1, f64::INFINITY] {
        let optimizers: [(&str, Box<dyn Optimizer>); 5] = [
            ("Adam", Box::new(Adam::new(rate))),
            ("AdamW", Box::new(Adam::w(rate))),
            ("SGD", Box::new(Sgd::new(rate))),
            ("RMSprop", Box::new(RmsProp::new(rate))),
            ("SGD", Box::new(Clipped::norm(Sgd::new(rate), 1.0))),
        ];
        for (class, optimizer) in optimizers {
            assert_eq!(
                refused(optimizer),
                format!("{class}: the learning rate is {rate}\n  allowed  0.0..inf")
            );
        }
    }
    for value in [f64::NAN, -0.1, 1.5] {
        let optimizers: [(&str, Box<dyn Optimizer>); 6] = [
            ("β₁", Box::new(Adam::default().beta_1(value))),
            ("β₂", Box::new(Adam::default().beta_2(value))),
            ("momentum", Box::new(Sgd::default().momentum(value))),
            ("momentum", Box::new(RmsProp::default().momentum(value))),
            ("ρ", Box::new(RmsProp::default().rho(value))),
            ("ε", Box::new(Adam::default().epsilon(-value.abs()))),
        ];
        for (setting, optimizer) in optimizers {
            let text = refused(optimizer);
            assert!(text.contains(&format!("the {setting} is ")), "{text}");
        }
    }
    for value in [f64::NAN, -0.1] {
        let optimizers: [(&str, Box<dyn Optimizer>); 5] = [
            ("weight decay", Box::new(Sgd::default().weight_decay(value))),
            (
                "weight decay",
                Box::new(Adam::default().weight_decay(value)),
            ),
            ("clipvalue", Box::new(Clipped::value(Sgd::default(), value))),
            ("clipnorm", Box::new(Clipped::norm(Sgd::default(), value))),
            (
                "global_clipnorm",
                Box::new(Clipped::global_norm(Sgd::default(), value)),
            ),
        ];
        for (setting, optimizer) in optimizers {
            let text = refused(optimizer);
            assert!(
                text.contains(&format!("the {setting} is {value}")),
                "{text}"
            );
        }
    }
    // A rate that becomes one is noticed where it becomes one.
    let (x, y) = data();
    let (mut model, _) = self::model(Adam::default(), true);
    let before = model.weights();
    let schedule = LearningRateSchedule::new(|_, _| f64::NAN);
    let error = model.fit(&x, &y, quiet().callback(schedule)).unwrap_err();
    assert!(
        error.to_string().contains("Adam: the learning rate is NaN"),
        "{error}"
    );
    let optimizer = model.compiled_mut().unwrap().optimizer_mut();
    optimizer.set_learning_rate(-1.0);
    let error = model.train_on_batch(&x, &y).unwrap_err();
    assert!(
        error.to_string().contains("Adam: the learning rate is -1"),
        "{error}"
    );
    assert_eq!(model.weights(), before);
}
