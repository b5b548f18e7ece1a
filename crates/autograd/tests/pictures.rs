//! Pictures of graphs: well-formed, complete, nothing on top of anything else, no text cut off.
#![cfg(feature = "svg")]

use autograd::{Graph, GraphNode, Tape, Var};
use proptest::prelude::*;
use roxmltree::{Document, Node};
use tensor::{Conv2dOptions, Tensor};

/// A box or tag as drawn.
#[derive(Debug)]
struct Drawn {
    class: String,
    text: String,
    left: f64,
    top: f64,
    width: f64,
    height: f64,
}

fn number(node: Node<'_, '_>, attribute: &str) -> f64 {
    let text = node.attribute(attribute).expect(attribute);
    let number: f64 = text.parse().expect(text);
    assert!(number.is_finite());
    number
}

/// The boxes and tags of a picture, the legend included; panics if anything is amiss with it.
fn checked(svg: &str) -> Vec<Drawn> {
    let document = Document::parse(svg).expect("well-formed");
    let root = document.root_element();
    let size = [number(root, "width"), number(root, "height")];
    let groups = root.children().filter(|node| node.has_tag_name("g"));
    let drawn: Vec<Drawn> = groups
        .map(|group| {
            let child = |name| {
                group
                    .children()
                    .find(|node| node.has_tag_name(name))
                    .expect(name)
            };
            Drawn {
                class: group.attribute("class").expect("class").to_string(),
                text: child("text").text().unwrap_or("").to_string(),
                left: number(child("rect"), "x"),
                top: number(child("rect"), "y"),
                width: number(child("rect"), "width"),
                height: number(child("rect"), "height"),
            }
        })
        .collect();
    for (index, a) in drawn.iter().enumerate() {
        // A character of a 12-pixel font of fixed width takes 7.2 pixels.
        assert!(
            7.2 * a.text.chars().count() as f64 <= a.width,
            "cut off: {a:?}"
        );
        assert!(
            a.left >= 0.0 && a.left + a.width <= size[0],
            "outside: {a:?}"
        );
        assert!(
            a.top >= 0.0 && a.top + a.height <= size[1],
            "outside: {a:?}"
        );
        for b in &drawn[..index] {
            let apart = a.left >= b.left + b.width
                || b.left >= a.left + a.width
                || a.top >= b.top + b.height
                || b.top >= a.top + a.height;
            assert!(apart, "on top of each other: {a:?} {b:?}");
        }
    }
    for words in root.children().filter(|node| node.has_tag_name("text")) {
        let (x, y) = (number(words, "x"), number(words, "y"));
        let width = 6.7 * words.text().unwrap_or("").chars().count() as f64;
        let (left, right) = match words.attribute("text-anchor") {
            Some("end") => (x - width, x),
            Some("middle") => (x - width / 2.0, x + width / 2.0),
            _ => (x, x + width),
        };
        assert!(
            left >= 0.0 && right <= size[0] && y <= size[1],
            "{words:?} is cut off"
        );
        // The baseline of an 11-pixel font.
        for a in &drawn {
            let beside = right <= a.left || left >= a.left + a.width;
            let over = y <= a.top || y - 8.0 >= a.top + a.height;
            assert!(beside || over, "{:?} lies on {a:?}", words.text());
        }
    }
    drawn
}

fn count(drawn: &[Drawn], class: &str) -> usize {
    // The legend has one of each.
    drawn
        .iter()
        .filter(|item| item.class == class)
        .count()
        .saturating_sub(1)
}

