//! Trains a convolutional network on pictures and tells how well it knows pictures it has not seen.
//!
//! `cargo run --release --example creatures` runs on handwritten digits that come with the
//! program; `--data FILE.npy` on a pickled NumPy file, `--data FOLDER` on a folder of pictures.
use nn::prelude::*;

mod data;
mod options;
use options::Options;

fn main() -> nn::Result<()> {
    let options = Options::from_command_line()?;
    let data = options.load()?;
    let x_train = data.x_train / 256.0;
    let x_test = data.x_test / 256.0;
    let y_train = to_categorical(data.y_train, data.labels.len())?;
    let y_test = to_categorical(data.y_test, data.labels.len())?;

    let model = model_train(&x_train, &y_train, &options)?;
    model_eval(&model, &x_test, &y_test)
}

fn model_train(x: &Inputs, y: &Tensor<f32>, options: &Options) -> nn::Result<Sequential> {
    let mut model = Sequential::new().seed(options.seed);
    model.add(
        Conv2d::new(32, [3, 3])
            .padding(Padding::Same)
            .input_shape(&x.shape()[1..]),
    );
    model.add(Activation::relu());
    model.add(Conv2d::new(32, [3, 3]));
    model.add(Activation::relu());
    model.add(MaxPool2d::new([2, 2]));
    model.add(Dropout::new(0.25));

    model.add(Conv2d::new(64, [3, 3]).padding(Padding::Same));
    model.add(Activation::relu());
    model.add(Conv2d::new(64, [3, 3]));
    model.add(Activation::relu());
    model.add(MaxPool2d::new([2, 2]));
    model.add(Dropout::new(0.25));

    model.add(Flatten::new());
    model.add(Dense::new(512));
    model.add(Activation::relu());
    model.add(Dropout::new(0.5));
    model.add(Dense::new(y.shape()[1]));
    model.add(Activation::softmax());

    model.compile(
        CategoricalCrossentropy::new(),
        Adam::default(),
        [Accuracy::new()],
    )?;
    model.print_summary()?;

    model.fit(x, y, options.fit())?;

    model.save(&options.out)?;
    println!("Saved {} (opens in Keras)", options.out.display());
    Ok(model)
}

fn model_eval(model: &Sequential, x: &Inputs, y: &Tensor<f32>) -> nn::Result<()> {
    let scores = model.evaluate(x, y)?;
    println!("Test Loss: {:.4}", scores[0]);
    println!("Test Accuracy: {:.4}", scores[1]);
    Ok(())
}
