//! Settings survive the way into a configuration and back, and have the entries that Keras's files
//! have.

use nn::prelude::*;
use nn::{Config, layers, losses, optimizers};
use serde_json::json;
use tensor::Float;

fn round_trip<T: Float>(layer: &dyn Layer<T>) {
    let config = layer.config();
    let read = layers::from_config::<T>(layer.class_name(), &config).unwrap();
    assert_eq!(read.config(), config);
    assert_eq!(read.class_name(), layer.class_name());
    assert_eq!(read.label(), layer.label());
    assert_eq!(read.reach(), layer.reach());
}

#[test]
fn every_layer_survives() {
    let explicit = Padding::Explicit {
        height: [1, 2],
        width: [0, 3],
    };
    let all: Vec<Box<dyn Layer>> = vec![
        Box::new(Conv2d::new(7, [3, 5])),
        Box::new(
            Conv2d::new(8, [1, 2])
                .stride([2, 1])
                .dilation([1, 3])
                .padding(Padding::Same)
                .groups(2)
                .use_bias(false)
                .activation(ActivationFunction::Gelu)
                .kernel_initializer(Initializer::HeNormal)
                .bias_initializer(Initializer::Constant(0.5)),
        ),
        Box::new(Conv2d::new(1, [3, 3]).padding(explicit)),
        Box::new(MaxPool2d::new([2, 3]).stride([1, 2]).padding(Padding::Same)),
        Box::new(AvgPool2d::new([2, 3])),
        Box::new(Dense::new(5).activation(ActivationFunction::Elu { alpha: 0.5 })),
        Box::new(Dense::new(5).use_bias(false)),
        Box::new(Flatten::new()),
        Box::new(Dropout::new(0.25)),
        Box::new(Rescaling::new(2.0).offset(-1.0)),
    ];
    for layer in &all {
        round_trip(&**layer);
    }
    for name in [
        "linear",
        "relu",
        "softmax",
        "sigmoid",
        "tanh",
        "elu",
        "selu",
        "softplus",
        "softsign",
        "gelu",
        "silu",
        "leaky_relu",
        "exponential",
    ] {
        let function = ActivationFunction::from_name(name).unwrap();
        assert_eq!(function.name(), name);
        round_trip::<f32>(&Activation::new(function.clone()));
        round_trip::<f64>(&Dense::new(2).activation(function));
    }
    round_trip::<f32>(&Activation::new(ActivationFunction::Elu { alpha: 0.25 }));
    round_trip::<f32>(&Activation::leaky_relu(0.01));
}

#[test]
fn the_entries_are_those_of_keras() {
    let config = Layer::<f32>::config(&Conv2d::new(32, [3, 3]).padding(Padding::Same));
    let expected = json!({
        "filters": 32, "kernel_size": [3, 3], "strides": [1, 1], "padding": "same",
        "data_format": "channels_last", "dilation_rate": [1, 1], "groups": 1,
        "activation": "linear", "use_bias": true,
        "kernel_initializer": {"module": "keras.initializers", "class_name": "GlorotUniform",
            "config": {"seed": null}, "registered_name": null},
        "bias_initializer": {"module": "keras.initializers", "class_name": "Zeros",
            "config": {}, "registered_name": null},
        "kernel_regularizer": null, "bias_regularizer": null, "activity_regularizer": null,
        "kernel_constraint": null, "bias_constraint": null,
    });
    assert_eq!(serde_json::Value::Object(config), expected);
}

#[test]
fn old_files_give_name_and_input_shape_in_the_layer() {
    let config = json!({
        "name": "conv2d_1", "trainable": true, "batch_input_shape": [null, 16, 12, 3],
        "filters": 4, "kernel_size": [3, 3], "padding": "valid", "activation": "relu",
    });
    let layer = layers::from_config::<f32>("Conv2D", config.as_object().unwrap()).unwrap();
    let identity = layer.identity();
    assert_eq!(identity.name.as_deref(), Some("conv2d_1"));
    assert_eq!(identity.input_shape.unwrap()[..], [16, 12, 3]);
    let unknown = json!({"batch_input_shape": [null, null, 12, 3], "rate": 0.5});
    let error = layers::from_config::<f32>("Dropout", unknown.as_object().unwrap());
    assert!(
        error
            .err()
            .unwrap()
            .to_string()
            .contains("[null,null,12,3]")
    );
}

#[test]
fn optimizers_and_losses_survive() {
    let all: Vec<Box<dyn Optimizer<f32>>> = vec![
        Box::new(Adam::default()),
        Box::new(Adam::new(0.02).beta_1(0.8).beta_2(0.95).epsilon(1e-3)),
        Box::new(Adam::w(0.001)),
        Box::new(Sgd::new(0.05).momentum(0.9).nesterov(true)),
        Box::new(Sgd::default().weight_decay(0.1)),
        Box::new(optimizers::Clipped::norm(Sgd::default(), 2.0)),
        Box::new(optimizers::Clipped::value(Adam::default(), 0.5)),
        Box::new(optimizers::Clipped::global_norm(Adam::default(), 3.0)),
        Box::new(RmsProp::new(0.01).rho(0.8).momentum(0.5).centered(true)),
    ];
    for optimizer in all {
        let config = optimizer.config();
        let read = optimizers::from_config::<f32>(optimizer.class_name(), &config).unwrap();
        assert_eq!(read.config(), config);
        assert_eq!(read.class_name(), optimizer.class_name());
        assert_eq!(read.slots(), optimizer.slots());
    }
    let all: Vec<Box<dyn Loss>> = vec![
        Box::new(CategoricalCrossentropy::new()),
        Box::new(CategoricalCrossentropy::new().from_logits(true)),
        Box::new(SparseCategoricalCrossentropy::new().from_logits(true)),
        Box::new(BinaryCrossentropy::new()),
        Box::new(MeanSquaredError::new()),
    ];
    for loss in all {
        let (class, config) = loss.config();
        let read = losses::from_config::<f32>(class, &config).unwrap();
        assert_eq!(read.config(), loss.config());
        let named = losses::from_config::<f32>(loss.name(), &Config::new()).unwrap();
        assert_eq!(named.name(), loss.name());
    }
    let scheduled = json!({"learning_rate": {"class_name": "CosineDecay"}});
    let error = optimizers::from_config::<f32>("Adam", scheduled.as_object().unwrap());
    assert!(error.err().unwrap().to_string().contains("CosineDecay"));
    assert!(optimizers::from_config::<f32>("Lion", &Config::new()).is_err());
}
