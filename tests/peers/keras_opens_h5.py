"""Opens a model file with Keras and compares what it computes with what another program stored.

usage: python keras_opens_h5.py MODEL.h5 DATA.npz [--fit]

DATA.npz holds `x`, one-hot `y`, `loss` and `accuracy`, and may hold `probabilities`. With --fit,
Keras also trains the loaded model for five epochs, and its loss must stay finite.
"""

import argparse
import sys

import keras
import numpy as np

RELATIVE, ABSOLUTE = 1e-5, 1e-6


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("data")
    parser.add_argument("--fit", action="store_true")
    arguments = parser.parse_args()

    model = keras.models.load_model(arguments.model)
    if not model.compiled:
        model.compile(loss="categorical_crossentropy", metrics=["accuracy"])
    data = np.load(arguments.data)
    x, y = data["x"], data["y"]
    found = dict(zip(("loss", "accuracy"), model.evaluate(x, y, verbose=0)))
    found["probabilities"] = model.predict(x, verbose=0)

    agrees = True
    for name in ("loss", "accuracy", "probabilities"):
        if name in data:
            difference = np.abs(found[name] - data[name])
            ok = bool((difference <= ABSOLUTE + RELATIVE * np.abs(data[name])).all())
            agrees &= ok
            print(f"{name}: largest difference {difference.max():.3g}, {'agrees' if ok else 'DIFFERS'}")
    if arguments.fit:
        model.fit(x, y, epochs=5, verbose=0)
        loss = model.evaluate(x, y, verbose=0)[0]
        agrees &= bool(np.isfinite(loss))
        print(f"loss after training on: {found['loss']:.6f} → {loss:.6f}")
    sys.exit(0 if agrees else 1)


main()
