import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mmssl.recipe import Finetune, ProjectorKnobs, Recipe, SignalEncoderKnobs
from mmssl.training.encoders import Head, Projector, SignalEncoder, SkeletonEncoder, build_encoders, linear

KNOBS = SignalEncoderKnobs(feedforward=32)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def at_random(module: nn.Module) -> nn.Module:
    """The module in float64 with all weights random: fresh batch norms (1 and 0) would hide mistakes."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(0, 0.5, generator=generator)
    return module.double()


@pytest.mark.parametrize("steps", [16, 17, 31, 32, 33, 50, 64, 100])
@pytest.mark.parametrize(("joints", "coordinates"), [(1, 2), (2, 3), (17, 2), (20, 3), (25, 3)])
def test_skeleton_width_is_the_width_of_the_output(steps: int, joints: int, coordinates: int) -> None:
    encoder = SkeletonEncoder(joints, coordinates, steps).eval()
    with torch.no_grad():
        assert encoder(normal(1, steps, joints, coordinates)).shape == (1, encoder.width)


@pytest.mark.parametrize("steps", [16, 33, 50])
@pytest.mark.parametrize("channels", [1, 6, 12])
def test_imu_width_is_the_width_of_the_output(steps: int, channels: int) -> None:
    encoder = SignalEncoder(channels, steps, KNOBS).eval()
    assert encoder.width == 128 * steps
    with torch.no_grad():
        assert encoder(normal(1, steps, channels)).shape == (1, encoder.width)


def conv(x: np.ndarray, weight: Tensor) -> np.ndarray:
    """(batch, channels, height, width), padded so that the size stays: one sum a place of the kernel."""
    kernel = weight.detach().numpy()
    height, width = kernel.shape[2:]
    padded = np.pad(x, ((0, 0), (0, 0), (height // 2, height // 2), (width // 2, width // 2)))
    out = np.zeros((len(x), len(kernel), *x.shape[2:]))
    for i in range(height):
        for j in range(width):
            window = padded[:, :, i : i + x.shape[2], j : j + x.shape[3]]
            out += np.einsum("oc,bchw->bohw", kernel[:, :, i, j], window)
    return out


def batch_norm(x: np.ndarray, weight: Tensor, bias: Tensor) -> np.ndarray:
    out = np.empty_like(x)
    for c in range(x.shape[1]):
        of_channel = (x[:, c] - x[:, c].mean()) / np.sqrt(x[:, c].var() + 1e-5)
        out[:, c] = weight[c].item() * of_channel + bias[c].item()
    return out


def pool(x: np.ndarray) -> np.ndarray:
    height, width = x.shape[2] // 2 * 2, x.shape[3] // 2 * 2
    corners = [x[:, :, i:height:2, j:width:2] for i in (0, 1) for j in (0, 1)]
    return np.maximum.reduce(corners)


def relu(x: np.ndarray) -> np.ndarray:
    return np.where(x > 0, x, 0)


@pytest.mark.parametrize(("steps", "joints", "coordinates"), [(16, 5, 3), (35, 3, 2)])
def test_skeleton_encoder_is_the_co_occurrence_network(steps: int, joints: int, coordinates: int) -> None:
    encoder = at_random(SkeletonEncoder(joints, coordinates, steps))
    w = dict(encoder.named_parameters())
    skeleton = normal(3, steps, joints, coordinates).double()
    kernels = [tuple(parameter.shape) for name, parameter in w.items() if parameter.dim() == 4]
    stream = [(64, coordinates, 1, 1), (32, 64, 3, 1), (32, joints, 3, 3), (64, 32, 3, 3)]
    assert kernels == [*stream, *stream, (128, 128, 3, 3), (256, 128, 3, 3)]

    def convolve(x: np.ndarray, name: str, index: int) -> np.ndarray:
        after = f"{name}.{index + 1}"
        return batch_norm(conv(x, w[f"{name}.{index}.weight"]), w[f"{after}.weight"], w[f"{after}.bias"])

    streams: list[np.ndarray] = []
    movement = np.zeros(skeleton.shape)
    for step in range(1, steps):
        movement[:, step] = skeleton[:, step] - skeleton[:, step - 1]
    for name, x in (("positions", skeleton.numpy()), ("differences", movement)):
        x = x.transpose(0, 3, 1, 2)
        x = relu(convolve(x, f"{name}.point", 0))
        x = convolve(x, f"{name}.point", 3)
        assert x.shape == (3, 32, steps, joints)
        x = x.transpose(0, 3, 2, 1)
        x = pool(convolve(x, f"{name}.co_occurrence", 0))
        x = pool(convolve(x, f"{name}.co_occurrence", 3))
        assert x.shape == (3, 64, steps // 4, 8)
        streams.append(x)
    x = np.concatenate(streams, axis=1)
    x = pool(relu(convolve(x, "joined", 0)))
    x = pool(relu(convolve(x, "joined", 4)))
    np.testing.assert_allclose(encoder(skeleton).detach().numpy(), x.reshape(3, -1), rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("training", [True, False])
def test_a_point_layer_in_one_map_is_the_layers_one_after_the_other(training: bool) -> None:
    """Output, gradients and running statistics, against the same modules called by themselves."""
    apart, folded = (at_random(SkeletonEncoder(5, 3, 16)).train(training) for _ in "ab")
    skeleton = normal(4, 16, 5, 3).double() * 3 + 2
    points: list[Tensor] = []
    for encoder in (apart, folded):
        stream = encoder.positions
        stream.co_occurrence.register_forward_pre_hook(lambda _, inputs: points.append(inputs[0]))
        norm = stream.point[1]
        norm.running_mean += 0.5
        norm.running_var *= 2
        for _ in range(2):
            if encoder is folded:
                stream(skeleton)
            else:
                points.append(stream.point(skeleton.permute(0, 3, 1, 2)).permute(0, 3, 2, 1))
        points[-1].pow(3).sum().backward()
    torch.testing.assert_close(points[1], points[3])
    for kind in ("named_parameters", "named_buffers"):
        for (name, one), (_, other) in zip(
            getattr(apart.positions.point, kind)(), getattr(folded.positions.point, kind)(), strict=True
        ):
            torch.testing.assert_close(one, other, msg=name)
            if one.requires_grad:
                torch.testing.assert_close(one.grad, other.grad, msg=name)


def test_the_difference_stream_does_not_see_where_the_skeleton_stands() -> None:
    encoder = SkeletonEncoder(4, 3, 16).eval()
    seen: list[Tensor] = []
    encoder.differences.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    skeleton = normal(2, 16, 4, 3)
    encoder(skeleton)
    encoder(skeleton + 8)
    assert seen[0].shape == skeleton.shape
    assert (seen[0][:, 0] == 0).all()
    torch.testing.assert_close(seen[0][:, 5], skeleton[:, 5] - skeleton[:, 4])
    torch.testing.assert_close(seen[0], seen[1], atol=1e-5, rtol=0)


def test_convolutions_and_positions_of_the_imu_encoder() -> None:
    encoder = at_random(SignalEncoder(5, 16, KNOBS.model_copy(update={"dropout": 0.0})))
    encoder.transformer = nn.Identity()
    w = dict(encoder.named_parameters())
    imu = normal(3, 16, 5).double()
    x = imu.numpy().transpose(0, 2, 1)[:, :, :, None]
    for index in (0, 3, 6):
        kernel = w[f"convolutions.{index}.weight"][..., None]
        norm = f"convolutions.{index + 1}"
        x = relu(batch_norm(conv(x, kernel), w[f"{norm}.weight"], w[f"{norm}.bias"]))
    assert x.shape == (3, 128, 16, 1)
    features = encoder(imu).detach().numpy().reshape(3, 16, 128)
    for step in range(16):
        for k in range(128):
            angle = step / 10000 ** (2 * (k // 2) / 128)
            position = math.cos(angle) if k % 2 else math.sin(angle)
            np.testing.assert_allclose(features[:, step, k], x[:, k, step, 0] + position, rtol=1e-5, atol=1e-5)


def test_pooled_imu_features_are_moments_over_the_steps() -> None:
    encoder = SignalEncoder(6, 20, KNOBS).double().eval()
    pooled = SignalEncoder(6, 20, KNOBS.model_copy(update={"pooling": "moments"})).double().eval()
    pooled.load_state_dict(encoder.state_dict())
    imu = normal(4, 20, 6).double()
    steps = encoder(imu).detach().numpy().reshape(4, 20, 128)
    expected = np.concatenate([steps.mean(axis=1), steps.std(axis=1, ddof=1), steps.max(axis=1)], axis=1)
    assert pooled.width == 3 * 128
    np.testing.assert_allclose(pooled(imu).detach().numpy(), expected, rtol=1e-4, atol=1e-4)


def test_pooling_steps_that_are_all_alike_has_a_finite_slope() -> None:
    pooled = SignalEncoder(2, 16, KNOBS.model_copy(update={"pooling": "moments"}))
    with torch.no_grad():
        pooled.positions.zero_()
        for weight in pooled.convolutions.parameters():
            weight.zero_()
    pooled.eval()(normal(3, 16, 2)).sum().backward()
    assert all(weight.grad is None or weight.grad.isfinite().all() for weight in pooled.parameters())


def test_the_transformer_looks_at_the_whole_recording_and_at_no_other() -> None:
    encoder = SignalEncoder(6, 20, KNOBS).eval()
    imu = normal(2, 20, 6).requires_grad_()
    encoder(imu)[0, :128].square().sum().backward()
    assert imu.grad is not None
    assert (imu.grad[0].abs().amax(dim=1) > 0).all()
    assert (imu.grad[1] == 0).all()


@pytest.mark.parametrize("training", [True, False])
def test_a_transformer_layer_is_torchs(training: bool) -> None:
    torch.manual_seed(0)
    ours = SignalEncoder(6, 16, KNOBS.model_copy(update={"dropout": 0.0})).train(training).transformer[0]
    assert isinstance(ours, nn.TransformerEncoderLayer)
    theirs = nn.TransformerEncoderLayer(128, KNOBS.heads, KNOBS.feedforward, 0.0, batch_first=True).train(training)
    theirs.load_state_dict(ours.state_dict())
    x = normal(3, 16, 128)
    outputs = [layer(x) for layer in (ours, theirs)]
    torch.testing.assert_close(*outputs)
    for output in outputs:
        output.pow(3).sum().backward()
    for (name, one), (_, other) in zip(ours.named_parameters(), theirs.named_parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, msg=name)


@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize("shape", [(1, 5), (7, 5), (2, 3, 5)])
def test_a_linear_map_by_onednn_is_torchs(shape: tuple[int, ...], biased: bool) -> None:
    gradients: list[list[Tensor | None]] = []
    outputs: list[Tensor] = []
    for one in (linear, nn.functional.linear):
        x, weight, bias = (normal(*size, seed=i).requires_grad_() for i, size in enumerate((shape, (4, 5), (4,))))
        outputs.append(one(x, weight, bias if biased else None))
        outputs[-1].pow(3).sum().backward()
        gradients.append([x.grad, weight.grad, bias.grad])
    torch.testing.assert_close(*outputs)
    torch.testing.assert_close(*gradients, allow_subclasses=False)


def test_transformer_layers_start_from_different_weights() -> None:
    first, second = SignalEncoder(6, 16, KNOBS).transformer
    assert not torch.equal(first.linear1.weight, second.linear1.weight)


@pytest.mark.parametrize("heads", [1, 8, 128])
def test_heads_that_divide_the_width(heads: int) -> None:
    assert SignalEncoder(6, 16, SignalEncoderKnobs(heads=heads, layers=1)).eval()(normal(1, 16, 6)).isfinite().all()


def encoders() -> nn.ModuleDict:
    return build_encoders(Recipe().with_knobs({"data.steps": 17}), {"skeleton": (5, 2), "imu": (4,)})


INPUT = {"imu": normal(8, 17, 4), "skeleton": normal(8, 17, 5, 2)}


@pytest.mark.parametrize("modality", ["imu", "skeleton"])
def test_building_leaves_batch_norm_as_new(modality: str) -> None:
    norms = [m for m in encoders()[modality].modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)]
    assert len(norms) == {"imu": 3, "skeleton": 10}[modality]
    for norm in norms:
        assert norm.num_batches_tracked == 0
        assert (norm.running_mean == 0).all()
        assert (norm.running_var == 1).all()


@pytest.mark.parametrize("modality", ["imu", "skeleton"])
def test_gradients_reach_every_parameter(modality: str) -> None:
    encoder = encoders()[modality]
    features = encoder(INPUT[modality])
    (features * normal(*features.shape, seed=1)).sum().backward()
    for name, parameter in encoder.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 1e-4, name


@pytest.mark.parametrize("modality", ["imu", "skeleton"])
def test_a_recording_alone_has_the_features_it_has_in_a_batch(modality: str) -> None:
    encoder = encoders()[modality].eval()
    with torch.no_grad():
        features = encoder(INPUT[modality])
        assert torch.equal(features, encoder(INPUT[modality]))
        torch.testing.assert_close(encoder(INPUT[modality][3:4]), features[3:4], rtol=1e-4, atol=1e-5)
    assert (features[0] - features[1]).abs().max() > 1e-3


def test_dropout_follows_the_global_seed() -> None:
    encoder = SignalEncoder(4, 17, KNOBS)
    outputs: list[Tensor] = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        outputs.append(encoder(INPUT["imu"]))
    assert torch.equal(outputs[0], outputs[1])
    assert not torch.equal(outputs[0], outputs[2])


def test_encoders_are_those_of_the_recipe() -> None:
    both = encoders()
    assert list(both) == ["imu", "skeleton"]
    assert [both[name].width for name in both] == [17 * 128, 512]
    for modality in ("imu", "skeleton"):
        one = build_encoders(Recipe().with_knobs({"data.modalities": [modality]}), {"skeleton": (5, 2), "imu": (4,)})
        assert list(one) == [modality]


def test_state_has_no_more_than_is_learned() -> None:
    """The positional encoding follows from the recipe and is not saved."""
    state = encoders().state_dict()
    assert not [name for name in state if name.endswith("positions")]
    encoders().load_state_dict(state, strict=True)


def affine(x: np.ndarray, layer: nn.Linear) -> np.ndarray:
    out = x @ layer.weight.detach().numpy().T
    return out if layer.bias is None else out + layer.bias.detach().numpy()


def test_projector_by_hand() -> None:
    projector = at_random(Projector(7, ProjectorKnobs(hidden=6, width=3)))
    first, norm, _, last = projector
    x = normal(9, 7).double()
    hidden = relu(batch_norm(affine(x.numpy(), first), norm.weight, norm.bias))
    np.testing.assert_allclose(projector(x).detach().numpy(), affine(hidden, last), rtol=1e-9, atol=1e-9)


def test_head_by_hand_joins_modalities_in_its_own_order() -> None:
    head = at_random(Head({"imu": 7, "skeleton": 4}, Finetune(hidden=5), classes=3))
    imu, skeleton = normal(9, 7).double(), normal(9, 4).double()
    joined: list[np.ndarray] = []
    for name, x in (("imu", imu), ("skeleton", skeleton)):
        layer, norm, _ = head.hidden[name]
        joined.append(relu(batch_norm(affine(x.numpy(), layer), norm.weight, norm.bias)))
    expected = affine(np.concatenate(joined, axis=1), head.classifier)
    for features in ({"imu": imu, "skeleton": skeleton}, {"skeleton": skeleton, "imu": imu}):
        np.testing.assert_allclose(head(features).detach().numpy(), expected, rtol=1e-9, atol=1e-9)


def test_head_of_one_modality() -> None:
    head = Head({"skeleton": 4}, Finetune(hidden=5), classes=27).eval()
    assert head({"skeleton": normal(1, 4)}).shape == (1, 27)


def test_a_head_that_standardises_its_features_by_hand() -> None:
    head = Head({"imu": 7}, Finetune(hidden=5, standardise=True), classes=3).double()
    plain = Head({"imu": 7}, Finetune(hidden=5), classes=3).double()
    plain.hidden["imu"], plain.classifier = head.hidden["imu"][1:], head.classifier
    imu = 50 * normal(9, 7).double() + 3
    standardised = (imu - imu.mean(dim=0)) / (imu.var(dim=0, correction=0) + 1e-5).sqrt()
    torch.testing.assert_close(head({"imu": imu}), plain({"imu": standardised}))
