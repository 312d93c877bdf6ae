"""Trials that pre-train as one model with stacked weights, over the same trials one by one.

python3 start.py run python benchmarks/together.py
"""

import torch
from made_up import prepared
from measure import machine, restarted

from mmssl.training.together import rates


def main() -> None:
    torch.set_num_threads(1)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    print(machine(1), torch.cuda.get_device_name() if device.type == "cuda" else "")
    recipe, data, split = prepared()
    found = rates(recipe, data, split, device)
    for count, rate in found.items():
        print(f"{count} together: {rate:.2f} epochs a second, {rate / found[1]:.2f} of one by one")


if __name__ == "__main__":
    restarted()
    main()
