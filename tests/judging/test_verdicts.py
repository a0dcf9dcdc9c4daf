import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iterdpo.judging.thoughts import after_thoughts
from iterdpo.judging.verdicts import parse_score
from iterdpo.records import Scored, Unscored, UnscoredReason

NONE, UNREADABLE, OUT = (
    UnscoredReason.NO_VERDICT,
    UnscoredReason.UNREADABLE,
    UnscoredReason.OUT_OF_RANGE,
)


@pytest.mark.parametrize(
    ("text", "score"),
    [
        ("Score: 4", 4),
        ("score : 4 points", 4),
        ("SCORE:4", 4),
        ("Score: 3.5", 3.5),
        ("Score: 0", 0),
        ("Score: 5.0", 5),
        ("Score: 4.", 4),
        ("Score: 4!", 4),
        ("**Score:** 4", 4),
        ("Score: **4**", 4),
        ("**Score**: 4", 4),
        ("**Score: 4**", 4),
        ("**Score: 4/5**.", 4),
        ("`Score: 4`", 4),
        ("_Score:_ 2", 2),
        ("## Score: 4", 4),
        ("- Score: 4", 4),
        ("| Score: 4 |", 4),
        ("Total score: 4/5", 4),
        ("Final Score = 2", 2),
        ("Score\uff1a4", 4),
        ("Score:\u00a04", 4),
        ("Score: 4 / 5", 4),
        ("Score: 4/5 points", 4),
        ("Score: 4 out of 5", 4),
        ("Score: 4 out of 5 points.", 4),
        ("Score: 4 points out of 5", 4),
        ("Score (0-5): 4", 4),
        ("Score (out of 5): **4**", 4),
        ("Score out of 5: 4", 4),
        ("Score: [4]", 4),
        ("Score: [[4]]", 4),
        ("Score: (4/5)", 4),
        ("Score: <3>", 3),
        (r"Score: \boxed{4}", 4),
        (r"Score: $\boxed{4}$", 4),
        ("Score: 4. It covers the request.", 4),
        ("Score: 4 (clear, but long)", 4),
        ("Score: 4 - clear, but long", 4),
        ("Score: 4 because it is clear", 4),
        ("topic yes count no form yes Score: 4", 4),
        ("Relevance score: 1. Clarity score: 1. Total score: 2", 2),
        ("Good.\r\n\r\nScore: 4\r\n", 4),
        ("Score: 1\nOn reflection it is better.\nScore: 4\n\nThank you.", 4),
        ("reasons " * 20_000 + "\nScore: 4", 4),
        ("Score: 4 [out of 5]", 4),
        ("Score: 4 (out of 5 points): all but one", 4),
        ("Score: 3.5 (on a scale of 0 to 5).", 3.5),
        ("Score: **4** (max 5)", 4),
        ("Score: 4 points (/5)", 4),
        ("(Final score: 4)", 4),
        ("**[Score: 4/5]**", 4),
        ("It is good (my score: 4).", 4),
        (r"\textbf{Score: 4}", 4),
        ("<Score: 4>", 4),
        ("<verdict>Score: 4/5</verdict>", 4),
        ("<p><b>Score:</b> 4</p>", 4),
        ("<h2>Score: <em>4</em></h2>", 4),
        ("<answer>\nFine.\nScore: 4</answer> That is all.", 4),
        ("Score: 4<|im_end|>", 4),
        ("Score: 4.<\uff5cend\u2581of\u2581sentence\uff5c>", 4),
        ("Score: 4<eos>", 4),
        ("Score: 4 [/INST]", 4),
        ("Score: <result>4</result>", 4),
        ('{"reasoning": "Good, 3 of 4; a score: 2 is too low", "score": 4}', 4),
        ('```json\n{\n  "Final_Score": "4/5",\n  "why": {"score": 1}\n}\n```', 4),
        ('Score: 1\n{"why": "two\nlines", "score": 3.5} is my verdict', 3.5),
        ('{"score": 2}\nNo.\n{"score": 4}', 4),
        ('{"score": 2}\nNo.\nScore: 4', 4),
        ("{'score': 4}", 4),
        ("Score: 4\nExplanation of my score: it has 3 of them.", 4),
        ("Score: 4\n**Why this score**: it is good", 4),
        ("Score: 4\n\nJustification for the given score:\nIt is good.", 4),
        ("<think>\nScore: 1\n</think>\nScore: 4", 4),
        ("Score: 1 so far\n</THINK>Score: 4", 4),
        ("[THINK]Score: 1[/THINK](Score: 4)", 4),
        ("<|channel|>analysis<|message|>Score: 1<|channel|>final<|message|>Score: 4", 4),
    ],
)
def test_reads_a_plain_number(text: str, score: float) -> None:
    assert parse_score(text) == Scored(score)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", NONE),
        ("4", NONE),
        ("It deserves four points.", NONE),
        ("Its underscore: 4, subscore: 4, sub-score: 4", NONE),
        ("The scores: 4", NONE),
        ("Score:", UNREADABLE),
        ("Score:\n4", UNREADABLE),
        ("### Score\n4", UNREADABLE),
        ("Score: four", UNREADABLE),
        ("Score: N/A", UNREADABLE),
        ("Score: <total points>", UNREADABLE),
        ("Score: 4 or 5", UNREADABLE),
        ("Score: 3-4", UNREADABLE),
        ("Score: 3 \u2013 4", UNREADABLE),
        ("Score: 3 to 4", UNREADABLE),
        ("Score: 4, maybe less", UNREADABLE),
        ("Score: 4 5", UNREADABLE),
        ("Score: 4/10", UNREADABLE),
        ("Score: 4 out of 10", UNREADABLE),
        ("Score: 4/5/5", UNREADABLE),
        ("Score: 5/4", UNREADABLE),
        ("Score: 4 of 5", UNREADABLE),
        ("Score: 80%", UNREADABLE),
        ("Score (1-10): 4", UNREADABLE),
        ("Score out of 10: 4", UNREADABLE),
        ("Score: 1e0", UNREADABLE),
        ("Score: 1e9", UNREADABLE),
        ("Score: 1,000", UNREADABLE),
        ("Score: 3,5", UNREADABLE),
        ("Score: 3.5.1", UNREADABLE),
        ("Score: 4*5", UNREADABLE),
        ("Score: +1", UNREADABLE),
        ("Score: nan", UNREADABLE),
        ("Score: inf", UNREADABLE),
        ("Score: \uff14", UNREADABLE),
        ("Score: \u0664", UNREADABLE),
        ("Score: 4\u00b2", UNREADABLE),
        ("Score: 4 \u00bd", UNREADABLE),
        ("Score: 4 because 3 of the criteria hold", UNREADABLE),
        ("Score: 4. Actually, 3.", UNREADABLE),
        ("Score: 4th", UNREADABLE),
        ("Score: 4a", UNREADABLE),
        ("Score: [4)", UNREADABLE),
        ("Score - 4", UNREADABLE),
        ("Score 4", UNREADABLE),
        ("The final score is 4", UNREADABLE),
        ("Score: 4 (out of 10)", UNREADABLE),
        ("Score: 4 (out of 5), or 3", UNREADABLE),
        ("Score: 4 (3 of 5)", UNREADABLE),
        ("(Score: 4 or 5)", UNREADABLE),
        ("(Score: 4)5", UNREADABLE),
        ("Score: 4</b>5", UNREADABLE),
        ("<answer>Score: 4</answer> or 5", UNREADABLE),
        ('{"score": 4, "final_score": 2}', UNREADABLE),
        ('{"score": 4, "score": 2}', UNREADABLE),
        ('{"score": [4]}', UNREADABLE),
        ('{"score": true}', UNREADABLE),
        ('{"score": "4 or 5"}', UNREADABLE),
        ('Score: 1\n{"score": null}', UNREADABLE),
        ('{"score": 4, "why": "cut', UNREADABLE),
        ('{"criteria": [{"score": 1}, {"score": 0}]}', UNREADABLE),
        ('{"max_score": 5}', UNREADABLE),
        ('{"verdict": {"score": 4}}', UNREADABLE),
        ('[{"score": 1}, {"score": 0}]', UNREADABLE),
        ('{"score": 4, "criteria": [{"score": 1}],}', UNREADABLE),
        ('{"criteria": [' + '{"score": 1}, ' * 99 + '{"score": 0}]}', UNREADABLE),
        ('{"a":' * 99 + '{"score": 4}' + "}" * 98, UNREADABLE),
        ("{'max_score': 5}", UNREADABLE),
        ('{"score": 1e400}', UNREADABLE),
        ('{"score": 4e1}', OUT),
        ("Reason for this score: it is good", NONE),
        ("Score: 3\nMy reasoning leads to the score: four", UNREADABLE),
        ("<think>Score: 4</think>", NONE),
        ("<think>Score: 4", NONE),
        ("Score: 4 <thinking> or rather", NONE),
        ("<|begin_of_thought|>Score: 4", NONE),
        ("\u25c1think\u25b7 Score: 4", NONE),
        ("<reasoning>a</reasoning>Score: 4<reasoning>Score: 5", NONE),
        ("Score: 4</think>I cannot say.", NONE),
        ("Score: 45", OUT),
        ("Score: 6", OUT),
        ("Score: 5.01", OUT),
        ("Score: 6/5", OUT),
        ("Score: -1", OUT),
        ("Score: \u22121", OUT),
        ("Score: " + "9" * 5000, OUT),
    ],
)
def test_anything_else_is_unscored_with_its_text(text: str, reason: UnscoredReason) -> None:
    assert parse_score(text) == Unscored(reason, text)


