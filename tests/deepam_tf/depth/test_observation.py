from __future__ import annotations

import cv2
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from deepam_tf.depth import planes, sampling
from deepam_tf.depth.observation import infer_scale, observe


def ramp(rows: int, columns: int) -> np.ndarray:
    y, x = np.mgrid[:rows, :columns].astype(np.float32)
    return 800 + 3 * y + 2 * x


@pytest.mark.parametrize("kind", ["points", "means", "bicubic"])
@pytest.mark.parametrize("scale", [2, 3, 7, 7.5, 13.25, (4, 9), (2.5, 31)])
@pytest.mark.parametrize("first", [None, 0, 0.5])
def test_a_ramp_comes_back_from_every_grid(kind, scale, first):
    """Making a map coarse and observing it agree on where the samples lie."""
    truth = ramp(93, 127)[..., np.newaxis]
    if kind == "points" and (first == 0.5 or not np.all(np.mod(scale, 1) == 0)):
        pytest.skip("points lie on pixels")
    low, known = sampling.coarsen(
        tf.constant(truth), tf.ones_like(truth), scale, offset=first, kind=kind
    )
    observation = observe(
        low.numpy()[..., 0], (93, 127), scale=scale, offset=first, kind=kind, valid=known[..., 0]
    )
    back = observation.to_units(observation.image)
    # Between the second and the last but one sample; the outer ones are no whole averages.
    inside = tuple(
        slice(int(np.ceil(o + 2 * s)), int(o + (n - 3) * s))
        for o, s, n in zip(observation.offset, observation.scale, low.shape[:2], strict=True)
    )
    if back[inside].size:
        np.testing.assert_allclose(back[inside], truth[inside], atol=0.3)
    measured = ~np.isnan(observation.measured)
    np.testing.assert_array_equal(measured, observation.mask[..., 0] == 1)
    assert measured.any() == (kind == "points")
    np.testing.assert_array_equal(observation.measured[measured], truth[..., 0][measured])


