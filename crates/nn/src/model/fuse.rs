//! Fusion: calls of several layers that run as one kernel.
//!
//! A plan is made once for a graph and a way of running it. [`PATTERNS`] is all that is fused within
//! the graph; besides, a loss takes over the activation that an output ends with
//! ([`Loss::absorbs`](crate::losses::Loss::absorbs)). Layers know nothing of it: patterns recognise
//! this crate's own by their types, and a layer that no pattern knows runs by itself.

use std::any::Any;
use std::sync::{Arc, Mutex, PoisonError};

use tensor::{Float, Pool2dOptions};

use super::graph::Graph;
use crate::layers::{Activation, ActivationFunction, Conv2d, Dense, MaxPool2d};

/// What is fused: each pattern looks at a call and those that follow it alone, and says how many of
/// them it takes and how they run. The first that takes any wins.
const PATTERNS: [Pattern; 3] = [conv2d, dense, absorbed_activation];

type Pattern = fn(&Chain<'_>) -> Option<(usize, Kernel)>;

/// How a step runs.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kernel {
    /// As the layer says.
    Layer,
    /// Convolution + bias + activation, and a max pooling where there is one.
    Conv2d {
        activation: ActivationFunction,
        pooling: Option<Pool2dOptions>,
    },
    /// Matrix product + bias + activation.
    Dense { activation: ActivationFunction },
    /// Not at all: the value passes as it is, because the loss takes over what the layer does.
    Absorbed,
}

/// Calls that run as one.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Step {
    /// The call whose inputs the step takes, and in whose layer's name it runs.
    pub(super) first: usize,
    /// The call whose values the step gives.
    pub(super) last: usize,
    pub(super) kernel: Kernel,
}

/// The steps of a graph, in the order in which they run.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) steps: Vec<Step>,
    /// How often each value is used by steps and as an output; the last use frees it.
    pub(super) uses: Vec<usize>,
}

/// How a graph runs, as far as fusion depends on it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct PlanKey {
    /// Whether each layer runs by itself, so that its output can be looked at.
    pub(super) layer_by_layer: bool,
    /// For each output, whether the loss takes over the activation that it ends with; empty where
    /// it does for none.
    pub(super) absorbed: Vec<bool>,
}

/// Plans made so far.
#[derive(Debug, Default)]
pub(super) struct Plans(Mutex<Vec<(PlanKey, Arc<Plan>)>>);

impl Plans {
    /// The plan for this way of running; made at its first use.
    pub(super) fn get<T: Float>(&self, graph: &Graph<T>, key: &PlanKey) -> Arc<Plan> {
        // A plan is made whole or not at all, so a panic elsewhere has spoilt none.
        let mut plans = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, plan)) = plans.iter().find(|(other, _)| other == key) {
            return plan.clone();
        }
        let plan = Arc::new(Plan::new(graph, key));
        plans.push((key.clone(), plan.clone()));
        plan
    }

    /// Forgets the plans of a graph that changes.
    pub(super) fn clear(&mut self) {
        *self = Plans::default();
    }
}

/// A call and those that follow it, each the only user of the value before.
struct Chain<'a> {
    links: Vec<Link<'a>>,
}

struct Link<'a> {
    call: usize,
    layer: &'a dyn Any,
    /// Whether the loss takes over the activation that this call ends with.
    absorbed: bool,
}

impl Chain<'_> {
    fn layer<L: 'static>(&self, place: usize) -> Option<&L> {
        self.links.get(place)?.layer.downcast_ref()
    }

    /// The activation at `place`: of a layer that ends with `own`, or of the layer after it; and the
    /// place behind. Linear where the loss takes it over.
    fn activation(&self, own: &ActivationFunction) -> (ActivationFunction, usize) {
        let linear = *own == ActivationFunction::Linear;
        let (function, next) = match self.layer::<Activation>(1) {
            Some(layer) if linear => (layer.function(), 2),
            _ => (own, 1),
        };
        match self.links[next - 1].absorbed {
            true => (ActivationFunction::Linear, next),
            false => (function.clone(), next),
        }
    }
}

fn conv2d(chain: &Chain<'_>) -> Option<(usize, Kernel)> {
    let conv = chain.layer::<Conv2d>(0)?;
    let (activation, next) = chain.activation(conv.activation_function());
    let pools = conv.has_bias() && activation == ActivationFunction::Relu;
    let pooling = match chain.layer::<MaxPool2d>(next) {
        Some(pool) if pools => Some(pool.options()),
        _ => None,
    };
    let count = next + usize::from(pooling.is_some());
    Some((
        count,
        Kernel::Conv2d {
            activation,
            pooling,
        },
    ))
}

fn dense(chain: &Chain<'_>) -> Option<(usize, Kernel)> {
    let dense = chain.layer::<Dense>(0)?;
    let (activation, count) = chain.activation(dense.activation_function());
    Some((count, Kernel::Dense { activation }))
}

fn absorbed_activation(chain: &Chain<'_>) -> Option<(usize, Kernel)> {
    let absorbed = chain.layer::<Activation>(0).is_some() && chain.links[0].absorbed;
    absorbed.then_some((1, Kernel::Absorbed))
}

/// The activation that a layer ends with, where a loss can take it over.
pub(super) fn last_activation(layer: &dyn Any) -> ActivationFunction {
    let conv = layer.downcast_ref().map(Conv2d::activation_function);
    let dense = || layer.downcast_ref().map(Dense::activation_function);
    let alone = || layer.downcast_ref().map(Activation::function);
    let function = conv.or_else(dense).or_else(alone);
    function.cloned().unwrap_or_default()
}

impl Plan {
    fn new<T: Float>(graph: &Graph<T>, key: &PlanKey) -> Self {
        let uses = graph.uses();
        let absorbs = |call: usize| {
            let outputs = graph.outputs.iter().zip(&key.absorbed);
            outputs.into_iter().any(|(&value, &absorbed)| {
                absorbed && graph.calls[call].outputs == (value..value + 1)
            })
        };
        let link = |call: usize| Link {
            call,
            layer: graph.layers[graph.calls[call].layer].layer() as &dyn Any,
            absorbed: absorbs(call),
        };
        // The call that alone takes the value of another, which gives no other.
        let mut taker = vec![None; graph.shapes.len()];
        for (place, call) in graph.calls.iter().enumerate() {
            for &value in &call.inputs {
                taker[value] = Some(place);
            }
        }
        let following = |call: usize| {
            let outputs = &graph.calls[call].outputs;
            let alone = outputs.len() == 1 && uses[outputs.start] == 1;
            let next = taker[outputs.start].filter(|_| alone)?;
            (graph.calls[next].inputs.len() == 1).then_some(next)
        };
        let longest = if key.layer_by_layer { 1 } else { LONGEST };
        let mut steps = Vec::with_capacity(graph.calls.len());
        let mut done = vec![false; graph.calls.len()];
        for first in 0..graph.calls.len() {
            if done[first] {
                continue;
            }
            let mut links = vec![link(first)];
            while links.len() < longest
                && let Some(next) = following(links[links.len() - 1].call)
            {
                links.push(link(next));
            }
            let chain = Chain { links };
            let found = PATTERNS.iter().find_map(|pattern| pattern(&chain));
            let (count, kernel) = found.unwrap_or((1, Kernel::Layer));
            for link in &chain.links[..count] {
                done[link.call] = true;
            }
            let last = chain.links[count - 1].call;
            steps.push(Step {
                first,
                last,
                kernel,
            });
        }
        Plan { steps, uses }
    }
}

/// The most calls that a pattern takes.
const LONGEST: usize = 3;