@pytest.mark.parametrize(
    ("last", "reason"),
    [
        ("Score: none", UNREADABLE),
        ("Score: 9", OUT),
        ("Score - 2", UNREADABLE),
        ("**Score**", UNREADABLE),
    ],
)
def test_an_earlier_verdict_is_never_fallen_back_to(last: str, reason: UnscoredReason) -> None:
    text = f"Score: 3\n{last}\nThat is all."
    assert parse_score(text) == Unscored(reason, text)


def test_the_range_and_its_denominator_are_the_caller_s() -> None:
    assert parse_score("Score: 7/10", 1, 10) == Scored(7)
    assert parse_score("Score (1-10): 7", 1, 10) == Scored(7)
    assert parse_score("Score: 4/5", 1, 10) == Unscored(UNREADABLE, "Score: 4/5")
    assert parse_score("Score: 0", 1, 10) == Unscored(OUT, "Score: 0")
    assert parse_score("Score: -3", -5, 5) == Scored(-3)


def test_a_verdict_that_was_cut_off_may_lack_the_rest_of_its_number() -> None:
    assert parse_score("Good.\nScore: 4", truncated=True) == Unscored(UNREADABLE, "Good.\nScore: 4")
    assert parse_score("Score: 4\nAnd so", truncated=True) == Scored(4)
    assert parse_score("Score: 4\n", truncated=True) == Scored(4)
    assert parse_score('{"score": 4}', truncated=True) == Scored(4)
    thought = "<think>Score: 4</think>"
    assert isinstance(parse_score(f"{thought}Score: 4", truncated=True), Unscored)


