"""Settings of every test: no network, no tracker, no progress bars, one checkpoint a style."""

from __future__ import annotations

import gc
import importlib.util
import logging
import os
import socket
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.browser import NAMES, Browser, find_chromium, started
from tests.checkpoints import CheckpointOf, make_checkpoint

# A slow machine is no failure, and a failure found once is found again.
settings.register_profile("iterdpo", deadline=None, derandomize=True)
settings.load_profile("iterdpo")

os.environ |= {
    "HF_HUB_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "WANDB_MODE": "offline",
    "WANDB_SILENT": "true",
    "ITERDPO_PROGRESS": "off",
    "TOKENIZERS_PARALLELISM": "false",
    # Threads that wait without spinning: a busy machine is then slow, not three times slower.
    "OMP_WAIT_POLICY": "PASSIVE",
    # Servers that stand in for others are on this machine, where no proxy leads to.
    "NO_PROXY": "127.0.0.1,localhost",
    "no_proxy": "127.0.0.1,localhost",
}

for name in ("COLUMNS", "LINES", "FORCE_COLOR", "NO_COLOR"):
    os.environ.pop(name, None)  # what is printed here is read by tests, whoever looks on

if "PYTEST_XDIST_WORKER" in os.environ:
    # Processes side by side share the cores; more threads than cores would only wait.
    os.environ["OMP_NUM_THREADS"] = "1"

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def checkpoint_of(tmp_path_factory: pytest.TempPathFactory) -> CheckpointOf:
    """A function from a style's name to the directory of its tiny random checkpoint."""
    made: dict[str, Path] = {}

    def get(style: str) -> Path:
        if style not in made:
            made[style] = make_checkpoint(tmp_path_factory.mktemp(style), style)
        return made[style]

    return get


@pytest.fixture(scope="session")
def libraries() -> None:
    """Load what a training loads."""
    import bitsandbytes  # noqa: F401

    import iterdpo.training.dpo_trainer
    import iterdpo.training.train  # noqa: F401


@pytest.fixture(scope="session")
def modules_left_alone() -> Counter[str]:
    """How many modules were loaded when the garbage collector was last told to pass them over."""
    return Counter()


@pytest.fixture(scope="session", autouse=True)
def _nobody_undoes_it() -> Iterator[None]:
    """Keep vLLM, when an engine ends, from giving libraries back to the garbage collector."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(gc, "unfreeze", lambda: None)
        yield


@pytest.fixture(autouse=True)
def _libraries_are_no_garbage(modules_left_alone: Counter[str]) -> None:
    """Have the garbage collector pass over libraries, in which it finds nothing: half the time."""
    loaded = len(sys.modules)
    if loaded > modules_left_alone["modules"] + 300:
        modules_left_alone["modules"] = loaded
        gc.collect()
        gc.freeze()


@pytest.fixture(autouse=True)
def _log_as_it_was() -> Iterator[None]:
    """Put back what a command's entry sets, as if it had been a process of its own."""
    log = logging.getLogger("iterdpo")
    level, handlers = log.level, list(log.handlers)
    yield
    log.setLevel(level)
    log.handlers = handlers


@pytest.fixture(scope="session")
def finished_run(
    libraries: None, checkpoint_of: CheckpointOf, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The directory of a finished run of two iterations; look, but change nothing in it."""
    from tests.made_run import make_run

    return make_run(tmp_path_factory.mktemp("finished"), checkpoint_of("llama"))


@pytest.fixture(scope="session")
def vllm() -> None:
    """Skip what needs vLLM where it is absent, and fail where it has to be there, as in CI."""
    if importlib.util.find_spec("vllm") is None:
        if os.environ.get("ITERDPO_REQUIRE_VLLM"):
            pytest.fail("vLLM is not installed, and ITERDPO_REQUIRE_VLLM says that it must be")
        pytest.skip("vLLM is not installed; `make install` brings it on Linux")


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """A browser; skip what needs one where there is none, and fail where it has to be there.

    It ends with the file: while it is there, no other test could run an asyncio loop.
    """
    program = find_chromium()
    if program is None:
        if os.environ.get("ITERDPO_REQUIRE_BROWSER"):
            pytest.fail("no Chromium, and ITERDPO_REQUIRE_BROWSER says that there must be one")
        pytest.skip(f"no Chromium (one of {', '.join(NAMES)}) to look at pages with")
    with started(program) as browser:
        yield browser


@pytest.fixture
def nobody_there() -> Iterator[str]:
    """An address on this machine whose port is taken, by nobody who would answer."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest: at the end nothing is left to do beside them.

    A file's tests stay together, in their order, for they share its fixtures.
    """
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: -slow[item.path])
