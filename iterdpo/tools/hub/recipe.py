"""What both cards tell of a run: how it was made, of what, by whom, and what it does not show."""

from __future__ import annotations

from typing import Final

from iterdpo.config.choices import TARGET, name_of
from iterdpo.evaluation.oracles import LAB
from iterdpo.evaluation.summary import IterationSummary, ModelSummary
from iterdpo.evaluation.table import table
from iterdpo.judging.human import HumanJudge
from iterdpo.records import Pair
from iterdpo.runs.directory import Run
from iterdpo.tools.hub.markdown import bullets, code, escaped, fenced
from iterdpo.tools.hub.pairs import has_offline_pairs, judge_of, judged_by_policy, judges_of
from iterdpo.tools.hub.provenance import Origin, hub_id_of, without_places
from iterdpo.tools.report.settings import changed, flat, shipped
from iterdpo.tools.report.settings import command as repeating_command

_PAPERS: Final = {
    "loop": ("Self-Rewarding Language Models", "2401.10020"),
    "DPO": ("Direct Preference Optimization", "2305.18290"),
    "IPO": ("Identity Preference Optimization", "2310.12036"),
    "ORPO": ("Odds Ratio Preference Optimization", "2403.07691"),
}

# Where a run's own files lie and what it tells whom: nothing of how its models came about.
_LOCAL = ("store.", "tracking.", "hub.", "report", "plan")


def method(run: Run) -> str:
    """Return what the models were trained by: DPO, IPO or ORPO."""
    training = run.values["training"]
    if training["method"] == "orpo":
        return "ORPO"
    return "IPO" if "ipo" in training["loss"] else "DPO"


def papers(run: Run) -> str:
    """Return where to read of the method, and of the loop where there was one."""
    kinds = ([] if has_offline_pairs(run) else ["loop"]) + [method(run)]
    return ", ".join(
        f"{title} ([arXiv {number}](https://arxiv.org/abs/{number}))"
        for title, number in map(_PAPERS.__getitem__, kinds)
    )


def command(run: Run) -> str:
    """Return the command that makes the run again, and how its settings differ from the shipped."""
    shown = repeating_command(run)
    parts = []
    if shown is not None:
        parts.append(fenced(without_places(shown), "sh"))
    rows = [
        [code(key), code(without_places(value)), code(without_places(default))]
        for key, value, default in changed(flat(run.values), shipped())
        if not key.startswith(_LOCAL)
    ]
    if rows:
        parts.append(
            "Settings other than the shipped ones; of a path, the last part is shown:\n\n"
            + table(["setting", "here", "shipped"], rows)
        )
    else:
        parts.append("Every setting is as shipped.")
    versions = run.summary.run.versions
    listed = ", ".join(f"{escaped(name)} {escaped(of)}" for name, of in versions.items())
    parts.append(f"Seed {run.values['seed']}. Versions: {listed}.")
    return "\n\n".join(parts)


def data(run: Run) -> str:
    """Return where prompts and examples came from and what each iteration made of them."""
    prompts, sft = run.values["prompts"], run.values["sft"]
    source, chosen = prompts.get("path"), name_of(prompts)
    text = {
        "LabPrompts": "Prompts: the instruction grammar that ships with iterdpo.",
        "SelfInstructPrompts": f"Prompts: written by M0 after the examples in {_file(source)}.",
        "PairsPrompts": "Prompts: those of the pairs, some of them held out.",
    }.get(chosen, f"Prompts: {_file(source) if source else code(chosen)}.")
    if has_offline_pairs(run):
        text = f"Pairs: {_offline_source(run)}, as somebody gave them. {text}"
    if sft["method"] != "none":
        ranked = [sft["ranked"]["path"]] if sft["ranked"] else []
        files = ", ".join(map(_file, [*sft["path"], *ranked]))
        text += f" M0 was fine-tuned first, on examples of {files}."
    rows = [
        [
            str(made.iteration),
            f"{made.prompts:,}",
            f"{made.candidates:,}",
            f"{made.judgments.scored:,}",
            f"{made.pairs.kept:,}",
            f"{sum(made.pairs.dropped.values()):,}",
        ]
        for made in run.summary.iterations
    ]
    heads = ["iteration", "prompts", "answers", "scored", "pairs", "dropped"]
    return f"{text}\n\n{table(heads, rows)}" if rows else text


