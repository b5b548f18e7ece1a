//! What the names in a pickle do when they are called: NumPy's side of the protocol.

use std::rc::Rc;

use super::blob::BlobInput;
use super::machine::Machine;
use super::value::{ArrayState, Blob, Content, DType, Data, Global, Handle, Object, Value};
use crate::data::elements::Elements;
use crate::error::Result;

/// NumPy's own limit on the number of axes.
pub(super) const MOST_AXES: usize = 64;

const NATIVE: char = if cfg!(target_endian = "big") {
    '>'
} else {
    '<'
};

impl Machine<'_, '_> {
    /// `function(*arguments)`.
    pub(super) fn call(&mut self, function: Value, arguments: Value) -> Result<Value> {
        let Value::Object(handle) = function else {
            return Err(self.fault(format!("the pickle calls {}", self.heap.describe(function))));
        };
        let &Object::Global(global) = self.heap.get(handle) else {
            return Err(self.fault(format!("the pickle calls {}", self.heap.describe(function))));
        };
        let arguments = self.short_tuple(arguments)?;
        match (global, &arguments[..]) {
            (Global::Reconstruct, &[class, _, _]) if self.is(class, Global::NdArray) => {
                self.object(Object::Array(None))
            }
            (Global::DType, &[code, ..]) => {
                let code = self.text(code)?;
                self.object(Object::DType(DType::new(&code, NATIVE)))
            }
            (Global::Scalar, &[dtype, value]) => self.scalar(dtype, value),
            (Global::FromBuffer, &[buffer, dtype, shape, order]) => {
                let fortran = match &self.text(order)?[..] {
                    "C" => false,
                    "F" => true,
                    other => return Err(self.fault(format!("an array of order {other:?}"))),
                };
                let state = self.array_state(shape, dtype, fortran, buffer)?;
                self.object(Object::Array(Some(state)))
            }
            (Global::Encode, &[text, encoding]) | (Global::Bytes, &[text, encoding]) => {
                let encoding = self.text(encoding)?;
                if !matches!(&encoding[..], "latin1" | "latin-1" | "iso-8859-1") {
                    return Err(self.fault(format!("the pickle encodes bytes as {encoding:?}")));
                }
                let blob = Blob {
                    latin1: true,
                    ..self.as_blob(text)?.1.clone()
                };
                self.object(Object::Blob(blob))
            }
            (Global::Bytes, &[]) => self.object(Object::Blob(Blob {
                content: Content::Inline(Rc::default()),
                latin1: false,
            })),
            (Global::Bytes, &[bytes]) => self.as_blob(bytes).map(|_| bytes),
            _ => Err(self.fault(format!(
                "the pickle calls {global:?} with {} arguments of the wrong kind",
                arguments.len()
            ))),
        }
    }

    /// `target.__setstate__(state)`.
    pub(super) fn set_state(&mut self, target: Value, state: Value) -> Result<()> {
        let state = self.short_tuple(state)?;
        let wrong = |machine: &Self| {
            machine.fault(format!(
                "the pickle sets the state of {} to something it cannot take",
                machine.heap.describe(target)
            ))
        };
        let Value::Object(handle) = target else {
            return Err(wrong(self));
        };
        match self.heap.get(handle) {
            Object::Array(_) => {
                // The oldest arrays have no version.
                let (&[_, shape, dtype, fortran, data] | &[shape, dtype, fortran, data]) =
                    &state[..]
                else {
                    return Err(wrong(self));
                };
                let fortran = match fortran {
                    Value::Bool(fortran) => fortran,
                    Value::Int(fortran) => fortran != 0,
                    _ => return Err(wrong(self)),
                };
                let state = self.array_state(shape, dtype, fortran, data)?;
                *self.heap.get_mut(handle) = Object::Array(Some(state));
            }
            Object::DType(dtype) => {
                let dtype = dtype.clone();
                let &[_, order, subarray, names, ..] = &state[..] else {
                    return Err(wrong(self));
                };
                let order = self.text(order)?;
                let dtype = match (dtype, order.chars().next()) {
                    _ if !matches!((subarray, names), (Value::None, Value::None)) => {
                        DType::Other("record".into())
                    }
                    (DType::Number(encoding), Some('>')) => DType::Number(encoding.big_endian()),
                    (dtype, Some('<' | '|' | '=')) => dtype,
                    (dtype @ (DType::Other(_) | DType::Object), Some('>')) => dtype,
                    _ => return Err(wrong(self)),
                };
                *self.heap.get_mut(handle) = Object::DType(dtype);
            }
            _ => return Err(wrong(self)),
        }
        Ok(())
    }

