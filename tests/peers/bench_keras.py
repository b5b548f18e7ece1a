"""The network in Keras, on TensorFlow or JAX. For its arguments: --help"""

import os

from measure import arguments, data, report

options = arguments(__doc__, backend=["tensorflow", "jax"])
os.environ["KERAS_BACKEND"] = options.backend
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from keras import layers

if options.backend == "tensorflow":
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(options.threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)

model = keras.Sequential([
    layers.Input((options.height, options.width, options.channels)),
    layers.Conv2D(32, (3, 3), padding="same"),
    layers.Activation("relu"),
    layers.Conv2D(32, (3, 3)),
    layers.Activation("relu"),
    layers.MaxPooling2D((2, 2)),
    layers.Dropout(0.25),
    layers.Conv2D(64, (3, 3), padding="same"),
    layers.Activation("relu"),
    layers.Conv2D(64, (3, 3)),
    layers.Activation("relu"),
    layers.MaxPooling2D((2, 2)),
    layers.Dropout(0.25),
    layers.Flatten(),
    layers.Dense(512),
    layers.Activation("relu"),
    layers.Dropout(0.5),
    layers.Dense(options.classes),
    layers.Activation("softmax"),
])
# On TensorFlow, jit_compile is several times slower for this network on a processor.
model.compile("adam", "categorical_crossentropy", jit_compile=options.backend == "jax")

x, labels = data(options)
y = np.eye(options.classes, dtype=np.float32)[labels]
report(f"Keras {keras.__version__} on {options.backend}", options,
       train=lambda: model.train_on_batch(x, y), infer=lambda: np.asarray(model.predict_on_batch(x)))
