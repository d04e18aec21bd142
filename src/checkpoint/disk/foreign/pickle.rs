//! The part of Python's pickle format (protocols 0 to 4, <https://docs.python.org/3/library/pickle.html>) that
//! `torch.save` writes of a dictionary of tensors. It builds values and runs nothing: a call becomes a tensor, a
//! dictionary, or [`Value::Other`], and an opcode that is not known is an error.
//!
//! Values live in one list and refer to each other by index, so that a file cannot make more of them than it has
//! bytes, however often it repeats one.

mod machine;

use machine::Machine;

/// Why a pickle cannot be read; the end of a message.
type Fault = String;

/// The index of a value.
pub(super) type Id = usize;

/// A Python value, as far as it matters here.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    /// None, floats, objects: nothing that a tensor is made of.
    Other,
    Flag(bool),
    Integer(i64),
    Text(String),
    /// Tuples, and lists and sets.
    Sequence(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    /// A class or function, `torch._utils._rebuild_tensor_v2`.
    Global(String),
    /// What a persistent id stands for.
    Storage(Box<Storage>),
    Tensor(Box<View>),
}

/// The numbers that tensors are views of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Storage {
    /// The name of its numbers within the file.
    pub key: String,
    /// The name of its class, `FloatStorage`.
    pub kind: String,
    /// Count of numbers.
    pub len: usize,
}

/// A tensor: which numbers of which storage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct View {
    pub storage: Storage,
    pub offset: usize,
    pub shape: Vec<usize>,
    pub strides: Vec<usize>,
}

/// The values of one pickle.
#[derive(Debug)]
pub(super) struct Pickle {
    values: Vec<Value>,
    root: Id,
    /// Bytes up to and including its end.
    pub length: usize,
}

impl Pickle {
    /// Reads the pickle at the start of `bytes`.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, Fault> {
        let mut machine = Machine::new(bytes);
        let root = machine.run()?;
        let length = bytes.len() - machine.rest().len();
        Ok(Self { values: machine.into_values(), root, length })
    }

    /// What the pickle holds.
    pub(super) fn root(&self) -> &Value {
        &self.values[self.root]
    }

    /// A value of a sequence or dictionary.
    pub(super) fn value(&self, id: Id) -> &Value {
        &self.values[id]
    }

    /// Every storage that the pickle mentions.
    pub(super) fn storages(&self) -> impl Iterator<Item = &Storage> {
        self.values.iter().filter_map(|value| match value {
            Value::Storage(storage) => Some(&**storage),
            _ => None,
        })
    }

    /// The value of `name` in a dictionary.
    pub(super) fn entry(&self, dict: &[(Id, Id)], name: &str) -> Option<&Value> {
        let is_name = |id: Id| matches!(self.value(id), Value::Text(text) if text == name);
        dict.iter().find(|(key, _)| is_name(*key)).map(|(_, value)| self.value(*value))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::machine::MOST_VALUES;
    use super::*;

    fn fault(bytes: &[u8]) -> String {
        Pickle::read(bytes).unwrap_err()
    }

    #[test]
    fn values_of_every_spelling_are_read() {
        // pickle.dumps({"a": (1, -2, 300), "b": [70000]}, protocol) by Python 3.11.
        for bytes in [
            &b"(dp0\nVa\np1\n(I1\nI-2\nI300\ntp2\nsVb\np3\n(lp4\nI70000\nas."[..],
            b"\x80\x02}q\0(X\x01\0\0\0aq\x01K\x01J\xfe\xff\xff\xffM,\x01\x87q\x02X\x01\0\0\0bq\x03]q\x04Jp\x11\x01\0au.",
            b"\x80\x04\x95\x23\0\0\0\0\0\0\0}\x94(\x8c\x01a\x94K\x01J\xfe\xff\xff\xffM,\x01\x87\x94\x8c\x01b\x94]\x94Jp\x11\x01\0au.",
        ] {
            let pickle = Pickle::read(bytes).unwrap();
            assert_eq!(pickle.length, bytes.len());
            let Value::Dict(dict) = pickle.root() else { panic!("{:?}", pickle.root()) };
            let numbers = |name: &str| match pickle.entry(dict, name) {
                Some(Value::Sequence(ids)) => {
                    ids.iter().map(|id| pickle.value(*id).clone()).collect::<Vec<_>>()
                }
                other => panic!("{other:?}"),
            };
            assert_eq!(numbers("a"), [1, -2, 300].map(Value::Integer));
            assert_eq!(numbers("b"), [Value::Integer(70_000)]);
        }
    }

    #[test]
    fn nothing_is_called() {
        // os.system("true")
        let pickle = Pickle::read(b"cos\nsystem\n(X\x04\0\0\0truetR.").unwrap();
        assert_eq!(*pickle.root(), Value::Other);
    }

    #[test]
    fn hostile_programs_end_in_words() {
        assert!(fault(b"").contains("ends early"));
        assert!(fault(b"\x80\x02\x99.").contains("the opcode 0x99"));
        assert!(fault(b"h\x07.").contains("recalls value 7"));
        for bytes in [&b"."[..], b"t.", b"(0t.", b"R.", b"a.", b"s.", b"\x86.", b"q\0.", b"Q."] {
            assert!(fault(bytes).contains("ends early"), "{bytes:?}");
        }
        assert!(fault(b"NQ.").contains("names numbers in an unknown way"));
        assert!(fault(b"X\xff\xff\xff\xffabc.").contains("ends early"));
        assert!(fault(b"\x8d\xff\xff\xff\xff\xff\xff\xff\xffabc.").contains("ends early"));
        assert!(fault(&b"N".repeat(MOST_VALUES + 5)).contains("more than"));
        // A list doubled in itself over and over refers to what is there.
        let mut bomb = b"]q\0".to_vec();
        for _ in 0..1000 {
            bomb.extend(b"(h\0h\0e");
        }
        bomb.push(b'.');
        assert!(Pickle::read(&bomb).is_ok());
    }

    #[test]
    fn every_cut_and_every_changed_byte_of_a_pickle_is_harmless() {
        let whole = b"\x80\x02ccollections\nOrderedDict\nq\0)Rq\x01(X\x01\0\0\0wq\x02ctorch._utils\n_rebuild_tensor_v2\nq\x03((X\x07\0\0\0storageq\x04ctorch\nFloatStorage\nq\x05X\x01\0\0\x000q\x06X\x03\0\0\0cpuq\x07K\x06tq\x08QK\0K\x02K\x03\x86q\x09K\x03K\x01\x86q\x0a\x89h\0)Rq\x0btq\x0cRq\x0du.";
        assert!(Pickle::read(whole).is_ok());
        for at in 0..whole.len() {
            assert!(Pickle::read(&whole[..at]).is_err());
            for change in 1..=255u8 {
                let mut changed = whole.to_vec();
                changed[at] ^= change;
                let _ = Pickle::read(&changed);
            }
        }
    }
}
