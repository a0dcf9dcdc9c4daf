"""What a server refuses: a key, a setting, or the one question that it was asked."""

from __future__ import annotations

from typing import Any

import pytest

from tests.judging.clients import ASKED, KEY, ask, refusal
from tests.judging.server import said


def test_a_wrong_key_is_named_by_its_variable() -> None:
    # Servers quote the key that they do not like.
    answer = (401, {"error": {"message": f"Incorrect API key provided: {KEY}"}})
    assert "refuses the key in JUDGE_KEY (401)" in refusal(lambda *_: answer)
    assert "a request without a key" in refusal(lambda *_: answer, key=None)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"error": {"message": f"{KEY} may\x1b[31m not"}}, "[key] may[31m not"),
        ({"error": {"message": f"{KEY[:10]}*** may not"}}, "[key]*** may not"),
        ({"reason": "not here"}, '{"reason": "not here"}'),
        (b"Not in your region.\x1b[2J", "Not in your region.[2J"),
        (b"<html><style>p {}</style><h1>Access\n denied</h1><script>x", "Access denied"),
        (b"", "nothing"),
    ],
)
def test_a_server_that_forbids_everything_is_quoted_with_what_it_may_mean(
    body: object, said: str
) -> None:
    """A bad key is one reason of many: a region, a model that is not sold to all, a proxy."""
    line = refusal(lambda *_: (403, body))
    assert f"the server answers 403: {said}; it may be the key in JUDGE_KEY, " in line
    assert "(judge.model), the region, or a proxy on the way" in line
    assert KEY[:10] not in line
    assert "it may be a request without a key" in refusal(lambda *_: (403, {}), key=None)


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
