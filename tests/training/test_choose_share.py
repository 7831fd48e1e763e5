from __future__ import annotations

import numpy as np
import pytest

from training import choose_share
from training.choose_share import mean_weights, trained_weights


@pytest.mark.parametrize("share", [0.2, 0.6, 1.0])
def test_what_was_trained_is_found_again_from_the_mean(rng, share):
    start, trained = ([rng.normal(size=shape) for shape in ((3, 4), (5,))] for _ in range(2))
    mean = mean_weights(start, trained, share)
    for a, b in zip(trained_weights(start, mean, share), trained, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-12)
    for a, b in zip(mean_weights(start, trained, 0.0), start, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_run_or_shipped_weights_and_not_both(tmp_path, capsys):
    for arguments in ([], ["run", "--mean", "denoise_camera"]):
        assert choose_share.main([*arguments, "--data", str(tmp_path)]) == 2
        assert "One of a run and --mean" in capsys.readouterr().err
