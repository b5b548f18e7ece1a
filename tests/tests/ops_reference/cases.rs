//! Cases as the fixtures hold them.

use std::collections::BTreeMap;

use nn::data::{Array, npz};
use tensor::{DType, Tensor};

/// One call of an operation.
#[derive(Default)]
pub struct Case {
    pub op: String,
    pub name: String,
    inputs: BTreeMap<usize, Array>,
    pub outputs: Vec<Tensor<f64>>,
    pub cotangents: Vec<Tensor<f64>>,
    pub gradients: BTreeMap<usize, Tensor<f64>>,
    attributes: BTreeMap<String, Array>,
    /// Whether PyTorch refuses.
    pub refused: bool,
}

impl Case {
    /// The inputs that have gradients, in order.
    pub fn floats(&self) -> Vec<Tensor<f64>> {
        let floats = self.inputs.values().filter(|x| x.dtype() == DType::F64);
        floats.map(|x| x.to().unwrap()).collect()
    }

    /// Their positions among all inputs.
    pub fn float_positions(&self) -> Vec<usize> {
        let floats = self.inputs.iter().filter(|(_, x)| x.dtype() == DType::F64);
        floats.map(|(&position, _)| position).collect()
    }

    /// The input of indices or labels.
    pub fn index(&self) -> Tensor<i64> {
        let mut indices = self.inputs.values().filter(|x| x.dtype() == DType::I64);
        indices.next().unwrap().to().unwrap()
    }

    /// The input that is a mask.
    pub fn mask(&self) -> Tensor<bool> {
        let mut masks = self.inputs.values().filter(|x| x.dtype() == DType::Bool);
        masks.next().unwrap().to().unwrap()
    }

    pub fn has(&self, attribute: &str) -> bool {
        self.attributes.contains_key(attribute)
    }

    pub fn array(&self, attribute: &str) -> Tensor<f64> {
        let Some(array) = self.attributes.get(attribute) else {
            panic!("{}/{} has no {attribute}", self.op, self.name);
        };
        array.to().unwrap()
    }

    pub fn number(&self, attribute: &str) -> f64 {
        self.array(attribute).item().unwrap()
    }

    pub fn flag(&self, attribute: &str) -> bool {
        self.has(attribute) && self.number(attribute) != 0.0
    }

    pub fn integers(&self, attribute: &str) -> Vec<isize> {
        self.array(attribute).iter().map(|x| x as isize).collect()
    }

    pub fn sizes(&self, attribute: &str) -> Vec<usize> {
        self.array(attribute).iter().map(|x| x as usize).collect()
    }

    pub fn pair(&self, attribute: &str) -> [usize; 2] {
        self.sizes(attribute).try_into().unwrap()
    }

    /// Rows of two, such as `[[top, bottom], [left, right]]`.
    pub fn pairs(&self, attribute: &str) -> Vec<(usize, usize)> {
        let sizes = self.sizes(attribute);
        sizes
            .chunks_exact(2)
            .map(|pair| (pair[0], pair[1]))
            .collect()
    }

    pub fn text(&self, attribute: &str) -> String {
        let bytes = self.attributes[attribute].to_u8().unwrap();
        String::from_utf8(bytes.to_vec()).unwrap()
    }
}

/// The number at the end of `in0`, `out`, `grad12`; 0 if there is none.
fn position(key: &str) -> usize {
    key.trim_start_matches(char::is_alphabetic)
        .parse()
        .unwrap_or(0)
}

/// The cases of one archive, in its order.
pub fn read(family: &str) -> Vec<Case> {
    let path = format!(
        "{}/fixtures/ops_reference/{family}.npz",
        env!("CARGO_MANIFEST_DIR")
    );
    let mut cases: Vec<Case> = Vec::new();
    for (key, array) in npz::load(path).unwrap() {
        let mut parts = key.splitn(3, '/');
        let [op, name, rest] = [(); 3].map(|()| parts.next().unwrap());
        if !cases
            .last()
            .is_some_and(|case| case.op == op && case.name == name)
        {
            cases.push(Case {
                op: op.to_string(),
                name: name.to_string(),
                ..Case::default()
            });
        }
        let case = cases.last_mut().unwrap();
        match rest.trim_end_matches(|c: char| c.is_ascii_digit()) {
            "in" => {
                case.inputs.insert(position(rest), array);
            }
            "out" => case.outputs.push(array.to().unwrap()),
            "cot" => case.cotangents.push(array.to().unwrap()),
            "grad" => {
                case.gradients.insert(position(rest), array.to().unwrap());
            }
            "raises" => case.refused = true,
            _ => {
                let attribute = rest.strip_prefix("attr/").unwrap();
                case.attributes.insert(attribute.to_string(), array);
            }
        }
    }
    cases
}
