"""vLLM's own server on the CPU: the adapter that it was given is told from others and from none."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from iterdpo.tools.canary import check_server
from iterdpo.tools.canary.verdict import ServedVerdict
from tests.checkpoints import CheckpointOf
from tests.tools.canary.adapters import RANK, make_adapter

pytestmark = [pytest.mark.usefixtures("vllm"), pytest.mark.slow]

REPOSITORY = Path(__file__).resolve().parents[3]


@dataclass(frozen=True)
class Served:
    """A server with two adapters, of which ``right`` is the one that is asked about."""

    url: str
    base: Path
    adapter: Path

    def check(self, name: str) -> ServedVerdict:
        return check_server(
            self.base, self.adapter, self.url, name, texts=16, max_tokens=24, device="cpu"
        )


@pytest.fixture(scope="module")
def served(
    checkpoint_of: CheckpointOf, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    base, place = checkpoint_of("llama"), tmp_path_factory.mktemp("served")
    right, other = (make_adapter(base, place / f"a{seed}", seed) for seed in (1, 2))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    arguments = {
        "--model": base, "--served-model-name": "tiny", "--dtype": "float32",
        "--max-model-len": 512, "--max-lora-rank": RANK, "--host": "127.0.0.1", "--port": port,
        "--block-size": 32,
    }  # fmt: skip
    said = (place / "log").open("w+")
    process = subprocess.Popen(
        [
            sys.executable, str(Path(__file__).with_name("vllm_server.py")),
            *(str(word) for pair in arguments.items() for word in pair),
            "--enforce-eager", "--enable-lora",
            "--lora-modules", f"right={right}", f"other={other}",
        ],
        cwd=REPOSITORY, stdout=said, stderr=said,
        env={**os.environ, "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind"},
    )  # fmt: skip
    try:
        _wait(f"http://127.0.0.1:{port}/v1/models", process, place / "log")
        yield Served(f"http://127.0.0.1:{port}/v1", base, right)
    finally:
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        said.close()


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(3000):  # five minutes: a busy machine is slow
        assert process.poll() is None, log.read_text()[-3000:]
        try:
            with urllib.request.urlopen(url, timeout=10):
                return
        except OSError:
            time.sleep(0.1)
    pytest.fail(log.read_text()[-3000:])


def test_an_adapter_that_is_applied_is_found_applied(served: Served) -> None:
    found = served.check("right")
    assert (found.outcome, found.texts) == ("applied", 16)
    assert found.share == pytest.approx(1, abs=1e-3)
    assert found.left < 1e-4


def test_the_base_in_the_adapters_place_is_found_out(served: Served) -> None:
    found = served.check("tiny")
    assert found.outcome == "not applied"
    assert found.share == pytest.approx(0, abs=1e-3)


def test_another_adapter_in_its_place_is_found_out(served: Served) -> None:
    assert served.check("other").outcome == "another"
