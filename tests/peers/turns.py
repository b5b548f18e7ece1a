"""What programs that take turns with PyTorch share: the running Rust side, times, and the table."""

import os
import statistics
import subprocess
import time
from pathlib import Path

from vectors import LIMITS

HERE = Path(__file__).resolve().parent


def add_arguments(parser, milliseconds):
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--milliseconds", type=int, default=milliseconds)
    parser.add_argument("--simd", choices=LIMITS, help="the highest vector instructions of both sides")
    parser.add_argument("--only", nargs="+", default=[""], help="only names that contain one of these words")
    parser.add_argument("--out", type=Path, help="write the table here as well")


def hold_to_vectors(options):
    os.environ.update(LIMITS.get(options.simd, {}))


def start(package, example, options):
    """The running program, which answers a line with a line of times."""
    cargo = ["cargo", "build", "--quiet", "--release", "-p", package, "--example", example]
    subprocess.run(cargo, cwd=HERE, check=True)
    cargo[1] = "run"
    arguments = ["--", "--threads", str(options.threads), "--milliseconds", str(options.milliseconds)]
    if options.simd:
        arguments += ["--simd", options.simd]
    return subprocess.Popen([*cargo, *arguments], cwd=HERE, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)


def ask(program, line):
    """The words of the answer, without the name."""
    program.stdin.write(line + "\n")
    return program.stdout.readline().split()[1:]


def times(step, options, clock=time.perf_counter):
    """The least and the median milliseconds of many steps."""
    step()
    found, first = [], time.perf_counter()
    while len(found) < 5 or time.perf_counter() - first < options.milliseconds / 1000:
        before = clock()
        step()
        found.append(1000 * (clock() - before))
    return min(found), statistics.median(found)


def cells(mine, other):
    """Least and median of the rounds of both sides, and the ratio of the least."""
    least = [min(time for time, _ in runs) for runs in (mine, other)]
    median = [statistics.median(time for _, time in runs) for runs in (mine, other)]
    return [*(f"{a:.3g} ({b:.3g})" for a, b in zip(least, median)), f"{least[0] / least[1]:.2f}"]


def write_table(header, rows, options):
    """Prints each row as it comes."""
    lines = ["| " + " | ".join(header) + " |", "|---" * len(header) + "|"]
    print("\n".join(lines), flush=True)
    for row in rows:
        lines.append("| " + " | ".join(row) + " |")
        print(lines[-1], flush=True)
    if options.out:
        options.out.write_text("\n".join(lines) + "\n")
