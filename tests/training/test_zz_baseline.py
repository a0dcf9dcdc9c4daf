# mypy: ignore-errors
# ruff: noqa
import dataclasses, hashlib, json, os
from tests.training.conftest import odds_spec
from iterdpo.training.train import train

train_by_odds = fine_tune = train


def test_baseline(make_spec, make_lessons, tmp_path, files):
    found = {}
    lora = dataclasses.replace(make_spec().lora, dropout=0.1)
    for q in ("none", "nf4"):
        for name, f, spec in (
            (
                "dpo",
                train,
                make_spec(q, lora=lora, epochs=2, loss=("sigmoid", "sft"), loss_weights=(1.0, 0.3)),
            ),
            (
                "orpo",
                train_by_odds,
                odds_spec(make_spec(q, lora=lora, epochs=2, micro_batch_size=1)),
            ),
            ("sft", fine_tune, make_lessons(q, lora=lora, epochs=2, micro_batch_size=2)),
        ):
            out = tmp_path / f"{name}{q}"
            f(spec, out)
            found[f"{name}{q}"] = {
                n: hashlib.sha256(b).hexdigest()[:16]
                for n, b in files(out).items()
                if not n.endswith("config.json")
            }
    full = make_spec(lora=None, reference_adapter=None, epochs=2)
    train(full, tmp_path / "full")
    found["full"] = {
        n: hashlib.sha256(b).hexdigest()[:16] for n, b in files(tmp_path / "full").items()
    }
    with open(os.environ["BASE_OUT"], "w") as f:
        json.dump(found, f, indent=1, sort_keys=True)
