"""The network in plain JAX, one jitted function a step. For its arguments: --help"""

import os
from functools import partial

from measure import arguments, data, features, report

options = arguments(__doc__)
os.environ["JAX_PLATFORMS"] = "cpu"
os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.threads])

import jax
import jax.numpy as jnp

RATE, B1, B2, EPSILON = 1e-3, 0.9, 0.999, 1e-7

SHAPES = [(3, 3, options.channels, 32), (3, 3, 32, 32), (3, 3, 32, 64), (3, 3, 64, 64),
          (features(options), 512), (512, options.classes)]


def initial(key):
    glorot = jax.nn.initializers.glorot_uniform()
    return [(glorot(k, shape), jnp.zeros(shape[-1])) for k, shape in zip(jax.random.split(key, len(SHAPES)), SHAPES)]


def dropout(x, rate, key):
    if key is None:
        return x
    return jnp.where(jax.random.bernoulli(key, 1 - rate, x.shape), x / (1 - rate), 0.0)


def logits(parameters, x, keys):
    def conv(x, layer, padding):
        kernel, bias = layer
        return jax.nn.relu(jax.lax.conv_general_dilated(
            x, kernel, (1, 1), padding, dimension_numbers=("NHWC", "HWIO", "NHWC")) + bias)

    def pool(x):
        return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")

    c1, c2, c3, c4, (w1, b1), (w2, b2) = parameters
    x = dropout(pool(conv(conv(x, c1, "SAME"), c2, "VALID")), 0.25, keys[0])
    x = dropout(pool(conv(conv(x, c3, "SAME"), c4, "VALID")), 0.25, keys[1])
    x = dropout(jax.nn.relu(x.reshape(x.shape[0], -1) @ w1 + b1), 0.5, keys[2])
    return x @ w2 + b2


def loss(parameters, x, y, key):
    keys = jax.random.split(key, 3)
    return -jnp.take_along_axis(jax.nn.log_softmax(logits(parameters, x, keys)), y[:, None], 1).mean()


@partial(jax.jit, donate_argnums=0)
def step(state, x, y):
    parameters, m, v, t, key = state
    key, now = jax.random.split(key)
    value, gradients = jax.value_and_grad(loss)(parameters, x, y, now)
    t += 1
    m = jax.tree.map(lambda m, g: B1 * m + (1 - B1) * g, m, gradients)
    v = jax.tree.map(lambda v, g: B2 * v + (1 - B2) * g * g, v, gradients)
    rate = RATE * jnp.sqrt(1 - B2**t) / (1 - B1**t)
    parameters = jax.tree.map(lambda p, m, v: p - rate * m / (jnp.sqrt(v) + EPSILON), parameters, m, v)
    return (parameters, m, v, t, key), value


@jax.jit
def predict(parameters, x):
    return jax.nn.softmax(logits(parameters, x, [None] * 3))


def zeros(parameters):
    return jax.tree.map(jnp.zeros_like, parameters)


images, labels = data(options)
x, y = jnp.asarray(images), jnp.asarray(labels)
weights = initial(jax.random.key(0))
state = [(weights, zeros(weights), zeros(weights), jnp.float32(0), jax.random.key(1))]


def train():
    state[0], value = step(state[0], x, y)
    value.block_until_ready()


report(f"JAX {jax.__version__}", options, train, lambda: predict(state[0][0], x).block_until_ready())
