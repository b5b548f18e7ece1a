"""Operations alone, forward and with gradients of all inputs, here and in PyTorch: in turns.

usage: operations.py [--threads 1] [--rounds 3] [--milliseconds 50] [--simd avx2] [--only WORD …]
                     [--out TABLE.md]

Each round runs each operation for so many milliseconds in `crates/autograd/examples/operation_cost.rs`, then in
PyTorch, eager, with images in the memory layout channels_last. Gradients start from numbers in memory for each
element of the result, as they come from the next layer.
"""

import argparse

import torch
import torch.nn.functional as F

import turns

IMAGES, FEW_CHANNELS, CHANNELS = (8, 64, 56, 56), (32, 8, 56, 56), (64,)
TOKENS, FEATURES = (2048, 384), (384,)
SCORES, HEADS = (16, 128, 128), (16, 128, 64)

OPERATIONS = {
    "add": ([IMAGES, IMAGES], torch.add),
    "add_relu": ([IMAGES, IMAGES], lambda a, b: F.relu(a + b)),
    "scale_channels": ([FEW_CHANNELS, (8, 1, 1)], torch.mul),
    "scale_images": ([IMAGES, (8, 64, 1, 1)], torch.mul),
    "batch_norm": ([IMAGES, CHANNELS, CHANNELS], lambda x, a, b: F.batch_norm(x, None, None, a, b, True)),
    "batch_norm_relu": ([IMAGES, CHANNELS, CHANNELS], lambda x, a, b: F.relu(F.batch_norm(x, None, None, a, b, True))),
    "group_norm": ([IMAGES, CHANNELS, CHANNELS], lambda x, a, b: F.group_norm(x, 8, a, b)),
    "layer_norm": ([TOKENS, FEATURES, FEATURES], lambda x, a, b: F.layer_norm(x, FEATURES, a, b)),
    "relu": ([TOKENS], F.relu),
    "sigmoid": ([TOKENS], torch.sigmoid),
    "tanh": ([TOKENS], torch.tanh),
    "silu": ([TOKENS], F.silu),
    "gelu": ([TOKENS], F.gelu),
    "gelu_tanh": ([TOKENS], lambda x: F.gelu(x, approximate="tanh")),
    "hardswish": ([TOKENS], F.hardswish),
    "softplus": ([TOKENS], F.softplus),
    "elu": ([TOKENS], F.elu),
    "exp": ([TOKENS], torch.exp),
    "sin": ([TOKENS], torch.sin),
    "clamp": ([TOKENS], lambda x: x.clamp(-0.5, 0.5)),
    "softmax": ([SCORES], lambda x: x.softmax(-1)),
    "log_softmax": ([SCORES], lambda x: x.log_softmax(-1)),
    "logsumexp": ([SCORES], lambda x: x.logsumexp(-1)),
    "sum_rows": ([TOKENS], lambda x: x.sum(-1)),
    "sum_columns": ([TOKENS], lambda x: x.sum(0)),
    "max_rows": ([TOKENS], lambda x: x.amax(-1)),
    "variance": ([TOKENS], lambda x: x.var(-1)),
    "mean_squared": ([TOKENS, TOKENS], lambda a, b: (a - b).square().mean()),
    "attention": ([HEADS, HEADS, HEADS], lambda q, k, v: (q @ k.transpose(1, 2) * 0.125).softmax(-1) @ v),
    "max_pool": ([IMAGES], lambda x: F.max_pool2d(x, 3, 2)),
    "avg_pool": ([IMAGES], lambda x: F.avg_pool2d(x, 3, 2)),
    "global_avg_pool": ([IMAGES], lambda x: x.mean((2, 3))),
    "resize_nearest": ([(4, 32, 56, 56)], lambda x: F.interpolate(x, (112, 112))),
    "resize_bilinear": ([(4, 32, 56, 56)], lambda x: F.interpolate(x, (112, 112), mode="bilinear")),
    "pad": ([FEW_CHANNELS], lambda x: F.pad(x, (1, 1, 1, 1))),
    "concat": ([IMAGES, IMAGES], lambda a, b: torch.cat([a, b], 1)),
    "channels_first": ([IMAGES], lambda x: x.contiguous() * 2.0),
}


def ask(program, name):
    """Least and median milliseconds, forward and with gradients."""
    a, b, c, d = map(float, turns.ask(program, name))
    return [(a, b), (c, d)]


def theirs(options, name):
    shapes, function = OPERATIONS[name]
    layouts = {4: torch.channels_last}
    inputs = [torch.randn(shape).contiguous(memory_format=layouts.get(len(shape), torch.contiguous_format)) for shape in shapes]

    def forward():
        with torch.no_grad():
            function(*inputs)

    seed = torch.randn_like(function(*inputs))

    def both():
        variables = [x.detach().requires_grad_() for x in inputs]
        function(*variables).backward(seed)

    return [turns.times(step, options) for step in (forward, both)]


def rows(program, options):
    for name in OPERATIONS:
        if any(word in name for word in options.only):
            mine, other = zip(*((ask(program, name), theirs(options, name)) for _ in range(options.rounds)))
            passes = ([[run[i] for run in runs] for runs in (mine, other)] for i in range(2))
            yield [f"`{name}`", *(cell for runs in passes for cell in turns.cells(*runs))]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    turns.add_arguments(parser, milliseconds=50)
    options = parser.parse_args()
    turns.hold_to_vectors(options)
    torch.set_num_threads(options.threads)
    program = turns.start("autograd", "operation_cost", options)
    header = ["operation", "forward: Tapir", "PyTorch", "ratio", "with gradients: Tapir", "PyTorch", "ratio"]
    turns.write_table(header, rows(program, options), options)
    program.stdin.close()


main()
