//! The benchmark network in burn on its `flex` backend; see `../README.md`.

#[path = "../../measure.rs"]
mod measure;

use burn::module::Module;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::loss::CrossEntropyLoss;
use burn::nn::pool::{MaxPool2d, MaxPool2dConfig};
use burn::nn::{Dropout, DropoutConfig, Linear, LinearConfig, PaddingConfig2d};
use burn::optim::{AdamConfig, GradientsParams};
use burn::tensor::activation::{relu, softmax};
use burn::tensor::{Device, Distribution, Int, Tensor, TensorData};
use clap::Parser;
use measure::Sizes;
use std::convert::Infallible;

#[derive(Module, Debug)]
struct Network {
    convolutions: [Conv2d; 4],
    dense: [Linear; 2],
    pool: MaxPool2d,
    quarter: Dropout,
    half: Dropout,
}

impl Network {
    fn new(sizes: &Sizes, device: &Device) -> Self {
        let conv = |channels, padding| {
            Conv2dConfig::new(channels, [3, 3])
                .with_padding(padding)
                .init(device)
        };
        Network {
            convolutions: [
                conv([sizes.channels, 32], PaddingConfig2d::Explicit(1, 1, 1, 1)),
                conv([32, 32], PaddingConfig2d::Valid),
                conv([32, 64], PaddingConfig2d::Explicit(1, 1, 1, 1)),
                conv([64, 64], PaddingConfig2d::Valid),
            ],
            dense: [
                LinearConfig::new(sizes.features(), 512).init(device),
                LinearConfig::new(512, sizes.classes).init(device),
            ],
            pool: MaxPool2dConfig::new([2, 2]).with_strides([2, 2]).init(),
            quarter: DropoutConfig::new(0.25).init(),
            half: DropoutConfig::new(0.5).init(),
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<2> {
        let [conv1, conv2, conv3, conv4] = &self.convolutions;
        let [dense1, dense2] = &self.dense;
        let x = relu(conv2.forward(relu(conv1.forward(x))));
        let x = self.quarter.forward(self.pool.forward(x));
        let x = relu(conv4.forward(relu(conv3.forward(x))));
        let x = self.quarter.forward(self.pool.forward(x));
        let x = relu(dense1.forward(x.flatten(1, 3)));
        dense2.forward(self.half.forward(x))
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let sizes = Sizes::parse();
    sizes.limit_rayon()?;
    let plain = Device::flex();
    let device = plain.clone().autodiff();
    let criterion = CrossEntropyLoss::new(None, &device);
    let mut adam = AdamConfig::new().init();
    let mut network = Some(Network::new(&sizes, &device));

    let shape = [sizes.batch, sizes.channels, sizes.height, sizes.width];
    let images: Tensor<4> = Tensor::random(shape, Distribution::Uniform(0.0, 1.0), &plain);
    let images = images.into_data();
    let x: Tensor<4> = Tensor::from_data(images.clone(), &device);
    let labels = (0..sizes.batch)
        .map(|i| (i % sizes.classes) as i64)
        .collect::<Vec<_>>();
    let y: Tensor<1, Int> = Tensor::from_data(TensorData::new(labels, [sizes.batch]), &device);

    let train = sizes.times(|| {
        if let Some(now) = network.take() {
            let loss = criterion.forward(now.forward(x.clone()), y.clone());
            let gradients = GradientsParams::from_grads(loss.backward(), &now);
            network = Some(adam.step(1e-3, now, gradients));
            std::hint::black_box(loss.into_data());
        }
        Ok::<_, Infallible>(())
    })?;
    let network = network.map(|trained| trained.valid());
    let x: Tensor<4> = Tensor::from_data(images, &plain);
    let infer = sizes.times(|| {
        Ok::<_, Infallible>(
            network
                .as_ref()
                .map(|network| softmax(network.forward(x.clone()), 1).into_data()),
        )
    })?;
    measure::report("burn 0.22.1, flex", &train, &infer);
    Ok(())
}