WORDS = "Score score : \uff1a = 4 5 5.5 -1 / out of 10 points ( ) [ ] < > ** . , because or 1e9"
MARKS = '" { } {"score": <think> </think> <b> </s> reason for the'
PIECES = st.sampled_from([*WORDS.split(), *MARKS.split(), "\n", "\r\n", ""])


@given(st.one_of(st.text(), st.lists(PIECES).map(" ".join), st.lists(PIECES).map("".join)))
def test_never_raises_and_stays_in_range(text: str) -> None:
    for low, high in ((0, 5), (1, 10), (-2, 2)):
        verdict = parse_score(text, low, high)
        if isinstance(verdict, Scored):
            assert low <= verdict.score <= high
        else:
            assert verdict.raw == text


@given(
    st.text().filter(lambda text: text == after_thoughts(text)),
    st.sampled_from(
        ["<think>{}</think>", "{}</think>", "[THINK]{}[/THINK]", "<|START_THINKING|>{}"]
    ),
)
def test_no_thought_is_a_verdict(thought: str, form: str) -> None:
    text = form.format(f"{thought}\nScore: 3\n")
    assert parse_score(text) == Unscored(NONE, text)


@given(st.text(), st.integers(0, 500))
def test_a_final_verdict_line_rules_whatever_comes_before(before: str, hundredths: int) -> None:
    score = hundredths / 100
    assert parse_score(f"{before}\nScore: {score}") == Scored(score)


@given(st.text(alphabet=st.characters(exclude_characters="sS\u017f")))
def test_no_verdict_without_the_word(text: str) -> None:
    assert parse_score(text) == Unscored(NONE, text)


@pytest.mark.parametrize(
    "piece",
    [
        "score",
        "score ",
        "score (",
        "score*",
        "Score: ",
        "Score: 4 ",
        "(",
        " ",
        "*",
        "9",
        "[4",
        "\n",
        "the ",
        "{",
        '{"a":',
        '{"score": 1} ',
        "<",
        "<b",
        "</think>",
        "<think ",
        "reason for ",
    ],
)
@pytest.mark.parametrize("head", ["", "Score: ", "Score: 4", "Score: 4."])
def test_time_is_linear(head: str, piece: str) -> None:
    text = head + piece * (100_000 // len(piece))
    start = time.thread_time()  # others on the machine do not lengthen it
    parse_score(text)
    assert time.thread_time() - start < 1
