//! How a kernel of ours becomes a differentiable burn operator; the only place that knows burn's extension points.
//!
//! A [`Kernel`] maps slices to slices, forward and backward. [`apply`] runs it on tensors: on the CPU backend it
//! reads and writes their memory without copies, and under autodiff it registers one node whose backward calls the
//! kernel's own; what the backward was the last to need goes to [`buffers`] for the next step. Second derivatives are not available; other backends are refused by burn's dispatch.

use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError};

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, backend_extension};
use burn::tensor::{Bytes, DType, Shape, Tensor};
use burn_flex::{FlexTensor, Layout};
use relin_kernels::buffers;

/// A tensor as a kernel sees it: contiguous, row-major, single precision.
#[derive(Clone, Copy, Debug)]
pub struct Operand<'a> {
    /// Sizes of the axes.
    pub shape: &'a [usize],
    /// The elements.
    pub data: &'a [f32],
}

/// An operator on `N` tensors with one result.
pub trait Kernel<const N: usize>: Debug + Send + Sync + 'static {
    /// What the forward pass leaves for the backward pass, besides inputs and result.
    type Saved: Debug + Send + 'static;

    /// The result's shape and elements, and what to keep.
    fn forward(&self, inputs: [Operand<'_>; N]) -> (Vec<usize>, Vec<f32>, Self::Saved);

    /// The gradient of each input (of its shape) for the result's gradient.
    fn backward(
        &self,
        inputs: [Operand<'_>; N],
        output: Operand<'_>,
        grad: Operand<'_>,
        saved: Self::Saved,
    ) -> [Vec<f32>; N];
}

/// One use of a kernel: the node of the graph that it becomes.
#[derive(Debug)]
struct Call<K, S> {
    kernel: K,
    saved: Mutex<Option<S>>,
}

/// [`Call`] without its types, as burn's dispatch carries it.
pub trait AnyCall<const N: usize>: Debug + Send + Sync + 'static {
    /// [`Kernel::forward`], keeping what it saves.
    fn forward(&self, inputs: [Operand<'_>; N]) -> (Vec<usize>, Vec<f32>);

    /// [`Kernel::backward`] with what was kept.
    fn backward(&self, inputs: [Operand<'_>; N], output: Operand<'_>, grad: Operand<'_>) -> [Vec<f32>; N];
}

impl<const N: usize, K: Kernel<N>> AnyCall<N> for Call<K, K::Saved> {
    fn forward(&self, inputs: [Operand<'_>; N]) -> (Vec<usize>, Vec<f32>) {
        let (shape, data, saved) = self.kernel.forward(inputs);
        *self.saved.lock().unwrap_or_else(PoisonError::into_inner) = Some(saved);
        (shape, data)
    }

    fn backward(&self, inputs: [Operand<'_>; N], output: Operand<'_>, grad: Operand<'_>) -> [Vec<f32>; N] {
        let saved = self.saved.lock().unwrap_or_else(PoisonError::into_inner).take();
        let saved = saved.expect("forward runs before backward, and backward once");
        self.kernel.backward(inputs, output, grad, saved)
    }
}

/// Runs a kernel on tensors.
pub fn apply<const N: usize, const D: usize>(kernel: impl Kernel<N>, inputs: [AnyTensor; N]) -> Tensor<D>
where
    [AnyTensor; N]: Arity<N>,
{
    Tensor::from_dispatch(inputs.dispatch(Arc::new(Call { kernel, saved: Mutex::new(None) })))
}

/// A tensor of any rank on its way into [`apply`].
pub type AnyTensor = burn::backend::DispatchTensor;

/// Numbers of inputs for which the bridge is built.
pub trait Arity<const N: usize> {
    /// Sends the tensors through burn's dispatch.
    fn dispatch(self, kernel: Arc<dyn AnyCall<N>>) -> AnyTensor;
}

/// A backend that gives kernels access to its memory.
trait RunsKernels: Backend {
    fn forward<const N: usize>(kernel: &dyn AnyCall<N>, inputs: &[FloatTensor<Self>; N])
    -> FloatTensor<Self>;

    fn backward<const N: usize>(
        kernel: &dyn AnyCall<N>,
        inputs: [FloatTensor<Self>; N],
        output: FloatTensor<Self>,
        grad: FloatTensor<Self>,
    ) -> [FloatTensor<Self>; N];
}

impl RunsKernels for Flex {
    fn forward<const N: usize>(kernel: &dyn AnyCall<N>, inputs: &[FlexTensor; N]) -> FlexTensor {
        let inputs = inputs.each_ref().map(FlexTensor::to_contiguous);
        let shapes = inputs.each_ref().map(shape_of);
        let (shape, data) = kernel.forward(std::array::from_fn(|i| operand(&inputs[i], &shapes[i])));
        tensor(&shape, data)
    }

    fn backward<const N: usize>(
        kernel: &dyn AnyCall<N>,
        inputs: [FlexTensor; N],
        output: FlexTensor,
        grad: FlexTensor,
    ) -> [FlexTensor; N] {
        // By value, so that a tensor that needs no copy keeps its memory to itself.
        let inputs = inputs.map(|input| input.to_contiguous());
        let (output, grad) = (output.to_contiguous(), grad.to_contiguous());
        let shapes = inputs.each_ref().map(shape_of);
        let shape = shape_of(&output);
        let operands = std::array::from_fn(|i| operand(&inputs[i], &shapes[i]));
        let gradients = kernel.backward(operands, operand(&output, &shape), operand(&grad, &shape));
        inputs.into_iter().chain([output, grad]).for_each(recycle);
        let mut shapes = shapes.into_iter();
        gradients.map(|data| tensor(&shapes.next().unwrap_or_default(), data))
    }
}

/// Keeps a tensor's memory for later if nobody else holds it.
fn recycle(tensor: FlexTensor) {
    if tensor.is_unique() && tensor.is_contiguous() && tensor.dtype() == DType::F32 {
        let (bytes, ..) = tensor.into_data().into_parts();
        if let Ok(data) = bytes.try_into_vec() {
            buffers::give::<f32>(data);
        }
    }
}

fn shape_of(tensor: &FlexTensor) -> Vec<usize> {
    tensor.layout().shape().to_vec()
}

fn operand<'a>(tensor: &'a FlexTensor, shape: &'a [usize]) -> Operand<'a> {
    let data = tensor.as_slice::<f32>();
    let data = data.unwrap_or_else(|| panic!("operators take f32 tensors; this one is {:?}", tensor.dtype()));
    Operand { shape, data }
}

fn tensor(shape: &[usize], data: Vec<f32>) -> FlexTensor {
    assert_eq!(shape.iter().product::<usize>(), data.len(), "a kernel's result does not fill its shape");
    FlexTensor::new(Bytes::from_elems(data), Layout::contiguous(Shape::from(shape.to_vec())), DType::F32)
}

macro_rules! arities {
    ($($name:ident $count:literal ($($input:ident),+));+ $(;)?) => {
        #[backend_extension(Flex, Autodiff)]
        trait KernelBackend: Backend {
            $(fn $name(
                kernel: Arc<dyn AnyCall<$count>>,
                $($input: FloatTensor<Self>),+
            ) -> FloatTensor<Self>;)+
        }

        impl KernelBackend for Flex {
            $(fn $name(kernel: Arc<dyn AnyCall<$count>>, $($input: FlexTensor),+) -> FlexTensor {
                <Flex as RunsKernels>::forward(&*kernel, &[$($input),+])
            })+
        }

        impl<B: KernelBackend + RunsKernels, C: CheckpointStrategy> KernelBackend for Autodiff<B, C> {
            $(fn $name(
                kernel: Arc<dyn AnyCall<$count>>,
                $($input: FloatTensor<Self>),+
            ) -> FloatTensor<Self> {
                let node = KernelNode.prepare::<C>([$($input.node()),+]).compute_bound().stateful();
                let inputs = [$($input.into_parts().0),+];
                let output = B::forward(&*kernel, &inputs);
                match node {
                    OpsKind::Tracked(node) => node.finish((kernel, inputs, output.clone()), output),
                    OpsKind::UnTracked(node) => node.finish(output),
                }
            })+
        }

        $(impl Arity<$count> for [AnyTensor; $count] {
            fn dispatch(self, kernel: Arc<dyn AnyCall<$count>>) -> AnyTensor {
                let [$($input),+] = self;
                <Dispatch as KernelBackend>::$name(kernel, $($input),+)
            }
        })+
    };
}

arities! {
    kernel_1 1 (a);
    kernel_2 2 (a, b);
    kernel_3 3 (a, b, c);
    kernel_4 4 (a, b, c, d);
    kernel_6 6 (a, b, c, d, e, f);
    kernel_9 9 (a, b, c, d, e, f, g, h, i);
    kernel_10 10 (a, b, c, d, e, f, g, h, i, j);
}

#[derive(Debug)]
struct KernelNode;

impl<B: RunsKernels, const N: usize> Backward<B, N> for KernelNode {
    type State = (Arc<dyn AnyCall<N>>, [FloatTensor<B>; N], FloatTensor<B>);

    fn backward(self, ops: Ops<Self::State, N>, grads: &mut Gradients, _checkpointer: &mut Checkpointer) {
        let grad = grads.consume::<B>(&ops.node);
        let (kernel, inputs, output) = ops.state;
        let gradients = B::backward(&*kernel, inputs, output, grad);
        for (parent, gradient) in ops.parents.into_iter().zip(gradients) {
            if let Some(parent) = parent {
                grads.register::<B>(parent.id, gradient);
            }
        }
    }
}
