//! A model's parameters as named arrays: how they are saved, loaded, initialised and updated.

use std::collections::HashMap;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{Gradients, Tensor, TensorData};

use super::Network;
use crate::ops;

/// Where a parameter stands in its model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// Path from the root, joined by dots.
    pub name: String,
    /// Shape in memory.
    pub shape: Vec<usize>,
    /// True for the weight of a linear layer, which is `[in, out]` in memory and `[out, in]` in files.
    pub transposed: bool,
}

/// A parameter as it stands in a file.
#[derive(Clone, Debug, PartialEq)]
pub struct NamedTensor {
    /// Hugging Face's spelling where it has one.
    pub name: String,
    /// Shape in the file.
    pub shape: Vec<usize>,
    /// Elements, row-major.
    pub data: Vec<f32>,
}

/// Why a set of tensors is not this model's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TensorError {
    /// The model has it, the file does not.
    #[error("tensor `{name}` is missing")]
    Missing {
        /// Which tensor.
        name: String,
    },
    /// The file has it, the model does not.
    #[error("tensor `{name}` belongs to no part of the model that the configuration describes")]
    Unexpected {
        /// Which tensor.
        name: String,
    },
    /// Different sizes.
    #[error("tensor `{name}` has shape {found:?}; the configuration makes it {expected:?}")]
    Shape {
        /// Which tensor.
        name: String,
        /// Shape of the model's.
        expected: Vec<usize>,
        /// Shape of the file's.
        found: Vec<usize>,
    },
}

/// Calls `visit` with every parameter's site and values, in a fixed order.
pub fn for_each_parameter<M: Module>(model: &M, visit: impl FnMut(&Site, Vec<f32>)) {
    model.visit(&mut Values { path: Path::default(), visit });
}

/// Every parameter replaced by what `map` makes of it.
pub fn map_parameters<M: Module>(model: M, map: impl FnMut(&Site, Vec<f32>) -> Vec<f32>) -> M {
    model.map(&mut Mapper { path: Path::default(), map })
}

/// The gradient of every parameter in order, summed over several backward passes; zero where none reached it.
pub fn gradients<M: Module>(model: &M, passes: &mut [Gradients]) -> Vec<Vec<f32>> {
    let mut collector = Collector { passes, sums: Vec::new() };
    model.visit(&mut collector);
    collector.sums
}

/// Number of learned scalars.
pub fn count_parameters<M: Module>(model: &M) -> usize {
    model.num_params()
}

/// The parameters as they are saved: linear weights as `[out, in]`, an encoding's parameters by their names.
pub fn named_tensors<M: Network>(model: &M) -> Vec<NamedTensor> {
    let mut encodings = model.encoding_parameters().into_iter();
    let mut tensors = Vec::new();
    for_each_parameter(model, |site, data| match encoding_prefix(&site.name) {
        Some(prefix) => {
            let mut rest = data.as_slice();
            for parameter in encodings.next().unwrap_or_default() {
                let (data, tail) = rest.split_at(parameter.len());
                let name = format!("{prefix}{}", parameter.name);
                tensors.push(NamedTensor { name, shape: parameter.shape, data: data.to_vec() });
                rest = tail;
            }
        }
        None if site.transposed => tensors.push(NamedTensor {
            name: site.name.clone(),
            shape: vec![site.shape[1], site.shape[0]],
            data: transpose(&data, site.shape[0], site.shape[1]),
        }),
        None => tensors.push(NamedTensor { name: site.name.clone(), shape: site.shape.clone(), data }),
    });
    tensors
}

