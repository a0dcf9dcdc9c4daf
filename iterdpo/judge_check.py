"""``python -m iterdpo.judge_check``, as ``iterdpo judge-check``, and ``check_judges``."""

import sys

from iterdpo.tools.judge_check import check_judges
from iterdpo.tools.judge_check.__main__ import main

__all__ = ["check_judges"]

if __name__ == "__main__":
    sys.exit(main())
