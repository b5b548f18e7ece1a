//! What a pickle of NumPy arrays can be made of.

use std::rc::Rc;

use npyz::TypeStr;

use crate::data::elements::Encoding;

/// A number in itself, or a reference to an object. References and not ownership, since a pickle
/// may mention an object many times, change it after the first, or put it into itself.
#[derive(Clone, Copy, Debug)]
pub(super) enum Value {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Object(Handle),
}

/// The place of an object in [`Heap`].
pub(super) type Handle = u32;

#[derive(Debug)]
pub(super) enum Object {
    Blob(Blob),
    Tuple(Vec<Value>),
    List(Vec<Value>),
    Global(Global),
    DType(DType),
    /// `None` until its state is set.
    Array(Option<ArrayState>),
}

/// A string of bytes or characters, which NumPy uses for names and for the memory of arrays.
#[derive(Clone, Debug)]
pub(super) struct Blob {
    pub(super) content: Content,
    /// Whether the content is UTF-8 that stands for one byte per character: how Python 3 writes
    /// bytes in protocols 0 to 2.
    pub(super) latin1: bool,
}

#[derive(Clone, Debug)]
pub(super) enum Content {
    /// A short one, or one that is not in the file as it is. Shared, since a pickle may use it many
    /// times.
    Inline(Rc<[u8]>),
    /// A long one stays in the file until it is known what it is for.
    Span { start: u64, length: u64 },
}

/// The functions and classes that the pickle of an array names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Global {
    /// `numpy.core.multiarray._reconstruct(class, shape, typecode)`: an array to be filled.
    Reconstruct,
    /// `numpy.core.multiarray.scalar(dtype, bytes)`: a single number.
    Scalar,
    /// `numpy.core.numeric._frombuffer(bytes, dtype, shape, order)`: an array, in protocol 5.
    FromBuffer,
    /// `numpy.ndarray`.
    NdArray,
    /// `numpy.dtype(code, align, copy)`.
    DType,
    /// `_codecs.encode(text, "latin1")`: bytes, in protocols 0 to 2.
    Encode,
    /// `bytes()` and `bytearray(bytes)`.
    Bytes,
}

impl Global {
    /// The meaning of `module.name`, if it is known.
    pub(super) fn named(module: &str, name: &str) -> Option<Self> {
        Some(match (module, name) {
            ("numpy.core.multiarray" | "numpy._core.multiarray", "_reconstruct") => {
                Global::Reconstruct
            }
            ("numpy.core.multiarray" | "numpy._core.multiarray", "scalar") => Global::Scalar,
            ("numpy.core.numeric" | "numpy._core.numeric", "_frombuffer") => Global::FromBuffer,
            ("numpy", "ndarray") => Global::NdArray,
            ("numpy", "dtype") => Global::DType,
            ("_codecs", "encode") => Global::Encode,
            ("builtins" | "__builtin__", "bytes" | "bytearray") => Global::Bytes,
            _ => return None,
        })
    }
}

/// The element type of an array.
#[derive(Clone, Debug)]
pub(super) enum DType {
    Object,
    Number(Encoding),
    /// A type that no tensor holds, by NumPy's name; an error once its elements are wanted.
    Other(String),
}

impl DType {
    /// The type NumPy calls `code` (such as `"u1"`), with `order` one of `<`, `>`, `|`.
    pub(super) fn new(code: &str, order: char) -> Self {
        if matches!(code, "O" | "O4" | "O8") {
            return DType::Object;
        }
        let name = format!("{order}{code}");
        name.parse::<TypeStr>()
            .ok()
            .and_then(|descr| Encoding::of(&descr))
            .map_or(DType::Other(name), DType::Number)
    }
}

#[derive(Clone, Debug)]
pub(super) struct ArrayState {
    pub(super) shape: Vec<usize>,
    pub(super) fortran: bool,
    pub(super) data: Data,
}

#[derive(Clone, Debug)]
pub(super) enum Data {
    /// Elements of a number type in a [`Blob`].
    Numbers(Encoding, Handle),
    /// Objects in a list.
    Objects(Handle),
    /// Elements of a type that no tensor holds.
    Other(String),
}

/// Every object of a pickle. None is freed before the end, so that dropping recurses into nothing.
#[derive(Debug, Default)]
pub(super) struct Heap(Vec<Object>);

/// The most objects (lists, arrays, strings) one pickle may hold.
const MOST_OBJECTS: usize = 1 << 24;

impl Heap {
    /// Keeps `object`, unless there are too many.
    pub(super) fn add(&mut self, object: Object) -> Result<Value, String> {
        if self.0.len() >= MOST_OBJECTS {
            return Err(format!(
                "the pickle has more than {MOST_OBJECTS} objects; save arrays, not lists"
            ));
        }
        self.0.push(object);
        Ok(Value::Object(self.0.len() as Handle - 1))
    }

    /// The object at `handle`; handles come from [`Heap::add`] alone.
    pub(super) fn get(&self, handle: Handle) -> &Object {
        &self.0[handle as usize]
    }

    /// The object at `handle`, to change it.
    pub(super) fn get_mut(&mut self, handle: Handle) -> &mut Object {
        &mut self.0[handle as usize]
    }

    /// What `value` is, for errors.
    pub(super) fn describe(&self, value: Value) -> &'static str {
        match value {
            Value::None => "None",
            Value::Bool(_) => "a bool",
            Value::Int(_) => "an int",
            Value::Float(_) => "a float",
            Value::Object(handle) => match self.get(handle) {
                Object::Blob(_) => "a string",
                Object::Tuple(_) => "a tuple",
                Object::List(_) => "a list",
                Object::Global(_) => "a function or class",
                Object::DType(_) => "a dtype",
                Object::Array(_) => "an array",
            },
        }
    }
}
