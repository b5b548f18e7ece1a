//! The stack machine: instructions that move values about.

use std::collections::HashMap;

use super::text;
use super::value::{Blob, Content, Global, Handle, Heap, Object, Value};
use crate::data::source::Source;
use crate::error::{Error, Result};

/// The most values that may be remembered for later.
const MOST_REMEMBERED: usize = 1 << 24;
/// Strings up to this length are kept in memory, longer ones as a place in the file.
const INLINE: u64 = 256;
/// The most values that stack, lists and tuples may hold together.
const MOST_VALUES: usize = 1 << 26;

pub(super) struct Machine<'s, 'a> {
    pub(super) source: &'s mut Source<'a>,
    pub(super) heap: Heap,
    stack: Vec<Value>,
    /// Heights of the stack at which an open list or tuple begins.
    marks: Vec<usize>,
    memo: HashMap<u32, Value>,
    /// Values that have moved into lists and tuples.
    contained: usize,
    /// Where the current instruction begins.
    at: u64,
}

impl<'s, 'a> Machine<'s, 'a> {
    pub(super) fn new(source: &'s mut Source<'a>) -> Self {
        Machine {
            source,
            heap: Heap::default(),
            stack: Vec::new(),
            marks: Vec::new(),
            memo: HashMap::new(),
            contained: 0,
            at: 0,
        }
    }

    /// Runs to the end of the pickle; every object, and the one that it is a pickle of.
    pub(super) fn run(mut self) -> Result<(Heap, Value)> {
        loop {
            self.at = self.source.position();
            let [instruction] = self.source.array("the pickle")?;
            if instruction == b'.' {
                let root = self.pop()?;
                return Ok((self.heap, root));
            }
            self.step(instruction)?;
        }
    }

    /// An error about the current instruction.
    #[cold]
    pub(super) fn fault(&self, cause: impl Into<String>) -> Error {
        self.source
            .error_at(self.at, cause)
            .fix("load it with NumPy in a place you trust, and save the arrays with numpy.savez")
            .into()
    }

