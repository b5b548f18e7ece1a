"""Runs this project's example and its peers in turns and writes a Markdown table of their times.

usage: compare.py [--height 100 …] [--rounds 3] [--simd avx2] [--only WORD …] [--out TABLE.md]

All take turns in every round, so that a slow minute of the machine meets all of them. A peer
whose Python is missing something, or that fails, is named below the table.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from datetime import date
from pathlib import Path

from vectors import LIMITS

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
OURS = "Tapir"
PEERS_IN_RUST = ["candle", "burn"]
# Programs that run held to some vector instructions: PyTorch's compiled mode then fails.
HELD = [OURS, "Keras on TensorFlow", "PyTorch, channels_last", "PyTorch, NCHW"]
SIZES = dict(height=100, width=100, channels=3, classes=6, batch=32, threads=2, steps=20)
COLUMNS = ["train_ms_min", "train_ms_median", "infer_ms_min", "infer_ms_median", "peak_rss_mib"]


def parse():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in SIZES.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--pause", type=float, default=0.0, help="seconds of rest before each run")
    parser.add_argument("--simd", choices=LIMITS, help="the highest vector instructions of all; who cannot be held takes no part")
    parser.add_argument("--only", nargs="+", help="run only programs whose name contains one of these words")
    parser.add_argument("--tensorflow-python", default=sys.executable)
    parser.add_argument("--torch-python", default=sys.executable, help="has torch, keras, jax, onnx, onnxruntime")
    parser.add_argument("--out", type=Path, help="write the table here as well")
    return parser.parse_args()


def programs(options):
    """Name and command of each; a command ends where the sizes are to follow."""

    def python(interpreter, script, *more):
        return [interpreter, str(HERE / script), *more]

    def cargo(*arguments):
        return ["cargo", "run", "--quiet", "--release", *arguments, "--"]

    tensorflow, torch = options.tensorflow_python, options.torch_python
    ours = ["--simd", options.simd] if options.simd else []
    everything = {
        OURS: cargo("--manifest-path", str(ROOT / "Cargo.toml"), "--example", "step_time") + ours,
        "Keras on TensorFlow": python(tensorflow, "bench_keras.py"),
        "PyTorch, channels_last": python(torch, "bench_pytorch.py"),
        "PyTorch, NCHW": python(torch, "bench_pytorch.py", "--layout", "nchw"),
        "PyTorch, channels_last, compiled": python(torch, "bench_pytorch.py", "--mode", "compiled"),
        "Keras on JAX": python(torch, "bench_keras.py", "--backend", "jax"),
        "JAX": python(torch, "bench_jax.py"),
        "ONNX Runtime": python(torch, "bench_onnxruntime.py"),
    }
    if options.simd:
        everything = {name: everything[name] for name in everything if name in HELD}
    # These pick their kernels at compile time, so they are built for this very processor; ours is not.
    for peer in PEERS_IN_RUST if not options.simd else []:
        native = ["env", "RUSTFLAGS=-C target-cpu=native"]
        everything[peer] = [*native, *cargo("--manifest-path", str(HERE / peer / "Cargo.toml"))]
    chosen = [word.lower() for word in options.only or [""]]
    return {name: command for name, command in everything.items() if any(word in name.lower() for word in chosen)}


def run(command, options):
    """The JSON object in the last line of what the command prints, or what went wrong."""
    sizes = [word for name in SIZES for word in (f"--{name}", str(getattr(options, name)))]
    try:
        command = ["taskset", "-c", cores(options), *command, *sizes]
        environment = os.environ | LIMITS.get(options.simd, {})
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        return json.loads(done.stdout.splitlines()[-1]), None
    except subprocess.CalledProcessError as error:
        return None, (error.stderr.strip().splitlines() or ["it failed silently"])[-1]
    except (OSError, IndexError, json.JSONDecodeError) as error:
        return None, str(error)


def cores(options):
    return f"0-{options.threads - 1}"


def processor():
    """The processor as `lscpu` names it, and the widest vectors it has."""
    fields = {}
    for line in subprocess.run(["lscpu"], capture_output=True, text=True, check=True).stdout.splitlines():
        key, _, value = line.partition(":")
        fields[key.strip()] = value.strip()
    flags = fields.get("Flags", "").split()
    vectors = next((name for flag, name in (("avx512f", "AVX-512"), ("avx2", "AVX2")) if flag in flags), platform.machine())
    numbers = ", ".join(f"{key} {fields[key]}" for key in ("CPU family", "Model", "CPU(s)") if key in fields)
    return f"{fields.get('Model name', platform.processor())} ({numbers}), {vectors}"


def table(options, results, failures):
    """Markdown: for each program the least of all rounds' minima and the median of their medians."""
    summary = {}
    for name, runs in results.items():
        summary[name] = {
            column: (statistics.median if column.endswith("median") else max if column.endswith("mib") else min)(
                [found[column] for found in runs if column in found])
            for column in COLUMNS if any(column in found for found in runs)
        }

    def ms(name, kind):
        found = summary[name]
        least, median = (found.get(f"{kind}_ms_{which}") for which in ("min", "median"))
        return "–" if least is None else f"{least:.2f} ({median:.2f})"

    def ratio(name, column):
        ours, theirs = summary.get(OURS, {}).get(column), summary[name].get(column)
        return f"{ours / theirs:.2f}" if ours and theirs else "–"

    o = options
    lines = [
        f"{o.height}×{o.width}×{o.channels} → {o.classes}, batch {o.batch}, {o.threads} threads, "
        f"{o.rounds} rounds of {o.steps} steps in turns, {date.today()}, on {processor()}"
        f"{f', held to {o.simd}' if o.simd else ''}.",
        f"Milliseconds a step: minimum (median). `{OURS} / it` is the ratio of the minima; below 1, {OURS} is faster.",
        "",
        f"| program | train | {OURS} / it | infer | {OURS} / it | peak MiB | {OURS} / it |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, found in summary.items():
        program = results[name][0].get("program", name)
        memory = f"{found['peak_rss_mib']:.0f}" if "peak_rss_mib" in found else "–"
        lines.append(
            f"| {program} | {ms(name, 'train')} | {ratio(name, 'train_ms_min')} | {ms(name, 'infer')} "
            f"| {ratio(name, 'infer_ms_min')} | {memory} | {ratio(name, 'peak_rss_mib')} |")
    lines += ["", *(f"{name} did not run: {reason}" for name, reason in failures.items())] if failures else []
    return "\n".join(lines) + "\n"


def main():
    options = parse()
    chosen = programs(options)
    for name, command in chosen.items():
        if "cargo" in command:  # Compiling is not part of any round.
            build = ["build" if word == "run" else word for word in command if word != "--"]
            subprocess.run(build, check=False)
    results, failures = {}, {}
    for turn in range(options.rounds):
        for name, command in chosen.items():
            if name in failures:
                continue
            time.sleep(options.pause)
            found, reason = run(command, options)
            print(f"round {turn + 1}: {name}: {reason or json.dumps(found)}", file=sys.stderr, flush=True)
            if reason:
                failures[name] = reason
            else:
                results.setdefault(name, []).append(found)
    text = table(options, results, failures)
    print(text)
    if options.out:
        options.out.write_text(text)
    sys.exit(1 if failures else 0)


main()
