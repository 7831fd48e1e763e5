"""The benchmark measures what it says: every method solves the same system."""

from __future__ import annotations

import functools

import numpy as np
import pytest

import deepam_tf
from deepam_tf import data, image_io
from deepam_tf.demo import PICTURE
from tests import helpers

# Its peers are an extra: pip install -e '.[bench]'.
linear_solvers = pytest.importorskip("benchmarks.linear_solvers")


@pytest.mark.parametrize("kind", linear_solvers.GAMMAS)
def test_matrix_and_residual_are_those_of_the_system(rng, kind):
    gamma = linear_solvers.gamma_of(kind, 9)
    matrix = helpers.system_matrix(gamma[0, :, :, 0].astype(float))
    np.testing.assert_allclose(linear_solvers.system_matrix(gamma).toarray(), matrix.toarray())
    x, b = rng.normal(size=81), rng.normal(size=81)
    expected = np.linalg.norm(b - matrix @ x) / np.linalg.norm(b)
    assert linear_solvers.relative_residual(gamma, b, x) == pytest.approx(expected)


@pytest.mark.parametrize("name", linear_solvers.PEERS)
def test_peers_reach_the_tolerance(name):
    result = linear_solvers.measure_peer(24, "uniform 0.05..1", name, repeats=1)
    assert result.residual < 2e-5
    assert result.seconds > 0


def test_incomplete_cholesky_takes_fewer_steps_than_none():
    plain, paper = (
        linear_solvers.measure_peer(48, "1e-4", name, repeats=1)
        for name in ("SciPy cg, float64", "SciPy cg + IC(0), the paper's")
    )
    assert paper.steps < 0.5 * plain.steps


@pytest.mark.parametrize("name", ["jacobi", "multigrid"])
def test_ours_reaches_the_tolerance(name):
    result = linear_solvers.measure_ours(24, "uniform 0.05..1", name, repeats=1)
    assert result.residual < 2e-5


def test_ways_to_be_compared_are_asked_in_turns():
    pytest.importorskip("tensorflow_serving")
    from benchmarks import serving

    calls: list[str] = []
    ways = {name: functools.partial(calls.append, name) for name in "abc"}
    taken = serving.measure_in_turns(ways, seconds=0.0)
    assert calls == list("abc") * (2 + serving.LEAST_ROUNDS)
    assert {name: len(seconds) for name, seconds in taken.items()} == dict.fromkeys(
        "abc", serving.LEAST_ROUNDS
    )


def test_a_network_told_the_map_does_better_than_one_told_a_level(tmp_path, capsys):
    from benchmarks import sensor_noise

    picture = image_io.read(PICTURE)
    gray = data.to_channels(picture.pixels, 1)[:128, :128]
    image_io.write(tmp_path / "a.png", image_io.Picture(gray, None, picture.dtype))
    restorer = deepam_tf.Restorer(deepam_tf.load_pretrained("denoise_gray"))
    figures = sensor_noise.compare(restorer, gray, *list(sensor_noise.SENSORS.values())[1], 0)
    assert figures["noisy"] < figures["one level, true"] < figures["map, estimated"]
    assert figures["map, estimated"] == pytest.approx(figures["map, true parameters"], abs=0.5)
    assert sensor_noise.main(["--data", str(tmp_path)]) == 0
    assert f"{figures['map, estimated']:.1f}"[:2] in capsys.readouterr().out
    assert sensor_noise.main(["--data", str(tmp_path / "none")]) == 2
