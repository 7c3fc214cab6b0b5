"""``python -m hexaquant`` is the ``hexaquant`` command."""

from hexaquant.core.child_process import drop_working_folder

drop_working_folder()

import sys  # noqa: E402

from hexaquant.cli.main import main  # noqa: E402

sys.exit(main())
