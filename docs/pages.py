"""Pages of the site that no file in ``docs`` holds: the API, the decisions' menu, the studies.

MkDocs calls the functions by their names, see https://www.mkdocs.org/user-guide/configuration/#hooks.
"""

from __future__ import annotations

from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

REPOSITORY = Path(__file__).resolve().parent.parent
PACKAGE = REPOSITORY / "iterdpo"


def api_pages() -> dict[str, str]:
    """Return the text of each page of the API: one a room, and one for the modules beside them."""
    top = "    options: {heading_level: 1, show_submodules: %s}\n"
    rooms = sorted(file.parent.name for file in PACKAGE.glob("*/__init__.py"))
    modules = "".join(f"::: iterdpo.{file.stem}\n" for file in sorted(PACKAGE.glob("[!_]*.py")))
    return {
        "api/iterdpo.md": f"::: iterdpo\n{top % 'false'}\n{modules}",
        **{f"api/{room}.md": f"::: iterdpo.{room}\n{top % 'true'}" for room in rooms},
    }


def studies() -> list[str]:
    """Return the pages and pictures of ``experiments``, relative to the repository."""
    found = (REPOSITORY / "experiments").rglob("*")
    return sorted(str(it.relative_to(REPOSITORY)) for it in found if it.suffix in (".md", ".png"))


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put into the menu what follows from the files that are there."""
    decisions = sorted((REPOSITORY / "docs" / "decisions").glob("*.md"))
    config.nav = [
        *(config.nav or []),
        {"Decisions": [f"decisions/{file.name}" for file in decisions]},
        {"Studies": [place for place in studies() if place.endswith(".md")]},
        {"API": [{Path(place).stem: place} for place in api_pages()]},
    ]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the studies and the API's pages."""
    for place in studies():
        files.append(File(place, str(REPOSITORY), config.site_dir, use_directory_urls=False))
    for place, text in api_pages().items():
        files.append(File.generated(config, place, content=text))
    return files


def on_page_markdown(markdown: str, **_: object) -> str:
    """Let links out of ``docs`` to the studies lead to their place in the site."""
    return markdown.replace("](../experiments/", "](experiments/")
