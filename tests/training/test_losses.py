"""The losses against arithmetic written out by hand, for one pair (and two, where order counts)."""

from __future__ import annotations

import math

import pytest
import torch

from iterdpo.training.losses import LOSSES, PairLogprobs, mixture

# Chosen: policy -10, reference -12, so c = 2. Rejected: policy -20, reference -19, so r = -1.
# d = 3, with beta 0.5 the margin is 1.5. Tokens: 4 chosen, 5 rejected; means 0.5 and -0.2.
PAIR = PairLogprobs(*(torch.tensor([float(x)]) for x in (-10, -20, -12, -19, 4, 5)))
SAME = PairLogprobs(*(torch.tensor([float(x)]) for x in (-10, -20, -10, -20, 4, 5)))
BETA = 0.5


def sigma(x: float) -> float:
    return 1 / (1 + math.exp(-x))


EXPECTED = {
    "sigmoid": -math.log(sigma(1.5)),
    "sigmoid_norm": -math.log(sigma(0.5 * 0.7)),
    "hinge": 0.0,
    "ipo": (0.7 - 1.0) ** 2,
    "robust": (0.9 * -math.log(sigma(1.5)) - 0.1 * -math.log(sigma(-1.5))) / 0.8,
    "exo_pair": sigma(1.5) * (math.log(sigma(1.5)) - math.log(0.9))
    + sigma(-1.5) * (math.log(sigma(-1.5)) - math.log(0.1)),
    "nca_pair": -math.log(sigma(1.0)) - 0.5 * math.log(sigma(-1.0)) - 0.5 * math.log(sigma(0.5)),
    "bco_pair": -math.log(sigma(1.0)) - math.log(sigma(0.5)),
    "sppo_hard": (2 - 1) ** 2 + (-1 + 1) ** 2,
    "aot": 0.9 * -math.log(sigma(1.5)) + 0.1 * -math.log(sigma(-1.5)),
    "aot_unpaired": 0.9 * -math.log(sigma(1.5)) + 0.1 * -math.log(sigma(-1.5)),
    "apo_zero": 1 - sigma(1.0) + sigma(-0.5),
    "apo_down": sigma(1.0) + 1 - sigma(1.5),
    "discopop": -math.log(sigma(1.5)) * (1 - sigma(30)) + math.exp(-1.5) * sigma(30),
    "sft": 10 / 4,
}


def test_every_loss_has_its_arithmetic() -> None:
    assert set(EXPECTED) == set(LOSSES)


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_loss(name: str) -> None:
    value = LOSSES[name](PAIR, BETA, 0.1)
    assert value.shape == (1,)
    assert value.item() == pytest.approx(EXPECTED[name], rel=1e-5, abs=1e-6)


@pytest.mark.parametrize(
    ("name", "value"),
    [("sigmoid", math.log(2)), ("hinge", 1.0), ("ipo", 1.0), ("bco_pair", 2 * math.log(2))],
)
def test_where_policy_and_reference_agree(name: str, value: float) -> None:
    assert LOSSES[name](SAME, BETA, 0.0).item() == pytest.approx(value, rel=1e-6)


def test_the_optimal_transport_losses_match_sorted_margins() -> None:
    # Chosen ratios (1, 3), rejected ratios (2, 0), references 0. Paired margins are -1 and 3,
    # in either order; unpaired the sorted ones, (1, 3) and (0, 2), differ by 1 and 1.
    two = PairLogprobs(
        torch.tensor([1.0, 3.0]),
        torch.tensor([2.0, 0.0]),
        *(torch.zeros(2) for _ in range(2)),
        *(torch.ones(2) for _ in range(2)),
    )
    paired = sorted(LOSSES["aot"](two, 1.0, 0.0).tolist())
    assert paired == pytest.approx(sorted([-math.log(sigma(3)), -math.log(sigma(-1))]))
    assert LOSSES["aot_unpaired"](two, 1.0, 0.0).tolist() == pytest.approx(
        [-math.log(sigma(1))] * 2
    )


def test_extreme_margins_stay_finite() -> None:
    far = PairLogprobs(*(torch.tensor([x]) for x in (-1e4, 0.0, 0.0, -1e4, 4.0, 4.0)))
    assert LOSSES["sigmoid"](far, 1.0, 0.0).item() == pytest.approx(2e4)


def test_the_nll_is_the_mean_over_all_chosen_tokens_of_the_batch() -> None:
    batch = PairLogprobs(
        policy_chosen=torch.tensor([-6.0, -2.0]),
        policy_rejected=torch.zeros(2),
        reference_chosen=torch.zeros(2),
        reference_rejected=torch.zeros(2),
        chosen_tokens=torch.tensor([3.0, 5.0]),
        rejected_tokens=torch.ones(2),
    )
    assert LOSSES["sft"](batch, 1.0, 0.0).tolist() == pytest.approx([1.0, 1.0])  # 8 nats, 8 tokens


def test_a_mixture_is_the_weighted_sum() -> None:
    expected = 2 * EXPECTED["sigmoid"] + 0.25 * EXPECTED["sft"]
    value = mixture(PAIR, ("sigmoid", "sft"), (2.0, 0.25), BETA, 0.1)
    assert value.item() == pytest.approx(expected, rel=1e-5)
