"""How near a pre-training step comes to the machine's own rate of matrix multiplies, and what bfloat16 is worth.

python3 start.py run python benchmarks/arithmetic.py

Forward, backward and optimizer step of the UTD-MHAD pair on a ready batch, for each number of threads. Operations are
those of matrix products and convolutions, as torch counts them; the rates are measured between the steps.
"""

import statistics
from collections.abc import Callable
from contextlib import nullcontext

import torch
from made_up import prepared
from measure import flops_of, in_turn, machine, ratio, restarted

from mmssl.objectives import vicreg
from mmssl.process import cpus
from mmssl.training.bfloat16 import products
from mmssl.training.model import Model
from mmssl.training.preparation import Standardisation
from mmssl.training.pretraining import adam
from mmssl.training.selection import in_memory

REPEATS = 7
SIZE = 2048


def step_of(precision: str) -> Callable[[], None]:
    """One step as `pretrain` takes it."""
    recipe, data, split = prepared({"pretrain.precision": precision})
    torch.manual_seed(0)
    model = Model.fresh(recipe, data.description, {"imu": Standardisation.fit(data.inputs["imu"])})
    batch = {name: tensor.chunk(2)[0] for name, tensor in in_memory(data.selected(model, split.train)).items()}
    parts = model.encoders, model.projectors
    optimizer = adam(parts, 1e-3)
    for part in parts:
        part.train()

    def step() -> None:
        with products(torch.device("cpu")) if precision == "bfloat16" else nullcontext():
            with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
                a, b = (model.projectors[name](model.encoders[name](x)) for name, x in batch.items())
            loss = vicreg(a.float(), b.float(), lambda_=25.0, mu=25.0, nu=1.0)["loss"]
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    return step


def convolution() -> None:
    with torch.no_grad():
        torch.nn.functional.conv2d(IMAGES, KERNEL, padding=1)


IMAGES = torch.randn(8, 256, 32, 32).contiguous(memory_format=torch.channels_last)
KERNEL = torch.randn(256, 256, 3, 3)
CONVOLUTION = 2 * IMAGES.numel() * KERNEL.numel() / 256


def main() -> None:
    for threads in sorted({1, cpus()}):
        torch.set_num_threads(threads)
        a, b = torch.randn(SIZE, SIZE), torch.randn(SIZE, SIZE)
        steps = {precision: step_of(precision) for precision in ("float32", "bfloat16")}
        operations = flops_of(steps["float32"])
        seconds = in_turn({**steps, "matmul": lambda a=a, b=b: a @ b, "convolution": convolution}, REPEATS)
        print(machine(threads))
        rate = 2 * SIZE**3 / statistics.median(seconds["matmul"])
        best = CONVOLUTION / statistics.median(seconds["convolution"])
        print(f"a step: {operations / 1e9:.1f} GFLOP")
        print(f"float32, GFLOP/s: matmul {rate / 1e9:.0f}, convolution {best / 1e9:.0f}")
        for precision in steps:
            reached = operations / statistics.median(seconds[precision])
            print(f"{precision}: {reached / rate:.2f} of the float32 matmul, {reached / best:.2f} of the convolution")
        print(f"float32 over bfloat16: {ratio(seconds['float32'], seconds['bfloat16'])}")


if __name__ == "__main__":
    restarted()
    main()
