"""The documentation's site, built as ``make docs`` builds it, with the network out of reach."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
DOCS = REPOSITORY / "docs"
PACKAGE = REPOSITORY / "iterdpo"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the site: any warning, as of a link that leads nowhere, is an error."""
    pytest.importorskip("mkdocs", reason="comes with extra docs")
    place = tmp_path_factory.mktemp("site")
    nowhere = dict.fromkeys(("http_proxy", "https_proxy", "all_proxy"), "http://127.0.0.1:9")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(place)],
        cwd=REPOSITORY, env={**os.environ, **nowhere}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return place


def test_every_page_of_the_documentation_is_in_the_menu(site: Path) -> None:
    menu = set(
        re.findall(r'href="([^"#]+)" class="dropdown-item', (site / "index.html").read_text())
    )
    pages = {str(page.relative_to(DOCS).with_suffix(".html")) for page in DOCS.rglob("*.md")}
    assert pages - menu == {"index.html"}
    assert "experiments/index.html" in menu


def test_the_api_has_every_module_of_the_package(site: Path) -> None:
    pages = {page.stem: page.read_text("utf-8") for page in (site / "api").glob("*.html")}
    for file in PACKAGE.rglob("*.py"):
        parts = file.relative_to(PACKAGE.parent).with_suffix("").parts
        if not parts[-1].startswith("_"):
            room = parts[1] if len(parts) > 2 else "iterdpo"
            assert f'id="{".".join(parts)}"' in pages[room], file
    assert 'id="iterdpo.engines.base.Engine"' in pages["engines"]


def test_no_page_loads_anything_from_another_host(site: Path) -> None:
    elsewhere = re.compile(
        r"""<(?:script|link|img|iframe|source)\b[^>]*(?:src|href)=["']?(?:https?:)?//"""
        r"""|url\(["']?(?:https?:)?//|@import"""
    )
    for file in site.rglob("*"):
        if file.suffix in (".html", ".css"):
            assert not elsewhere.search(file.read_text("utf-8")), file
