"""The network in PyTorch, in either memory layout, eager or compiled. For its arguments: --help"""

import torch
from torch import nn

from measure import arguments, data, features, report

options = arguments(__doc__, layout=["channels_last", "nchw"], mode=["eager", "compiled"])
torch.set_num_threads(options.threads)
layout = torch.channels_last if options.layout == "channels_last" else torch.contiguous_format

network = nn.Sequential(
    nn.Conv2d(options.channels, 32, 3, padding=1), nn.ReLU(),
    nn.Conv2d(32, 32, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.25),
    nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(),
    nn.Conv2d(64, 64, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.25),
    nn.Flatten(), nn.Linear(features(options), 512), nn.ReLU(), nn.Dropout(0.5),
    nn.Linear(512, options.classes),
).to(memory_format=layout)
optimizer = torch.optim.Adam(network.parameters(), fused=True)
run = torch.compile(network) if options.mode == "compiled" else network

images, labels = data(options)
x = torch.tensor(images).permute(0, 3, 1, 2).contiguous(memory_format=layout)
y = torch.tensor(labels)


def train():
    network.train()
    optimizer.zero_grad()
    loss = nn.functional.cross_entropy(run(x), y)
    loss.backward()
    optimizer.step()
    return loss.item()


@torch.inference_mode()
def infer():
    network.eval()
    return run(x).softmax(1)


mode = "" if options.mode == "eager" else ", torch.compile"
report(f"PyTorch {torch.__version__.split('+')[0]}, {options.layout}{mode}", options, train, infer)
