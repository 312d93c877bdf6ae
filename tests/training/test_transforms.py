from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation
from torch import Tensor

from mmssl.recipe import Crop, Jitter, Permute, Rotate, Scale, Shear, Shuffle, SignalAugment, SkeletonAugment
from mmssl.training.preparation import Standardisation, prepare_signal, prepare_skeleton
from mmssl.training.transforms import augment_signal, augment_skeleton, crop_together

TRIADS = [[(0, 1, 2), (3, 4, 5)], [(6, 7, 8)]]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(shape, generator=seeded(seed), dtype=torch.float64)


@pytest.mark.parametrize("coordinates", [2, 3])
def test_skeleton_is_centred_sized_and_interpolated_joint_by_joint(coordinates: int) -> None:
    draw = np.random.default_rng(0)
    ragged = [draw.normal(100, 30, (frames, 4, coordinates)).astype(np.float32) for frames in (1, 2, 7, 16, 40)]
    prepared = prepare_skeleton(ragged, steps=16, root=2, scale=(0, 3))
    assert prepared.shape == (5, 16, 4, coordinates)
    assert prepared.dtype == np.float32
    for recording, result in zip(ragged, prepared, strict=True):
        recording = recording.astype(np.float64)
        unit = sum((recording[0, 0, c] - recording[0, 3, c]) ** 2 for c in range(coordinates)) ** 0.5
        for joint in range(4):
            for c in range(coordinates):
                track = (recording[:, joint, c] - recording[0, 2, c]) / unit
                expected = np.interp(np.linspace(0, 1, 16), np.linspace(0, 1, len(track)), track)
                np.testing.assert_allclose(result[:, joint, c], expected, rtol=1e-5, atol=1e-6)


def test_first_and_last_frame_stay_and_a_single_frame_is_repeated() -> None:
    draw = np.random.default_rng(0)
    long, single = draw.normal(size=(33, 3, 3)).astype(np.float32), draw.normal(size=(1, 3, 3)).astype(np.float32)
    prepared = prepare_skeleton([long, single], steps=20, root=0, scale=(0, 1))
    unit = np.linalg.norm(long[0, 0] - long[0, 1])
    np.testing.assert_allclose(prepared[0, [0, -1]], (long[[0, -1]] - long[0, 0]) / unit, rtol=1e-5, atol=1e-6)
    assert (prepared[1] == prepared[1, 0]).all()


@settings(max_examples=30, deadline=None)
@given(st.floats(0.01, 1000), st.lists(st.floats(-1000, 1000), min_size=3, max_size=3), st.integers(1, 60))
def test_where_a_person_stands_and_how_tall_they_are_does_not_matter(
    size: float, place: list[float], frames: int
) -> None:
    person = np.random.default_rng(0).normal(size=(frames, 5, 3))
    moved = size * (person + np.array(place))
    plain, other = (prepare_skeleton([array.astype(np.float32)], 20, 0, (1, 2)) for array in (person, moved))
    np.testing.assert_allclose(plain, other, atol=1e-3)


def test_the_middle_of_joints_does_as_a_joint_there_would() -> None:
    person = np.random.default_rng(0).normal(size=(30, 5, 3))
    middles = np.stack([person[:, [0, 1]].mean(axis=1), person[:, [2, 3, 4]].mean(axis=1)], axis=1)
    several = prepare_skeleton([person.astype(np.float32)], 20, [0, 1], ([0, 1], [2, 3, 4]))
    one = prepare_skeleton([np.concatenate([person, middles], axis=1).astype(np.float32)], 20, 5, (5, 6))
    np.testing.assert_allclose(several, one[:, :, :5], atol=1e-5)


