"""The algorithm that DeepAM unrolls, with a formula or a denoiser in the place of the network."""

from deepam_tf.classical.denoisers import METHODS as METHODS
from deepam_tf.classical.denoisers import ClassicalDenoiser as ClassicalDenoiser
