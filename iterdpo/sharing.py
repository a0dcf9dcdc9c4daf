"""``python -m iterdpo.sharing``: the same as ``iterdpo hub``."""

import sys

from iterdpo.tools.hub.__main__ import main

if __name__ == "__main__":
    sys.exit(main())
