"""The benchmark of linear solvers measures what it says: all solve the same system."""

from __future__ import annotations

import numpy as np
import pytest

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


@pytest.mark.parametrize("name", ["jacobi", "multigrid", "chebyshev"])
def test_ours_reaches_the_tolerance(name):
    result = linear_solvers.measure_ours(24, "uniform 0.05..1", name, repeats=1)
    assert result.residual < 2e-5