    fn array_state(
        &self,
        shape: Value,
        dtype: Value,
        fortran: bool,
        data: Value,
    ) -> Result<ArrayState> {
        let shape = self.shape(shape)?;
        let data = match self.dtype(dtype)? {
            DType::Number(encoding) => {
                if encoding.bytes(&shape).is_none() {
                    return Err(self.fault(format!("the shape {shape:?} is too large")));
                }
                Data::Numbers(*encoding, self.as_blob(data)?.0)
            }
            DType::Object => {
                let (handle, len) = self.list(data)?;
                let count = shape
                    .iter()
                    .try_fold(1_usize, |n, &size| n.checked_mul(size));
                if count != Some(len) {
                    return Err(self.fault(format!(
                        "an object array of shape {shape:?} holds {len} objects"
                    )));
                }
                if fortran && shape.len() > 1 {
                    return Err(self.fault("an object array in Fortran order is not read"));
                }
                Data::Objects(handle)
            }
            DType::Other(name) => Data::Other(name.clone()),
        };
        Ok(ArrayState {
            shape,
            fortran,
            data,
        })
    }

    /// A single number.
    fn scalar(&mut self, dtype: Value, value: Value) -> Result<Value> {
        let &DType::Number(encoding) = self.dtype(dtype)? else {
            return Err(self.fault("the pickle holds a NumPy scalar that is not a number"));
        };
        let blob = self.as_blob(value)?.1.clone();
        if let Content::Span { length, .. } = blob.content {
            return Err(self.fault(format!("a single number of {length} bytes")));
        }
        let mut elements = encoding.elements();
        let mut input = BlobInput::new(self.source, &blob, encoding.size() as u64)?;
        encoding.append(&mut input, 1, &mut elements)?;
        input.finish()?;
        let number = match &elements {
            Elements::F32(x) => x.first().map(|&x| Value::Float(x.into())),
            Elements::F64(x) => x.first().map(|&x| Value::Float(x)),
            Elements::Bool(x) => x.first().map(|&x| Value::Bool(x)),
            Elements::U8(x) => x.first().map(|&x| Value::Int(x.into())),
            Elements::I32(x) => x.first().map(|&x| Value::Int(x.into())),
            Elements::I64(x) => x.first().map(|&x| Value::Int(x)),
        };
        number.ok_or_else(|| self.fault("the pickle holds an empty NumPy scalar"))
    }

    fn is(&self, value: Value, global: Global) -> bool {
        matches!(value, Value::Object(handle)
            if matches!(self.heap.get(handle), Object::Global(found) if *found == global))
    }

    fn dtype(&self, value: Value) -> Result<&DType> {
        if let Value::Object(handle) = value
            && let Object::DType(dtype) = self.heap.get(handle)
        {
            return Ok(dtype);
        }
        Err(self.fault(format!(
            "the pickle has {} where a dtype belongs",
            self.heap.describe(value)
        )))
    }

    fn list(&self, value: Value) -> Result<(Handle, usize)> {
        if let Value::Object(handle) = value
            && let Object::List(items) = self.heap.get(handle)
        {
            return Ok((handle, items.len()));
        }
        Err(self.fault(format!(
            "the pickle has {} where a list belongs",
            self.heap.describe(value)
        )))
    }

    /// A copy of a tuple that is short, as those of arguments and states are.
    fn short_tuple(&self, value: Value) -> Result<Vec<Value>> {
        if let Value::Object(handle) = value
            && let Object::Tuple(items) = self.heap.get(handle)
            && items.len() <= MOST_AXES
        {
            return Ok(items.clone());
        }
        Err(self.fault(format!(
            "the pickle has {} where a short tuple belongs",
            self.heap.describe(value)
        )))
    }

    fn shape(&self, value: Value) -> Result<Vec<usize>> {
        self.short_tuple(value)?
            .into_iter()
            .map(|size| match size {
                Value::Int(size) => usize::try_from(size).ok(),
                _ => None,
            })
            .collect::<Option<_>>()
            .ok_or_else(|| self.fault("the pickle has an array whose shape is no list of sizes"))
    }
}
