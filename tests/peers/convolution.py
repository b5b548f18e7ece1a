"""Convolution alone, forward and both gradients, here and in PyTorch: in turns, shape by shape.

usage: convolution.py [--threads 1] [--rounds 3] [--milliseconds 100] [--simd avx2] [--only WORD …]
                      [--out TABLE.md]

The shapes are in convolution_shapes.txt. In each round each pass of each shape runs for so many milliseconds in
`crates/tensor/examples/convolution_cost.rs`, and then in PyTorch, in both of its memory layouts, the faster of
which counts. With one thread, times are those of the thread, without what other programs take.
"""

import argparse
import time

import torch

import turns

SHAPES = turns.HERE / "convolution_shapes.txt"
PASSES = ["forward", "input gradient", "filter gradient"]
LAYOUTS = [torch.channels_last, torch.contiguous_format]


def shapes(options):
    """The lines of the list."""
    lines = [line.split("#")[0].strip() for line in SHAPES.read_text().splitlines()]
    return [line for line in lines if line and any(word in line.split()[0] for word in options.only)]


def ask(program, line):
    """Algorithm, least and median milliseconds of each pass."""
    words = turns.ask(program, line)
    return [(words[i], float(words[i + 1]), float(words[i + 2])) for i in (0, 3, 6)]


def theirs(options, line):
    """Least and median milliseconds of each pass, in the faster layout."""
    batch, height, width, inputs, outputs, kernel, stride, padding, groups = map(int, line.split()[1:])
    # As in ours: one thread's time is its own, whatever else the machine does.
    clock = time.thread_time if options.threads == 1 else time.perf_counter
    best = [(float("inf"), float("inf"))] * len(PASSES)
    for layout in LAYOUTS:
        x = torch.randn(batch, inputs, height, width).contiguous(memory_format=layout)
        w = torch.randn(outputs, inputs // groups, kernel, kernel).contiguous(memory_format=layout)
        geometry = [stride] * 2, [padding] * 2, [1, 1], False, [0, 0], groups
        dy = torch.ops.aten.convolution(x, w, None, *geometry)

        def gradient(mask):
            return torch.ops.aten.convolution_backward(dy, x, w, None, *geometry, mask)

        steps = [
            lambda: torch.ops.aten.convolution(x, w, None, *geometry),
            lambda: gradient([True, False, False]),
            lambda: gradient([False, True, False]),
        ]
        best = [min(known, turns.times(step, options, clock)) for known, step in zip(best, steps)]
    return best


def rows(program, options):
    for line in shapes(options):
        mine, other = zip(*((ask(program, line), theirs(options, line)) for _ in range(options.rounds)))
        row = [line.split()[0]]
        for i in range(len(PASSES)):
            runs = ([run[i][-2:] for run in runs] for runs in (mine, other))
            row += [mine[0][i][0], *turns.cells(*runs)]
        yield row


@torch.inference_mode()
def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    turns.add_arguments(parser, milliseconds=100)
    options = parser.parse_args()
    turns.hold_to_vectors(options)
    torch.set_num_threads(options.threads)
    program = turns.start("tensor", "convolution_cost", options)
    header = ["shape", *(word for name in PASSES for word in (name, "Tapir", "PyTorch", "ratio"))]
    turns.write_table(header, rows(program, options), options)
    program.stdin.close()


main()
