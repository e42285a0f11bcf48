"""Documents that stand beside the code they are about become pages of the site, too.

In the repository every link is relative to the file it stands in. On the site, a link to a document leads to its page,
and a link to anything else of the repository, which the site does not have, becomes plain text. What is nowhere is left
to mkdocs, which complains.
"""

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

REPOSITORY = Path(__file__).resolve().parents[2]
DOCUMENTS = (
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "benchmarks/README.md",
    "examples/edge/README.md",
    "examples/edge/microcontroller/README.md",
    "kernels/README.md",
    "kernels/attention_transfer/README.md",
)
LINK = re.compile(r"\[([^\]]*)\]\((?!\w+:)([^)#\s]+)(#[^)\s]*)?\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the documents outside of docs/, below repository/."""
    for name in DOCUMENTS:
        path = str(REPOSITORY / name)
        files.append(File.generated(config, f"repository/{name}", abs_src_path=path))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Makes links between documents links between pages."""
    pages = {Path(file.abs_src_path).resolve(): file.src_uri for file in files if file.abs_src_path}
    here = Path(page.file.abs_src_path).resolve().parent

    def on_site(link: re.Match[str]) -> str:
        text, target, anchor = link.groups(default="")
        path = (here / target).resolve()
        uri = pages.get(path) or pages.get(path / "README.md")
        if uri is not None:
            return f"[{text}]({posixpath.relpath(uri, posixpath.dirname(page.file.src_uri))}{anchor})"
        return text if path.exists() else link[0]

    return LINK.sub(on_site, markdown)
