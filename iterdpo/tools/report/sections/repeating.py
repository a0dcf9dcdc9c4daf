"""How to make the run again: its command, its settings, the versions it ran with."""

from __future__ import annotations

from iterdpo.runs.directory import Run
from iterdpo.tools.report.document import Code, Part, Section, Table, Text
from iterdpo.tools.report.settings import Settings, changed, command, directory, flat


def repeating(run: Run, defaults: Settings) -> Section:
    """Return the section on the command, the settings and the versions."""
    settings = flat(run.values)
    others = changed(settings, defaults)
    parts: list[Part] = []
    if said := command(run):
        where = directory(run)
        parts += [Text(f"Given in {where}:" if where else "The command:"), Code(said)]
    else:
        parts.append(
            Text("Hydra left no overrides beside this run, so its command is not known.", "quiet")
        )
    if others:
        parts.append(
            Table(
                "Not as shipped",
                ["setting", "this run", "shipped"],
                [list(row) for row in others],
                "Compared with the defaults of the version that made this page.",
                texts=(1, 2),
            )
        )
    else:
        parts.append(Text("Every setting is as shipped."))
    versions = run.summary.run.versions
    parts.append(
        Table("Versions", ["", "version"], [[name, text] for name, text in versions.items()],
              texts=(1,))
    )  # fmt: skip
    return Section("repeating", "Settings", parts)


def all_settings(run: Run) -> Section:
    """Return the section that lists every setting."""
    rows = [[key, value] for key, value in flat(run.values).items()]
    table = Table("Every setting", ["setting", "value"], rows, texts=(1,))
    return Section("settings", "All settings", [table], fold=True)
