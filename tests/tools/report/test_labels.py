"""Why a label is wrong, by the lab's oracle."""

from iterdpo.tools.report.labels import PairLabel, lab_label, overlooked, why_wrong

PROMPT = "name two colors in alphabetical order"


def test_a_label_is_right_wrong_or_equal_by_the_points_of_both_answers() -> None:
    right = lab_label(PROMPT, "gold red", "red gold")
    wrong = lab_label(PROMPT, "red gold", "gold red")
    equal = lab_label(PROMPT, "gold red", "lime red")
    assert right
    assert wrong
    assert equal
    assert (right.verdict, wrong.verdict, equal.verdict) == ("right", "wrong", "equal")
    assert (wrong.chosen_score, wrong.rejected_score) == (4, 5)
    assert wrong.chosen_missed == ("order",)
    assert wrong.rejected_missed == ()


def test_an_instruction_that_is_not_the_labs_has_no_label() -> None:
    assert lab_label("What is love?", "a", "b") is None


def test_the_reason_names_both_scores_and_the_points_missed() -> None:
    wrong = lab_label(PROMPT, "red gold", "gold red")
    assert wrong
    assert why_wrong(wrong, 4.25, 2.5) == (
        "The judge gave the chosen answer 4.25 and the rejected one 2.50; the oracle gives them 4 "
        "and 5. The chosen answer misses the point order, the rejected one nothing."
    )


def test_several_points_are_listed() -> None:
    label = PairLabel("wrong", 2, 4, ("count", "order", "form"), ("topic",))
    assert "misses the points count, order and form, the rejected one the point topic." in (
        why_wrong(label, 4, 2)
    )


def test_only_points_that_the_rejected_answer_earned_were_overlooked() -> None:
    wrong = PairLabel("wrong", 3, 4, ("count", "order"), ("order",))
    right = PairLabel("right", 4, 3, ("form",), ("count", "limits"))
    assert overlooked([wrong, wrong, right]) == {"count": 2}
