//! From the objects of a pickle to arrays: reading their memory, stacking lists.

use super::blob::BlobInput;
use super::numpy::MOST_AXES;
use super::value::{ArrayState, Data, Handle, Heap, Object, Value};
use crate::data::array::{Array, unravel};
use crate::data::elements::Elements;
use crate::data::source::Source;
use crate::error::{Error, FileError, Result};

/// What a value is for stacking.
enum Node {
    /// Items in an object array, a list or a tuple: `items[start..]`, as many as `shape` says.
    Items {
        items: Handle,
        start: usize,
        shape: Vec<usize>,
    },
    Array(ArrayState),
    Number(Value),
}

/// What to do with a file that does not make one array.
const SEVERAL_ARRAYS: &str = "read several arrays with npy::load_objects; to make one, bring all \
                              items to one size and type before numpy.save";

/// One open sequence.
struct Frame {
    items: Handle,
    start: usize,
    next: usize,
    count: usize,
}

pub(super) struct Assembler<'s, 'a, 'h> {
    source: &'s mut Source<'a>,
    heap: &'h Heap,
    /// What may still be produced. References let a short pickle stand for any amount of data.
    budget: u64,
    place: String,
}

impl<'s, 'a, 'h> Assembler<'s, 'a, 'h> {
    pub(super) fn new(source: &'s mut Source<'a>, heap: &'h Heap) -> Self {
        let budget = source.length().saturating_mul(64).saturating_add(1 << 20);
        Assembler {
            source,
            heap,
            budget,
            place: String::new(),
        }
    }

    /// The `count` items along the first axis of `root`.
    pub(super) fn items(&mut self, root: Value, count: usize) -> Result<Vec<Array>> {
        let (items, start, shape) = match self.node(root)? {
            Node::Items {
                items,
                start,
                shape,
            } => (items, start, shape),
            Node::Array(state) if state.shape.first() == Some(&count) => {
                let array = self.value(root, "")?;
                return (0..count).map(|i| array.row(i)).collect();
            }
            _ => return Err(self.wrong_count("one array", count)),
        };
        let (&len, inner) = shape.split_first().unwrap_or((&1, &[]));
        if len != count {
            return Err(self.wrong_count(&format!("{len} items"), count));
        }
        let step: usize = inner.iter().product();
        (0..count)
            .map(|i| {
                let place = format!("item {i}");
                let start = start + i * step;
                if inner.is_empty() {
                    self.value(self.values(items)[start], &place)
                } else {
                    let shape = inner.to_vec();
                    let node = Node::Items {
                        items,
                        start,
                        shape,
                    };
                    self.stack(node, &place)
                }
            })
            .collect()
    }

    /// `value` as one array.
    pub(super) fn value(&mut self, value: Value, place: &str) -> Result<Array> {
        self.place = place.to_string();
        match self.node(value)? {
            Node::Array(state) => self.read(&state),
            node => self.stack(node, place),
        }
    }

    /// Stacks the numbers or arrays that `root` is made of, however deep they lie.
    fn stack(&mut self, root: Node, place: &str) -> Result<Array> {
        self.place = place.to_string();
        let mut frames: Vec<Frame> = Vec::new();
        // The shape of the sequences at each depth, learned from the first way down.
        let mut levels: Vec<Vec<usize>> = Vec::new();
        // The depth and shape of the first leaf.
        let mut first_leaf: Option<(usize, Vec<usize>)> = None;
        let mut elements: Option<Elements> = None;
        let mut next = Some(root);
        loop {
            if let Some(node) = next.take() {
                let depth = frames.len();
                let misfit = |shape: &[usize], expected: &[usize]| {
                    let index = index_of(&frames, &levels);
                    ragged(self.source, &self.place, &index, shape, expected)
                };
                match node {
                    Node::Items {
                        items,
                        start,
                        shape,
                    } => {
                        match (levels.get(depth), &first_leaf) {
                            (Some(expected), _) if *expected == shape => {}
                            (Some(expected), _) => return Err(misfit(&shape, expected).into()),
                            (None, Some((_, expected))) => {
                                return Err(misfit(&shape, expected).into());
                            }
                            (None, None) => levels.push(shape.clone()),
                        }
                        if levels.iter().map(Vec::len).sum::<usize>() > MOST_AXES {
                            return Err(self.fault("the lists nest too deeply for an array"));
                        }
                        frames.push(Frame {
                            items,
                            start,
                            next: 0,
                            count: shape.iter().product(),
                        });
                    }
                    Node::Array(ArrayState { ref shape, .. }) => {
                        let expected = first_leaf.get_or_insert_with(|| (depth, shape.clone()));
                        if levels.len() != depth || expected.1 != *shape {
                            let expected = levels.get(depth).unwrap_or(&expected.1);
                            return Err(misfit(shape, expected).into());
                        }
                        self.append(&node, leaf_count(&levels), &mut elements, || {
                            index_of(&frames, &levels)
                        })?;
                    }
                    Node::Number(_) => {
                        let expected = first_leaf.get_or_insert_with(|| (depth, Vec::new()));
                        if levels.len() != depth || !expected.1.is_empty() {
                            let expected = levels.get(depth).unwrap_or(&expected.1);
                            return Err(misfit(&[], expected).into());
                        }
                        self.append(&node, leaf_count(&levels), &mut elements, || {
                            index_of(&frames, &levels)
                        })?;
                    }
                }
            }
            let Some(frame) = frames.last_mut() else {
                break;
            };
            if frame.next == frame.count {
                frames.pop();
                continue;
            }
            let value = self.values(frame.items)[frame.start + frame.next];
            frame.next += 1;
            self.spend(1)?;
            next = Some(self.node(value)?);
        }
        let mut shape = levels.concat();
        shape.extend(first_leaf.map(|(_, shape)| shape).unwrap_or_default());
        elements
            .unwrap_or(Elements::F64(Vec::new()))
            .into_array(&shape, false)
    }