#[test]
fn a_network_is_drawn_forward_and_backward() {
    let tape = Tape::new();
    let variable = |shape: &[usize]| tape.variable(Tensor::<f32>::full(shape, 0.1).unwrap());
    let image = Var::from(Tensor::ones([2, 8, 8, 3]).unwrap());
    let [kernel, bias] = tape.scope("conv", || [variable(&[3, 3, 3, 4]), variable(&[4])]);
    let dense = tape.scope("dense", || variable(&[144, 5]));
    let options = Conv2dOptions::default();
    let image = tape.scope("conv", || {
        image
            .conv2d_bias(&kernel, &bias, false, &options)
            .unwrap()
            .relu()
    });
    let loss = tape.scope("dense", || {
        let scores = image.reshape([2, 144]).unwrap().matmul(&dense).unwrap();
        scores
            .softmax_cross_entropy(&Tensor::from([1_i64, 2]))
            .unwrap()
    });
    let loss = loss.sum(..).unwrap();

    let forward = checked(&tape.graph().to_svg().unwrap());
    assert_eq!(count(&forward, "operation"), 6);
    assert_eq!(count(&forward, "parameter"), 3);
    // conv2d_bias, relu, matmul and the loss save something.
    assert_eq!(count(&forward, "saved"), 4);
    assert!(
        forward
            .iter()
            .all(|item| item.class != "derivative" && item.class != "gradient")
    );

    loss.reverse().create_graph().run().unwrap();
    let svg = tape.graph().to_svg().unwrap();
    let both = checked(&svg);
    assert_eq!(count(&both, "operation"), 6);
    assert_eq!(count(&both, "gradient"), 3);
    for expected in [
        "∂ 3×3×3×4",
        "∂ 4",
        "∂ 144×5",
        "∂ conv2d_filter",
        "∂ relu",
        "matmul",
    ] {
        assert!(
            both.iter().any(|item| item.text == expected),
            "{expected} is missing"
        );
    }
    // Views in derivatives are passed through.
    assert!(both.iter().all(|item| item.text != "transpose"));
    for expected in [
        "input 2×8×8×3",
        "2×6×6×4",
        "2×144",
        "conv",
        "dense",
        "forward ↓",
    ] {
        assert!(
            svg.contains(&format!(">{expected}</text>")),
            "{expected} is missing"
        );
    }

    // An operation's derivative stands right of it, in its row.
    let row = |text: &str, class: &str| {
        let item = both
            .iter()
            .find(|item| item.text == text && item.class == class)
            .unwrap();
        (item.left, item.top)
    };
    let (forward, backward) = (row("relu", "operation"), row("∂ relu", "derivative"));
    assert!(backward.0 > forward.0 && (backward.1 - forward.1).abs() < 1.0);
}

#[test]
fn branches_higher_orders_and_freed_graphs_are_drawn() {
    let tape = Tape::new();
    let x = tape.variable(Tensor::from([0.5, 1.0]));
    let y = (x.sin() * x.exp() + &x).sum(..).unwrap();
    checked(&tape.graph().to_svg().unwrap());
    let first = y.reverse().create_graph().run().unwrap().var(&x).unwrap();
    checked(&tape.graph().to_svg().unwrap());
    let second = first.sum(..).unwrap();
    second.reverse().create_graph().run().unwrap();
    let drawn = checked(&tape.graph().to_svg().unwrap());
    assert!(count(&drawn, "gradient") >= 2);
    second.backward().unwrap();
    let drawn = checked(&tape.graph().to_svg().unwrap());
    assert!(count(&drawn, "freed") > 0);
    checked(&Tape::<f32>::new().graph().to_svg().unwrap());
}

#[test]
fn names_are_escaped() {
    let graph = Graph::new([GraphNode::operation("a<b> & \"c\"\u{1}", [2], [])]).unwrap();
    let drawn = checked(&graph.to_svg().unwrap());
    assert_eq!(drawn[0].text, "a<b> & \"c\" ");
}

#[test]
fn a_node_cannot_come_before_its_inputs() {
    let error = Graph::new([GraphNode::operation("loop", [2], [0])])
        .unwrap_err()
        .to_string();
    assert!(error.contains("node 0 refers to node 0"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    #[test]
    fn no_graph_is_drawn_wrongly(choices in proptest::collection::vec((0..9_usize, 0..9_usize, 0..7_usize), 1..40)) {
        let mut nodes: Vec<GraphNode> = vec![GraphNode::variable("", [3])];
        for (a, b, kind) in choices {
            let count = nodes.len();
            let back = |steps: usize| (count - 1).saturating_sub(steps);
            nodes.push(match kind {
                0 => GraphNode::variable("", [3, 4]),
                1 => GraphNode::operation("unary", [3], [back(a)]),
                2 => GraphNode::operation("same twice", [3], [back(a), back(a)]),
                3 => {
                    let mut node = GraphNode::operation("derived", [3], [back(a)]);
                    node.derivative_of = Some(back(b));
                    node.gradient_of = vec![0];
                    node
                }
                4 => {
                    let mut node = GraphNode::operation("handed on", [3], [back(a)]);
                    (node.derivative_of, node.flops) = (Some(back(b)), 3);
                    node
                }
                _ => GraphNode::operation("binary", [3], [back(a), back(b)]),
            });
        }
        checked(&Graph::new(nodes).unwrap().to_svg().unwrap());
    }
}
