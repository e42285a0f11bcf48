"""The documents build as a site, and what they link to is there."""

import ast
import importlib.util
import os
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from .conftest import REPOSITORY

KERNELS = REPOSITORY / "kernels" / "README.md"
DOCUMENTED = ("functional", "training", "evaluation", "export", "data")

pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec(tool) is None, reason=f"{tool} is not installed (extra docs)")
    for tool in ("mkdocs", "material", "mkdocstrings_handlers")
]


def build(config: Path, site: Path) -> str:
    """What `make docs` does, to another folder; gives what mkdocs complains about where it fails."""
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-f", config, "--site-dir", site]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    result = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False)
    if result.returncode == 0:
        return ""
    output = result.stdout + result.stderr
    return "".join(line for line in output.splitlines(keepends=True) if not line.startswith(("INFO", "DEBUG")))


class Page(HTMLParser):
    """What a page links to, what can be linked to, and what it loads."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.targets: set[str] = set()
        self.anchors: set[str] = set()
        self.loaded: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        values = {name: value for name, value in attrs if value}
        self.anchors |= {values[name] for name in ("id", "name") if name in values}
        if "src" in values or tag == "link":
            self.loaded.add(values.get("src") or values["href"])
        elif "href" in values:
            self.targets.add(values["href"])


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    complaints = build(REPOSITORY / "mkdocs.yml", folder)
    assert not complaints, complaints
    return folder


@pytest.fixture(scope="module")
def pages(site) -> dict[Path, Page]:
    return {path: Page(path) for path in site.rglob("*.html")}


def test_internal_links_and_anchors_are_there(site, pages):
    dead = []
    for path, page in pages.items():
        if path.name == "404.html":
            continue  # served from any folder, so its links start at the root
        for target in page.targets | page.loaded:
            parts = urlsplit(target)
            if parts.scheme:
                continue
            found = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            found = found / "index.html" if found.is_dir() else found
            anchors = pages[found].anchors | {""} if found in pages else {""}
            if not found.is_file() or unquote(parts.fragment) not in anchors:
                dead.append(f"{path.relative_to(site)} -> {target}")
    assert not dead


def test_nothing_is_loaded_from_elsewhere(pages):
    assert not {address for page in pages.values() for address in page.loaded if urlsplit(address).netloc}


def test_every_document_has_a_page(site):
    for document in (REPOSITORY / "docs").rglob("*.md"):
        assert (site / document.relative_to(REPOSITORY / "docs")).with_suffix(".html").is_file()


def public_names(module: str) -> list[str]:
    """`__all__` of a module, which need not be imported for it."""
    folder = REPOSITORY / "satn_fast" / module
    source = folder / "__init__.py" if folder.is_dir() else folder.with_suffix(".py")
    for statement in ast.parse(source.read_text(encoding="utf-8")).body:
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "__all__":
            return ast.literal_eval(statement.value)
    raise AssertionError(f"{source} has no __all__")


@pytest.mark.parametrize("module", DOCUMENTED)
def test_every_public_name_is_in_the_api_reference(module, site, pages):
    anchors = pages[site / "api.html"].anchors
    missing = []
    for name in public_names(module):
        # What satn_fast.training repeats of satn_fast.evaluation stands there; a function may share its module's name.
        addresses = {f"satn_fast.{module}.{name}", f"satn_fast.evaluation.{name}", f"satn_fast.{module}.{name}.{name}"}
        if not addresses & anchors:
            missing.append(name)
    assert not missing


def complaints_about(text: str, folder: Path) -> str:
    """What mkdocs says about a page of a small site with our settings."""
    docs = folder / "docs"
    docs.mkdir()
    (docs / "index.md").write_text(text)
    (docs / "other.md").write_text("# Here\n")
    (docs / "other.py").touch()
    config = folder / "mkdocs.yml"
    config.write_text(
        f"INHERIT: {REPOSITORY / 'mkdocs.yml'}\n"
        f"hooks: [{REPOSITORY / 'docs/tools/repository.py'}]\n"
        "nav: [index.md, other.md]\n"
        "extra_css: []\n"
        "plugins: []\n"
        "theme: {name: mkdocs}\n"
        "validation: {nav: {omitted_files: ignore}}\n"
    )
    return build(config, folder / "site")


def test_links_to_pages_and_to_other_files_are_fine(tmp_path):
    assert not complaints_about(f"[page](other.md#here), [file](other.py), [beside]({KERNELS})\n", tmp_path)


def test_dead_links_are_errors(tmp_path):
    dead = ("nowhere.md", "other.md#nowhere", "../nowhere/README.md", "nowhere.py")
    complaints = complaints_about("\n".join(f"[gone]({target})" for target in dead), tmp_path)
    assert [target for target in dead if f"'{target}'" not in complaints] == []
