"""``python -m hexaquant`` is the ``hexaquant`` command."""

import sys

from hexaquant.cli.main import main

sys.exit(main())
