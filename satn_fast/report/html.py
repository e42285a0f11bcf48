"""Fills the report's template: one HTML file that needs nothing beside it."""

import base64
from importlib import resources
from typing import Any


def render_report(**content: Any) -> str:
    """Renders `template.html`.

    Args:
        **content: The variables of the template; pictures are PNG bytes.

    Returns:
        The HTML, pictures embedded.

    Raises:
        ImportError: jinja2 is not installed.
    """
    try:
        import jinja2
    except ImportError as error:
        raise ImportError('the report needs jinja2: pip install "satn-fast[demo]"') from error
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    environment.filters["picture"] = _data_address
    environment.filters["percent"] = lambda share: "–" if share is None else f"{100 * share:.1f} %"
    environment.filters["kilobytes"] = lambda size: f"{size / 1024:.0f} KB"
    template = resources.files("satn_fast.report").joinpath("template.html").read_text(encoding="utf-8")
    return environment.from_string(template).render(**content)


def _data_address(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")
