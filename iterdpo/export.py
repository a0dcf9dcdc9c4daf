"""``python -m iterdpo.export``: the same as ``iterdpo export``."""

import sys

from iterdpo.tools.export.__main__ import main

if __name__ == "__main__":
    sys.exit(main())
