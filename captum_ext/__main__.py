"""``python -m captum_ext`` is the command ``captum-ext``."""

import sys

from captum_ext.cli import main

sys.exit(main())
