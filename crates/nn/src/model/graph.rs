//! The one form of all models: layers, and the calls that connect them.
//!
//! A value is an input of the model or an output of a call; values are numbered, the inputs first.
//! A call hands values to a layer, and comes after the calls that gave them. A layer that is called
//! twice is shared: its weights exist once.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

use tensor::{Error, Float, Shape, Tensor};

use crate::config::Config;
use crate::error::Result;
use crate::layer::Layer;
use crate::parameter::{Parameter, Weights};

/// A layer in its place in a model, with its weights.
pub struct Stage<T: Float = f32> {
    pub(super) name: String,
    pub(super) layer: Arc<dyn Layer<T>>,
    pub(super) trainable: bool,
    pub(super) built: Option<Built<T>>,
    /// Settings in the file that the layer came from which this crate does not have and the layer
    /// does not need, unless it is trained.
    pub(super) set_aside: Config,
}

/// What building gave a layer.
pub(super) struct Built<T: Float> {
    inputs: Vec<Shape>,
    outputs: Vec<Shape>,
    pub(super) parameters: Vec<Parameter<T>>,
}

impl<T: Float> Stage<T> {
    pub(super) fn new(name: String, layer: Arc<dyn Layer<T>>) -> Self {
        let trainable = layer.identity().trainable;
        Stage {
            name,
            layer,
            trainable,
            built: None,
            set_aside: Config::new(),
        }
    }

    /// The name, unique in the model.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The layer.
    pub fn layer(&self) -> &dyn Layer<T> {
        &*self.layer
    }

    /// The shape of its (first) input, without the batch axis, once the model is built.
    pub fn input_shape(&self) -> Option<&Shape> {
        self.built.as_ref().and_then(|built| built.inputs.first())
    }

    /// The shape of its (first) output, without the batch axis, once the model is built.
    pub fn output_shape(&self) -> Option<&Shape> {
        self.built.as_ref().and_then(|built| built.outputs.first())
    }

    /// The shapes of all its inputs, where it is called first.
    pub(super) fn built_inputs(&self) -> &[Shape] {
        self.built.as_ref().map_or(&[], |built| &built.inputs)
    }

    /// Its weights; none before the model is built.
    pub fn parameters(&self) -> &[Parameter<T>] {
        self.built.as_ref().map_or(&[], |built| &built.parameters)
    }

    /// Its weights, to be changed.
    pub fn parameters_mut(&mut self) -> &mut [Parameter<T>] {
        self.built
            .as_mut()
            .map_or(&mut [], |built| &mut built.parameters)
    }

    /// Its weights that gradients change, to be changed.
    pub(super) fn trained_mut(&mut self) -> impl Iterator<Item = &mut Parameter<T>> {
        let trainable = self.trainable;
        let parameters = self.parameters_mut().iter_mut();
        parameters.filter(move |parameter| trainable && parameter.trainable)
    }

    /// Whether training changes its weights, those that [are trainable](Parameter::is_trainable).
    pub fn is_trainable(&self) -> bool {
        self.trainable
    }

    /// Freezes the layer, or lets training change it again: a frozen layer gets no gradients and
    /// no steps. A compiled model has to be compiled again, because the optimizer remembers
    /// something for each weight that it changes.
    pub fn set_trainable(&mut self, trainable: bool) {
        self.trainable = trainable;
    }

    /// Whether gradients change this weight of the layer.
    pub(super) fn trains(&self, parameter: &Parameter<T>) -> bool {
        self.trainable && parameter.trainable
    }

    /// The settings in the form of Keras's files, those included that were set aside.
    pub(crate) fn config(&self) -> Config {
        let mut config = self.layer.config();
        config.extend(self.set_aside.clone());
        if !self.trainable {
            config.insert("trainable".to_string(), false.into());
        }
        config
    }

    /// "`Conv2d 3×3` (conv2d_1)", for errors.
    pub(super) fn describe(&self) -> String {
        format!("`{}` ({})", self.layer.label(), self.name)
    }
}

/// A layer at work on some values.
#[derive(Clone, Debug)]
pub(super) struct Call {
    /// The number of the layer.
    pub(super) layer: usize,
    /// The values that it takes.
    pub(super) inputs: Vec<usize>,
    /// The values that it gives.
    pub(super) outputs: Range<usize>,
}

