"""Pairs of pictures: loading, joint crops, and the metrics of depth maps."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import tensorflow as tf

from deepam_tf import data, degradations, metrics
from deepam_tf.files.pictures import ImageFileError

OPTIONS = {"crop_size": 16, "batch_size": 4}


def depth_pair(number=0, dtype=np.uint8, size=(40, 36)):
    """A depth map, and a guide that says where its pixels are."""
    rows, columns = np.mgrid[: size[0], : size[1]]
    depth = (10 + rows + columns).astype(dtype)[..., np.newaxis]
    guide = np.stack([np.full_like(rows, number), rows, columns], -1).astype(np.uint8)
    return depth, guide


@pytest.mark.slow
def test_depth_guide_and_target_move_alike():
    depth, guide = depth_pair()
    depth[5:9, 20:30] = 0
    ((x, y, w),) = data.depth_crops([(depth, guide)], scale=4, **OPTIONS).take(1)
    place = np.rint(255 * x["guide"].numpy()).astype(int)
    true = depth[place[..., 1], place[..., 2], 0].astype(np.float32)
    unit = (true - depth[depth > 0].min()) / (depth.max() - depth[depth > 0].min())
    for got, expected, known in zip(y["restored"][..., 0].numpy(), unit, true > 0, strict=True):
        upright = np.abs(got - expected)[known].max()
        inverted = np.abs(got - (1 - expected))[known].max()
        assert min(upright, inverted) < 1e-5
    np.testing.assert_array_equal(w["restored"], true > 0)


@pytest.mark.slow
def test_measured_pixels_have_the_true_value():
    for x, y, _ in data.depth_crops([depth_pair()], scale=(1, 4, 8), **OPTIONS).take(10):
        at_sample = x["mask"].numpy() == 1
        np.testing.assert_allclose(
            x["image"].numpy()[at_sample], y["restored"].numpy()[at_sample], atol=1e-5
        )


@pytest.mark.slow
def test_both_senses_of_depth_occur():
    crops = data.depth_crops([depth_pair()], scale=4, **OPTIONS).take(4)
    rising = np.concatenate(
        [np.sign(y["restored"][:, 0, 0, 0] - y["restored"][:, -1, -1, 0]) for _, y, _ in crops]
    )
    assert set(rising) >= {-1, 1}


@pytest.mark.slow
def test_16_bit_beside_8_bit_maps():
    small, guide = depth_pair()
    pairs = [(small, guide), (small.astype(np.uint16) * 300, guide)]
    for _, y, _ in data.depth_crops(pairs, scale=4, **OPTIONS).take(4):
        # Both are brought to [0, 1], by their own range.
        assert 0 <= y["restored"].numpy().min()
        assert y["restored"].numpy().max() <= 1
        assert np.ptp(y["restored"][0]) > 0.2


def test_guided_denoising_crops_move_alike(rng):
    image = rng.integers(0, 256, (20, 24, 3), dtype=np.uint8)
    guide = image[..., 1:2]
    batches = data.denoising_crops([image], guides=[guide], noise_stddev=(0.0, 0.2), **OPTIONS)
    for x, y in batches.take(3):
        np.testing.assert_array_equal(x["guide"], y["restored"][..., 1:2])
        assert set(x) == {"image", "guide", "noise_stddev"}


@pytest.mark.slow
def test_pairs_vary_as_two_cameras_do():
    """On ramps: a factor shows in the slope, a shift in the offset."""
    rows, columns = np.mgrid[:24, :24].astype(np.float32) / 48
    target = tf.constant(np.stack([rows, columns, rows], -1))
    guide = tf.constant((rows + 2 * columns)[..., np.newaxis] / 3)
    factors, shifts, blurred = [], [], 0
    for i in range(200):
        x, y = (z.numpy() for z in degradations.vary_pair(target, guide, [7, i]))
        factors.append([x[12, 12, 0] / target[12, 12, 0], 3 * 48 * (y[13, 12, 0] - y[12, 12, 0])])
        np.testing.assert_allclose(x, factors[-1][0] * target, rtol=1e-5, atol=1e-6)
        moved = 144 * (y[12, 12, 0] / factors[-1][1] - guide[12, 12, 0])
        shifts.append(moved)  # rows + 2 columns
        blurred += abs(y[0, 0, 0] - y[1, 1, 0]) < abs(y[11, 11, 0] - y[12, 12, 0]) * 0.9
    factors = np.array(factors)
    assert factors.min() >= 2**-2.51
    assert factors.max() <= 1.001
    assert np.mean(factors[:, 0] > 0.999) == pytest.approx(0.5, abs=0.12)
    assert np.abs(shifts).max() <= 4.6
    assert np.mean(np.abs(shifts) < 0.01) == pytest.approx(0.5, abs=0.12)
    assert blurred > 0


def plain_and_varied(rng, option: str):
    """The first batch without noise, with and without an option of the pipeline."""
    image = rng.integers(0, 256, (20, 24, 3), dtype=np.uint8)
    options = {"noise_stddev": 0.0, "guides": [image[..., 1:2]], **OPTIONS}
    return (
        next(iter(data.denoising_crops([image], **{option: vary}, **options)))
        for vary in (False, True)
    )


def test_crops_of_pairs_may_vary(rng):
    plain, varied = plain_and_varied(rng, "vary_pairs")
    # The target of the loss is what the noise was put on.
    np.testing.assert_array_equal(varied[0]["image"], varied[1]["restored"])
    ratio = varied[1]["restored"] / tf.maximum(plain[1]["restored"], 1e-6)
    assert 0.1 < np.median(ratio, axis=(1, 2, 3)).min() < 1


@pytest.mark.slow
def test_colors_vary_about_their_mean(rng):
    mean = rng.uniform(0.4, 0.6, (6, 5, 1))
    spread = rng.uniform(-0.1, 0.1, (6, 5, 3))
    spread -= spread.mean(axis=-1, keepdims=True)
    image = tf.constant(mean + spread, tf.float32)
    same, factors, orders, negatives = 0, [], set(), []
    for i in range(300):
        varied = degradations.vary_colors(image, [3, i]).numpy()
        if np.array_equal(varied, image):
            same += 1
            continue
        # Against the mean a channel is one of three times a factor; a negative is that of 1 - it.
        found = []
        for channel in np.moveaxis(varied, -1, 0):
            fits = []
            for number in range(3):
                own = spread[..., number]
                for sign, centre in ((1, mean[..., 0]), (-1, 1 - mean[..., 0])):
                    factor = sign * np.sum((channel - centre) * own) / np.sum(own**2)
                    error = np.abs(channel - centre - sign * factor * own).max()
                    fits.append((error, number, sign, factor))
            found.append(min(fits))
        assert max(error for error, *_ in found) < 1e-5
        orders.add(tuple(number for _, number, _, _ in found))
        negatives += [sign < 0 for _, _, sign, _ in found]
        factors.append(found[0][3])
        np.testing.assert_allclose([x[3] for x in found], factors[-1], rtol=1e-3)
    assert same / 300 == pytest.approx(0.5, abs=0.1)
    assert len(orders) == 6
    assert np.mean(negatives) == pytest.approx(1 / 8, abs=0.05)
    assert 0.5 <= min(factors) < 0.7
    assert 2.8 < max(factors) <= 3.001


def test_crops_may_vary_in_color(rng):
    plain, varied = plain_and_varied(rng, "vary_colors")
    np.testing.assert_array_equal(varied[0]["image"], varied[1]["restored"])
    np.testing.assert_array_equal(varied[0]["guide"], plain[0]["guide"])
    same = np.all(varied[1]["restored"] == plain[1]["restored"], axis=(1, 2, 3))
    assert 0 < same.sum() < len(same)


@pytest.mark.slow
def test_the_source_of_every_crop_can_be_named():
    sizes = [(20, 20), (24, 30), (20, 20), (60, 80), (20, 20)]
    pairs = [depth_pair(number, size=size) for number, size in enumerate(sizes)]
    options = {"seed": 3, **OPTIONS}
    found = []
    for batch, (x, _, _) in enumerate(data.depth_crops(pairs, scale=4, **options).take(40)):
        numbers = np.rint(255 * x["guide"][:, 0, 0, 0]).astype(int).tolist()
        own = {"crop_size": OPTIONS["crop_size"], "batch_size": 4}
        assert numbers == data.crop_sources(sizes, seed=3, batch=batch, **own)
        found += numbers
    # Every position of a crop is as likely as another: large pictures give more of them.
    side = OPTIONS["crop_size"] - 1
    positions = np.array([(h - side) * (w - side) for h, w in sizes])
    share = found.count(3) / len(found)
    assert share == pytest.approx(positions[3] / positions.sum(), abs=0.1)


@pytest.mark.slow
def test_crops_with_something_to_learn_are_taken_first(rng):
    steps = np.full([64, 64, 1], 40, np.uint8)
    steps[:, rng.integers(0, 64, 12)] = 200
    flat = np.full([64, 64, 1], 40, np.uint8)
    flat[0, 0] = 200
    guide = np.zeros([64, 64, 3], np.uint8)
    pairs = [(steps, guide), (flat, guide)]
    shares = {}
    for candidates in (1, 4):
        options = {"candidates": candidates, "scale": 4, **OPTIONS}
        batches = list(data.depth_crops(pairs, **options).take(30))
        rough = [np.ptp(crop) > 0 for _, y, _ in batches for crop in y["restored"].numpy()]
        assert len(rough) == 120
        shares[candidates] = np.mean(rough)
        again = data.depth_crops(pairs, first_batch=29, **options).take(1)
        np.testing.assert_array_equal(batches[29][0]["image"], next(iter(again))[0]["image"])
    assert shares[1] == pytest.approx(0.5, abs=0.15)
    assert 0.8 < shares[4] < 1  # smooth ones remain


@pytest.mark.slow
def test_noise_of_a_flat_map_is_no_edge(rng):
    # Stretched to its own range, one level of noise is as high as a step.
    noise = rng.integers(40, 42, (64, 64, 1), dtype=np.uint8)
    steps = np.full([64, 64, 1], 40, np.uint8)
    steps[:, rng.integers(0, 64, 12)] = 200
    guide = np.zeros([64, 64, 3], np.uint8)
    contrasts = []
    for x, y, _ in data.depth_crops(
        [(noise, guide), (steps, guide)], scale=4, candidates=4, contrast=True, **OPTIONS
    ).take(30):
        contrasts += x["contrast"][:, 0, 0, 0].numpy().tolist()
        assert y["restored"].numpy().max() <= 1
    assert set(np.round(np.array(contrasts) * 200)) == {1, 160}
    assert np.mean(np.array(contrasts) > 0.5) > 0.75


@pytest.mark.parametrize(
    ("pairs", "options", "message"),
    [
        ([], {}, "at least as large"),
        ([depth_pair(size=(9, 40))], {}, "at least as large"),
        ([depth_pair()], {"scale": 0}, "at least 1"),
        ([depth_pair()], {"scale": (4, 999)}, "no larger than the crop"),
        ([(np.full((20, 20, 1), 7, np.uint8), np.zeros((20, 20, 3), np.uint8))], {}, "different"),
        ([(depth_pair()[0], np.zeros((20, 20, 3), np.uint8))], {}, "guide of its size"),
    ],
)
def test_pairs_that_do_not_fit_are_refused(pairs, options, message):
    with pytest.raises(ValueError, match=rf"{message}(.|\n)*Received"):
        data.depth_crops(pairs, **{"scale": 4, **OPTIONS, **options})


@pytest.fixture
def folder(tmp_path, rng):
    for name in ("rgb", "depth"):
        (tmp_path / name).mkdir()
    for i in range(2):
        rgb = rng.integers(0, 256, (24, 30, 3), dtype=np.uint8)
        cv2.imwrite(str(tmp_path / "rgb" / f"{i}.jpg"), rgb, [cv2.IMWRITE_JPEG_QUALITY, 100])
        depth = rng.integers(1, 60000, (24, 30), dtype=np.uint16)
        cv2.imwrite(str(tmp_path / "depth" / f"{i}.png"), depth)
    return tmp_path


KINDS = {"target": "depth", "guide": "rgb", "target_channels": 1, "guide_channels": 3}


def test_folder_of_pairs(folder):
    pairs = data.load_pairs(folder, border=2, **KINDS)
    for i, (depth, rgb) in enumerate(pairs):
        expected = cv2.imread(str(folder / "depth" / f"{i}.png"), cv2.IMREAD_UNCHANGED)
        np.testing.assert_array_equal(depth[..., 0], expected[2:-2, 2:-2])
        assert depth.dtype == np.uint16
        assert rgb.shape == (20, 26, 3)
    # The target is no JPEG: nothing to reduce.
    assert data.load_pairs(folder, jpeg_shrink=2, **KINDS)[0][0].shape == (24, 30, 1)


def test_coarse_jpeg_targets_are_reduced_by_averaging(folder):
    swapped = {"target": "rgb", "guide": "depth", "target_channels": 3, "guide_channels": 1}
    # A fine one is as good as none.
    assert data.load_pairs(folder, jpeg_shrink=2, **swapped)[0][0].shape == (24, 30, 3)
    for path in folder.glob("rgb/*.jpg"):
        cv2.imwrite(str(path), cv2.imread(str(path)), [cv2.IMWRITE_JPEG_QUALITY, 90])
    (rgb, depth), _ = data.load_pairs(folder, jpeg_shrink=2, **swapped)
    assert rgb.shape == (12, 15, 3)
    assert depth.shape == (12, 15, 1)
    full = data.load_pairs(folder, **swapped)[0][0].astype(float)
    means = full.reshape(12, 2, 15, 2, 3).mean(axis=(1, 3))
    assert np.abs(rgb - means).max() <= 0.51


def test_broken_folders_of_pairs_are_refused(folder, tmp_path):
    with pytest.raises(ImageFileError, match="existing folder"):
        data.load_pairs(tmp_path / "no", **KINDS)
    cv2.imwrite(str(folder / "depth" / "1.png"), np.ones((9, 9), np.uint8))
    with pytest.raises(ImageFileError, match=r"one size.*Received"):
        data.load_pairs(folder, **KINDS)
    (folder / "depth" / "1.png").unlink()
    with pytest.raises(ImageFileError, match=r"partner.*Received.*'1'"):
        data.load_pairs(folder, **KINDS)


def test_names_stay_with_their_pairs(tmp_path):
    # By path, "a (1).png" comes before "a.png"; by stem, after.
    names = ["a", "a (1)", "a-b", "b", "A", "a.b"]
    for part in ("depth", "rgb"):
        (tmp_path / part).mkdir()
        for level, name in enumerate(names):
            suffix = ".png" if level % 2 == (part == "rgb") else ".bmp"
            image = np.full((4, 5), 10 + level, np.uint8)
            cv2.imwrite(str(tmp_path / part / f"{name}{suffix}"), image)
    pairs = data.read_pairs(tmp_path, **KINDS)
    assert [pair.name for pair in pairs] == sorted(names)
    for name, target, guide in pairs:
        assert np.all(target == 10 + names.index(name))
        assert np.all(guide == 10 + names.index(name))


def test_names_that_differ_by_suffix_alone_are_refused(folder):
    cv2.imwrite(str(folder / "rgb" / "1.bmp"), np.ones((24, 30, 3), np.uint8))
    for read in (data.read_pairs, data.load_pairs):
        with pytest.raises(ImageFileError, match=r"rgb.*1\.bmp and 1\.jpg"):
            read(folder, **KINDS)


def test_what_is_no_picture_has_no_partner(folder):
    (folder / "rgb" / "._0.jpg").write_bytes(b"of macOS")
    (folder / "rgb" / ".hidden.png").write_bytes(b"")
    (folder / "rgb" / "folder.png").mkdir()
    (folder / "rgb" / "gone.png").symlink_to(folder / "nothing.png")
    assert [pair.name for pair in data.read_pairs(folder, **KINDS)] == ["0", "1"]


def test_depth_metrics_by_hand(rng):
    truth, other = rng.uniform(0, 10, (2, 3, 6, 7, 1)).astype(np.float32)
    weight = rng.integers(0, 2, truth.shape).astype(np.float32)
    bad = metrics.bad_matching_percentage(truth, other, tolerance=3.0, weight=weight)
    error = metrics.rmse(truth, other, weight=weight)
    for i in range(3):
        d = np.abs(truth - other)[i][weight[i] == 1]
        assert float(bad[i]) == pytest.approx(100 * np.mean(d > 3), rel=1e-5)
        assert float(error[i]) == pytest.approx(np.sqrt(np.mean(d**2)), rel=1e-5)
    decibels = metrics.PSNR(10.0)
    decibels.update_state(truth, other, weight[..., 0])
    expected = [
        20 * np.log10(10 / np.sqrt(np.mean((truth - other)[i][weight[i] == 1] ** 2)))
        for i in range(3)
    ]
    assert float(decibels.result()) == pytest.approx(np.mean(expected), rel=1e-5)
    streamed = metrics.BadMatchingPercentage(3.0)
    for i in range(3):
        streamed.update_state(truth[i : i + 1], other[i : i + 1], weight[i : i + 1, ..., 0])
    assert float(streamed.result()) == pytest.approx(float(tf.reduce_mean(bad)), rel=1e-5)
    revived = metrics.BadMatchingPercentage.from_config(streamed.get_config())
    assert revived.tolerance == 3.0
