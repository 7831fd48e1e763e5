"""`python -m deepam_tf` is the `deepam` command."""

import sys

from deepam_tf.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