/// An input of a model.
#[derive(Clone, Debug)]
pub(super) struct GraphInput {
    pub(super) name: String,
}

/// Layers, calls and values.
pub(super) struct Graph<T: Float> {
    pub(super) inputs: Vec<GraphInput>,
    pub(super) layers: Vec<Stage<T>>,
    pub(super) calls: Vec<Call>,
    /// The shape of each value, without the batch axis, where it is known.
    pub(super) shapes: Vec<Option<Shape>>,
    /// The values that the model gives.
    pub(super) outputs: Vec<usize>,
}

impl<T: Float> Graph<T> {
    /// A graph of inputs alone, which are its outputs.
    pub(super) fn of_inputs(inputs: Vec<(String, Option<Shape>)>) -> Self {
        let (names, shapes): (Vec<_>, Vec<_>) = inputs.into_iter().unzip();
        Graph {
            outputs: (0..names.len()).collect(),
            inputs: names.into_iter().map(|name| GraphInput { name }).collect(),
            layers: Vec::new(),
            calls: Vec::new(),
            shapes,
        }
    }

    /// Adds a layer, which no call uses yet.
    pub(super) fn push_layer(&mut self, stage: Stage<T>) -> usize {
        self.layers.push(stage);
        self.layers.len() - 1
    }

    /// Adds a call that gives `count` values, and returns the first of them.
    pub(super) fn push_call(&mut self, layer: usize, inputs: Vec<usize>, count: usize) -> usize {
        let first = self.shapes.len();
        self.shapes.resize(first + count, None);
        self.calls.push(Call {
            layer,
            inputs,
            outputs: first..first + count,
        });
        first
    }

    /// The calls of layer `index`.
    pub(super) fn calls_of(&self, index: usize) -> impl Iterator<Item = &Call> {
        self.calls.iter().filter(move |call| call.layer == index)
    }

    /// The call that gives a value; none for an input of the model.
    pub(super) fn producer(&self, value: usize) -> Option<usize> {
        let gives = |call: &Call| call.outputs.contains(&value);
        self.calls.iter().position(gives)
    }

    /// How often a value is used: by calls, and as an output of the model.
    pub(super) fn uses(&self) -> Vec<usize> {
        let mut uses = vec![0; self.shapes.len()];
        let taken = self.calls.iter().flat_map(|call| &call.inputs);
        taken
            .chain(&self.outputs)
            .for_each(|&value| uses[value] += 1);
        uses
    }

    /// Whether each layer is called once, on the output of the one before: a sequential model.
    pub(super) fn is_chain(&self) -> bool {
        let in_order = |(place, call): (usize, &Call)| {
            call.layer == place && call.inputs == [place] && call.outputs == (place + 1..place + 2)
        };
        self.inputs.len() == 1
            && self.layers.len() == self.calls.len()
            && self.calls.iter().enumerate().all(in_order)
            && self.outputs == [self.calls.len()]
    }

    /// Whether the shapes of all inputs are known.
    pub(super) fn knows_inputs(&self) -> bool {
        self.shapes[..self.inputs.len()].iter().all(Option::is_some)
    }

    /// Builds what is not built yet, with weights drawn from `seed`.
    pub(super) fn build(&mut self, seed: u64) -> Result<()> {
        for place in 0..self.calls.len() {
            if !self.is_built(place) {
                let layer = self.calls[place].layer;
                self.build_call(place, Weights::new(seed, layer))?;
            }
        }
        Ok(())
    }

    /// Builds the layer of the call at `place`, with these weights, unless an earlier call did, and
    /// notes the shapes of the values that the call gives.
    pub(super) fn build_call(&mut self, place: usize, weights: Weights<T>) -> Result<()> {
        let built = self.checked_call(place, weights)?;
        let call = &self.calls[place];
        for (value, shape) in call.outputs.clone().zip(&built.outputs) {
            self.shapes[value] = Some(shape.clone());
        }
        let stage = &mut self.layers[call.layer];
        if stage.built.is_none() {
            stage.built = Some(built);
        }
        Ok(())
    }

    fn is_built(&self, place: usize) -> bool {
        let call = &self.calls[place];
        let known = call
            .outputs
            .clone()
            .all(|value| self.shapes[value].is_some());
        known && self.layers[call.layer].built.is_some()
    }

