"""Which of a run's models are shared, and the files that each of them is."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from iterdpo.config.hub import Models
from iterdpo.errors import UserError
from iterdpo.models.layout import ADAPTER_CONFIG, ADAPTER_WEIGHTS
from iterdpo.records import Policy
from iterdpo.runs.directory import Run
from iterdpo.store.manifest import verify
from iterdpo.tools.hub.provenance import Origin

BASE_DIR = "base"
"""Where a base that the run made itself (a merged fine-tuning) lies in the repository."""


@dataclass(frozen=True)
class SharedModels:
    """The models of one repository."""

    top: Policy | None
    """Whose files lie at the top, where loaders look first."""
    folders: Sequence[Policy] = ()
    """Those that lie in folders of their names; ``top`` may be among them."""

    @property
    def policies(self) -> Sequence[Policy]:
        """Every model once."""
        rest = [item for item in self.folders if item != self.top]
        return rest if self.top is None else [self.top, *rest]

    def folder_of(self, policy: Policy) -> str | None:
        """Return the folder to load a model from; None for the top."""
        return None if policy == self.top else policy.name


def choose(run: Run, models: Models) -> SharedModels | None:
    """Return the models that ``models`` names; None for none of them.

    Raises:
        UserError: what is named was not made by this run, so that there is nothing to upload.
    """
    if models == "none":
        return None
    made = [policy for policy in run.policies.values() if policy.trained_in is not None]
    named = run.policy(run.best) if models != "last" else run.policy()
    top = named if named in made else None
    if models == "all" and made:
        return SharedModels(top, made)
    if top is None:
        others = ", ".join(policy.name for policy in made)
        raise UserError(
            f"hub.models={models}: the {models} model is {named.name}, the checkpoint that the "
            "run began with: there is nothing of its own to upload; "
            + (f"take last or all (there are {others}) or none" if made else "take none")
        )
    return SharedModels(top)


def own_base(run: Run, policies: Sequence[Policy]) -> Policy | None:
    """Return the policy that is the base under the adapters, where the run made that base."""
    under = {policy.base for policy in policies if policy.adapter is not None}
    for policy in run.policies.values():
        if policy.adapter is None and policy.trained_in is not None and policy.base in under:
            return policy
    return None


def require_undamaged(run: Run, policies: Sequence[Policy]) -> None:
    """Compare the stored files of models with the hashes that were written down beside them.

    Raises:
        UserError: one is damaged, or no longer there.
    """
    names = {policy.name for policy in policies}
    for model in run.models:
        if model.name in names:
            verify(run.directory_of(model.stages.policy))


def lay_out(policy: Policy, origin: Origin, base_repo: str | None, directory: Path) -> None:
    """Put the files of a model into ``directory``: links to the store's, which may be large.

    Args:
        policy: the model.
        origin: of the base, to be named in the adapter's configuration, which otherwise holds a
            path of this machine.
        base_repo: the repository that holds the base itself; None where ``origin`` does.
        directory: where to; it is made.
    """
    directory.mkdir(parents=True, exist_ok=True)
    if policy.adapter is None:
        for file in sorted(Path(policy.base.path).iterdir()):
            if file.is_file() and file.name != "README.md":
                (directory / file.name).symlink_to(file.resolve())
        return
    for name in (ADAPTER_WEIGHTS, ADAPTER_CONFIG):
        (directory / name).symlink_to((Path(policy.adapter.path) / name).resolve())
    values = json.loads((directory / ADAPTER_CONFIG).read_text("utf-8"))
    values["base_model_name_or_path"] = base_repo or origin.shown
    values["revision"] = None if base_repo else origin.revision
    (directory / ADAPTER_CONFIG).unlink()
    (directory / ADAPTER_CONFIG).write_text(json.dumps(values, indent=2, sort_keys=True) + "\n")