    fn step(&mut self, instruction: u8) -> Result<()> {
        match instruction {
            // PROTO
            0x80 => {
                let [protocol] = self.array()?;
                if protocol > 5 {
                    return Err(self.fault(format!("pickle protocol {protocol} is not known")));
                }
            }
            // FRAME: a length that helps readers of streams, and is only checked here
            0x95 => {
                let length = u64::from_le_bytes(self.array()?);
                self.source.expect(length, "a frame of the pickle")?;
            }
            // NONE, NEWTRUE, NEWFALSE
            b'N' => self.push(Value::None)?,
            0x88 => self.push(Value::Bool(true))?,
            0x89 => self.push(Value::Bool(false))?,
            // BININT, BININT1, BININT2, LONG1, LONG4
            b'J' => {
                let value = i32::from_le_bytes(self.array()?);
                self.push(Value::Int(value.into()))?;
            }
            b'K' => {
                let [value] = self.array()?;
                self.push(Value::Int(value.into()))?;
            }
            b'M' => {
                let value = u16::from_le_bytes(self.array()?);
                self.push(Value::Int(value.into()))?;
            }
            0x8a => {
                let [length] = self.array()?;
                self.long(length.into())?;
            }
            0x8b => {
                let length = u32::from_le_bytes(self.array()?);
                self.long(length.into())?;
            }
            // BINFLOAT
            b'G' => {
                let value = f64::from_be_bytes(self.array()?);
                self.push(Value::Float(value))?;
            }
            // INT, LONG, FLOAT
            b'I' => self.number(text::int)?,
            b'L' => self.number(text::long)?,
            b'F' => self.number(text::float)?,
            // UNICODE, STRING
            b'V' => self.escaped(|line| text::unicode(line).map(String::into_bytes))?,
            b'S' => self.escaped(text::string)?,
            // SHORT_BINUNICODE, SHORT_BINBYTES, SHORT_BINSTRING
            0x8c | b'C' | b'U' => {
                let [length] = self.array()?;
                self.blob(length.into())?;
            }
            // BINUNICODE, BINBYTES, BINSTRING
            b'X' | b'B' | b'T' => {
                let length = u32::from_le_bytes(self.array()?);
                self.blob(length.into())?;
            }
            // BINUNICODE8, BINBYTES8, BYTEARRAY8
            0x8d | 0x8e | 0x96 => {
                let length = u64::from_le_bytes(self.array()?);
                self.blob(length)?;
            }
            // EMPTY_LIST, EMPTY_TUPLE
            b']' => self.push_object(Object::List(Vec::new()))?,
            b')' => self.push_object(Object::Tuple(Vec::new()))?,
            // MARK
            b'(' => {
                if self.marks.len() >= MOST_VALUES {
                    return Err(self.fault("the pickle opens too many lists at once"));
                }
                self.marks.push(self.stack.len());
            }
            // TUPLE1, TUPLE2, TUPLE3, TUPLE, LIST
            0x85..=0x87 => {
                let count = usize::from(instruction - 0x84);
                let start = self.height_below(count)?;
                let items = self.take_from(start);
                self.push_object(Object::Tuple(items))?;
            }
            b't' => {
                let items = self.take_marked()?;
                self.push_object(Object::Tuple(items))?;
            }
            b'l' => {
                let items = self.take_marked()?;
                self.push_object(Object::List(items))?;
            }
            // APPEND, APPENDS
            b'a' => {
                let start = self.height_below(1)?;
                let items = self.take_from(start);
                self.extend(items)?;
            }
            b'e' => {
                let items = self.take_marked()?;
                self.extend(items)?;
            }
            // POP, POP_MARK, DUP
            b'0' => {
                if self.marks.last() == Some(&self.stack.len()) {
                    self.marks.pop();
                } else {
                    self.pop()?;
                }
            }
            b'1' => {
                let start = self.pop_mark()?;
                self.stack.truncate(start);
            }
            b'2' => {
                let top = self.top()?;
                self.push(top)?;
            }
            // PUT, BINPUT, LONG_BINPUT, MEMOIZE
            b'p' => {
                let key = self.key()?;
                self.remember(key)?;
            }
            b'q' => {
                let [key] = self.array()?;
                self.remember(key.into())?;
            }
            b'r' => {
                let key = u32::from_le_bytes(self.array()?);
                self.remember(key)?;
            }
            0x94 => self.remember(self.memo.len() as u32)?,
            // GET, BINGET, LONG_BINGET
            b'g' => {
                let key = self.key()?;
                self.recall(key)?;
            }
            b'h' => {
                let [key] = self.array()?;
                self.recall(key.into())?;
            }
            b'j' => {
                let key = u32::from_le_bytes(self.array()?);
                self.recall(key)?;
            }
            // GLOBAL, STACK_GLOBAL
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                self.global(&module, &name)?;
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                let (module, name) = (self.text(module)?, self.text(name)?);
                self.global(&module, &name)?;
            }
            // REDUCE, BUILD
            b'R' => {
                let (arguments, function) = (self.pop()?, self.pop()?);
                let result = self.call(function, arguments)?;
                self.push(result)?;
            }
            b'b' => {
                let state = self.pop()?;
                let target = self.top()?;
                self.set_state(target, state)?;
            }
            other => return Err(self.refuse(other)),
        }
        Ok(())
    }

    #[cold]
    fn refuse(&self, instruction: u8) -> Error {
        let what = match instruction {
            b'}' | b'd' | b's' | b'u' => "a dict",
            0x8f..=0x91 => "a set",
            0x81 | 0x92 | b'i' | b'o' => "an object of a class",
            b'P' | b'Q' => "an object outside the file",
            0x97 | 0x98 => "a buffer outside the file",
            0x82..=0x84 => "an entry of the extension registry",
            _ => {
                return self.fault(format!(
                    "the pickle is damaged: 0x{instruction:02x} is no instruction"
                ));
            }
        };
        self.fault(format!(
            "the pickle holds {what}, and only NumPy arrays are read"
        ))
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        self.source.array("the pickle")
    }

    pub(super) fn push(&mut self, value: Value) -> Result<()> {
        if self.stack.len() + self.contained >= MOST_VALUES {
            return Err(self.fault(format!(
                "the pickle holds more than {MOST_VALUES} values outside arrays"
            )));
        }
        self.stack.push(value);
        Ok(())
    }

    /// Keeps `object` and returns a reference to it.
    pub(super) fn object(&mut self, object: Object) -> Result<Value> {
        self.heap.add(object).map_err(|cause| self.fault(cause))
    }

    fn push_object(&mut self, object: Object) -> Result<()> {
        let value = self.object(object)?;
        self.push(value)
    }

    /// The height of the stack below its `count` topmost values, none of which is below a mark.
    fn height_below(&self, count: usize) -> Result<usize> {
        let floor = self.marks.last().copied().unwrap_or(0);
        self.stack
            .len()
            .checked_sub(count)
            .filter(|&height| height >= floor)
            .ok_or_else(|| self.fault("the pickle is damaged: its stack is empty"))
    }

    fn top(&self) -> Result<Value> {
        Ok(self.stack[self.height_below(1)?])
    }

    fn pop(&mut self) -> Result<Value> {
        let top = self.top()?;
        self.stack.pop();
        Ok(top)
    }

    fn pop_mark(&mut self) -> Result<usize> {
        match self.marks.pop() {
            Some(start) => Ok(start),
            None => Err(self.fault("the pickle is damaged: a mark is missing")),
        }
    }

    fn take_marked(&mut self) -> Result<Vec<Value>> {
        let start = self.pop_mark()?;
        Ok(self.take_from(start))
    }

    fn take_from(&mut self, start: usize) -> Vec<Value> {
        let items = self.stack.split_off(start);
        self.contained += items.len();
        items
    }

    /// Appends `items` to the list on top of the stack.
    fn extend(&mut self, items: Vec<Value>) -> Result<()> {
        let top = self.top()?;
        if let Value::Object(handle) = top
            && let Object::List(list) = self.heap.get_mut(handle)
        {
            list.extend(items);
            return Ok(());
        }
        Err(self.fault(format!("the pickle appends to {}", self.heap.describe(top))))
    }

    fn remember(&mut self, key: u32) -> Result<()> {
        let top = self.top()?;
        if self.memo.len() >= MOST_REMEMBERED {
            return Err(self.fault("the pickle remembers too many values"));
        }
        self.memo.insert(key, top);
        Ok(())
    }

    fn recall(&mut self, key: u32) -> Result<()> {
        match self.memo.get(&key) {
            Some(&value) => self.push(value),
            None => Err(self.fault(format!(
                "the pickle is damaged: nothing is remembered as {key}"
            ))),
        }
    }

    /// An integer of `length` bytes.
    fn long(&mut self, length: u64) -> Result<()> {
        self.source.expect(length, "an integer")?;
        if length > 8 {
            return Err(self.fault("the pickle holds an integer beyond 64 bits"));
        }
        let mut bytes = [0; 8];
        self.source
            .fill(&mut bytes[..length as usize], "an integer")?;
        let unused = 64 - 8 * length as u32;
        let value = i64::from_le_bytes(bytes)
            .checked_shl(unused)
            .map_or(0, |shifted| shifted >> unused);
        self.push(Value::Int(value))
    }

    /// A string of `length` bytes.
    fn blob(&mut self, length: u64) -> Result<()> {
        let content = if length <= INLINE {
            Content::Inline(self.source.vec(length, "a string")?.into())
        } else {
            let start = self.source.position();
            self.source.skip(length, "the array")?;
            Content::Span { start, length }
        };
        let latin1 = false;
        self.push_object(Object::Blob(Blob { content, latin1 }))
    }

    /// The blob that `value` refers to.
    pub(super) fn as_blob(&self, value: Value) -> Result<(Handle, &Blob)> {
        if let Value::Object(handle) = value
            && let Object::Blob(blob) = self.heap.get(handle)
        {
            return Ok((handle, blob));
        }
        Err(self.fault(format!(
            "the pickle has {} where a string belongs",
            self.heap.describe(value)
        )))
    }

    /// The short text that `value` refers to.
    pub(super) fn text(&self, value: Value) -> Result<String> {
        match &self.as_blob(value)?.1.content {
            Content::Inline(bytes) => Ok(String::from_utf8_lossy(bytes).into_owned()),
            Content::Span { length, .. } => Err(self.fault(format!(
                "the pickle has a string of {length} bytes where a name belongs"
            ))),
        }
    }

    /// A line of text that holds a name or a number.
    fn line(&mut self) -> Result<String> {
        match self.source.line(INLINE, "a line of the pickle")? {
            Some(line) => Ok(String::from_utf8_lossy(&line).into_owned()),
            None => Err(self.fault("the pickle is damaged: a name is too long")),
        }
    }

    /// A line that `parse` makes a number of.
    fn number(&mut self, parse: impl Fn(&str) -> Option<Value>) -> Result<()> {
        let line = self.line()?;
        match parse(&line) {
            Some(value) => self.push(value),
            None => Err(self.fault(format!("{line:?} is no number of 64 bits"))),
        }
    }

    /// The key of a remembered value.
    fn key(&mut self) -> Result<u32> {
        let line = self.line()?;
        line.parse()
            .map_err(|_| self.fault(format!("the pickle is damaged: {line:?} is no key")))
    }

    /// A line that `parse` makes a string of, which may be all bytes of an array.
    fn escaped(&mut self, parse: impl Fn(&[u8]) -> Option<Vec<u8>>) -> Result<()> {
        let line = self.source.line(u64::MAX, "a string")?.unwrap_or_default();
        let bytes = parse(&line)
            .ok_or_else(|| self.fault("the pickle is damaged: a string has unknown escapes"))?;
        let content = Content::Inline(bytes.into());
        let latin1 = false;
        self.push_object(Object::Blob(Blob { content, latin1 }))
    }

    fn global(&mut self, module: &str, name: &str) -> Result<()> {
        match Global::named(module, name) {
            Some(global) => self.push_object(Object::Global(global)),
            None => Err(self.fault(format!(
                "the pickle asks for {:?}, and only NumPy arrays are read; nothing was run",
                format!("{module}.{name}")
            ))),
        }
    }
}
