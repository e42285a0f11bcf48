"""Docstrings as the site shows them."""

import re

import griffe


class Examples(griffe.Extension):
    """Shows the section `Example:` of a docstring as code; griffe knows only its plural."""

    def on_object(self, *, obj: griffe.Object, **_: object) -> None:
        """Renames the section."""
        if obj.docstring is not None:
            obj.docstring.value = re.sub(r"^Example:$", "Examples:", obj.docstring.value, flags=re.MULTILINE)
