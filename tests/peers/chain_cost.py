"""What recording an operation costs, here and in PyTorch: both in turns, on one thread.

usage: chain_cost.py [--rounds 5] [--torch-python PYTHON]

A chain of multiplications of one-element tensors. Each program gives the least nanoseconds of many
repetitions; the table shows the least and the median over the rounds, and their ratio.
"""

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent

TORCH = """
import json, time, torch
torch.set_num_threads(1)
found = {}
for length in (1_000, 10_000, 100_000):
    forward = backward = float("inf")
    for _ in range(30 if length < 100_000 else 5):
        x = torch.ones(1, requires_grad=True)
        factor = torch.full((1,), 1.00001)
        start = time.perf_counter()
        y = x
        for _ in range(length):
            y = y * factor
        forward = min(forward, time.perf_counter() - start)
        start = time.perf_counter()
        y.backward()
        backward = min(backward, time.perf_counter() - start)
    found[length] = dict(forward_ns=forward * 1e9 / length, backward_ns=backward * 1e9 / length)
print(json.dumps(found))
"""


def last_line(command):
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    return json.loads(done.stdout.splitlines()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--torch-python", default=sys.executable)
    options = parser.parse_args()
    ours = ["cargo", "run", "--quiet", "--release", "-p", "autograd", "--example", "chain_cost"]
    theirs = [options.torch_python, "-c", TORCH]
    rounds = [(last_line(ours), last_line(theirs)) for _ in range(options.rounds)]
    print("| operations | pass | Tapir, ns: least (median) | PyTorch, ns: least (median) | ratio of the least |")
    print("|---|---|---|---|---|")
    for length in rounds[0][0]:
        for direction in ("forward", "backward"):
            columns = [[run[side][length][f"{direction}_ns"] for run in rounds] for side in (0, 1)]
            cells = [f"{min(times):.0f} ({statistics.median(times):.0f})" for times in columns]
            ratio = min(columns[0]) / min(columns[1])
            print(f"| {int(length):,} | {direction} | {cells[0]} | {cells[1]} | {ratio:.3f} |")


if __name__ == "__main__":
    main()
