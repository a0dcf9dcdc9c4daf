"""Libraries kept from talking over the run: their bars and notices, never their errors."""

from __future__ import annotations

import logging
import warnings


def quiet_libraries() -> None:
    """Silence what libraries say of their own progress."""
    # bitsandbytes notes as it is imported that optional CPU kernels are not installed.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    import datasets
    import transformers

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    datasets.utils.logging.disable_progress_bar()
    # ORPO's trainer is there; the pinned version and its check at step 0 are what we go by.
    warnings.filterwarnings("ignore", message="You are importing from 'trl.experimental'")
    warnings.filterwarnings("ignore", module=r"(torch|transformers|trl|peft|bitsandbytes)\..*")