/// The model with saved values.
///
/// # Errors
/// If a tensor is missing, left over, or of another shape.
pub fn load_tensors<M: Network>(model: M, tensors: Vec<NamedTensor>) -> Result<M, TensorError> {
    let mut given: HashMap<String, NamedTensor> = tensors.into_iter().map(|t| (t.name.clone(), t)).collect();
    let mut values = Vec::new();
    for expected in named_tensors(&model) {
        let NamedTensor { name, shape, data } = expected;
        let Some(found) = given.remove(&name) else { return Err(TensorError::Missing { name }) };
        if found.shape != shape || found.data.len() != data.len() {
            return Err(TensorError::Shape { name, expected: shape, found: found.shape });
        }
        values.push(found);
    }
    if let Some(name) = given.into_keys().min() {
        return Err(TensorError::Unexpected { name });
    }
    let mut values = values.into_iter();
    let mut next = || values.next().map(|tensor| tensor.data).unwrap_or_default();
    let counts: Vec<usize> = model.encoding_parameters().iter().map(Vec::len).collect();
    let mut counts = counts.into_iter();
    Ok(map_parameters(model, |site, _| {
        if encoding_prefix(&site.name).is_some() {
            (0..counts.next().unwrap_or(0)).flat_map(|_| next()).collect()
        } else if site.transposed {
            transpose(&next(), site.shape[1], site.shape[0])
        } else {
            next()
        }
    }))
}

/// Whether a parameter is an encoding's own: angles, reflections, frequencies and the like.
pub fn is_of_an_encoding(name: &str) -> bool {
    encoding_prefix(name).is_some()
}

/// `….position.` if the name is that of an encoding's flat parameters.
fn encoding_prefix(name: &str) -> Option<&str> {
    name.strip_suffix("parameters").filter(|prefix| prefix.ends_with(".position."))
}

fn transpose(x: &[f32], rows: usize, cols: usize) -> Vec<f32> {
    (0..rows * cols).map(|at| x[at % rows * cols + at / rows]).collect()
}

/// The way from the root to where a traversal is.
#[derive(Debug, Default)]
struct Path {
    names: Vec<String>,
    containers: Vec<String>,
}

impl Path {
    fn enter(&mut self, name: &str, container: &str) {
        self.names.push(name.to_owned());
        self.containers.push(container.to_owned());
    }

    fn exit(&mut self) {
        self.names.pop();
        self.containers.pop();
    }

    fn site<const D: usize>(&self, shape: [usize; D]) -> Site {
        let in_linear = self.containers.last().is_some_and(|container| container == "Struct:Linear");
        Site { name: self.names.join("."), shape: shape.to_vec(), transposed: in_linear && D == 2 }
    }
}

struct Values<F> {
    path: Path,
    visit: F,
}

impl<F: FnMut(&Site, Vec<f32>)> ModuleVisitor for Values<F> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let tensor = param.val();
        (self.visit)(&self.path.site(tensor.dims()), ops::to_vec(tensor.inner()));
    }
}

struct Mapper<F> {
    path: Path,
    map: F,
}

impl<F: FnMut(&Site, Vec<f32>) -> Vec<f32>> ModuleMapper for Mapper<F> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.exit();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let shape = param.val().dims();
        let site = self.path.site(shape);
        param.map(|tensor| {
            let (device, learned) = (tensor.device(), tensor.is_require_grad());
            let values = (self.map)(&site, ops::to_vec(tensor.inner()));
            let tensor = Tensor::from_data(TensorData::new(values, shape), &device);
            if learned { tensor.require_grad() } else { tensor }
        })
    }
}

struct Collector<'a> {
    passes: &'a mut [Gradients],
    sums: Vec<Vec<f32>>,
}

impl ModuleVisitor for Collector<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let tensor = param.val();
        let mut sum: Option<Vec<f32>> = None;
        for pass in self.passes.iter_mut() {
            let Some(gradient) = tensor.grad_remove(pass).map(ops::to_vec) else { continue };
            match &mut sum {
                None => sum = Some(gradient),
                Some(sum) => sum.iter_mut().zip(gradient).for_each(|(sum, g)| *sum += g),
            }
        }
        self.sums.push(sum.unwrap_or_else(|| vec![0.0; tensor.dims().iter().product()]));
    }
}
