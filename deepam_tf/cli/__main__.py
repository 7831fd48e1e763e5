"""`python -m deepam_tf.cli`."""

import sys

from deepam_tf.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
