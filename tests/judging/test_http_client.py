"""An answer is whole in a given time, and of a bounded size."""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Iterator
from itertools import chain, islice, repeat

import pytest

from iterdpo.judging.http_client import LARGEST_ANSWER
from tests.judging.clients import ask, refusal
from tests.judging.server import said


def dribbled(*whole: bytes) -> Iterator[bytes]:
    """A byte every 20 ms, for half a minute at most."""
    for byte in islice(chain(*whole, repeat(32)), 1500):
        time.sleep(0.02)
        yield bytes([byte])


@pytest.mark.parametrize(
    ("status", "first"), [(200, b"{"), (0, b"HTTP/1.1 200 OK\r\nX-A: "), (503, b"")]
)
def test_an_answer_byte_by_byte_has_to_be_whole_in_time(status: int, first: bytes) -> None:
    began = time.monotonic()
    line = refusal(lambda *_: (status, dribbled(first)), timeout_seconds=0.3, retries=1)
    assert "at last: no whole answer within 0.3 s" in line
    assert time.monotonic() - began < 10


@pytest.mark.parametrize("status", [200, 400, 500])
def test_an_endless_answer_is_not_read(status: int) -> None:
    sent = []

    def endless() -> Iterator[bytes]:
        for number in range(1000):
            sent.append(number)
            yield b"x" * 2**20

    line = refusal(lambda *_: (status, endless()), retries=0)
    assert f"an answer of more than {LARGEST_ANSWER} bytes" in line
    assert len(sent) < 100


def test_a_small_answer_that_unpacks_to_a_large_one_is_cut_off() -> None:
    bomb = gzip.compress(b" " * (LARGEST_ANSWER + 2**20) + b"{}")
    line = refusal(lambda *_: (200, bomb, {"Content-Encoding": "gzip"}), retries=0)
    assert "no chat completion" in line
    packed = gzip.compress(json.dumps(said("Score: 4")).encode())
    reply, server = ask(lambda *_: (200, packed, {"Content-Encoding": "gzip"}))
    assert reply.text == "Score: 4"
    assert server.headers[0]["Accept-Encoding"] == "identity"
