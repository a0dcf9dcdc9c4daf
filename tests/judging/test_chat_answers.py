"""Whatever bytes a server sends are a reply, a passing trouble or a refusal."""

import json

from hypothesis import given
from hypothesis import strategies as st

from iterdpo.judging.chat_answers import Refusal, Reply, Trouble, read
from iterdpo.judging.http_client import Answer

NAMES = st.sampled_from(
    "choices message content refusal finish_reason error code type text usage prompt_tokens detail "
    "param metadata role".split()
)
TEXTS = st.text(max_size=30) | st.sampled_from(
    [
        "stop",
        "length",
        "error",
        "content_filter",
        "text",
        "refusal",
        "Score: 4",
        "too long",
        "\ud83d",
    ]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=5),
    max_leaves=15,
)
COMPLETIONS = st.fixed_dictionaries(
    {"choices": st.lists(st.fixed_dictionaries({"message": st.dictionaries(NAMES, JSON)},
                                               optional={"finish_reason": JSON, "error": JSON}))},
    optional={"usage": JSON, "error": JSON},
)  # fmt: skip
BODIES = st.binary() | (JSON | COMPLETIONS).map(lambda value: json.dumps(value).encode())


@given(st.sampled_from([200, 307, 400, 401, 402, 403, 413, 422, 429, 500, 501, 522]), BODIES)
def test_any_answer_is_a_reply_a_trouble_or_a_refusal(status: int, body: bytes) -> None:
    found = read(Answer(status, body), ("temperature", "top_p", "max_tokens", "seed"))
    assert isinstance(found, Reply | Trouble | Refusal)
    if isinstance(found, Reply):
        assert status == 200
        assert found.text.encode("utf-8") is not None
        assert min(found.tokens_in, found.tokens_out) >= 0


def test_nesting_without_end_is_no_completion() -> None:
    for depth in (500, 900, 990, 100_000):
        nested = b'{"message":' * depth + b"1" + b"}" * depth
        assert isinstance(read(Answer(400, nested)), Refusal)
        assert isinstance(read(Answer(200, b'{"error":' + nested + b"}")), Trouble)
