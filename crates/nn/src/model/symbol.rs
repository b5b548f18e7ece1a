//! Symbols: values that layers will compute, from which models of any form are built.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use tensor::{Error, Float, Shape};

use super::graph::{Graph, Stage};
use super::{Model, names};
use crate::error::Result;
use crate::layer::Layer;
use crate::parameter::Weights;

/// The inputs of models that are [built from symbols](Model).
pub struct Input;

impl Input {
    /// An input in single precision, of this shape without the batch axis: `[height, width,
    /// channels]` for images.
    #[expect(
        clippy::new_ret_no_self,
        reason = "reads as in Keras, whose `Input` is a function too"
    )]
    pub fn new(shape: &[usize]) -> Symbol {
        Self::of(shape)
    }

    /// An input in the precision of `T`.
    ///
    /// ```
    /// use nn::prelude::*;
    /// let x = Input::of::<f64>(&[3]);
    /// let model = Model::new(&x, &Dense::new(2).apply(&x)?)?;
    /// assert_eq!(model.predict(&Tensor::<f64>::ones([1, 3])?)?.shape(), &[1, 2]);
    /// # Ok::<(), nn::Error>(())
    /// ```
    pub fn of<T: Float>(shape: &[usize]) -> Symbol<T> {
        Symbol {
            node: Arc::new(Node {
                call: None,
                name: None,
                shapes: vec![Shape::from(shape)],
            }),
            output: 0,
        }
    }

    /// An input of this name, by which files call it.
    pub fn named<T: Float>(name: impl Into<String>, shape: &[usize]) -> Symbol<T> {
        Symbol {
            node: Arc::new(Node {
                call: None,
                name: Some(name.into()),
                shapes: vec![Shape::from(shape)],
            }),
            output: 0,
        }
    }
}

/// A value that a layer will compute: what Keras calls a symbolic tensor. It knows its shape.
///
/// ```
/// use nn::prelude::*;
/// let x = Input::new(&[32, 32, 3]);
/// let y = Conv2d::new(8, [3, 3]).stride([2, 2]).apply(&x)?;
/// assert_eq!(y.shape(), &[15, 15, 8]);
/// # Ok::<(), nn::Error>(())
/// ```
pub struct Symbol<T: Float = f32> {
    node: Arc<Node<T>>,
    output: usize,
}

/// A layer and what it is applied to.
type LayerCall<T> = (Arc<dyn Layer<T>>, Vec<Symbol<T>>);

/// An input, or a layer applied to symbols.
struct Node<T: Float> {
    call: Option<LayerCall<T>>,
    /// The name of an input that was given one.
    name: Option<String>,
    shapes: Vec<Shape>,
}

impl<T: Float> Clone for Symbol<T> {
    /// Another handle on the same value.
    fn clone(&self) -> Self {
        Symbol {
            node: self.node.clone(),
            output: self.output,
        }
    }
}

impl<T: Float> fmt::Debug for Symbol<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let from = match &self.node.call {
            Some((layer, _)) => layer.label(),
            None => "Input".to_string(),
        };
        write!(f, "Symbol({from}, {})", self.shape())
    }
}

impl<T: Float> Drop for Node<T> {
    /// Long chains of nodes are taken apart one by one: nested drops would exhaust the stack.
    fn drop(&mut self) {
        let mut pending: Vec<Symbol<T>> = match self.call.take() {
            Some((_, inputs)) => inputs,
            None => return,
        };
        while let Some(symbol) = pending.pop() {
            if let Some(mut node) = Arc::into_inner(symbol.node)
                && let Some((_, inputs)) = node.call.take()
            {
                pending.extend(inputs);
            }
        }
    }
}

impl<T: Float> Symbol<T> {
    /// The shape of the value, without the batch axis.
    pub fn shape(&self) -> &Shape {
        &self.node.shapes[self.output]
    }

    /// `layer` applied to `inputs`.
    pub(crate) fn of(layer: &Arc<dyn Layer<T>>, inputs: Vec<Symbol<T>>) -> Result<Application<T>> {
        let shapes: Vec<Shape> = inputs.iter().map(|input| input.shape().clone()).collect();
        let outputs = layer
            .build_many(&shapes, &mut Weights::without_values())
            .map_err(|error| {
                let listed: Vec<String> = shapes.iter().map(ToString::to_string).collect();
                let listed = format!("{}   (without the batch axis)", listed.join(", "));
                error
                    .with("layer", format!("`{}`", layer.label()))
                    .with("its input", listed)
            })?;
        Ok(Application(Arc::new(Node {
            call: Some((layer.clone(), inputs)),
            name: None,
            shapes: outputs,
        })))
    }

    fn address(&self) -> *const () {
        Arc::as_ptr(&self.node).cast()
    }
}