    /// Appends a leaf to `elements`, which begins as what the first leaf is. There will be `leaves`
    /// of them.
    fn append(
        &mut self,
        leaf: &Node,
        leaves: usize,
        elements: &mut Option<Elements>,
        index: impl Fn() -> Vec<usize>,
    ) -> Result<()> {
        let appended = match leaf {
            Node::Number(value) => match elements.take() {
                Some(numbers) => match push_number(numbers, *value) {
                    Ok(numbers) => {
                        *elements = Some(numbers);
                        true
                    }
                    Err(()) => false,
                },
                None => {
                    *elements = push_number(Elements::Bool(Vec::new()), *value).ok();
                    elements.is_some()
                }
            },
            Node::Array(state) => match (&state.data, state.fortran && state.shape.len() > 1) {
                (Data::Numbers(encoding, blob), false) => {
                    let is_first = elements.is_none();
                    let out = elements.get_or_insert_with(|| encoding.elements());
                    let fits = self.read_into(state, *blob, out)?;
                    if is_first {
                        // No more than the file could hold, if no leaf occurs twice.
                        let most = self.source.length() as usize / encoding.size();
                        let count = state.shape.iter().product::<usize>();
                        out.reserve(count.saturating_mul(leaves).min(most));
                    }
                    fits
                }
                _ => {
                    let array = self.read(state)?;
                    let out = elements.get_or_insert_with(|| empty_like(&array));
                    out.append(&array)
                }
            },
            Node::Items { .. } => false,
        };
        if appended {
            return Ok(());
        }
        let fix = match self.place.is_empty() {
            true => SEVERAL_ARRAYS,
            false => "convert them to one type with .astype before numpy.save",
        };
        Err(self
            .source
            .error("items of different types do not make one array")
            .at(place_of(&self.place, &index()))
            .fix(fix)
            .into())
    }

    /// Reads the memory of one array.
    fn read(&mut self, state: &ArrayState) -> Result<Array> {
        match &state.data {
            Data::Numbers(encoding, blob) => {
                let mut elements = encoding.elements();
                self.read_into(state, *blob, &mut elements)?;
                elements.into_array(&state.shape, state.fortran)
            }
            Data::Other(name) => Err(self.fault(format!("elements of type {name:?} are not read"))),
            Data::Objects(_) => Err(self.fault("an object array is no array of numbers")),
        }
    }

    /// Appends the elements of an array of numbers in the order they are stored.
    fn read_into(&mut self, state: &ArrayState, blob: Handle, out: &mut Elements) -> Result<bool> {
        let Data::Numbers(encoding, _) = state.data else {
            return Ok(false);
        };
        let Object::Blob(blob) = self.heap.get(blob) else {
            return Ok(false);
        };
        let bytes = encoding
            .bytes(&state.shape)
            .ok_or_else(|| self.fault(format!("the shape {:?} is too large", state.shape)))?;
        self.spend(bytes)?;
        let locate = |error: Error, place: &str| match error {
            Error::File(error) if !place.is_empty() => {
                let at = error.place().unwrap_or_default().to_string();
                Error::File(error.at(format!("{place}, {at}")))
            }
            error => error,
        };
        let mut input =
            BlobInput::new(self.source, blob, bytes).map_err(|error| locate(error, &self.place))?;
        let count = bytes as usize / encoding.size();
        let fits = encoding
            .append(&mut input, count, out)
            .map_err(|error| locate(error, &self.place))?;
        if fits {
            input.finish().map_err(|error| locate(error, &self.place))?;
        }
        Ok(fits)
    }

    fn spend(&mut self, amount: u64) -> Result<()> {
        match self.budget.checked_sub(amount) {
            Some(left) => {
                self.budget = left;
                Ok(())
            }
            None => Err(self.fault(
                "the pickle repeats its objects until they are more than 64 times the file",
            )),
        }
    }

