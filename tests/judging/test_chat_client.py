"""The client against a server on this machine: troubles that pass are waited out, others said."""

from __future__ import annotations

import logging
import math
from email.utils import formatdate
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iterdpo.errors import UserError
from iterdpo.judging.pacing import Pace, longest_wait, retry_after
from tests.judging.clients import ASKED, KEY, Clock, ask, client_of, refusal
from tests.judging.server import said, serving


def test_a_request_is_what_the_api_asks_for() -> None:
    reply, server = ask(lambda *_: (200, said("Score: 4")), options={"temperature": 0.5})
    assert (reply.text, reply.outcome) == ("Score: 4", "stop")
    assert (reply.tokens_in, reply.tokens_out) == (10, 5)
    assert server.paths == ["/v1/chat/completions"]
    assert server.bodies == [{"model": "judge-8b", "messages": ASKED, "temperature": 0.5}]
    assert server.headers[0]["Authorization"] == f"Bearer {KEY}"


def test_without_a_key_no_header_goes_out() -> None:
    _, server = ask(lambda *_: (200, said("x")), key=None)
    assert "Authorization" not in server.headers[0]


@pytest.mark.parametrize(
    "trouble",
    [
        (429, {"error": {"message": "slow down"}}),
        (500, {"error": {"message": "oops"}}),
        (503, b"<html>overloaded</html>"),
        (522, b""),
        (424, {"error": "generation failed"}),
        (599, b""),
        (500, {"error": {"message": "retry limit exceeded, 3 prompts in the queue"}}),
        (200, {"error": {"message": "upstream rate limit of tokens exceeded"}}),
        (200, said("Score: 4", finish="error")),
        (200, said("Score: 4", finish="abort")),
        (200, {**said("Score: 4"), "error": {"message": "the upstream hung up"}}),
        (200, b'{"choices": [{"mess'),
        (200, b"[]"),
        (200, {"choices": []}),
        (200, b"not gzip", {"Content-Encoding": "gzip"}),
        (200, {"choices": [{"message": {"content": ["parts"]}}]}),
        (200, {"choices": [{"message": {"content": 4}}]}),
        (200, {"choices": [{"message": {"content": [{"type": "text", "text": 4}]}}]}),
        (0, b""),
    ],
)
def test_what_passes_is_tried_again(trouble: tuple[int | bytes | dict[str, Any], ...]) -> None:
    clock = Clock()
    reply, server = ask(lambda number, _: trouble if number < 2 else (200, said("ok")), clock)
    assert reply.text == "ok"
    assert len(server.bodies) == 3
    assert len(clock.slept) == 2
    assert 0 <= clock.slept[0] <= 1
    assert 0 <= clock.slept[1] <= 2


def test_a_silent_server_is_given_up_on_in_time() -> None:
    line = refusal(lambda *_: (-1, b""), timeout_seconds=0.1, retries=1)
    assert "no answer in 2 tries, at last: no whole answer within 0.1 s" in line
    assert "run the same command again" in line


def test_a_server_that_is_not_there(nobody_there: str) -> None:
    with pytest.raises(UserError, match="no answer in 4 tries, at last: ConnectError"):
        client_of(f"{nobody_there}/v1").ask(ASKED, {})


def test_retry_after_is_kept_by_everyone() -> None:
    clock = Clock()
    slow = (429, {"error": {"message": "wait"}}, {"Retry-After": "7"})
    ask(lambda number, _: slow if number == 0 else (200, said("ok")), clock)
    # Its own random wait and the rest of the seven seconds.
    assert sum(clock.slept) == pytest.approx(7.0)


def test_a_very_long_wait_is_not_waited_for() -> None:
    line = refusal(lambda *_: (429, {}, {"Retry-After": "3600"}))
    assert "asks to wait 3600 s" in line