def test_imu_steps_are_means_of_equal_windows() -> None:
    draw = np.random.default_rng(0)
    ragged = [draw.normal(size=(samples, 2)).astype(np.float32) for samples in (17, 32, 50, 181)]
    prepared = prepare_signal(ragged, steps=16)
    assert prepared.shape == (4, 16, 2)
    assert prepared.dtype == np.float32
    for recording, result in zip(ragged, prepared, strict=True):
        width = len(recording) / 16
        for step in range(16):
            start, end = step * width, (step + 1) * width
            share = [max(0.0, min(end, i + 1) - max(start, i)) for i in range(len(recording))]
            expected = sum(s * x for s, x in zip(share, recording.astype(np.float64), strict=True)) / width
            np.testing.assert_allclose(result[step], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("samples", [1, 2, 9, 16])
def test_short_imu_recordings_are_interpolated(samples: int) -> None:
    recording = np.random.default_rng(0).normal(size=(samples, 3)).astype(np.float32)
    result = prepare_signal([recording], steps=16)[0]
    for channel in range(3):
        expected = np.interp(np.linspace(0, 1, 16), np.linspace(0, 1, samples), recording[:, channel])
        np.testing.assert_allclose(result[:, channel], expected, rtol=1e-5, atol=1e-6)


def interpolated(recording: np.ndarray, steps: int) -> np.ndarray:
    grid, own = np.linspace(0, 1, steps), np.linspace(0, 1, len(recording))
    return np.stack([np.interp(grid, own, channel) for channel in recording.T], axis=1)


def test_vibration_too_fast_for_the_steps_does_not_turn_into_slow_movement() -> None:
    time = np.arange(200) / 200
    vibration = np.sin(2 * np.pi * 55 * time)[:, None].astype(np.float32)  # 50 steps can show 25 cycles at most.
    assert np.std(interpolated(vibration, 50)) > 0.5
    assert np.std(prepare_signal([vibration], 50)) < 0.12


def test_real_imu_recordings_depend_less_on_the_sample_they_start_with(utd_mhad: Path) -> None:
    files = sorted((utd_mhad / "Inertial").glob("*.mat"))[::10]
    signals = [scipy.io.loadmat(file)["d_iner"].astype(np.float32) for file in files]
    scale = np.concatenate(signals).std(axis=0)

    def shift(resample: Callable[[np.ndarray], np.ndarray]) -> float:
        return float(np.mean([np.square((resample(x[1:]) - resample(x[:-1])) / scale).mean() for x in signals])) ** 0.5

    averaged = shift(lambda x: prepare_signal([x], 50)[0])
    assert averaged < 0.75 * shift(partial(interpolated, steps=50))


def test_standardisation_is_per_channel_over_recordings_and_time() -> None:
    draw = np.random.default_rng(0)
    imu = (draw.normal(size=(7, 20, 4)) * [1, 500, 0.01, 0] + [0, -300, 9.81, 0.1]).astype(np.float32)
    fitted = Standardisation.fit(imu)
    for channel in range(3):
        values = [float(imu[r, t, channel]) for r in range(7) for t in range(20)]
        mean = sum(values) / 140
        assert fitted.mean[channel] == pytest.approx(mean, rel=1e-5)
        assert fitted.std[channel] == pytest.approx((sum((v - mean) ** 2 for v in values) / 140) ** 0.5, rel=1e-4)
    assert fitted.std[3] == 1
    standard = fitted.apply(imu)
    assert standard.dtype == np.float32
    np.testing.assert_allclose(standard.mean(axis=(0, 1)), 0, atol=1e-3)
    np.testing.assert_allclose(standard.std(axis=(0, 1)), [1, 1, 1, 0], atol=1e-3)
    np.testing.assert_allclose(fitted.apply(imu[:2] + 5), (imu[:2] + 5 - fitted.mean) / fitted.std)


ALL_SKELETON = [
    {"crop": Crop(probability=1)},
    {"rotate": Rotate(probability=1)},
    {"shear": Shear(probability=1)},
    {"scale": Scale(probability=1)},
    {"jitter": Jitter(probability=1)},
]
ALL_IMU = [
    {"permute": Permute(probability=1)},
    {"rotate": Rotate(probability=1)},
    {"scale": Scale(probability=1)},
    {"shuffle": Shuffle(probability=1)},
    {"jitter": Jitter(probability=1)},
]


def all_on(probability: float) -> tuple[SkeletonAugment, SignalAugment]:
    skeleton, imu = ({name: k for one in group for name, k in one.items()} for group in (ALL_SKELETON, ALL_IMU))
    return (
        SkeletonAugment(**{name: k.model_copy(update={"probability": probability}) for name, k in skeleton.items()}),
        SignalAugment(**{name: k.model_copy(update={"probability": probability}) for name, k in imu.items()}),
    )


CASES = [
    *(pytest.param(SkeletonAugment(**one), 3, id=f"skeleton-{next(iter(one))}") for one in ALL_SKELETON),
    *(pytest.param(SkeletonAugment(**one), 2, id=f"2-D-{next(iter(one))}") for one in ALL_SKELETON),
    *(pytest.param(SignalAugment(**one), 0, id=f"imu-{next(iter(one))}") for one in ALL_IMU),
    pytest.param(all_on(1.0)[0], 3, id="skeleton-all"),
    pytest.param(all_on(1.0)[1], 0, id="imu-all"),
]


def augment(knobs: SkeletonAugment | SignalAugment, x: Tensor, seed: int = 0) -> Tensor:
    if isinstance(knobs, SkeletonAugment):
        return augment_skeleton(x, knobs, seeded(seed))
    return augment_signal(x, knobs, seeded(seed), TRIADS)


def batch(coordinates: int, size: int) -> Tensor:
    return normal(size, 20, 5, coordinates) if coordinates else normal(size, 20, 10)


@pytest.mark.parametrize(("knobs", "coordinates"), CASES)
@pytest.mark.parametrize("size", [1, 6])
def test_every_recording_changes_and_the_input_does_not(
    knobs: SkeletonAugment | SignalAugment, coordinates: int, size: int
) -> None:
    x = batch(coordinates, size).float()
    before = x.clone()
    changed = augment(knobs, x)
    assert torch.equal(x, before)
    assert changed.shape == x.shape
    assert changed.dtype == x.dtype
    assert changed.isfinite().all()
    assert (changed != x).flatten(1).any(dim=1).all()
    assert torch.equal(changed, augment(knobs, x))
    assert not torch.equal(changed, augment(knobs, x, seed=1))


@pytest.mark.parametrize(("knobs", "coordinates"), CASES)
def test_recordings_are_changed_differently(knobs: SkeletonAugment | SignalAugment, coordinates: int) -> None:
    same = batch(coordinates, 1).expand(50, *[-1] * (3 if coordinates else 2))
    assert len({tuple(recording.flatten().tolist()) for recording in augment(knobs, same)}) > 3


@pytest.mark.parametrize(("knobs", "coordinates"), CASES[:15])
def test_half_the_recordings_change_and_the_others_stay_bit_for_bit(
    knobs: SkeletonAugment | SignalAugment, coordinates: int
) -> None:
    name, one = next((name, one) for name, one in knobs if one.probability == 1)
    x = batch(coordinates, 2000)
    changed = augment(type(knobs)(**{name: one.model_copy(update={"probability": 0.5})}), x)
    share = (changed != x).flatten(1).any(dim=1).double().mean().item()
    assert share == pytest.approx(0.5, abs=4 * 0.5 / 2000**0.5)


def test_augmentations_choose_recordings_independently() -> None:
    x = normal(4000, 20, 5, 3)
    knobs = SkeletonAugment(scale=Scale(probability=0.5), jitter=Jitter(probability=0.5, strength=1e-6))
    changed = augment_skeleton(x, knobs, seeded())
    moved = (changed - x).flatten(1).abs().amax(dim=1)
    for low, high in ((-1, 0), (0, 1e-4), (1e-4, 100)):
        share = ((moved > low) & (moved <= high)).double().mean().item()
        assert share == pytest.approx(0.5 if high == 100 else 0.25, abs=4 * 0.5 / 4000**0.5)


def test_probability_zero_draws_nothing() -> None:
    generator = seeded()
    state = generator.get_state()
    skeleton, imu = normal(3, 16, 4, 3), normal(3, 16, 9)
    assert augment_skeleton(skeleton, all_on(0)[0], generator) is skeleton
    assert augment_signal(imu, all_on(0)[1], generator, TRIADS) is imu
    assert torch.equal(generator.get_state(), state)


def test_the_global_generator_is_not_touched() -> None:
    state = torch.get_rng_state()
    augment(all_on(0.5)[0], normal(3, 16, 4, 3))
    augment(all_on(0.5)[1], normal(3, 16, 9))
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("where", ["cpu", "cuda"])
def test_on_a_gpu_with_a_generator_there_or_here(where: str) -> None:
    skeleton, imu = normal(4, 20, 5, 3).float().cuda(), normal(4, 20, 10).float().cuda()
    knobs = all_on(0.5)
    scale = (torch.zeros(10).cuda(), torch.ones(10).cuda())
    on_gpu = (
        augment_skeleton(skeleton, knobs[0], torch.Generator(where).manual_seed(0)),
        augment_signal(imu, knobs[1], torch.Generator(where).manual_seed(0), TRIADS, scale),
    )
    assert all(x.is_cuda and x.isfinite().all() for x in on_gpu)
    if where == "cpu":
        torch.testing.assert_close(on_gpu[0].cpu(), augment(knobs[0], skeleton.cpu()), rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(on_gpu[1].cpu(), augment(knobs[1], imu.cpu()), rtol=1e-4, atol=1e-4)


def test_crop_is_a_window_of_time_interpolated_to_full_length() -> None:
    x = normal(200, 20, 3, 2)
    x[:, :, 0, 0] = torch.linspace(0, 1, 20, dtype=torch.float64)  # This joint tells the time.
    cropped = augment_skeleton(x, SkeletonAugment(crop=Crop(probability=1, strength=0.4)), seeded())
    time = cropped[:, :, 0, 0].numpy()
    start, end = time[:, 0], time[:, -1]
    np.testing.assert_allclose(time, np.linspace(start, end, 20, axis=1), atol=1e-12)
    assert start.min() >= 0
    assert end.max() <= 1
    length = end - start
    assert length.min() >= 0.6
    assert length.min() < 0.62
    assert length.max() > 0.98
    assert (start > 1e-3).any()
    assert (end < 1 - 1e-3).any()
    for recording in range(20):
        for joint in range(3):
            for c in range(2):
                track = x[recording, :, joint, c].numpy()
                expected = np.interp(time[recording], np.linspace(0, 1, 20), track)
                np.testing.assert_allclose(cropped[recording, :, joint, c].numpy(), expected, atol=1e-9)


def test_modalities_are_cropped_alike() -> None:
    time = torch.linspace(0, 1, 20, dtype=torch.float64).expand(200, 20)
    imu, skeleton = normal(200, 20, 4), normal(200, 20, 3, 2)
    imu[..., 0], skeleton[..., 1, 1] = time, time
    before = imu.clone(), skeleton.clone()
    cropped = crop_together([imu, skeleton], Crop(probability=0.5, strength=0.4), seeded())
    assert torch.equal(imu, before[0])
    assert torch.equal(skeleton, before[1])
    shown = cropped[0][..., 0]
    torch.testing.assert_close(shown, cropped[1][..., 1, 1])
    whole = (shown == time).all(dim=1)
    assert 70 <= whole.sum() <= 130, "half of them"
    for ours, theirs in zip(cropped, before, strict=True):
        assert torch.equal(ours[whole], theirs[whole]), "bit for bit"
    length = (shown[:, -1] - shown[:, 0])[~whole]
    assert length.min() >= 0.6
    assert length.min() < 0.65
    for i in range(20):
        expected = np.interp(shown[i].numpy(), time[i].numpy(), imu[i, :, 2].numpy())
        np.testing.assert_allclose(cropped[0][i, :, 2].numpy(), expected, atol=1e-9)


def test_a_common_crop_that_never_happens_draws_nothing() -> None:
    generator = seeded()
    state = generator.get_state()
    imu = normal(3, 16, 9)
    assert crop_together([imu], Crop(), generator)[0] is imu
    assert torch.equal(generator.get_state(), state)


def test_crop_passes_gradients_to_the_frames_it_shows() -> None:
    x = normal(5, 20, 3, 2).requires_grad_()
    augment_skeleton(x, SkeletonAugment(crop=Crop(probability=1, strength=0.5)), seeded()).sum().backward()
    assert x.grad is not None
    # Each of 20 steps is a weighted mean of frames.
    torch.testing.assert_close(x.grad.sum(dim=1), torch.full((5, 3, 2), 20.0, dtype=torch.float64))
    assert (x.grad >= 0).all()


def linear_maps(x: Tensor, changed: Tensor) -> np.ndarray:
    """The matrix that took each recording's points to where they are, (batch, c, c); fails if no matrix did."""
    maps: list[np.ndarray] = []
    for before, after in zip(x.flatten(1, -2).numpy(), changed.flatten(1, -2).numpy(), strict=True):
        solution = np.linalg.lstsq(before, after, rcond=None)[0]
        np.testing.assert_allclose(before @ solution, after, atol=1e-9)
        maps.append(solution.T)
    return np.stack(maps)


def test_rotation_in_3d_is_three_euler_angles_within_the_strength() -> None:
    x = normal(300, 16, 4, 3)
    maps = linear_maps(x, augment_skeleton(x, SkeletonAugment(rotate=Rotate(probability=1, strength=25)), seeded()))
    np.testing.assert_allclose(maps @ maps.transpose(0, 2, 1), np.broadcast_to(np.eye(3), maps.shape), atol=1e-9)
    np.testing.assert_allclose(np.linalg.det(maps), 1, atol=1e-9)
    angles = Rotation.from_matrix(maps).as_euler("ZYX", degrees=True)
    assert np.abs(angles).max() <= 25 + 1e-6
    for angle in angles.T:
        assert angle.min() < -22
        assert angle.max() > 22
        assert np.std(angle) == pytest.approx(25 / 3**0.5, rel=0.1)


def test_rotation_in_2d_is_one_angle_within_the_strength() -> None:
    x = normal(300, 16, 4, 2)
    maps = linear_maps(x, augment_skeleton(x, SkeletonAugment(rotate=Rotate(probability=1, strength=180)), seeded()))
    angle = np.degrees(np.arctan2(maps[:, 1, 0], maps[:, 0, 0]))
    for matrix, a in zip(maps, np.radians(angle), strict=True):
        np.testing.assert_allclose(matrix, [[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]], atol=1e-9)
    assert angle.min() < -160
    assert angle.max() > 160


@pytest.mark.parametrize("coordinates", [2, 3])
def test_rotation_keeps_distances_between_joints_and_the_root_in_place(coordinates: int) -> None:
    x = normal(10, 16, 4, coordinates)
    x[:, 0, 0] = 0
    rotated = augment_skeleton(x, SkeletonAugment(rotate=Rotate(probability=1, strength=90)), seeded())
    torch.testing.assert_close(torch.cdist(rotated, rotated), torch.cdist(x, x), atol=1e-6, rtol=1e-6)
    assert (rotated[:, 0, 0] == 0).all()


@pytest.mark.parametrize("coordinates", [2, 3])
def test_shear_has_ones_on_the_diagonal_and_coefficients_within_the_strength(coordinates: int) -> None:
    x = normal(300, 16, 4, coordinates)
    maps = linear_maps(x, augment_skeleton(x, SkeletonAugment(shear=Shear(probability=1, strength=0.3)), seeded()))
    np.testing.assert_allclose(np.diagonal(maps, axis1=1, axis2=2), 1, atol=1e-9)
    off = maps[:, ~np.eye(coordinates, dtype=bool)]
    assert np.abs(off).max() <= 0.3
    assert (off.min(axis=0) < -0.28).all()
    assert (off.max(axis=0) > 0.28).all()


def test_skeleton_scale_is_one_factor_for_each_recording_and_axis() -> None:
    x = normal(300, 16, 4, 3)
    ratio = (augment_skeleton(x, SkeletonAugment(scale=Scale(probability=1, strength=0.3)), seeded()) / x).numpy()
    factor = ratio[:, 0, 0]
    np.testing.assert_allclose(ratio, np.broadcast_to(factor[:, None, None], ratio.shape), rtol=1e-9)
    assert factor.min() >= 0.7
    assert factor.max() <= 1.3
    assert factor.min() < 0.71
    assert factor.max() > 1.29
    assert np.abs(np.corrcoef(factor.T) - np.eye(3)).max() < 0.2


@pytest.mark.parametrize("kind", ["skeleton", "imu"])
def test_jitter_is_independent_noise_of_the_given_deviation(kind: str) -> None:
    x = normal(200, 16, 4, 3) if kind == "skeleton" else normal(200, 16, 12)
    jitter = Jitter(probability=1, strength=0.3)
    knobs = SkeletonAugment(jitter=jitter) if kind == "skeleton" else SignalAugment(jitter=jitter)
    noise = (augment(knobs, x) - x).reshape(200 * 16, 12).numpy()
    assert np.mean(noise) == pytest.approx(0, abs=4 * 0.3 / noise.size**0.5)
    np.testing.assert_allclose(noise.std(axis=0), 0.3, rtol=0.05)
    assert np.abs(np.corrcoef(noise.T) - np.eye(12)).max() < 0.08
    assert abs(np.corrcoef(noise[:-1].ravel(), noise[1:].ravel())[0, 1]) < 0.02


def clocked(batch_size: int, steps: int, channels: int = 4) -> Tensor:
    x = normal(batch_size, steps, channels)
    x[:, :, 0] = torch.arange(steps)  # This channel tells the time.
    return x


@pytest.mark.parametrize("strength", [2, 3, 5])
def test_permutation_moves_whole_segments_of_time(strength: int) -> None:
    x = clocked(600, 24)
    permuted = augment_signal(x, SignalAugment(permute=Permute(probability=1, strength=strength)), seeded(), ())
    order = permuted[:, :, 0].long()
    assert (order.sort(dim=1).values == torch.arange(24)).all()
    for recording in range(600):
        assert torch.equal(permuted[recording], x[recording, order[recording]])
    pieces = 1 + (order.diff(dim=1) != 1).sum(dim=1)
    # Segments that stay neighbours look like one, but never all of them.
    assert set(pieces.tolist()) == set(range(2, strength + 1))
    starts = {int(recording[0]) for recording in order}
    assert len(starts) > 18


def test_permutation_of_three_segments_takes_every_order() -> None:
    order = augment_signal(clocked(2000, 24), SignalAugment(permute=Permute(probability=1, strength=3)), seeded(), ())
    orders: dict[tuple[int, ...], int] = {}
    for recording in order[:, :, 0].long().tolist():
        pieces = [step for step, previous in zip(recording, [None, *recording], strict=False) if step - 1 != previous]
        ranks = tuple(sorted(pieces).index(piece) for piece in pieces)
        orders[ranks] = orders.get(ranks, 0) + 1
    # The second and third before the first, and the third before both, look like two segments.
    assert set(orders) == {(1, 0), (0, 2, 1), (1, 0, 2), (2, 1, 0)}
    assert min(orders.values()) > 100


def test_permutation_of_more_segments_than_steps() -> None:
    permuted = augment_signal(clocked(50, 5), SignalAugment(permute=Permute(probability=1, strength=30)), seeded(), ())
    assert (permuted[:, :, 0].sort(dim=1).values == torch.arange(5)).all()
    assert (permuted[:, :, 0] != torch.arange(5)).any(dim=1).all()


def test_a_sensor_turns_as_one_and_sensors_turn_on_their_own() -> None:
    x = normal(100, 20, 10)
    rotated = augment_signal(x, SignalAugment(rotate=Rotate(probability=1, strength=40)), seeded(), TRIADS)
    first, second, other = (linear_maps(x[..., t], rotated[..., t]) for t in ([0, 1, 2], [3, 4, 5], [6, 7, 8]))
    np.testing.assert_allclose(first, second, atol=1e-9)
    assert np.abs(first - other).max(axis=(1, 2)).min() > 1e-3
    for maps in (first, other):
        np.testing.assert_allclose(np.linalg.det(maps), 1, atol=1e-9)
        assert np.abs(Rotation.from_matrix(maps).as_euler("ZYX", degrees=True)).max() <= 40 + 1e-6
    for triad in ([0, 1, 2], [3, 4, 5], [6, 7, 8]):
        torch.testing.assert_close(rotated[..., triad].norm(dim=-1), x[..., triad].norm(dim=-1))
    assert torch.equal(rotated[..., 9], x[..., 9])


def test_channels_of_a_triad_may_stand_anywhere() -> None:
    x = normal(10, 20, 6)
    rotated = augment_signal(x, SignalAugment(rotate=Rotate(probability=1, strength=90)), seeded(), [[(5, 0, 3)]])
    torch.testing.assert_close(rotated[..., [5, 0, 3]].norm(dim=-1), x[..., [5, 0, 3]].norm(dim=-1))
    assert torch.equal(rotated[..., [1, 2, 4]], x[..., [1, 2, 4]])


def test_a_standardised_sensor_turns_in_its_raw_units() -> None:
    mean = torch.tensor([0.1, -0.9, 0.3, 10, -200, 30, 0, 0, 0, 5], dtype=torch.float64)
    std = torch.tensor([0.4, 0.9, 0.2, 100, 50, 300, 1, 2, 3, 4], dtype=torch.float64)
    raw = normal(20, 16, 10) * std + mean
    knobs = SignalAugment(rotate=Rotate(probability=0.7, strength=60))
    turned = augment_signal((raw - mean) / std, knobs, seeded(), TRIADS, (mean, std))
    torch.testing.assert_close(turned * std + mean, augment_signal(raw, knobs, seeded(), TRIADS))


def test_a_quaternion_turns_with_its_sensor() -> None:
    """What the sensor feels, turned into the world's axes, is the same however the sensor is worn."""
    draws = np.random.default_rng(0)
    felt, other = draws.normal(size=(2, 40, 12, 3))
    turns = Rotation.random(40 * 12, random_state=0)
    orientation = np.roll(turns.as_quat(), 1, axis=1).reshape(40, 12, 4)
    x = torch.from_numpy(np.concatenate([felt, orientation, other], axis=2))
    knobs = SignalAugment(rotate=Rotate(probability=1, strength=180))
    mean, std = normal(10), normal(10, seed=2).abs() + 0.5
    groups = [[[0, 1, 2], [3, 4, 5, 6]], [[7, 8, 9]]]
    turned = augment_signal((x - mean) / std, knobs, seeded(), groups, (mean, std)) * std + mean
    assert not torch.allclose(turned[..., :3], x[..., :3], atol=0.1)
    torch.testing.assert_close(turned[..., 3:7].norm(dim=-1), torch.ones(40, 12, dtype=torch.float64))
    now = Rotation.from_quat(np.roll(turned[..., 3:7].numpy(), -1, axis=2).reshape(-1, 4))
    world = turns.apply(felt.reshape(-1, 3))
    np.testing.assert_allclose(now.apply(turned[..., :3].reshape(-1, 3).numpy()), world, atol=1e-9)
    assert (
        (turned[:, 1:, 3:7] * turned[:, :-1, 3:7])
        .sum(dim=-1)
        .sign()
        .equal((x[:, 1:, 3:7] * x[:, :-1, 3:7]).sum(dim=-1).sign())
    ), "no sign changes between steps"


def test_without_sensors_nothing_is_rotated() -> None:
    x = normal(5, 16, 6)
    assert torch.equal(augment_signal(x, SignalAugment(rotate=Rotate(probability=1)), seeded(), ()), x)


def test_imu_scale_is_one_factor_for_each_recording_and_channel() -> None:
    x = normal(300, 16, 6)
    ratio = (augment_signal(x, SignalAugment(scale=Scale(probability=1, strength=0.3)), seeded(), ()) / x).numpy()
    np.testing.assert_allclose(ratio, np.broadcast_to(ratio[:, :1], ratio.shape), rtol=1e-9)
    factor = ratio[:, 0]
    assert factor.min() >= 0.7
    assert factor.max() <= 1.3
    assert factor.std(axis=0) == pytest.approx(0.3 / 3**0.5, rel=0.15)
    assert np.abs(np.corrcoef(factor.T) - np.eye(6)).max() < 0.2


@pytest.mark.parametrize(("strength", "moved"), [(0.0, 0), (0.1, 2), (0.5, 3), (0.8, 5), (1.0, 6)])
def test_shuffle_exchanges_the_given_share_of_channels_for_the_whole_time(strength: float, moved: int) -> None:
    x = normal(400, 16, 6)
    shuffled = augment_signal(x, SignalAugment(shuffle=Shuffle(probability=1, strength=strength)), seeded(), ())
    sources: list[list[int]] = []
    for before, after in zip(x, shuffled, strict=True):
        source = [next(c for c in range(6) if torch.equal(before[:, c], after[:, k])) for k in range(6)]
        assert sorted(source) == list(range(6))
        assert sum(s != k for k, s in enumerate(source)) == moved
        sources.append(source)
    if moved:
        for channel in range(6):
            assert len({source[channel] for source in sources}) == (5 if moved == 6 else 6)


@pytest.mark.parametrize("channels", [1, 2])
def test_shuffle_of_few_channels(channels: int) -> None:
    x = normal(5, 16, channels)
    shuffled = augment_signal(x, SignalAugment(shuffle=Shuffle(probability=1)), seeded(), ())
    assert torch.equal(shuffled, x.flip(-1))
