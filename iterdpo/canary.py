"""``python -m iterdpo.canary``, as ``iterdpo canary``; ``check_server`` is for notebooks."""

import sys

from iterdpo.tools.canary import check_server
from iterdpo.tools.canary.__main__ import main

__all__ = ["check_server"]

if __name__ == "__main__":
    sys.exit(main())
