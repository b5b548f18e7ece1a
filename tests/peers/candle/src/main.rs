//! The benchmark network in candle; see `../README.md`.

#[path = "../../measure.rs"]
mod measure;

use candle_core::{D, DType, Device, Result, Tensor};
use candle_nn::{
    AdamW, Conv2d, Conv2dConfig, Dropout, Linear, Module, Optimizer, ParamsAdamW, VarBuilder,
    VarMap, conv2d, linear, loss, ops,
};
use clap::Parser;
use measure::Sizes;

struct Network {
    convolutions: [Conv2d; 4],
    dense: [Linear; 2],
    dropouts: [Dropout; 2],
}

impl Network {
    fn new(sizes: &Sizes, vb: &VarBuilder) -> Result<Self> {
        let same = Conv2dConfig {
            padding: 1,
            ..Default::default()
        };
        let valid = Conv2dConfig::default();
        Ok(Network {
            convolutions: [
                conv2d(sizes.channels, 32, 3, same, vb.pp("conv1"))?,
                conv2d(32, 32, 3, valid, vb.pp("conv2"))?,
                conv2d(32, 64, 3, same, vb.pp("conv3"))?,
                conv2d(64, 64, 3, valid, vb.pp("conv4"))?,
            ],
            dense: [
                linear(sizes.features(), 512, vb.pp("dense1"))?,
                linear(512, sizes.classes, vb.pp("dense2"))?,
            ],
            dropouts: [Dropout::new(0.25), Dropout::new(0.5)],
        })
    }

    fn forward(&self, x: &Tensor, train: bool) -> Result<Tensor> {
        let [conv1, conv2, conv3, conv4] = &self.convolutions;
        let [dense1, dense2] = &self.dense;
        let [quarter, half] = &self.dropouts;
        let x = conv2.forward(&conv1.forward(x)?.relu()?)?.relu()?;
        let x = quarter.forward(&x.max_pool2d(2)?, train)?;
        let x = conv4.forward(&conv3.forward(&x)?.relu()?)?.relu()?;
        let x = quarter.forward(&x.max_pool2d(2)?, train)?;
        let x = dense1.forward(&x.flatten_from(1)?)?.relu()?;
        dense2.forward(&half.forward(&x, train)?)
    }
}

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let sizes = Sizes::parse();
    sizes.limit_rayon()?;
    let device = Device::Cpu;
    let variables = VarMap::new();
    let network = Network::new(
        &sizes,
        &VarBuilder::from_varmap(&variables, DType::F32, &device),
    )?;
    let settings = ParamsAdamW {
        lr: 1e-3,
        weight_decay: 0.0,
        ..Default::default()
    };
    let mut adam = AdamW::new(variables.all_vars(), settings)?;

    let shape = (sizes.batch, sizes.channels, sizes.height, sizes.width);
    let x = Tensor::rand(0f32, 1f32, shape, &device)?;
    let labels = (0..sizes.batch)
        .map(|i| (i % sizes.classes) as u32)
        .collect::<Vec<_>>();
    let y = Tensor::from_vec(labels, sizes.batch, &device)?;

    let train = sizes.times(|| {
        let loss = loss::cross_entropy(&network.forward(&x, true)?, &y)?;
        adam.backward_step(&loss)?;
        loss.to_scalar::<f32>()
    })?;
    let infer =
        sizes.times(|| ops::softmax(&network.forward(&x, false)?, D::Minus1)?.to_vec2::<f32>())?;
    measure::report("candle 0.11.1", &train, &infer);
    Ok(())
}
