"""``python -m iterdpo.chat``: the same as ``iterdpo chat``."""

import sys

from iterdpo.tools.chat.__main__ import main

if __name__ == "__main__":
    sys.exit(main())
