//! Each optimizer against fifty steps of Keras's on the same gradients, in f64.

use nn::data::npz::Npz;
use nn::optimizers::{Adam, Clipped, Optimizer, RmsProp, Sgd};
use tensor::Tensor;

const FIXTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/optimizers_keras.npz");

/// The largest relative difference from Keras's parameters over all steps.
fn deviation(name: &str, optimizer: &dyn Optimizer<f64>) -> f64 {
    let mut file = Npz::open(FIXTURE).unwrap();
    let gradients: Tensor<f64> = file.array("gradients").unwrap().to().unwrap();
    let expected: Tensor<f64> = file
        .array(&format!("{name}/parameters"))
        .unwrap()
        .to()
        .unwrap();
    let mut parameter = expected.index_axis(0, 0).unwrap().contiguous();
    let slots = optimizer.slots().iter();
    let mut state: Vec<Tensor<f64>> = slots
        .map(|_| Tensor::zeros(parameter.shape()).unwrap())
        .collect();
    let mut worst = 0_f64;
    for step in 0..gradients.shape()[0] {
        let mut gradient = [gradients.index_axis(0, step).unwrap()];
        optimizer.prepare(&mut gradient).unwrap();
        optimizer
            .update(
                step as u64 + 1,
                &mut parameter,
                &gradient[0].clone().into(),
                &mut state,
            )
            .unwrap();
        let expected = expected.index_axis(0, step + 1).unwrap();
        for (ours, theirs) in parameter.iter().zip(expected.iter()) {
            worst = worst.max((ours - theirs).abs() / theirs.abs().max(1e-3));
        }
    }
    worst
}

#[test]
fn trajectories_are_those_of_keras() {
    let cases: [(&str, Box<dyn Optimizer<f64>>); 13] = [
        ("sgd", Box::new(Sgd::new(0.05))),
        ("sgd_momentum", Box::new(Sgd::new(0.05).momentum(0.9))),
        (
            "sgd_nesterov",
            Box::new(Sgd::new(0.05).momentum(0.9).nesterov(true)),
        ),
        (
            "sgd_weight_decay",
            Box::new(Sgd::new(0.05).weight_decay(0.1)),
        ),
        (
            "sgd_clipvalue",
            Box::new(Clipped::value(Sgd::new(0.05), 0.25)),
        ),
        (
            "sgd_clipnorm",
            Box::new(Clipped::norm(Sgd::new(0.05), 0.75)),
        ),
        ("rmsprop", Box::new(RmsProp::default())),
        (
            "rmsprop_momentum",
            Box::new(RmsProp::new(0.01).momentum(0.9)),
        ),
        (
            "rmsprop_centered",
            Box::new(RmsProp::new(0.01).centered(true)),
        ),
        ("adam", Box::new(Adam::default())),
        (
            "adam_other",
            Box::new(Adam::new(0.02).beta_1(0.8).beta_2(0.95).epsilon(1e-3)),
        ),
        ("adamw", Box::new(Adam::w(0.001))),
        ("adamw_other", Box::new(Adam::new(0.02).weight_decay(0.1))),
    ];
    for (name, optimizer) in cases {
        let worst = deviation(name, &*optimizer);
        assert!(worst < 1e-12, "{name}: off by {worst:e}");
    }
}

#[test]
fn other_settings_are_told_apart() {
    assert!(deviation("adam", &Adam::default().epsilon(1e-8)) > 1e-9);
    assert!(deviation("adam", &Adam::default().beta_2(0.99)) > 1e-6);
    assert!(deviation("sgd_nesterov", &Sgd::new(0.05).momentum(0.9)) > 1e-6);
}