    /// The error of the first call that cannot be built, if there is one.
    pub(super) fn require_built(&self, seed: u64) -> Result<()> {
        let pending = (0..self.calls.len()).find(|&place| !self.is_built(place));
        let Some(place) = pending else {
            return Ok(());
        };
        let weights = Weights::new(seed, self.calls[place].layer);
        self.checked_call(place, weights).map(|_| ())
    }

    /// What the call at `place` builds.
    fn checked_call(&self, place: usize, mut weights: Weights<T>) -> Result<Built<T>> {
        let call = &self.calls[place];
        let stage = &self.layers[call.layer];
        let shapes = call.inputs.iter().map(|&value| self.shapes[value].clone());
        let Some(inputs) = shapes.collect::<Option<Vec<Shape>>>() else {
            return Err(
                Error::value("model", "the shape of the inputs is not known yet")
                    .fix("give the first layer an `input_shape(…)`, or `fit` the model first")
                    .into(),
            );
        };
        if self.layers[..call.layer]
            .iter()
            .any(|other| other.name == stage.name)
        {
            let message = format!("two layers are named `{}`", stage.name);
            return Err(Error::value("model", message).into());
        }
        if let Some(built) = &stage.built {
            // Applied again: it must take the weights that it has.
            let values = built.parameters.iter().map(|p| p.value.clone());
            weights = Weights::given(values.collect());
        }
        let outputs = stage
            .layer
            .build_many(&inputs, &mut weights)
            .map_err(|error| {
                let listed: Vec<String> = inputs.iter().map(ToString::to_string).collect();
                let listed = listed.join(", ");
                error
                    .with(format!("layer {}", call.layer), stage.describe())
                    .with("its input", format!("{listed}   (without the batch axis)"))
            })?;
        if weights.left_over() > 0 {
            let (own, more) = (weights.parameters.len(), weights.left_over());
            let message = format!("the layer has {own} weights, and {more} more in the file");
            return Err(Error::value("load", message).into());
        }
        if outputs.len() != call.outputs.len() {
            let message = format!("the layer gives {} values, not one", outputs.len());
            return Err(Error::value("model", message)
                .with(format!("layer {}", call.layer), stage.describe())
                .fix("build a `Model` from symbols, which can take several values apart")
                .into());
        }
        Ok(Built {
            inputs,
            outputs,
            parameters: weights.parameters,
        })
    }

    /// The same layers and calls, with nothing built and no shape known.
    pub(super) fn unbuilt(&self) -> Self {
        let stages = self.layers.iter().map(|stage| Stage {
            name: stage.name.clone(),
            layer: stage.layer.clone(),
            trainable: stage.trainable,
            built: None,
            set_aside: stage.set_aside.clone(),
        });
        Graph {
            inputs: self.inputs.clone(),
            layers: stages.collect(),
            calls: self.calls.clone(),
            shapes: vec![None; self.shapes.len()],
            outputs: self.outputs.clone(),
        }
    }

    /// The name of the layer that gives a value, or of the input that it is.
    pub(super) fn value_name(&self, value: usize) -> &str {
        match self.producer(value) {
            Some(call) => &self.layers[self.calls[call].layer].name,
            None => &self.inputs[value].name,
        }
    }

    /// The names of all layers.
    pub(super) fn names(&self) -> HashSet<&str> {
        self.layers.iter().map(|stage| &*stage.name).collect()
    }

    /// All weights with the layers that they belong to, layer by layer.
    pub(super) fn parameters(&self) -> impl Iterator<Item = (&Stage<T>, &Parameter<T>)> {
        let stages = self.layers.iter();
        stages.flat_map(|stage| stage.parameters().iter().map(move |p| (stage, p)))
    }

    /// Sets weights by their numbers; nothing is set if one does not fit.
    pub(super) fn set_values(&mut self, values: Vec<(usize, Tensor<T>)>) -> Result<()> {
        let mut parameters: Vec<_> = (self.layers.iter_mut())
            .flat_map(Stage::parameters_mut)
            .collect();
        for (number, value) in &values {
            let own = parameters
                .get(*number)
                .map(|parameter| parameter.value.shape());
            if own != Some(value.shape()) {
                let mut error = Error::shape("set_state", "a weight has another shape, or is none")
                    .with("new value", value.shape());
                if let Some(own) = own {
                    error = error.with("weight", own);
                }
                return Err(error.into());
            }
        }
        for (number, value) in values {
            parameters[number].value = value;
        }
        Ok(())
    }
}
