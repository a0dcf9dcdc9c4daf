"""``python -m iterdpo.compare``, the same as ``iterdpo compare``, and ``compare`` for notebooks."""

import sys

from iterdpo.tools.compare import compare
from iterdpo.tools.compare.__main__ import main

__all__ = ["compare"]

if __name__ == "__main__":
    sys.exit(main())
