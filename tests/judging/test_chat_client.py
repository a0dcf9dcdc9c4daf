"""The client against a server on this machine: troubles that pass are waited out, others said."""

from __future__ import annotations

import gzip
import json
import logging
import math
import threading
import time
from collections.abc import Iterator
from email.utils import formatdate
from itertools import chain, islice, repeat
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iterdpo.errors import UserError
from iterdpo.judging.chat_answers import Reply
from iterdpo.judging.chat_client import ChatClient, ClientSettings
from iterdpo.judging.http_client import LARGEST_ANSWER
from iterdpo.judging.pacing import Pace, longest_wait, retry_after
from tests.judging.server import Script, Server, said, serving

KEY = "sk-very-secret-0123456789"
ASKED = [{"role": "user", "content": "Is it good?"}]


class Clock:
    """Time that passes only when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []
        self._lock = threading.Lock()

    def sleep(self, seconds: float) -> None:
        with self._lock:
            self.slept.append(seconds)
            self.now += seconds

    def __call__(self) -> float:
        return self.now


def client_of(
    url: str, clock: Clock | None = None, key: str | None = KEY, **changes: Any
) -> ChatClient:
    clock = clock or Clock()
    values: dict[str, Any] = {
        "base_url": url, "model": "judge-8b", "api_key_env": "JUDGE_KEY",
        "timeout_seconds": 60.0, "retries": 3, "requests_per_minute": None,
    }  # fmt: skip
    settings = ClientSettings(**(values | changes))
    return ChatClient(settings, key, pace=Pace(settings.requests_per_minute, clock.sleep, clock),
                      sleep=clock.sleep)  # fmt: skip


def ask(
    script: Script,
    clock: Clock | None = None,
    options: dict[str, Any] | None = None,
    **changes: Any,
) -> tuple[Reply, Server]:
    with serving(script) as server:
        client = client_of(server.url, clock, **changes)
        try:
            return client.ask(ASKED, options or {}), server
        finally:
            client.close()


def refusal(script: Script, **changes: Any) -> str:
    with pytest.raises(UserError) as caught:
        ask(script, **changes)
    line = str(caught.value)
    assert "\n" not in line
    assert KEY not in line
    return line


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


@pytest.mark.parametrize("status", [401, 403])
def test_a_wrong_key_is_named_by_its_variable(status: int) -> None:
    # Servers quote the key that they do not like.
    answer = (status, {"error": {"message": f"Incorrect API key provided: {KEY}"}})
    line = refusal(lambda *_: answer)
    assert f"refuses the key in JUDGE_KEY ({status})" in line
    assert "a request without a key" in refusal(lambda *_: answer, key=None)


@pytest.mark.parametrize(
    "body",
    [
        {"error": {"message": "The model `judge-8b` does not exist.", "code": "model_not_found"}},
        {"object": "error", "message": "The model `judge-8b` does not exist."},
        {"detail": "The model `judge-8b` does not exist."},
        {"error": "The model `judge-8b` does not exist."},
    ],
)
def test_a_model_that_is_not_there_is_one_line(body: dict[str, Any]) -> None:
    line = refusal(lambda *_: (404, body))
    assert "judge.model=judge-8b" in line
    assert "404: The model `judge-8b` does not exist." in line


def test_an_error_that_comes_as_200_is_told() -> None:
    line = refusal(lambda *_: (200, {"error": {"message": f"upstream is down {KEY}"}}))
    assert "an answer that is no chat completion: upstream is down [key]" in line


def test_what_a_server_says_is_one_short_line_without_the_key() -> None:
    noise = f"bad\n\x1b[31mthing\x1b[0m {KEY} " + "x" * 5000
    line = refusal(lambda *_: (400, {"error": {"message": noise}}))
    assert "\x1b" not in line
    assert "[key]" in line
    assert len(line) < 500


def test_an_empty_account_is_not_asked_again() -> None:
    body = {"error": {"message": "You exceeded your quota", "code": "insufficient_quota"}}
    assert "no credit left" in refusal(lambda *_: (429, body))


def test_a_redirect_is_not_followed_with_the_key() -> None:
    assert "answers 307" in refusal(lambda *_: (307, {}, {"Location": "http://elsewhere/"}))


@pytest.mark.parametrize(
    "answer",
    [
        (400, {"error": {"code": "context_length_exceeded", "message": "too many"}}),
        (400, {"message": "This model's maximum context length is 4096 tokens."}),
        (413, {"error": {"message": "prompt is too long: 9999 tokens"}}),
        (400, {"error": {"message": "9 tokens are more than fit", "type": "prompt_too_large"}}),
        (422, {"error": "`inputs` must have fewer than 512 tokens; there are 9999"}),
        (400, {"detail": "Reduce the length of your prompt and try again"}),
        (400, [{"error": {"message": "The input token count (9) is above the maximum of 8"}}]),
        (500, {"error": {"code": 500, "message": "The context size was exceeded."}}),
        (200, {"error": "a prompt of 9 is greater than the context length of 8"}),
    ],
)
def test_a_question_that_does_not_fit(answer: tuple[int, dict[str, Any]]) -> None:
    reply, _ = ask(lambda *_: answer)
    assert reply.outcome == "too_long"
    assert reply.text


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ((200, said(None, refusal="I will not.")), "I will not."),
        ((200, said(None, finish="content_filter")), ""),
        ((200, said("I", finish="SAFETY")), "I"),
        ((200, said(None, refusal="No.\n" * 99)), "No.\n" * 99),
        ((200, said([{"type": "refusal", "refusal": "No."}])), "No."),
        ((400, {"error": {"code": "content_filter", "message": "filtered"}}), "filtered"),
        ((400, {"error": {"message": "The prompt was flagged."}}), "The prompt was flagged."),
        ((400, {"error": {"message": "Unsafe content"}}), "Unsafe content"),
    ],
)
def test_a_refusal(answer: tuple[int, dict[str, Any]], text: str) -> None:
    reply, _ = ask(lambda *_: answer)
    assert (reply.outcome, reply.text) == ("refused", text)


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        ((403, {"error": {"message": "This text will not do."}}), "refused"),
        ((403, {"error": {"message": "Your prompt was flagged: unsafe context"}}), "refused"),
        ((403, {"error": {"message": "Our moderators say no."}}), "refused"),
        ((400, {"error": {"message": "Das ist nicht erlaubt."}}), "refused"),
        ((422, b"no"), "refused"),
        ((413, b"<html>Too large</html>"), "too_long"),
        ((400, {"error": {"message": "Lengths of 1 to 8 tokens are taken"}}), "too_long"),
        ((400, {"error": {"message": "max_tokens and the 9 of your prompt exceed 8"}}), "too_long"),
    ],
)
def test_whether_it_is_the_question_that_is_refused_a_harmless_one_tells(
    answer: tuple[Any, ...], outcome: str
) -> None:
    options = {"temperature": 0.5, "max_tokens": 7}
    reply, server = ask(
        lambda _, body: answer if body["messages"] == ASKED else (200, said("Yes.")),
        options=options,
    )
    assert reply.outcome == outcome
    assert isinstance(answer[1], bytes) or reply.text == answer[1]["error"]["message"]
    assert (reply.tokens_in, reply.tokens_out) == (10, 5)
    question, harmless = server.bodies
    assert harmless | {"messages": ASKED} == question
    refusal(lambda *_: answer, options=options)  # of every question: it is something else


def test_a_harmless_question_that_fails_for_now_is_asked_again() -> None:
    script = [(403, {}), (503, {}), (403, {}), (200, said("Yes."))]
    reply, _ = ask(lambda number, _: script[number])
    assert reply.outcome == "refused"


@pytest.mark.parametrize(
    ("option", "hint"),
    [
        ("temperature", "judge.temperature=null"),
        ("top_p", "judge.top_p=null"),
        ("max_tokens", "judge.max_tokens=null or judge.limit_name=max_completion_tokens"),
        ("max_completion_tokens", "judge.max_tokens=null or judge.limit_name=max_tokens"),
        ("seed", "judge.send_seed=false"),
    ],
)
@pytest.mark.parametrize(
    "error",
    [
        {"message": "Unsupported: 'NAME' is at most 1 with this prompt."},
        {"message": "Unsupported parameter.", "param": "NAME"},
    ],
)
def test_a_setting_that_the_server_refuses_is_named(
    option: str, hint: str, error: dict[str, str]
) -> None:
    body = {"error": {key: text.replace("NAME", option) for key, text in error.items()}}
    line = refusal(lambda *_: (400, body), options={"n": 1, option: 1})
    assert line.endswith(f"; leave it out: {hint}")


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
