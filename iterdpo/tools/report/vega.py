"""The JavaScript that draws the charts: Vega-Embed with Vega-Lite and Vega, as one text."""

from __future__ import annotations

import functools
import subprocess
import sys

_PRINT = (
    "import sys, vl_convert;"
    "sys.stdout.buffer.write(vl_convert.javascript_bundle(None, '6.4').encode('utf-8'))"
)


@functools.cache
def bundle() -> str:
    """Return the bundle, which sets ``window.vegaEmbed``; about 0.9 MB.

    vl-convert puts it together with a JavaScript engine of its own, in about a second. That is done
    in another process: this one may be in the middle of a training, and would keep the engine's
    130 MB and its threads.

    Raises:
        RuntimeError: vl-convert is missing or failed.
    """
    done = subprocess.run([sys.executable, "-c", _PRINT], capture_output=True, check=False)
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines() or ["no reason given"]
        raise RuntimeError(f"vl-convert-python made no bundle of Vega ({said[-1]})")
    return done.stdout.decode("utf-8")
