"""``python -m iterdpo.benchmark``: the same as ``iterdpo bench``."""

import sys

from iterdpo.tools.benchmark.__main__ import main

if __name__ == "__main__":
    sys.exit(main())
