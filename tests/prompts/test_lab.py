"""The lab's instructions as prompts."""

import pytest

from iterdpo.prompts.base import assert_held_out, folded
from iterdpo.prompts.lab import LabPrompts


@pytest.fixture(scope="module")
def lab() -> LabPrompts:
    return LabPrompts()


def test_the_three_sets_are_held_out_from_each_other(lab: LabPrompts) -> None:
    loop = [prompt for t in (1, 2, 3) for prompt in lab.loop(t, 400, seed=0)]
    evaluation, reference = lab.evaluation(400, 0), lab.judge_reference(400, 0)
    assert_held_out(loop, evaluation)
    assert_held_out(loop, reference)
    assert_held_out(evaluation, reference)
    assert len({prompt.id for prompt in loop}) == 1200


def test_no_prompt_is_one_that_the_seed_model_was_trained_on(lab: LabPrompts) -> None:
    from iterdpo.lab.splits import instructions

    trained = {folded(text) for text in instructions("seed")}
    asked = [*lab.loop(1, 500, 0), *lab.evaluation(500, 0), *lab.judge_reference(500, 0)]
    assert not [prompt for prompt in asked if folded(prompt.text) in trained]


def test_seeds_differ_and_repeat(lab: LabPrompts) -> None:
    assert lab.loop(1, 50, 0) == LabPrompts().loop(1, 50, 0)
    assert lab.loop(1, 50, 0) != lab.loop(1, 50, 1)


def test_identity_changes_with_the_instructions(
    lab: LabPrompts, monkeypatch: pytest.MonkeyPatch
) -> None:
    import iterdpo.lab.splits as splits

    before = lab.content
    real = splits.instructions
    monkeypatch.setattr(splits, "instructions", lambda split: real(split)[1:])
    after = LabPrompts().content
    assert [name for name in before if before[name] != after[name]] == [
        "loop", "evaluation", "judge",
    ]  # fmt: skip
