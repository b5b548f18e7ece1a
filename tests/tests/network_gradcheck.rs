//! A whole network against finite differences, first and second order, in f64.

use autograd::{GradCheck, Var};
use nn::prelude::*;
use nn::{Targets, losses};
use tensor::Tensor;
use tests::formula::scaled;

fn network() -> nn::Result<Sequential<f64>> {
    let mut model = Sequential::default().seed(3);
    model.add(
        Conv2d::new(3, [3, 3])
            .padding(Padding::Same)
            .input_shape(&[7, 6, 2]),
    );
    model.add(Activation::softplus());
    model.add(Conv2d::new(4, [3, 2]).stride([2, 1]));
    model.add(Activation::relu());
    model.add(MaxPool2d::new([2, 2]));
    model.add(Flatten::new());
    model.add(Dense::new(5));
    model.add(Activation::tanh());
    model.add(Dense::new(3));
    model.build()?;
    Ok(model)
}

#[test]
fn loss_with_respect_to_weights_and_images() -> nn::Result<()> {
    let model = network()?;
    let images: Tensor<f64> = scaled([2, 7, 6, 2], 8, 0.5, 0.5)?;
    let targets = Targets::Labels(Tensor::from([2_i64, 0]));
    let loss = losses::SparseCategoricalCrossentropy::new().from_logits(true);
    let f = |inputs: &[Var<f64>]| {
        let logits = model.forward(&inputs[0], &inputs[1..]).map_err(inner)?;
        loss.loss(&logits, &targets, false).map_err(inner)
    };
    let mut inputs = vec![images];
    inputs.extend(model.weights());
    let check = GradCheck::new().step(1e-4).tolerance(1e-6, 1e-8);
    check.run(f, &inputs)?;
    check.run_second_order(f, &inputs)?;
    Ok(())
}

fn inner(error: nn::Error) -> tensor::Error {
    match error {
        nn::Error::Tensor(error) => error,
        other => panic!("{other}"),
    }
}
