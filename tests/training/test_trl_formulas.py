"""TRL's IPO and ORPO losses, and ours, on numbers written out: what they take means of."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from iterdpo.models.loading import load_tokenizer
from iterdpo.training.learners import load_learner
from iterdpo.training.losses import ipo, orpo
from iterdpo.training.spec import PairExample
from iterdpo.training.train import make_trainer
from tests.training.conftest import MakeSpec, odds_spec
from tests.training.test_losses import BETA, PAIR

# Chosen 4 tokens, -10 nats by the policy and -12 by the reference: means -2.5 and -3, 0.5 apart.
# Rejected 5 tokens, -20 and -19 nats: means -4 and -3.8, -0.2 apart. The difference is 0.7, and
# IPO is (0.7 - 1 / (2 tau))^2 with tau = 0.5. Of summed log-probs it would be (3 - 1)^2 = 4.
IPO = (0.7 - 1) ** 2


def test_ipo_takes_means_over_an_answers_tokens(make_spec: MakeSpec) -> None:
    spec = make_spec(loss=("ipo",), beta=BETA)
    examples = [PairExample((1, 2), (3,) * 4, (3,) * 5, (-1.0,), (-1.0,))]
    tokenizer = load_tokenizer(spec.base.path)
    trainer: Any = make_trainer(load_learner(spec), tokenizer, examples, spec, None)
    inputs = trainer.data_collator([dict(trainer.train_dataset[0])])
    assert inputs["completion_mask"].tolist() == [[0, 0, 1, 1, 1, 1, 0], [0, 0, 1, 1, 1, 1, 1]]

    def saying(chosen: float, rejected: float) -> Any:
        """A model that gives each token of the two answers so many nats."""
        logprobs = torch.tensor([[0, *[chosen] * 4, 0], [0, *[rejected] * 5]], requires_grad=True)
        nothing = torch.zeros(2, 6)
        said = SimpleNamespace(
            log_probs=logprobs, entropy=nothing, mean_logits=nothing, is_top1=nothing.bool()
        )
        return lambda **_: said

    trainer.ref_model = saying(-3.0, -3.8)
    loss = trainer._compute_loss(saying(-2.5, -4.0), inputs, return_outputs=False)
    assert loss.item() == pytest.approx(IPO, rel=1e-5)
    assert ipo(PAIR, BETA, 0.0).item() == pytest.approx(IPO, rel=1e-5)


# A model whose next token is 0, 1, 2 or 3 with these probabilities, whatever went before. Mean
# log-probs are then logarithms of them, and odds(0.4) = 2/3, odds(0.2) = 1/4, odds(0.3) = 3/7,
# odds(0.1) = 1/9. Ratios 8/3 and 27/7 give -log sigma(log 8/3) = log(11/8) and log(34/27).
NEXT = (0.1, 0.2, 0.3, 0.4)
PAIRS = [
    PairExample((0, 2), (3, 3), (1, 1, 1), (), ()),
    PairExample((1, 2), (2,), (0, 0), (), ()),
]
ODDS = (math.log(11 / 8) + math.log(34 / 27)) / 2
# Of the chosen rows the first token is not predicted: 2, 3, 3 and 2, 2 are.
LIKELIHOOD = -(math.log(0.3) + 2 * math.log(0.4) + 2 * math.log(0.3)) / 5


def test_orpo_takes_means_over_answers_and_the_likelihood_of_prompts_too(
    make_spec: MakeSpec,
) -> None:
    spec = odds_spec(make_spec(beta=0.25))
    tokenizer = load_tokenizer(spec.base.path)
    trainer: Any = make_trainer(load_learner(spec), tokenizer, PAIRS, spec, None)
    inputs = trainer.data_collator([dict(row) for row in trainer.train_dataset])

    def model(ids: Any, **_: Any) -> Any:
        return SimpleNamespace(logits=torch.tensor(NEXT).log().expand(*ids.shape, -1))

    loss, metrics = trainer.get_batch_loss_metrics(model, inputs)
    assert loss.item() == pytest.approx(LIKELIHOOD + 0.25 * ODDS, rel=1e-5)
    assert metrics["nll_loss"] == pytest.approx(LIKELIHOOD, rel=1e-5)
    assert metrics["log_odds_ratio"] == pytest.approx(-ODDS, rel=1e-5)
    assert metrics["logps/chosen"] == pytest.approx((math.log(0.4) + math.log(0.3)) / 2, rel=1e-5)

    chosen, rejected = torch.tensor([0.4, 0.3]).log(), torch.tensor([0.2, 0.1]).log()
    ours = orpo(torch.tensor(LIKELIHOOD), chosen, rejected, 0.25)
    assert ours.tolist() == pytest.approx(
        [LIKELIHOOD + 0.25 * math.log(11 / 8), LIKELIHOOD + 0.25 * math.log(34 / 27)], rel=1e-5
    )


def test_orpo_weighs_nothing_where_both_answers_are_as_likely() -> None:
    same = torch.tensor([math.log(0.3)])
    assert orpo(torch.tensor(2.0), same, same, 1.0).item() == pytest.approx(2 + math.log(2))


@pytest.mark.parametrize("mean", [-1e-9, -1e-4, -50.0])
def test_orpo_is_finite_for_sure_and_for_hopeless_answers(mean: float) -> None:
    # log(1 - e^x) is log(-x) near 0 and 0 far from it; the other answer has even odds.
    odds = mean - (math.log(-math.expm1(mean)))
    value = orpo(torch.tensor(0.0), torch.tensor([mean]), torch.tensor([math.log(0.5)]), 1.0)
    assert value.item() == pytest.approx(max(0, -odds) + math.log1p(math.exp(-abs(odds))), rel=1e-4)