def test_retry_after_is_seconds_or_a_date() -> None:
    assert retry_after("2.5", 0) == 2.5
    assert retry_after(formatdate(1000, usegmt=True), 990) == 10
    assert retry_after(formatdate(1000, usegmt=True), 1010) == 0
    for wrong in (None, "", "soon", "-3", "nan", "inf", "1e9", "9" * 20):
        assert retry_after(wrong, 0) is None
    assert retry_after(f"Fri, 31 Dec {'9' * 20} 23:59:59 GMT", 0) is None


@given(st.text() | st.lists(st.integers(), min_size=4, max_size=4).map(
    lambda numbers: "Fri, {} Jan {} {}:00:00 {:+05}".format(*numbers)))  # fmt: skip
def test_any_retry_after_is_a_wait_or_none(value: str) -> None:
    wait = retry_after(value, 0.0)
    assert wait is None or 0 <= wait < math.inf


def test_waits_grow_to_a_minute() -> None:
    assert [longest_wait(attempt) for attempt in (1, 2, 3, 7, 1000)] == [1, 2, 4, 60, 60]


def test_a_pace_spaces_requests() -> None:
    clock = Clock()
    pace = Pace(120, clock.sleep, clock)
    for _ in range(3):
        pace.wait()
    assert clock.slept == [0.5, 0.5]
    pace.hold(10)
    pace.wait()
    assert clock.now == pytest.approx(1000 + 1 + 10)


def test_an_error_that_comes_as_200_is_told() -> None:
    line = refusal(lambda *_: (200, {"error": {"message": f"upstream is down {KEY}"}}))
    assert "an answer that is no chat completion: upstream is down [key]" in line


def test_a_content_in_parts_is_joined_without_its_thoughts() -> None:
    thought: dict[str, Any] = {
        "type": "thinking",
        "thinking": [{"type": "text", "text": "Score: 1"}],
    }
    parts = [thought, {"type": "text", "text": "Fine.\n"}, {"type": "text", "text": "Score: 4"}]
    assert ask(lambda *_: (200, said(parts)))[0].text == "Fine.\nScore: 4"
    assert ask(lambda *_: (200, said([thought])))[0].text == ""


def test_an_empty_refusal_is_none() -> None:
    reply, _ = ask(lambda *_: (200, said("Score: 4", refusal="")))
    assert (reply.text, reply.outcome) == ("Score: 4", "stop")


@pytest.mark.parametrize("count", [-1, True, "9", 2.5, 10**400, None])
def test_what_is_no_number_of_tokens_counts_as_none(count: object) -> None:
    body = said("x") | {"usage": {"prompt_tokens": count, "completion_tokens": 3}}
    reply, _ = ask(lambda *_: (200, body))
    assert (reply.tokens_in, reply.tokens_out) == (0, 3)


def test_an_answer_cut_off_and_one_without_text() -> None:
    for reason in ("length", "MAX_TOKENS", "model_length"):
        assert ask(lambda *_, r=reason: (200, said("Score: 4", finish=r)))[0].outcome == "length"
    reply, _ = ask(lambda *_: (200, said(None)))
    assert (reply.text, reply.outcome) == ("", "stop")


@pytest.mark.parametrize(
    ("sent", "text"),
    [("a \ud83d b", "a \ufffd b"), ("\udc1f", "\ufffd"), ("\ud83d\udc1f fish", "\U0001f41f fish")],
)
def test_half_a_surrogate_pair_is_replaced_as_no_file_could_hold_it(sent: str, text: str) -> None:
    reply, _ = ask(lambda *_: (200, said(sent)))
    assert reply.text == text
    reply.text.encode("utf-8")


def test_the_key_is_in_no_log_and_no_repr(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with serving(lambda number, _: (500, {}) if number == 0 else (200, said("x"))) as server:
        client = client_of(server.url)
        client.ask(ASKED, {})
        shown = f"{client!r} {client.settings!r} {caplog.text}"
        client.close()
    assert caplog.records  # the HTTP library does log
    assert KEY not in shown