@pytest.mark.parametrize("scale", [2, 3, 5, 6])
def test_kinds_are_those_of_pillow_and_opencv(rng, scale):
    image = rng.uniform(size=(60, 90)).astype(np.float32)
    size = (90 // scale, 60 // scale)
    ones = tf.ones([60, 90, 1])
    bicubic, _ = sampling.coarsen(image[..., np.newaxis], ones, scale, kind="bicubic")
    pillow = Image.fromarray(image).resize(size, Image.Resampling.BICUBIC)
    np.testing.assert_allclose(bicubic[..., 0], np.asarray(pillow), atol=1e-6)
    means, _ = sampling.coarsen(image[..., np.newaxis], ones, scale, kind="means")
    opencv = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    np.testing.assert_allclose(means[..., 0], opencv, atol=1e-6)
    points, _ = sampling.coarsen(image[..., np.newaxis], ones, scale)
    np.testing.assert_array_equal(points, sampling.take_samples(image[..., np.newaxis], scale))


@pytest.mark.parametrize("scale", [1, 2, 3, 5, 8, 16, 31, 32])
def test_the_scale_is_found_for_every_size(scale):
    for rows in range(8, 200, 7):
        size = (rows * 3 // 2 + 40, rows + 64)
        coarse = sampling.take_samples(np.zeros([*size, 1]), scale).shape[:2]
        found = infer_scale(coarse, size)
        if size[0] * coarse[1] == size[1] * coarse[0]:
            assert found == size[0] / coarse[0]
        elif min(coarse) > 2 * scale:
            assert found == scale
        else:  # of so few samples the sizes do not say it to the pixel
            assert found is None or 0.5 * scale <= found <= 2 * scale


def test_a_guide_of_other_proportions_has_no_scale():
    assert infer_scale((48, 64), (480, 480)) is None
    assert infer_scale((480, 640), (48, 64)) is None
    assert infer_scale((192, 256), (1440, 1920)) == 7.5


@pytest.mark.slow
def test_samples_of_no_confidence_are_holes_and_of_full_confidence_are_kept():
    depth = ramp(12, 16)
    wrong = depth.copy()
    wrong[5, 6] += 25  # no stray: within the range
    confidence = np.ones_like(depth)
    plain, doubted, lost = (
        observe(wrong, (48, 64), confidence=np.where(wrong != depth, c, confidence))
        for c in (1.0, 0.3, 0.0)
    )
    truth = observe(depth, (48, 64), limits=(plain.low, plain.high))
    errors = [
        float(np.abs(x.to_units(x.image) - truth.to_units(truth.image))[22, 26, 0])
        for x in (plain, doubted, lost)
    ]
    assert errors[0] > 20
    assert errors[0] > 3 * errors[1] > 3 * errors[2]
    # A doubted sample does not come out as measured; the others do.
    assert np.isnan(doubted.measured[22, 26])
    assert np.sum(~np.isnan(doubted.measured)) == depth.size - 1
    assert (lost.valid == 0).sum() == 1


def test_strays_are_said_and_become_holes():
    depth = ramp(48, 64)
    depth[20, 30] = 65535
    observation = observe(depth, (192, 256))
    assert observation.valid[20, 30] == 0
    assert "65535" in observation.notes[0]
    clean = observe(ramp(48, 64), (192, 256))
    assert clean.notes == ()
    # Far from it nothing changes.
    away = np.ones((192, 256), bool)
    away[82 - 20 : 82 + 21, 122 - 20 : 122 + 21] = False
    difference = np.abs(observation.image - clean.image)[..., 0]
    assert difference[away].max() < 1e-6


def test_no_pixel_leaves_its_samples_by_more_than_their_spread(rng):
    for scale in ((3, 3), (7.5, 4), (1, 1)):
        low = rng.uniform(size=(8, 10, 1)).astype(np.float32)
        valid = (rng.uniform(size=low.shape) > 0.3).astype(np.float32)
        wild = tf.constant(
            rng.normal(0, 20, (int(8 * scale[0]), int(10 * scale[1]), 1)), tf.float32
        )
        tame = planes.clamp_to_samples(wild, low, valid, scale).numpy()[..., 0]
        known = low[..., 0][valid[..., 0] > 0]
        offsets = [int(s) // 2 if float(s).is_integer() else (s - 1) / 2 for s in scale]
        for row, column in np.ndindex(*tame.shape):
            i, j = (
                int(np.clip(np.floor((at - o) / s + 0.5 + 1e-6), 0, n - 1))
                for at, o, s, n in zip((row, column), offsets, scale, (8, 10), strict=True)
            )
            window = np.s_[max(i - 1, 0) : i + 2, max(j - 1, 0) : j + 2, 0]
            around = low[window][valid[window] > 0]
            around = around if around.size else known
            spread = np.ptp(around)
            assert around.min() - spread - 1e-5 <= tame[row, column] <= around.max() + spread + 1e-5
    inside = tf.constant(np.full((24, 30, 1), 0.5), tf.float32)
    between = np.array([0.0, 1.0], np.float32)[np.indices((8, 10)).sum(0) % 2][..., np.newaxis]
    np.testing.assert_array_equal(
        planes.clamp_to_samples(inside, between, np.ones_like(between), 3), inside
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"scale": 0.5}, "at least 1"),
        ({"scale": (8, np.nan)}, "at least 1"),
        ({"scale": (8, 4)}, "times as large"),
        ({"kind": "median"}, "points, means, bicubic"),
        ({"confidence": np.full((4, 6), 2.0)}, r"\[0, 1\]"),
        ({"confidence": np.full((4, 6), np.nan)}, r"\[0, 1\]"),
        ({"confidence": np.zeros((4, 6))}, "leave something"),
    ],
)
def test_wrong_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        observe(ramp(4, 6), (32, 48), **arguments)
