//! The stack machine that a pickle is a program of.

use std::collections::HashMap;

use super::{Fault, Id, Storage, Value, View};

/// Most values, made or copied: far more than any model has.
pub(super) const MOST_VALUES: usize = 1 << 20;

/// Most axes of a tensor.
const MOST_AXES: usize = 8;

/// Most bytes of the name of a class or a storage.
const MOST_NAME: usize = 256;

/// What a program has made so far.
#[derive(Debug, Default)]
pub(super) struct Machine<'a> {
    rest: &'a [u8],
    values: Vec<Value>,
    stack: Vec<Id>,
    marks: Vec<usize>,
    memo: HashMap<usize, Id>,
    /// References copied from one value to another, which could otherwise grow faster than the file.
    copied: usize,
}

impl<'a> Machine<'a> {
    /// Of the program at the start of `bytes`.
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, ..Self::default() }
    }

    /// What is left after the program.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// All that was made.
    pub(super) fn into_values(self) -> Vec<Value> {
        self.values
    }

    /// Runs the program, and gives its result.
    pub(super) fn run(&mut self) -> Result<Id, Fault> {
        loop {
            let opcode = self.byte()?;
            if opcode == b'.' {
                return self.pop();
            }
            self.step(opcode)?;
            let most =
                self.values.len().max(self.stack.len()).max(self.memo.len()).max(self.copied);
            if most > MOST_VALUES {
                return Err(format!("its pickle holds more than {MOST_VALUES} values"));
            }
        }
    }

    fn step(&mut self, opcode: u8) -> Result<(), Fault> {
        match opcode {
            // PROTO, FRAME: how it is written.
            0x80 => self.take(1).map(drop),
            0x95 => self.take(8).map(drop),
            b'(' => {
                self.marks.push(self.stack.len());
                Ok(())
            }
            b'0' => self.pop().map(drop),
            b'1' => self.pop_mark().map(drop),
            b'2' => {
                let top = self.top()?;
                self.stack.push(top);
                Ok(())
            }
            b'N' => self.push(Value::Other),
            // NEWTRUE, NEWFALSE
            0x88 | 0x89 => self.push(Value::Flag(opcode == 0x88)),
            b'F' => self.line().and_then(|_| self.push(Value::Other)),
            b'G' => self.take(8).and_then(|_| self.push(Value::Other)),
            // INT and LONG as text; INT also writes booleans.
            b'I' | b'L' => {
                let line = self.line()?;
                let value = line.trim_end_matches('L').parse().map_or(Value::Other, Value::Integer);
                self.push(value)
            }
            b'J' => self.number(4).and_then(|n| self.push(Value::Integer(i64::from(n as i32)))),
            b'K' => self.number(1).and_then(|n| self.push(Value::Integer(n as i64))),
            b'M' => self.number(2).and_then(|n| self.push(Value::Integer(n as i64))),
            0x8a => self.number(1).and_then(|length| self.long(length)),
            0x8b => self.number(4).and_then(|length| self.long(length)),
            // (SHORT_)BINSTRING, (SHORT_)BINUNICODE(8), (SHORT_)BINBYTES(8)
            b'U' | b'C' | 0x8c => self.text(1),
            b'T' | b'X' | b'B' => self.text(4),
            0x8d | 0x8e => self.text(8),
            b'V' => self.line().and_then(|line| self.push(Value::Text(line.to_owned()))),
            b'S' => {
                let text = self.line()?.trim_matches(['\'', '"']).to_owned();
                self.push(Value::Text(text))
            }
            b')' | b']' | 0x8f => self.push(Value::Sequence(Vec::new())),
            b'}' => self.push(Value::Dict(Vec::new())),
            // TUPLE1 to TUPLE3
            0x85..=0x87 => {
                let n = usize::from(opcode - 0x84);
                let from = self.stack.len().checked_sub(n).ok_or_else(cut)?;
                let items = self.stack.split_off(from);
                self.push(Value::Sequence(items))
            }
            // TUPLE, LIST, FROZENSET
            b't' | b'l' | 0x91 => {
                let items = self.pop_mark()?;
                self.push(Value::Sequence(items))
            }
            b'd' => {
                let items = self.pop_mark()?;
                let entries = pairs(&items);
                self.push(Value::Dict(entries))
            }
            b'a' => {
                let item = self.pop()?;
                self.extend(&[item])
            }
            b'e' | 0x90 => {
                let items = self.pop_mark()?;
                self.extend(&items)
            }
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.insert(&[(key, value)])
            }
            b'u' => {
                let items = self.pop_mark()?;
                self.insert(&pairs(&items))
            }
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                self.push(Value::Global(format!("{module}.{name}")))
            }
            // STACK_GLOBAL
            0x93 => {
                let (name, module) = (self.pop_text()?, self.pop_text()?);
                self.push(Value::Global(format!("{module}.{name}")))
            }
            b'R' | 0x81 => {
                let (arguments, function) = (self.pop()?, self.pop()?);
                let value = self.call(function, arguments)?;
                self.push(value)
            }
            // BUILD sets attributes, such as the versions of the layers.
            b'b' => self.pop().map(drop),
            b'Q' => {
                let id = self.pop()?;
                let storage = self.storage(id)?;
                self.push(Value::Storage(Box::new(storage)))
            }
            b'q' => self.number(1).and_then(|key| self.remember(key)),
            b'r' => self.number(4).and_then(|key| self.remember(key)),
            0x94 => self.remember(self.memo.len()),
            b'p' => self.line_number().and_then(|key| self.remember(key)),
            b'h' => self.number(1).and_then(|key| self.recall(key)),
            b'j' => self.number(4).and_then(|key| self.recall(key)),
            b'g' => self.line_number().and_then(|key| self.recall(key)),
            other => Err(format!(
                "its pickle has the opcode {other:#04x}, which torch.save does not write for a dictionary of tensors"
            )),
        }
    }

    /// What calling `function` gives.
    fn call(&mut self, function: Id, arguments: Id) -> Result<Value, Fault> {
        let (Value::Global(function), Value::Sequence(arguments)) =
            (&self.values[function], &self.values[arguments])
        else {
            return Ok(Value::Other);
        };
        match function.as_str() {
            "collections.OrderedDict" => {
                let items = arguments.first().map(|items| &self.values[*items]);
                let Some(Value::Sequence(items)) = items else {
                    return Ok(Value::Dict(Vec::new()));
                };
                self.copied += items.len();
                let pair = |item: &Id| match &self.values[*item] {
                    Value::Sequence(pair) => match pair.as_slice() {
                        [key, value] => Some((*key, *value)),
                        _ => None,
                    },
                    _ => None,
                };
                Ok(Value::Dict(items.iter().filter_map(pair).collect()))
            }
            "torch._utils._rebuild_tensor" | "torch._utils._rebuild_tensor_v2" => {
                let view = self.view(arguments);
                view.map(|view| Value::Tensor(Box::new(view)))
                    .ok_or_else(|| "its pickle describes a tensor in an unknown way".to_owned())
            }
            "torch._utils._rebuild_parameter" => {
                let tensor = arguments.first().map(|tensor| &self.values[*tensor]);
                Ok(tensor
                    .filter(|tensor| matches!(tensor, Value::Tensor(_)))
                    .cloned()
                    .unwrap_or(Value::Other))
            }
            _ => Ok(Value::Other),
        }
    }

    fn view(&self, arguments: &[Id]) -> Option<View> {
        let [storage, offset, shape, strides, ..] = arguments else { return None };
        let Value::Storage(storage) = &self.values[*storage] else { return None };
        let extents = |id: Id| match &self.values[id] {
            Value::Sequence(extents) if extents.len() <= MOST_AXES => {
                extents.iter().map(|id| self.count(*id)).collect()
            }
            _ => None,
        };
        Some(View {
            storage: Storage::clone(storage),
            offset: self.count(*offset)?,
            shape: extents(*shape)?,
            strides: extents(*strides)?,
        })
    }

    fn storage(&self, id: Id) -> Result<Storage, Fault> {
        let unknown = || "its pickle names numbers in an unknown way".to_owned();
        let Value::Sequence(parts) = &self.values[id] else { return Err(unknown()) };
        let [_, kind, key, _, len, ..] = parts.as_slice() else { return Err(unknown()) };
        // A sixth part, in files of before 2018, makes it a part of another storage.
        if let Some(part) = parts.get(5)
            && self.values[*part] != Value::Other
        {
            return Err("its pickle has storages that are parts of others".to_owned());
        }
        let kind = match &self.values[*kind] {
            Value::Global(name) if name.len() <= MOST_NAME => {
                name.rsplit('.').next().unwrap_or(name).to_owned()
            }
            _ => return Err(unknown()),
        };
        let key = match &self.values[*key] {
            Value::Text(key) if key.len() <= MOST_NAME => key.clone(),
            Value::Integer(key) => key.to_string(),
            _ => return Err(unknown()),
        };
        let len = self.count(*len).ok_or_else(unknown)?;
        Ok(Storage { key, kind, len })
    }

    fn count(&self, id: Id) -> Option<usize> {
        match self.values[id] {
            Value::Integer(count) => usize::try_from(count).ok(),
            _ => None,
        }
    }

    fn push(&mut self, value: Value) -> Result<(), Fault> {
        self.stack.push(self.values.len());
        self.values.push(value);
        Ok(())
    }

    fn top(&self) -> Result<Id, Fault> {
        self.stack.last().copied().ok_or_else(cut)
    }

    fn pop(&mut self) -> Result<Id, Fault> {
        self.stack.pop().ok_or_else(cut)
    }

    fn pop_mark(&mut self) -> Result<Vec<Id>, Fault> {
        let from = self.marks.pop().ok_or_else(cut)?;
        // Opcodes may have taken what was there at the mark.
        Ok(self.stack.split_off(from.min(self.stack.len())))
    }

    fn pop_text(&mut self) -> Result<String, Fault> {
        let id = self.pop()?;
        match &self.values[id] {
            Value::Text(text) if text.len() <= MOST_NAME => Ok(text.clone()),
            _ => Err("its pickle has a name that is not text, or long".to_owned()),
        }
    }

    /// Appends to the sequence on top.
    fn extend(&mut self, items: &[Id]) -> Result<(), Fault> {
        let top = self.top()?;
        if let Value::Sequence(sequence) = &mut self.values[top] {
            sequence.extend_from_slice(items);
        }
        Ok(())
    }

    /// Adds to the dictionary on top.
    fn insert(&mut self, entries: &[(Id, Id)]) -> Result<(), Fault> {
        let top = self.top()?;
        if let Value::Dict(dict) = &mut self.values[top] {
            dict.extend_from_slice(entries);
        }
        Ok(())
    }

    fn remember(&mut self, key: usize) -> Result<(), Fault> {
        let top = self.top()?;
        self.memo.insert(key, top);
        Ok(())
    }

    fn recall(&mut self, key: usize) -> Result<(), Fault> {
        let id = self.memo.get(&key).copied();
        self.stack.push(
            id.ok_or_else(|| format!("its pickle recalls value {key}, which it never kept"))?,
        );
        Ok(())
    }

    fn byte(&mut self) -> Result<u8, Fault> {
        self.take(1).map(|bytes| bytes[0])
    }

    fn take(&mut self, n: usize) -> Result<&'a [u8], Fault> {
        let (taken, rest) = self.rest.split_at_checked(n).ok_or_else(cut)?;
        self.rest = rest;
        Ok(taken)
    }

    /// A little-endian number of up to 8 bytes.
    fn number(&mut self, bytes: usize) -> Result<usize, Fault> {
        let bytes = self.take(bytes)?;
        let number = bytes.iter().rev().fold(0u64, |number, byte| number << 8 | u64::from(*byte));
        usize::try_from(number).map_err(|_| cut())
    }

    /// An integer of any length; one of more than 8 bytes is nothing that a tensor is made of.
    fn long(&mut self, length: usize) -> Result<(), Fault> {
        let bytes = self.take(length)?;
        let fill = if bytes.last().is_some_and(|byte| byte & 0x80 != 0) { 0xff } else { 0 };
        let mut word = [fill; 8];
        let value = match word.get_mut(..length) {
            Some(low) => {
                low.copy_from_slice(bytes);
                Value::Integer(i64::from_le_bytes(word))
            }
            None => Value::Other,
        };
        self.push(value)
    }

    fn text(&mut self, length_bytes: usize) -> Result<(), Fault> {
        let length = self.number(length_bytes)?;
        let bytes = self.take(length)?;
        self.push(Value::Text(String::from_utf8_lossy(bytes).into_owned()))
    }

    fn line(&mut self) -> Result<&'a str, Fault> {
        let end = self.rest.iter().position(|byte| *byte == b'\n').ok_or_else(cut)?;
        let line = self.take(end + 1)?;
        std::str::from_utf8(&line[..end])
            .map_err(|_| "its pickle has a line that is not text".to_owned())
    }

    fn line_number(&mut self) -> Result<usize, Fault> {
        self.line()?.parse().map_err(|_| "its pickle has a key that is not a number".to_owned())
    }
}

fn pairs(items: &[Id]) -> Vec<(Id, Id)> {
    let (pairs, _) = items.as_chunks();
    pairs.iter().map(|[key, value]| (*key, *value)).collect()
}

fn cut() -> Fault {
    "its pickle ends early or is damaged".to_owned()
}
