"""Inference of the network in ONNX Runtime. For its arguments: --help"""

import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper

from measure import arguments, data, features, report

options = arguments(__doc__)

random = np.random.default_rng(1)
nodes, weights, name = [], [], "x"


def add(op, *parameters, **attributes):
    """Appends a node that reads the last one's output and `parameters`."""
    global name
    inputs = [name]
    for value in parameters:
        inputs.append(f"w{len(weights)}")
        weights.append(numpy_helper.from_array(value, inputs[-1]))
    name = f"{op}{len(nodes)}"
    nodes.append(helper.make_node(op, inputs, [name], **attributes))


def kernel(*shape):
    limit = np.sqrt(6 / np.prod(shape[1:]))
    return random.uniform(-limit, limit, shape).astype(np.float32), np.zeros(shape[0], np.float32)


for index, (inputs, outputs) in enumerate([(options.channels, 32), (32, 32), (32, 64), (64, 64)]):
    add("Conv", *kernel(outputs, inputs, 3, 3), pads=[1 - index % 2] * 4)
    add("Relu")
    if index % 2:
        add("MaxPool", kernel_shape=[2, 2], strides=[2, 2])
add("Flatten")
add("Gemm", *kernel(512, features(options)), transB=1)
add("Relu")
add("Gemm", *kernel(options.classes, 512), transB=1)
add("Softmax")


def tensor(name, *shape):
    return helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)


graph = helper.make_graph(
    nodes, "network", [tensor("x", options.batch, options.channels, options.height, options.width)],
    [tensor(name, options.batch, options.classes)], weights)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
onnx.checker.check_model(model)

settings = onnxruntime.SessionOptions()
settings.intra_op_num_threads = options.threads
session = onnxruntime.InferenceSession(model.SerializeToString(), settings, providers=["CPUExecutionProvider"])
x = np.ascontiguousarray(data(options)[0].transpose(0, 3, 1, 2))
report(f"ONNX Runtime {onnxruntime.__version__}", options, infer=lambda: session.run(None, {"x": x}))
