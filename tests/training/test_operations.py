"""Floating-point operations, against torch's own counter and by hand."""

import subprocess
import sys

import numpy as np
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from mmssl import Recordings
from mmssl.study.presets import preset
from mmssl.training.model import Model
from mmssl.training.operations import operations
from mmssl.training.prepared import Prepared

TRAINED = """
import sys, tempfile
import mmssl
from mmssl.data.synthetic import generate

fixed = {"data.steps": 16, "pretrain.epochs": 1, "finetune.epochs": 1, "encoder.imu.layers": 1}
space = {"grid": {"objective.mu": [25]}, "fixed": fixed, "folds": [["1"]]}
mmssl.launch(space, generate(), name="one", local=True, storage=tempfile.mkdtemp())
print("torch._dynamo" in sys.modules)
"""


def test_of_products_and_convolutions_by_hand() -> None:
    a, b = torch.ones(3, 4), torch.ones(4, 5)
    assert operations(lambda: a @ b) == 2 * 3 * 4 * 5
    x, weight = torch.ones(2, 3, 10), torch.ones(7, 3, 4)
    assert operations(lambda: torch.nn.functional.conv1d(x, weight)) == 2 * 2 * 7 * 7 * 3 * 4
    with torch.inference_mode():  # Here linear layers arrive whole.
        assert operations(lambda: torch.nn.functional.linear(a, b.T)) == 2 * 3 * 4 * 5


def test_of_encoders_as_torch_counts_them(tiny: Recordings) -> None:
    recipe = preset("synthetic", "vicreg").with_knobs({"data.steps": 16})
    model = Model.fresh(recipe, tiny.description, {})
    prepared = Prepared.of(tiny, 16, tiny.modalities)
    inputs = prepared.selected(model, np.arange(1))
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        model.encode(inputs)
    assert operations(lambda: model.encode(inputs)) == counter.get_total_flops() > 0


def test_a_trial_loads_no_compiler() -> None:
    """Three seconds of CPU in each process that trains."""
    said = subprocess.run([sys.executable, "-c", TRAINED], capture_output=True, text=True, check=True)
    assert said.stdout.split()[-1] == "False"