/// A layer applied to symbols, with all the values that it gives.
pub(crate) struct Application<T: Float>(Arc<Node<T>>);

impl<T: Float> Application<T> {
    /// The only value.
    pub(crate) fn single(self, class: &str) -> Result<Symbol<T>> {
        match self.0.shapes.len() {
            1 => Ok(Symbol {
                node: self.0,
                output: 0,
            }),
            count => {
                let message = format!("the layer gives {count} values, not one");
                Err(Error::value(class, message)
                    .fix("use `Shared::new(layer).apply_many(…)`")
                    .into())
            }
        }
    }

    pub(crate) fn all(self) -> Vec<Symbol<T>> {
        let count = self.0.shapes.len();
        let node = self.0;
        let symbol = |output| Symbol {
            node: node.clone(),
            output,
        };
        (0..count).map(symbol).collect()
    }
}

/// One symbol, or several: what layers are applied to, and what models begin and end with.
pub trait Symbols<T: Float> {
    /// The symbols, in order.
    fn symbols(self) -> Vec<Symbol<T>>;
}

impl<T: Float> Symbols<T> for Symbol<T> {
    fn symbols(self) -> Vec<Symbol<T>> {
        vec![self]
    }
}

impl<T: Float> Symbols<T> for &Symbol<T> {
    fn symbols(self) -> Vec<Symbol<T>> {
        vec![self.clone()]
    }
}

impl<T: Float, const N: usize> Symbols<T> for [&Symbol<T>; N] {
    fn symbols(self) -> Vec<Symbol<T>> {
        self.into_iter().cloned().collect()
    }
}

impl<T: Float, const N: usize> Symbols<T> for [Symbol<T>; N] {
    fn symbols(self) -> Vec<Symbol<T>> {
        self.into()
    }
}

impl<T: Float> Symbols<T> for &[Symbol<T>] {
    fn symbols(self) -> Vec<Symbol<T>> {
        self.to_vec()
    }
}

impl<T: Float> Symbols<T> for Vec<Symbol<T>> {
    fn symbols(self) -> Vec<Symbol<T>> {
        self
    }
}

impl<T: Float> Symbols<T> for &Vec<Symbol<T>> {
    fn symbols(self) -> Vec<Symbol<T>> {
        self.clone()
    }
}

impl<T: Float> Model<T> {
    /// The model that computes `outputs` from `inputs`: each one symbol, or an array, slice or
    /// vector of several. Its weights are drawn anew from the [seed](Model::seed), and are its own:
    /// another model of the same symbols shares none of them.
    ///
    /// ```
    /// use nn::prelude::*;
    ///
    /// // A residual block: what two layers add to their input.
    /// let x = Input::new(&[16]);
    /// let y = Dense::new(16).activation(ActivationFunction::Relu).apply(&x)?;
    /// let y = Dense::new(16).apply(&y)?;
    /// let y = Add::new().apply([&x, &y])?;
    /// let mut model = Model::new(&x, &Dense::new(3).apply(&y)?)?;
    /// model.compile(MeanSquaredError::new(), Adam::default(), None::<Accuracy>)?;
    /// let (x, y) = (Tensor::<f32>::ones([8, 16])?, Tensor::<f32>::zeros([8, 3])?);
    /// model.fit(&x, &y, Fit::new().epochs(2).verbosity(Verbosity::Silent))?;
    /// # Ok::<(), nn::Error>(())
    /// ```
    ///
    /// # Errors
    /// If an output depends on an input that is not among `inputs`, an input is given twice or is
    /// the output of a layer, there are none of either, or two layers have one name.
    pub fn new(inputs: impl Symbols<T>, outputs: impl Symbols<T>) -> Result<Self> {
        let (inputs, outputs) = (inputs.symbols(), outputs.symbols());
        let graph = graph_of(&inputs, &outputs)?;
        let mut model = Model::of_graph("functional".to_string(), graph);
        model.build()?;
        Ok(model)
    }
}

