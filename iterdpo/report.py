"""``python -m iterdpo.report``: the same as ``iterdpo report``."""

import sys

from iterdpo.tools.report.__main__ import main

if __name__ == "__main__":
    sys.exit(main())
