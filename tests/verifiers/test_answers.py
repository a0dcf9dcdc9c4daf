"""Numbers, choices, texts and patterns read from answers."""

from __future__ import annotations

from fractions import Fraction

import pytest

from iterdpo.records import Prompt
from iterdpo.verifiers.multiple_choice import MultipleChoice
from iterdpo.verifiers.number import Form, Number, final_number
from iterdpo.verifiers.pattern import Regex
from iterdpo.verifiers.text import ExactText


def prompt(reference: str | None) -> Prompt:
    return Prompt.of("Which?", "t", reference=reference)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("6 * 7 = 42\n#### 42", "42"),
        ("#### 1,234", "1234"),
        (r"so \boxed{\frac{3}{4}}, not 5", "3/4"),
        (r"first \boxed{1}, rather \boxed{2}", "2"),
        (r"\boxed{\text{about } 12.50}", "25/2"),
        (r"\boxed{\boxed{4} and 5}", "4"),
        (r"\boxed{3", "3"),  # never closed: the last number of the text
        ("The answer is -5.50 dollars of 7.", "-11/2"),
        ("Answer: $1,000.", "1000"),
        ("answer: none of them, 12", "12"),
        ("it is 3 / 4", "3/4"),
        ("−7 degrees", "-7"),
        ("-$4", "-4"),
        ("2 - 3", "3"),  # a difference is no sign
        ("a 5% rise", "5"),
        ("2e3", "2000"),
        ("version v2 of 10.", "10"),
        ("3 apples and 4 pears", "4"),
    ],
)
def test_the_number_that_a_text_ends_in(text: str, number: str) -> None:
    assert final_number(text) == Fraction(number)


@pytest.mark.parametrize("text", ["", "none", "1e999999999", "9" * 41, "1/0", "x2y"])
def test_what_is_no_number_or_none_to_compute_with(text: str) -> None:
    assert final_number(text) is None


@pytest.mark.parametrize(
    ("form", "number"), [("boxed", 1), ("announced", 2), ("last", 3), ("any", 1)]
)
def test_a_form_looks_in_its_own_place_alone(form: Form, number: int) -> None:
    assert final_number(r"\boxed{1}, the answer is 2, or 3", form) == number


def test_a_number_is_compared_exactly_or_with_a_tolerance() -> None:
    exact, near = Number(), Number(tolerance=0.01)
    third = prompt("#### 1/3")
    assert [exact.score(third, text) for text in ("2/6", "0.333", "", "three")] == [1, 0, 0, 0]
    assert [near.score(third, text) for text in ("0.333", "0.34")] == [1, 0]  # 2 % off
    assert exact.knows(third)
    assert not exact.knows(prompt("none"))
    assert not exact.knows(prompt(None))


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("B", "B"),
        ("(C)", "C"),
        ("**B**", "B"),
        ("A. because B is wrong", "A"),
        ("The answer is B.", "B"),
        ("Answer: (D) because A is not", "D"),
        (r"\boxed{\text{C}}", "C"),
        ("A dog, so I think that D", "D"),
        ("It can't be A, so it must be C.", "C"),
        ("none of them", None),
        ("F", None),
    ],
)
def test_the_letter_that_a_text_chooses(text: str, letter: str | None) -> None:
    assert MultipleChoice().chosen(text) == letter


def test_a_choice_is_compared_with_the_reference() -> None:
    judge = MultipleChoice(letters="ABCD")
    assert [judge.score(prompt("(B)"), text) for text in ("B", "b", "C", "")] == [1, 0, 0, 0]
    assert not judge.knows(prompt("E"))
    with pytest.raises(ValueError, match="letters=abc: name capital letters"):
        MultipleChoice(letters="abc")


def test_texts_are_compared_as_a_whole_or_by_a_line() -> None:
    right = prompt("Four  score")
    answers = [" Four score\n", "four score", "Well,\n\nFour score\n \n", "Four score and"]
    assert [ExactText().score(right, text) for text in answers] == [1, 0, 0, 0]
    assert [ExactText(ignore_case=True).score(right, text) for text in answers] == [1, 1, 0, 0]
    assert [ExactText(part="last_line").score(right, text) for text in answers] == [1, 0, 1, 0]
    assert ExactText(ignore_spaces=False).score(right, answers[0]) == 0
    assert ExactText(part="first_line").score(prompt("Well,"), answers[2]) == 1


def test_a_pattern_is_found_matched_whole_or_absent() -> None:
    any_prompt = prompt(None)
    assert Regex(pattern=r"\d+").score(any_prompt, "the 12th") == 1
    assert Regex(pattern=r"\d+", whole=True).score(any_prompt, "the 12th") == 0
    assert Regex(pattern=r"\d+", whole=True).score(any_prompt, " 12\n") == 1
    assert Regex(pattern="please", absent=True).score(any_prompt, "Please!") == 1
    assert Regex(pattern="please", absent=True, ignore_case=True).score(any_prompt, "Please!") == 0
    own = Regex()
    assert own.score(prompt("^y"), "yes") == 1
    assert [own.knows(prompt(given)) for given in ("^y", "(", None)] == [True, False, False]
    with pytest.raises(ValueError, match=r"^pattern=\(: is no regular expression: "):
        Regex(pattern="(")


def test_a_pattern_that_would_never_end_stops_at_its_limit() -> None:
    # (a|aa)+ tries every way to cut 60 letters up: Fibonacci many, about 10 ** 12.
    forever = Regex(pattern=r"^(a|aa)+$", seconds=0.05)
    with pytest.raises(TimeoutError):
        forever.score(prompt(None), "a" * 60 + "b")


def test_an_answer_made_to_be_long_is_read_in_linear_time() -> None:
    # What takes the square of the length takes hours, and so fails by the test's time limit.
    for unit in (r"\boxed{", "####", "{", "answer: ", "A ", "1,111"):
        final_number(unit * 100_000)
        MultipleChoice().chosen(unit * 100_000)
