"""``python -m iterdpo.label``: the same as ``iterdpo label``."""

import sys

from iterdpo.tools.label.__main__ import main

if __name__ == "__main__":
    sys.exit(main())
