"""``python -m iterdpo.store``: the same as ``iterdpo store``."""

import runpy

if __name__ == "__main__":
    runpy.run_module("iterdpo.tools.store", run_name="__main__")
