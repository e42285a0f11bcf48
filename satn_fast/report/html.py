"""Fills the templates of the reports: each one HTML file that needs nothing beside it."""

import base64
from importlib import resources
from typing import Any

from satn_fast.evaluation.comparison import p_value


def render_report(**content: Any) -> str:
    """Renders the report of the demo.

    Args:
        **content: The variables of `demo.html`; pictures are PNG bytes.

    Returns:
        The HTML, pictures embedded.

    Raises:
        ImportError: jinja2 is not installed.
    """
    return render("demo.html", **content)


def render(template: str, **content: Any) -> str:
    """Renders a template of this package, see `render_report`; a variable that is missing is an error."""
    try:
        import jinja2
    except ImportError as error:
        raise ImportError('reports need jinja2: pip install "satn-fast[train]"') from error
    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        loader=jinja2.FunctionLoader(_source),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["picture"] = _data_address
    environment.filters["percent"] = lambda share: "–" if share is None else f"{share:.1%}"
    environment.filters["points"] = lambda share: f"{100 * share:+.1f}".replace("-", "−")
    environment.filters["p_value"] = p_value
    environment.filters["kilobytes"] = lambda size: f"{size / 1024:.0f} KB"
    return environment.get_template(template).render(**content)


def _source(template: str) -> str:
    return resources.files("satn_fast.report").joinpath(template).read_text(encoding="utf-8")


def _data_address(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")