/// The calls of layers between inputs and outputs.
///
/// Layers are in the order that Keras gives them, by which files list their weights: by the
/// longest way to an output, and among equals as a depth-first search from the outputs meets them.
fn graph_of<T: Float>(inputs: &[Symbol<T>], outputs: &[Symbol<T>]) -> Result<Graph<T>> {
    if inputs.is_empty() || outputs.is_empty() {
        return Err(Error::value("model", "a model needs inputs and outputs").into());
    }
    let mut seen = HashSet::new();
    for input in inputs {
        if input.node.call.is_some() {
            return Err(Error::value("model", "an input is the output of a layer")
                .with("input", format!("{input:?}"))
                .fix("begin with the symbols that `Input::new` gave")
                .into());
        }
        if !seen.insert(input.address()) {
            return Err(Error::value("model", "an input is given twice").into());
        }
    }
    let order = Order::of(outputs)?;
    for node in &order.nodes {
        if node.node.call.is_none() && !seen.contains(&node.address()) {
            return Err(
                Error::value("model", "an output depends on an input that is not given")
                    .with("input", format!("{node:?}"))
                    .fix("list it among the inputs of the model")
                    .into(),
            );
        }
    }

    let mut taken: HashSet<String> = HashSet::new();
    let mut named = Vec::new();
    for input in inputs {
        let name = input.node.name.clone().unwrap_or_else(|| {
            let taken = taken.iter().map(String::as_str).collect();
            names::unused("InputLayer", &taken)
        });
        taken.insert(name.clone());
        named.push((name, Some(input.shape().clone())));
    }
    let mut graph = Graph::of_inputs(named);
    let mut layer_numbers = HashMap::new();
    for layer in order.layers() {
        let identity = layer.identity();
        let name = identity.name.unwrap_or_else(|| {
            let taken = taken.iter().map(String::as_str).collect();
            names::unused(layer.class_name(), &taken)
        });
        taken.insert(name.clone());
        let number = graph.push_layer(Stage::new(name, layer.clone()));
        layer_numbers.insert(address(&layer), number);
    }
    let mut values: HashMap<*const (), usize> = HashMap::new();
    for (value, input) in inputs.iter().enumerate() {
        values.insert(input.address(), value);
    }
    for symbol in &order.nodes {
        if let Some((layer, inputs)) = &symbol.node.call {
            let number = layer_numbers[&address(layer)];
            let taken = inputs.iter();
            let taken = taken.map(|input| values[&input.address()] + input.output);
            let taken = taken.collect();
            let first = graph.push_call(number, taken, symbol.node.shapes.len());
            values.insert(symbol.address(), first);
        }
    }
    graph.outputs = (outputs.iter())
        .map(|output| values[&output.address()] + output.output)
        .collect();
    Ok(graph)
}

fn address<T: Float>(layer: &Arc<dyn Layer<T>>) -> *const () {
    Arc::as_ptr(layer).cast()
}

/// The nodes behind some outputs.
struct Order<T: Float> {
    /// One symbol for each node; nodes come after those that they take values from.
    nodes: Vec<Symbol<T>>,
    /// The place of each node's layer among the layers as the search first met them.
    met: HashMap<*const (), usize>,
}

impl<T: Float> Order<T> {
    /// Depth first from the outputs, as Keras's `_build_map`, but without recursion.
    fn of(outputs: &[Symbol<T>]) -> Result<Self> {
        let mut order = Order {
            nodes: Vec::new(),
            met: HashMap::new(),
        };
        let mut finished: HashSet<*const ()> = HashSet::new();
        for output in outputs {
            // A node, and how many of its inputs were followed.
            let mut path: Vec<(Symbol<T>, usize)> = vec![(output.clone(), 0)];
            while let Some((symbol, followed)) = path.last_mut() {
                if *followed == 0 {
                    if finished.contains(&symbol.address()) {
                        path.pop();
                        continue;
                    }
                    if let Some((layer, _)) = &symbol.node.call {
                        let place = order.met.len();
                        order.met.entry(address(layer)).or_insert(place);
                    }
                }
                let next = match &symbol.node.call {
                    Some((_, inputs)) => inputs.get(*followed).cloned(),
                    None => None,
                };
                *followed += 1;
                match next {
                    Some(next) => path.push((next, 0)),
                    None => {
                        if let Some((symbol, _)) = path.pop()
                            && finished.insert(symbol.address())
                        {
                            order.nodes.push(symbol);
                        }
                    }
                }
            }
        }
        Ok(order)
    }

    /// The layers by depth, the farthest from the outputs first.
    fn layers(&self) -> Vec<Arc<dyn Layer<T>>> {
        let mut node_depths: HashMap<*const (), usize> = HashMap::new();
        let mut layer_depths: HashMap<*const (), usize> = HashMap::new();
        let mut layers: HashMap<*const (), Arc<dyn Layer<T>>> = HashMap::new();
        for symbol in self.nodes.iter().rev() {
            let Some((layer, inputs)) = &symbol.node.call else {
                continue;
            };
            let key = address(layer);
            let own = node_depths.get(&symbol.address()).copied().unwrap_or(0);
            let depth = own.max(layer_depths.get(&key).copied().unwrap_or(0));
            layer_depths.insert(key, depth);
            layers.insert(key, layer.clone());
            for input in inputs {
                let before = node_depths.entry(input.address()).or_insert(0);
                *before = (*before).max(depth + 1);
            }
        }
        let mut keys: Vec<*const ()> = layers.keys().copied().collect();
        keys.sort_by_key(|key| (std::cmp::Reverse(layer_depths[key]), self.met[key]));
        keys.iter()
            .filter_map(|key| layers.get(key).cloned())
            .collect()
    }
}
