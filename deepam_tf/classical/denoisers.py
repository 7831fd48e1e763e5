"""Denoising by hand-made regularisers, with the strength that suits a noise level.

For noise of standard deviation `s` and a regulariser of degree `p` (total variation 1, L0 0,
Lp p), `lambda = factor * s^(p - 2)` makes the result scale with the image and its noise. The
factors, and for L0 and Lp, whose result depends on the path, the growth of `beta`, are those that
did best on training images of BSDS500 at sigma 25; `python -m benchmarks.tune_classical` tries
factors around them, with `--beta-growth` on another path.
"""

from __future__ import annotations

import dataclasses

import tensorflow as tf

from deepam_tf.classical.alternating import alternating_minimization
from deepam_tf.classical.proximal import L0, Lp, Regularizer, TotalVariation

__all__ = ["METHODS", "ClassicalDenoiser"]


@dataclasses.dataclass(frozen=True)
class ClassicalDenoiser:
    """Alternating minimization with one regulariser, at a strength set by the noise.

    Attributes:
        regularizer: what is minimised beside the data term.
        degree: `p` in `Phi(c v) = c^p Phi(v)`.
        factor: `lambda` over `s^(p - 2)`; larger follows the data more closely.
        beta_growth: factor between one penalty and the next.

    Example:
        >>> noisy = tf.random.stateless_normal([1, 16, 16, 1], seed=[0, 1])
        >>> denoised = deepam_tf.classical.METHODS["tv"](noisy, noise_stddev=1.0)
        >>> bool(tf.math.reduce_std(denoised) < 0.4 * tf.math.reduce_std(noisy))
        True
    """

    regularizer: Regularizer
    degree: float
    factor: float
    beta_growth: float

    def __call__(self, image: tf.Tensor, noise_stddev: float) -> tf.Tensor:
        """Denoise images `[B, H, W, C]` with noise of that standard deviation, positive.

        Raises:
            ValueError: if `noise_stddev` is not positive, or `image` has another rank.
        """
        if noise_stddev <= 0:
            raise ValueError(f"`noise_stddev` must be positive. Received: {noise_stddev}.")
        data_weight = self.factor * noise_stddev ** (self.degree - 2)
        # Penalties in units of lambda, so that the path does not depend on the noise level.
        return alternating_minimization(
            image,
            self.regularizer,
            data_weight=data_weight,
            beta=0.5 * data_weight,
            beta_growth=self.beta_growth,
            beta_max=2.0**10 * data_weight,
            steps_per_beta=2,
        ).u


METHODS = {
    # Convex: the slower the path, the nearer the minimum; with 2 it ends 0.3 dB short of it.
    "tv": ClassicalDenoiser(TotalVariation(), degree=1.0, factor=1.33, beta_growth=1.2),
    "l0": ClassicalDenoiser(L0(), degree=0.0, factor=0.5, beta_growth=4.0),
    "lp": ClassicalDenoiser(Lp(2 / 3), degree=2 / 3, factor=1.38, beta_growth=2.0),
}
"""Denoisers by the names that `deepam denoise --method` takes."""
