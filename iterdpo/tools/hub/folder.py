"""The repositories of a run as folders, ready to be looked at or uploaded."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from iterdpo.config.hub import PAIRS_SUFFIX, Models
from iterdpo.errors import UserError
from iterdpo.runs.directory import Run
from iterdpo.tools.hub.choice import BASE_DIR, choose, lay_out, own_base, require_undamaged
from iterdpo.tools.hub.dataset_card import dataset_card
from iterdpo.tools.hub.model_card import model_card
from iterdpo.tools.hub.pairs import has_offline_pairs, write_pairs
from iterdpo.tools.hub.provenance import Origin

CARD = "README.md"


@dataclass(frozen=True)
class Folder:
    """One repository. Large files in it are links into the store."""

    repo: str
    kind: str
    """``model`` or ``dataset``, as the Hub calls them."""
    directory: Path

    @property
    def files(self) -> list[tuple[str, int]]:
        """Every file's path in the repository, and its bytes, in order."""
        return [
            (path.relative_to(self.directory).as_posix(), path.stat().st_size)
            for path in sorted(self.directory.rglob("*"))
            if path.is_file()
        ]


@contextmanager
def folders(run: Run, repo: str, models: Models, *, pairs: bool) -> Iterator[list[Folder]]:
    """Yield the repositories to make of a run; they are gone when the block ends.

    Args:
        run: the run, finished or as far as it is.
        repo: the model's repository; the dataset's is named after it.
        models: which models.
        pairs: whether the pairs are shared, where the run made them.

    Raises:
        UserError: what is named is not there, is damaged, or there is nothing to share.
    """
    choice, origin = choose(run, models), Origin.of(run)
    with TemporaryDirectory(prefix="iterdpo-sharing-") as scratch:
        found = []
        dataset = Folder(f"{repo}{PAIRS_SUFFIX}", "dataset", Path(scratch) / "dataset")
        dataset.directory.mkdir()
        offline = has_offline_pairs(run)
        written = write_pairs(run, dataset.directory) if pairs and not offline else []
        if choice is not None:
            model = Folder(repo, "model", Path(scratch) / "model")
            require_undamaged(run, choice.policies)
            base = own_base(run, choice.policies)
            base_repo = repo if base else None
            if choice.top is not None:
                lay_out(choice.top, origin, base_repo, model.directory)
            for policy in choice.folders:
                lay_out(policy, origin, base_repo, model.directory / policy.name)
            if base is not None:
                require_undamaged(run, [base])
                lay_out(base, origin, None, model.directory / BASE_DIR)
            card = model_card(run, choice, origin, repo, pairs=bool(written))
            (model.directory / CARD).write_text(card, "utf-8")
            found.append(model)
        if written:
            card = dataset_card(run, written, origin, dataset.repo)
            (dataset.directory / CARD).write_text(card, "utf-8")
            found.append(dataset)
        if not found:
            why = "its pairs are a dataset's" if offline else "no iteration made a pair"
            raise UserError(f"{run.directory}: {why}: there is nothing to share")
        yield found
