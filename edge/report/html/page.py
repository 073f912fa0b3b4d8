"""Renders the report as one HTML file that loads nothing: style, numbers and the chart library are inside it."""

from __future__ import annotations

import base64
import functools
import hashlib
import importlib.resources
import json
from typing import TYPE_CHECKING, Any

from converters.errors import MissingPartError
from edge import __version__
from edge.report.document import Document

if TYPE_CHECKING:
    from jinja2 import Template

_EXTRA = "pip install 'edge-convert[host]'"


def html_of(document: Document, *, measured: str) -> str:
    """Render the document; `measured` is the time shown in the footer.

    Nothing from outside becomes markup or code: texts are escaped, chart data travels as JSON that no HTML parser can
    leave, scripts run only if their hash is in the page's own policy, and that policy forbids evaluating text.

    Raises:
        MissingPartError: jinja2 or vl-convert-python is not installed.
    """
    from markupsafe import Markup

    template = _template()
    library, draw = _library(), _text("draw.js.j2")
    return template.render(
        document=document,
        measured=measured,
        version=__version__,
        policy=_policy(library, draw),
        style=Markup(_text("page.css")),
        specs=Markup(_inert({c.key: c.spec for s in document.sections for c in s.charts})),
        library=Markup(library),
        draw=Markup(draw),
    )


def _inert(value: object) -> str:
    """Return JSON in which no character means anything to an HTML parser."""
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _policy(*scripts: str) -> str:
    hashes = " ".join(
        f"'sha256-{base64.b64encode(hashlib.sha256(each.encode()).digest()).decode()}'" for each in scripts
    )
    rules = ("default-src 'none'", f"script-src {hashes}", "style-src 'unsafe-inline'", "img-src data:",
             "base-uri 'none'", "form-action 'none'")  # fmt: skip
    return "; ".join(rules)


def _template() -> Template:
    try:
        import jinja2
    except ImportError as error:
        raise MissingPartError("an HTML report needs jinja2, which is not installed", hint=_EXTRA) from error
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_text), autoescape=True, undefined=jinja2.StrictUndefined
    )
    return environment.get_template("page.html.j2")


@functools.cache
def _library() -> str:
    """Return Vega, Vega-Lite and Vega-Embed as one script, from the copy that vl-convert carries."""
    try:
        import vl_convert
    except ImportError as error:
        raise MissingPartError("an HTML report needs vl-convert-python, which is not installed", hint=_EXTRA) from error
    bundle: Any = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    script = f"(() => {{{bundle}\n}})();".replace("\r\n", "\n").replace("\r", "\n")
    assert "</script" not in script.lower()
    assert "<!--" not in script
    return script


def _text(name: str) -> str:
    return importlib.resources.files(__package__).joinpath(name).read_text(encoding="utf-8")
