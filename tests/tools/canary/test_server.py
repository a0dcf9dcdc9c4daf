"""What a server is asked, and what it may answer: each thing it leaves out is one line."""

from __future__ import annotations

from typing import Any

import pytest

from iterdpo.errors import UserError
from iterdpo.tools.canary.server import TRIES, CompletionServer, ServedText
from tests.judging.server import Script, Server, serving

KEY = "sk-very-secret-0123456789"
PROMPT = (1, 5, 7)
MODELS = {"data": [{"id": "base", "parent": None}, {"id": "lora", "parent": "base"}]}


def completion(**changes: Any) -> dict[str, Any]:
    """Return a text of two tokens as vLLM writes it."""
    logprobs = {"tokens": ["token_id:8", "token_id:9"], "token_logprobs": [-0.5, -2]}
    return {"choices": [{"token_ids": [8, 9], "logprobs": logprobs} | changes]}


def written(
    script: Script, vocabulary: int | None = 10, prompts: int = 1, key: str | None = KEY
) -> tuple[list[ServedText], Server]:
    with serving(script) as server:
        asked = CompletionServer(server.url, key, sleep=lambda _: None)
        try:
            return list(asked.write("lora", [PROMPT] * prompts, 24, vocabulary)), server
        finally:
            asked.close()


def refused(script: Script, **settings: Any) -> str:
    with pytest.raises(UserError) as error:
        written(script, **settings)
    assert KEY not in str(error.value)
    assert "\n" not in str(error.value)
    return str(error.value)


def base_of(name: str, models: object, status: int = 200) -> str | None:
    with serving(lambda *_: (status, models)) as server:
        asked = CompletionServer(server.url, None, sleep=lambda _: None)
        try:
            return asked.base_of(name)
        finally:
            asked.close()
            assert set(server.paths) == {"/v1/models"}


def test_the_policy_itself_is_asked_for_whatever_the_servers_defaults_are() -> None:
    texts, server = written(lambda *_: (200, completion()), prompts=3)
    assert [(text.sequence.prompt_token_ids, text.sequence.token_ids, text.logprobs)
            for text in texts] == [(PROMPT, (8, 9), (-0.5, -2.0))] * 3  # fmt: skip
    plain = {
        "model": "lora", "prompt": list(PROMPT), "max_tokens": 24, "temperature": 1.0,
        "top_p": 1.0, "top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0,
        "presence_penalty": 0.0, "frequency_penalty": 0.0, "n": 1,
    }  # fmt: skip
    for body in server.bodies:
        assert plain.items() <= body.items()
        assert not {"echo", "prompt_logprobs"} & set(body)
    assert {body["seed"] for body in server.bodies} == {0, 1, 2}
    assert set(server.paths) == {"/v1/completions"}
    assert server.headers[0]["Authorization"] == f"Bearer {KEY}"


def test_token_ids_are_read_from_the_spelling_of_tokens_too() -> None:
    texts, _ = written(lambda *_: (200, completion(token_ids=None)))
    assert texts[0].sequence.token_ids == (8, 9)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"logprobs": None}, "gives no log-probs of what it writes"),
        ({"logprobs": {"token_logprobs": []}}, "gives no log-probs of what it writes"),
        ({"logprobs": {"token_logprobs": [-1.0]}}, "gives 1 log-probs for 2 tokens"),
        ({"logprobs": {"token_logprobs": [-1.0, None]}}, "log-probs that are no numbers"),
        ({"logprobs": {"token_logprobs": [-1.0, 7.5]}}, "gives 7.5 as the log-prob of a token"),
        ({"logprobs": {"token_logprobs": [-1.0, -9999.0]}}, "gives -9999 as the log-prob"),
        ({"token_ids": None, "logprobs": {"tokens": [" a", " b"], "token_logprobs": [-1, -1]}},
         "gives no token ids"),
        ({"token_ids": [8, 10]}, "writes token 10, and BASE has 10 of them"),
    ],
)  # fmt: skip
def test_what_a_text_lacks_is_one_line(changes: dict[str, Any], said: str) -> None:
    line = refused(lambda *_: (200, completion(**changes)))
    assert said in line
    assert "model lora" in line


@pytest.mark.parametrize("body", [{"choices": []}, {"choices": [3]}, {"choices": None}, {}])
def test_an_answer_of_another_form_has_no_log_probs(body: dict[str, Any]) -> None:
    assert "gives no log-probs" in refused(lambda *_: (200, body))


def test_trouble_passes() -> None:
    answers = [(503, b""), (200, b"["), (429, b"{}", {"Retry-After": "1"}), (200, completion())]
    texts, server = written(lambda number, _: answers[number])
    assert (len(texts), len(server.bodies)) == (1, 4)


def test_trouble_that_stays_ends_after_some_tries() -> None:
    line = refused(lambda *_: (503, {"error": f"busy, {KEY}"}))
    assert f"no answer in {TRIES} tries, at last: 503 busy, [key]" in line
    assert "asks to wait 900 s" in refused(lambda *_: (429, b"{}", {"Retry-After": "900"}))


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (401, "refuses the key (401)"),
        (404, "the server answers 404: so it says"),
        (400, "the server answers 400: so it says; where it speaks of a length, lower --max-tok"),
    ],
)
def test_a_refusal_is_one_line_without_the_key(status: int, said: str) -> None:
    line = refused(lambda *_: (status, {"error": {"message": "so it says", "key": KEY}}))
    assert said in line


def test_the_base_of_an_adapter_is_the_one_that_the_server_names() -> None:
    assert base_of("lora", MODELS) == "base"
    assert base_of("base", MODELS) is None
    assert base_of("lora", {"data": [{"id": "lora", "parent": "/not/served"}]}) is None


@pytest.mark.parametrize(
    ("models", "served"),
    [(MODELS, "base, lora"), ({"data": []}, "none"), ({"data": 3}, "none"), ({}, "none")],
)
def test_a_name_that_is_not_served_is_told_with_those_that_are(models: object, served: str) -> None:
    with pytest.raises(UserError, match=f"--name=lore: .* it serves {served}; give vLLM"):
        base_of("lore", models)


@pytest.mark.parametrize("url", ["localhost:8000", "http://", "ftp://host/v1"])
def test_an_address_of_no_server_is_named(url: str) -> None:
    with pytest.raises(UserError, match="URL="):
        CompletionServer(url, None)


def test_a_secret_in_the_address_is_not_shown() -> None:
    with pytest.raises(UserError, match="--key-env") as error:
        CompletionServer(f"http://me:{KEY}@host/v1", None)
    assert KEY not in str(error.value)