    fn node(&self, value: Value) -> Result<Node> {
        Ok(match value {
            Value::None => return Err(self.unexpected(value)),
            Value::Bool(_) | Value::Int(_) | Value::Float(_) => Node::Number(value),
            Value::Object(handle) => match self.heap.get(handle) {
                Object::List(items) | Object::Tuple(items) => Node::Items {
                    items: handle,
                    start: 0,
                    shape: vec![items.len()],
                },
                Object::Array(Some(state)) => match state.data {
                    Data::Objects(items) => Node::Items {
                        items,
                        start: 0,
                        shape: state.shape.clone(),
                    },
                    _ => Node::Array(state.clone()),
                },
                Object::Array(None) => return Err(self.fault("an array without contents")),
                _ => return Err(self.unexpected(value)),
            },
        })
    }

    fn values(&self, items: Handle) -> &[Value] {
        match self.heap.get(items) {
            Object::List(items) | Object::Tuple(items) => items,
            _ => &[],
        }
    }

    #[cold]
    fn fault(&self, cause: impl Into<String>) -> Error {
        let error = self.source.error(cause);
        if self.place.is_empty() {
            error.into()
        } else {
            error.at(&self.place).into()
        }
    }

    #[cold]
    fn unexpected(&self, value: Value) -> Error {
        let what = self.heap.describe(value);
        self.fault(format!("holds {what}, which makes no array of numbers"))
    }

    #[cold]
    fn wrong_count(&self, found: &str, count: usize) -> Error {
        self.fault(format!("holds {found}, but {count} are asked for"))
    }
}

/// Appends a number, after widening `bool` to `i64` to `f64` where it takes that.
fn push_number(elements: Elements, value: Value) -> Result<Elements, ()> {
    Ok(match (elements, value) {
        (Elements::Bool(mut out), Value::Bool(x)) => {
            out.push(x);
            Elements::Bool(out)
        }
        (Elements::Bool(out), Value::Int(_) | Value::Float(_)) => {
            let out = out.into_iter().map(i64::from).collect();
            return push_number(Elements::I64(out), value);
        }
        (Elements::I64(mut out), Value::Int(x)) => {
            out.push(x);
            Elements::I64(out)
        }
        (Elements::I64(mut out), Value::Bool(x)) => {
            out.push(x.into());
            Elements::I64(out)
        }
        (Elements::I64(out), Value::Float(_)) => {
            let out = out.into_iter().map(|x| x as f64).collect();
            return push_number(Elements::F64(out), value);
        }
        (Elements::F64(mut out), Value::Float(x)) => {
            out.push(x);
            Elements::F64(out)
        }
        (Elements::F64(mut out), Value::Int(x)) => {
            out.push(x as f64);
            Elements::F64(out)
        }
        (Elements::F64(mut out), Value::Bool(x)) => {
            out.push(f64::from(u8::from(x)));
            Elements::F64(out)
        }
        _ => return Err(()),
    })
}

fn empty_like(array: &Array) -> Elements {
    match array {
        Array::F32(_) => Elements::F32(Vec::new()),
        Array::F64(_) => Elements::F64(Vec::new()),
        Array::Bool(_) => Elements::Bool(Vec::new()),
        Array::U8(_) => Elements::U8(Vec::new()),
        Array::I32(_) => Elements::I32(Vec::new()),
        Array::I64(_) => Elements::I64(Vec::new()),
    }
}

/// How many leaves lie below sequences of these shapes.
fn leaf_count(levels: &[Vec<usize>]) -> usize {
    levels
        .iter()
        .flatten()
        .fold(1, |product, &size| product.saturating_mul(size))
}

/// The index of the item that the open sequences have just handed out.
fn index_of(frames: &[Frame], levels: &[Vec<usize>]) -> Vec<usize> {
    let indices = frames.iter().zip(levels);
    indices
        .flat_map(|(frame, shape)| unravel(frame.next.saturating_sub(1), shape))
        .collect()
}

fn place_of(place: &str, index: &[usize]) -> String {
    match (place.is_empty(), index.is_empty()) {
        (true, _) => format!("element {index:?}"),
        (false, true) => place.to_string(),
        (false, false) => format!("{place}, element {index:?}"),
    }
}

#[cold]
fn ragged(
    source: &Source<'_>,
    place: &str,
    index: &[usize],
    shape: &[usize],
    expected: &[usize],
) -> FileError {
    let first = vec![0; index.len()];
    source
        .error(format!(
            "items of different shapes do not make one array: element {index:?} has shape \
             {shape:?}, element {first:?} has shape {expected:?}"
        ))
        .at(place_of(place, index))
        .fix(match place.is_empty() {
            true => SEVERAL_ARRAYS,
            false => "bring all items (images) to one size before numpy.save",
        })
}
