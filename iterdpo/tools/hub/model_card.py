"""The model card: what the weights are, what they were measured to be, and how to load them."""

from __future__ import annotations

from typing import Any

from iterdpo.config.hub import PAIRS_SUFFIX
from iterdpo.evaluation.table import markdown
from iterdpo.models.prequantized import PREQUANTIZED
from iterdpo.records import Policy
from iterdpo.runs.directory import Run
from iterdpo.tools.hub import recipe
from iterdpo.tools.hub.card_metadata import with_metadata
from iterdpo.tools.hub.choice import BASE_DIR, SharedModels, own_base
from iterdpo.tools.hub.markdown import escaped, fenced
from iterdpo.tools.hub.pairs import has_offline_pairs, judged_by_policy
from iterdpo.tools.hub.provenance import Origin, hub_id_of


def model_card(run: Run, choice: SharedModels, origin: Origin, repo: str, *, pairs: bool) -> str:
    """Return the README of a model repository.

    Args:
        run: the run that made the models.
        choice: which of them are there.
        origin: what they stand on.
        repo: the repository, for the lines that load from it.
        pairs: whether the pairs are shared as well.
    """
    adapters = any(policy.adapter for policy in choice.policies)
    metadata = {
        "library_name": "peft" if adapters else "transformers",
        "pipeline_tag": "text-generation",
        "base_model": origin.hub_id,
        "base_model_relation": ("adapter" if adapters else "finetune") if origin.hub_id else None,
        "datasets": _datasets(run, repo, pairs=pairs),
        "tags": tags(run, adapters=adapters),
    }
    sections = [
        f"# {escaped(repo.rpartition('/')[2])}",
        _opening(run, choice, origin),
        f"## Load\n\n{_loading(run, choice, origin, repo)}",
        f"## Results\n\n{markdown(run.summary).rstrip()}\n\n{_reading_aid(run)}",
        f"## Recipe\n\n{recipe.command(run)}",
        f"## Data\n\n{recipe.data(run)}",
        f"## Lineage\n\n{recipe.lineage(run, origin)}",
        f"## Limits\n\n{recipe.limits(run)}",
    ]
    return with_metadata(metadata, sections)


def _datasets(run: Run, repo: str, *, pairs: bool) -> list[str] | None:
    """Return the Hub's datasets that the models were trained on."""
    if has_offline_pairs(run):
        name = hub_id_of(run.values["pairs"]["dataset"]["path"])
        return [name] if name else None
    return [f"{repo}{PAIRS_SUFFIX}"] if pairs else None


def tags(run: Run, *, adapters: bool) -> list[str]:
    """Return the words to find the models by."""
    method = recipe.method(run).lower()
    return [
        "iterdpo", method, *([] if has_offline_pairs(run) else [f"iterative-{method}"]), "trl",
        *(["lora"] if adapters else []),
        *(["self-rewarding"] if judged_by_policy(run) else []),
    ]  # fmt: skip


def _opening(run: Run, choice: SharedModels, origin: Origin) -> str:
    kind = "LoRA adapters" if any(policy.adapter for policy in choice.policies) else "Models"
    method = recipe.method(run)
    how = (
        f"trained by {method} with iterdpo on preference pairs that somebody gave"
        if has_offline_pairs(run)
        else f"made by iterative {method} with iterdpo: in each iteration the policy answers new "
        "prompts, a judge scores the answers, and the next policy is trained on pairs of good and "
        "bad ones"
    )
    text = f"{kind} on {escaped(origin.shown)}, {how}. {recipe.papers(run)}."
    places = [
        f"{policy.name} lies {'at the top' if policy == choice.top else 'in its folder'}"
        for policy in choice.policies
    ]
    return f"{text}\n\n{', '.join(places)}."


def _loading(run: Run, choice: SharedModels, origin: Origin, repo: str) -> str:
    policy = choice.policies[0]
    folder = choice.folder_of(policy)
    if policy.adapter is None:
        return fenced(_whole(repo, folder, policy.base.dtype), "python")
    made_base = own_base(run, choice.policies)
    if made_base is not None:
        source, where = repr(repo), f', subfolder="{BASE_DIR}"'
    else:
        source = origin.as_python
        where = f", revision={origin.revision!r}" if origin.revision else ""
    note = ""
    if origin.hub_id is None and made_base is None:
        name = escaped(origin.shown)
        note = (
            "\n\nThe base is the seed model in the iterdpo package, `iterdpo/lab/seed`."
            if run.values["model"]["path"] == "lab"
            else f"\n\nThe base, {name}, is a checkpoint that is not on the Hub: the sha256 under "
            "Lineage tells the right one."
        )
    return fenced(_adapted(policy, source, where, repo, folder), "python") + note


def _whole(repo: str, folder: str | None, dtype: str) -> str:
    where = f', subfolder="{folder}"' if folder else ""
    return (
        "from transformers import AutoModelForCausalLM, AutoTokenizer\n\n"
        f"model = AutoModelForCausalLM.from_pretrained({repo!r}{where}, dtype={dtype!r})\n"
        f"tokenizer = AutoTokenizer.from_pretrained({repo!r}{where})"
    )


def _adapted(policy: Policy, source: str, where: str, repo: str, folder: str | None) -> str:
    """Return the lines that load the base as it was held in training, and the adapter on it."""
    quantized = _quantization(policy.base.quantization, policy.base.dtype)
    subfolder = f', subfolder="{folder}"' if folder else ""
    names = ["AutoModelForCausalLM", "AutoTokenizer"]
    lines = [f"base = {source}"]
    options = f"dtype={policy.base.dtype!r}"
    if quantized is not None:
        names.append("BitsAndBytesConfig")
        lines.append(f"held = {quantized}  # as in training; leave it out for plain weights")
        options += ", quantization_config=held"
    return "\n".join(
        [
            *(["import torch"] if quantized else []),
            "from peft import PeftModel",
            f"from transformers import {', '.join(names)}",
            "",
            *lines,
            f"model = AutoModelForCausalLM.from_pretrained(base{where}, {options})",
            f"model = PeftModel.from_pretrained(model, {repo!r}{subfolder})",
            f"tokenizer = AutoTokenizer.from_pretrained(base{where})",
        ]
    )


def _quantization(scheme: str, dtype: str) -> str | None:
    """Return the configuration of a scheme as Python; see ``base_model.quantization_config``."""
    if scheme in ("none", *PREQUANTIZED):  # or the checkpoint says it itself
        return None
    if scheme == "int8":
        return "BitsAndBytesConfig(load_in_8bit=True)"
    double = ", bnb_4bit_use_double_quant=True" if scheme == "nf4-double" else ""
    return (
        f'BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4"{double}, '
        f"bnb_4bit_compute_dtype=torch.{dtype})"
    )


def _reading_aid(run: Run) -> str:
    evaluation: dict[str, Any] = run.values["evaluation"]
    return (
        f"{evaluation['prompts']:,} held-out prompts, {evaluation['samples']} sampled answers to "
        "each. After ± and in parentheses: 95 % intervals, clustered by prompt; gains are paired "
        "by it."
    )
