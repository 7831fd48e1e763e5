"""The `deepam` command."""

from deepam_tf.cli.main import main as main
