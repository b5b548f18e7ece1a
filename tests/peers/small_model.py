"""A step and a prediction of the network of `examples/small_model` in PyTorch, on one thread.

usage: small_model.py

Prints the least microseconds of many runs for each batch, the step with Adam as PyTorch has it by default and fused.
"""

import time

import torch
import torch.nn.functional as F

INPUTS, HIDDEN, CLASSES = 20, 32, 10


def microseconds(step):
    step()
    least = float("inf")
    for _ in range(40):
        start = time.perf_counter()
        for _ in range(200):
            step()
        least = min(least, (time.perf_counter() - start) / 200)
    return least * 1e6


def main():
    torch.set_num_threads(1)
    model = torch.nn.Sequential(torch.nn.Linear(INPUTS, HIDDEN), torch.nn.ReLU(), torch.nn.Linear(HIDDEN, CLASSES))
    print("batch  train, default Adam  train, fused Adam  predict")
    for batch in (1, 4, 32):
        x, labels = torch.randn(batch, INPUTS), torch.randint(0, CLASSES, (batch,))

        def train(optimizer):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), labels)
            loss.backward()
            optimizer.step()
            return loss.item()

        def predict():
            with torch.inference_mode():
                F.softmax(model(x), -1)

        times = [microseconds(lambda: train(optimizer)) for optimizer in (torch.optim.Adam(model.parameters(), fused=fused) for fused in (None, True))]
        print(f"{batch:5}  {times[0]:19.1f}  {times[1]:17.1f}  {microseconds(predict):7.1f}", flush=True)


main()
