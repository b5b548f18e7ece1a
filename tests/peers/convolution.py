"""Convolution alone, forward and both gradients, here and in PyTorch: in turns, shape by shape.

usage: convolution.py [--threads 1] [--rounds 3] [--milliseconds 100] [--simd avx2] [--only WORD …]
                      [--out TABLE.md]

The shapes are in convolution_shapes.txt. In each round each pass of each shape runs for so many milliseconds in
`crates/tensor/examples/convolution_cost.rs`, and then in PyTorch, in both of its memory layouts, the faster of
which counts. With one thread, times are those of the thread, without what other programs take.
"""

import argparse
import os
import statistics
import subprocess
import time
from pathlib import Path

import torch

from vectors import LIMITS

HERE = Path(__file__).resolve().parent
SHAPES = HERE / "convolution_shapes.txt"
PASSES = ["forward", "input gradient", "filter gradient"]
LAYOUTS = [torch.channels_last, torch.contiguous_format]


def parse():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--milliseconds", type=int, default=100)
    parser.add_argument("--simd", choices=LIMITS, help="the highest vector instructions of both sides")
    parser.add_argument("--only", nargs="+", default=[""], help="only shapes whose name contains one of these words")
    parser.add_argument("--out", type=Path, help="write the table here as well")
    return parser.parse_args()


def shapes(options):
    """The lines of the list."""
    lines = [line.split("#")[0].strip() for line in SHAPES.read_text().splitlines()]
    return [line for line in lines if line and any(word in line.split()[0] for word in options.only)]


def ours(options):
    """The running program, which answers a shape with a line of times."""
    cargo = ["cargo", "build", "--quiet", "--release", "-p", "tensor", "--example", "convolution_cost"]
    subprocess.run(cargo, cwd=HERE, check=True)
    cargo[1] = "run"
    arguments = ["--", "--threads", str(options.threads), "--milliseconds", str(options.milliseconds)]
    if options.simd:
        arguments += ["--simd", options.simd]
    return subprocess.Popen([*cargo, *arguments], cwd=HERE, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)


def ask(program, line):
    """Algorithm, least and median milliseconds of each pass."""
    program.stdin.write(line + "\n")
    words = program.stdout.readline().split()[1:]
    return [(words[i], float(words[i + 1]), float(words[i + 2])) for i in (0, 3, 6)]


def theirs(options, line):
    """Least and median milliseconds of each pass, in the faster layout."""
    batch, height, width, inputs, outputs, kernel, stride, padding, groups = map(int, line.split()[1:])
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
        best = [min(known, times(step, options)) for known, step in zip(best, steps)]
    return best


def times(step, options):
    # As in ours: one thread's time is its own, whatever else the machine does.
    clock = time.thread_time if options.threads == 1 else time.perf_counter
    step()
    found, start = [], time.perf_counter()
    while len(found) < 5 or time.perf_counter() - start < options.milliseconds / 1000:
        before = clock()
        step()
        found.append(1000 * (clock() - before))
    return min(found), statistics.median(found)


def row(name, our_runs, their_runs):
    cells = [name]
    for i in range(len(PASSES)):
        mine, other = ([run[i][-2:] for run in runs] for runs in (our_runs, their_runs))
        least = [min(time for time, _ in runs) for runs in (mine, other)]
        median = [statistics.median(time for _, time in runs) for runs in (mine, other)]
        pairs = (f"{a:.3g} ({b:.3g})" for a, b in zip(least, median))
        cells += [our_runs[0][i][0], *pairs, f"{least[0] / least[1]:.2f}"]
    return "| " + " | ".join(cells) + " |"


@torch.inference_mode()
def main():
    options = parse()
    os.environ.update(LIMITS.get(options.simd, {}))
    torch.set_num_threads(options.threads)
    program = ours(options)
    header = ["shape", *(word for name in PASSES for word in (name, "Tapir", "PyTorch", "ratio"))]
    lines = ["| " + " | ".join(header) + " |", "|---" * len(header) + "|"]
    print("\n".join(lines), flush=True)
    for line in shapes(options):
        runs = [(ask(program, line), theirs(options, line)) for _ in range(options.rounds)]
        lines.append(row(line.split()[0], *zip(*runs)))
        print(lines[-1], flush=True)
    program.stdin.close()
    if options.out:
        options.out.write_text("\n".join(lines) + "\n")


main()