def lineage(run: Run, origin: Origin) -> str:
    """Return every model with what it came from: parent, judge, reference, hashes."""
    rows = []
    for model in run.models:
        policy = run.policy(model.name)
        weights = policy.adapter.sha256 if policy.adapter else policy.base.sha256
        made = _trained_in(run, model)
        pairs = run.records(made.stages.pairs, Pair)[:1] if made else ()
        rows.append(
            [
                model.name,
                model.parent or "",
                escaped(judge_of(run, pairs[0])) if pairs else "",
                str(run.values["training"]["reference"]) if made else "",
                code(policy.fingerprint),
                code(weights),
            ]
        )
    heads = ["model", "trained from", "judge", "reference", "fingerprint", "sha256 of the weights"]
    base = run.policy("M0").base
    revision = f" at revision {code(origin.revision)}" if origin.revision else ""
    text = (
        f"M0 stands on {escaped(origin.shown)}{revision}: sha256 over its weights, tokenizer and "
        f"configuration {code(base.sha256)}, held as {escaped(base.quantization)} in "
        f"{escaped(base.dtype)}, fingerprint {code(base.fingerprint)}."
    )
    return f"{table(heads, rows)}\n\n{text}"


def limits(run: Run) -> str:
    """Return what a reader must not take the numbers for."""
    values, summary = run.values, run.summary
    lines = []
    if has_offline_pairs(run):
        lines.append("The preferences are those of the data; nobody here looked through them.")
    elif judged_by_policy(run):
        judges = [judge_of(run, pair) for pair in judges_of(run).values()]
        who = judges[0] if len(judges) == 1 else "each policy, itself"
        lines.append(
            f"The preferences are a model's own: the judge was {who}, and no person looked at "
            "them. A judge of this kind rewards what it likes, right or not, and its scores are no "
            "measure of quality."
        )
    elif name_of(values["judge"]) != HumanJudge.__name__:
        lines.append("The preferences are a model's; no person looked at them.")
    evaluation = values["evaluation"]
    oracle = evaluation["oracle"]
    if oracle is None:
        arbiter = {
            "none": "Nothing but the models' own judgment measured quality.",
            "initial": "Answers were compared by M0, which is a model too.",
        }.get(evaluation["arbiter"], "Answers were compared by another model.")
        lines.append(f"There is no exact measure of quality for these prompts. {arbiter}")
    elif oracle[TARGET] == LAB:
        lines.append(
            "Quality is the lab's oracle's, on the lab's own instructions; it says nothing of any "
            "other task."
        )
    else:
        lines.append(
            f"Quality is what {code(name_of(oracle))} scores, on held-out prompts of this run; it "
            "says nothing of any other task."
        )
    lines.append(
        f"One run with one seed ({values['seed']}). The 95 % intervals are clustered by prompt; "
        "they do not say how another seed would have done."
    )
    if values["model"]["quantization"] != "none":
        lines.append(
            f"The base was {escaped(values['model']['quantization'])} while it was trained, and "
            "what was measured stood on those weights. On unquantized ones a model answers "
            "differently."
        )
    lines += [f"Alarm: {escaped(alarm.message)}." for alarm in summary.alarms]
    if summary.stopped:
        lines.append(f"The run was {escaped(summary.stopped.message)}.")
    lines.append(
        "The licenses of the base and of the prompts go on to what was made of them; they are "
        "yours to look up."
    )
    return bullets(lines)


def _trained_in(run: Run, model: ModelSummary) -> IterationSummary | None:
    """Return the iteration whose training made a model; None for M0, and where none trained."""
    made = run.summary.iteration(model.iteration)
    return made if made and made.stages.adapter else None


def _offline_source(run: Run) -> str:
    dataset = run.values["pairs"]["dataset"]
    if hub_id_of(dataset["path"]) is None:
        return _file(dataset["path"])
    which = [
        f"{key} {code(dataset[key])}" for key in ("subset", "split", "revision") if dataset[key]
    ]
    return f"{_file(dataset['path'])} ({', '.join(which)})"


def _file(path: str | None) -> str:
    return code(without_places(path)) if path else "(none)"
