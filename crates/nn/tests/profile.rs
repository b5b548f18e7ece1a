//! Profiles: they leave the model as it was, name its layers, and their traces nest.

use nn::prelude::*;
use serde_json::Value;

/// A network with every kind of layer that runs on its own, and a batch for it.
fn network() -> nn::Result<(Sequential, Tensor<f32>, Tensor<f32>)> {
    let mut model = Sequential::new().seed(3);
    model.add(
        Conv2d::new(8, [3, 3])
            // After ReLU, the pooling would run as part of the convolution.
            .activation(ActivationFunction::Tanh)
            .input_shape(&[10, 10, 3]),
    );
    model.add(MaxPool2d::new([2, 2]));
    model.add(AvgPool2d::new([2, 2]));
    model.add(Dropout::new(0.25));
    model.add(Flatten::new());
    model.add(Dense::new(5));
    model.add(Activation::softmax());
    model.compile(
        CategoricalCrossentropy::new(),
        Adam::default(),
        [Accuracy::new()],
    )?;
    let x = Tensor::from_fn([4, 10, 10, 3], |at| {
        ((at[0] * 300 + at[1] * 30 + at[2] * 3 + at[3]) as f32).sin()
    })?;
    let y = Tensor::from_fn([4, 5], |at| f32::from(u8::from(at[0] == at[1])))?;
    Ok((model, x, y))
}

fn bits<'a>(tensors: impl IntoIterator<Item = &'a Tensor<f32>>) -> Vec<u32> {
    let values = tensors.into_iter().flat_map(Tensor::to_vec);
    values.map(f32::to_bits).collect()
}

/// Steps counted, and the bits of what the optimizer remembers and of the weights.
fn everything(model: &Sequential) -> (u64, Vec<u32>, Vec<u32>) {
    let state = model.compiled().unwrap().state();
    let slots = bits(state.slots.iter().flatten());
    (state.iterations, slots, bits(&model.weights()))
}

#[test]
fn a_profile_leaves_no_mark() -> nn::Result<()> {
    let (mut model, x, y) = network()?;
    let untouched = everything(&model);
    model.profile(&x, &y, 2)?;
    assert_eq!(everything(&model), untouched, "before the first step");

    model.train_on_batch(&x, &y)?;
    model.train_on_batch(&x, &y)?;
    let trained = everything(&model);
    assert_eq!(trained.0, 2);
    model.profile(&x, &y, 3)?;
    assert_eq!(everything(&model), trained, "after two steps");

    // Nor on what follows: dropout draws the numbers of the third step.
    let (mut other, ..) = network()?;
    for _ in 0..3 {
        other.train_on_batch(&x, &y)?;
    }
    model.train_on_batch(&x, &y)?;
    assert_eq!(everything(&model), everything(&other));
    Ok(())
}

#[test]
fn a_step_that_fails_leaves_no_mark_either() -> nn::Result<()> {
    let (mut model, x, y) = network()?;
    model.train_on_batch(&x, &y)?;
    let trained = everything(&model);
    let infinite = Tensor::full([4, 10, 10, 3], f32::INFINITY)?;
    assert!(model.profile(&infinite, &y, 2).is_err());
    assert_eq!(everything(&model), trained);
    Ok(())
}

#[test]
fn rows_name_every_layer() -> nn::Result<()> {
    let (mut model, x, y) = network()?;
    let profile = model.profile(&x, &y, 2)?;
    assert_eq!(profile.samples, 4);
    let has = |layer: &str, backward: bool| {
        let mut rows = profile.rows.iter();
        rows.any(|row| row.layer == layer && row.backward == backward)
    };
    // The loss takes over the softmax at the end.
    let (last, others) = model.layers().split_last().unwrap();
    assert!(!has(last.name(), false) && !has(last.name(), true));
    for stage in others {
        let name = stage.name();
        assert!(has(name, false), "{name} is missing:\n{profile}");
        if !stage.parameters().is_empty() {
            assert!(has(name, true), "no derivative of {name}:\n{profile}");
        }
    }
    for stage in ["loss", "metrics", "optimizer"] {
        assert!(has(stage, false) || has(stage, true), "{stage}:\n{profile}");
    }
    let times = profile.rows.iter().map(|row| row.milliseconds);
    assert!(times.clone().all(|time| time >= 0.0) && times.sum::<f64>() > 0.0);
    Ok(())
}

#[test]
fn events_of_the_trace_nest() -> nn::Result<()> {
    let (mut model, x, y) = network()?;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("step.json");
    model.profile(&x, &y, 2)?.write_trace(&path)?;
    let text = std::fs::read_to_string(path).unwrap();
    let trace: Value = serde_json::from_str(&text).unwrap();
    let events = trace["traceEvents"].as_array().unwrap();

    // Microseconds; times are whole nanoseconds.
    const ROUNDING: f64 = 1e-4;
    let mut around: Vec<(f64, &Value)> = Vec::new();
    let (mut previous, mut within_layers) = (0.0, 0);
    for event in events {
        assert_eq!(event["ph"], "X", "{event}");
        let start = event["ts"].as_f64().unwrap();
        let end = start + event["dur"].as_f64().unwrap();
        assert!(previous <= start && start <= end, "{event}");
        previous = start;
        around.retain(|&(outer_end, _)| outer_end > start + ROUNDING);
        if let Some(&(outer_end, outer)) = around.last() {
            assert!(end <= outer_end + ROUNDING, "{event} outlives {outer}");
            if outer["cat"] == "layer" {
                assert_eq!(event["args"]["layer"], outer["name"], "{event} in {outer}");
                within_layers += 1;
            }
        }
        around.push((end, event));
    }
    assert!(within_layers >= model.layers().len() - 1, "{within_layers}");
    Ok(())
}
