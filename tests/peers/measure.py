"""What the benchmarks of the peers share: arguments, data, timing, and the JSON line at the end."""

import argparse
import json
import resource
import statistics
import time

import numpy as np

WARM_UP = 3


def arguments(description, **choices):
    """Sizes and thread count; `choices` adds options of fixed values, the first of which is the default."""
    parser = argparse.ArgumentParser(description=description)
    for name, default in dict(height=100, width=100, channels=3, classes=6, batch=32, threads=2, steps=20).items():
        parser.add_argument(f"--{name}", type=int, default=default)
    for name, values in choices.items():
        parser.add_argument(f"--{name}", choices=values, default=values[0])
    return parser.parse_args()


def data(options):
    """Images `[batch, height, width, channels]` in [0, 1) and labels, f32 and int64."""
    random = np.random.default_rng(0)
    shape = options.batch, options.height, options.width, options.channels
    return random.random(shape, np.float32), random.integers(0, options.classes, options.batch)


def features(options):
    """The length of the flattened features: 64 channels after two unpadded convolutions and two halvings."""

    def halved(size):
        return (size - 2) // 2

    return 64 * halved(halved(options.height)) * halved(halved(options.width))


def times(step, count):
    """Milliseconds of `count` calls, after some that are not counted."""
    for _ in range(WARM_UP):
        step()
    result = []
    for _ in range(count):
        start = time.perf_counter()
        step()
        result.append(1000 * (time.perf_counter() - start))
    return result


def report(program, options, train=None, infer=None):
    """Times `train` and `infer`, each one step, and prints the result as the last line."""
    found = {"program": program}
    for name, step in (("train", train), ("infer", infer)):
        if step is not None:
            ms = times(step, options.steps)
            found[f"{name}_ms_min"] = round(min(ms), 3)
            found[f"{name}_ms_median"] = round(statistics.median(ms), 3)
    found["peak_rss_mib"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)
    print(json.dumps(found))
