"""The frame of a report: one HTML file with its style, its script and its numbers, that fetches
nothing and runs nothing else. Whatever comes from data goes through `text` or `numbers`."""

from __future__ import annotations

import base64
import hashlib
import html
import json
from pathlib import Path
from typing import Any

from vo.tools.plots import PALETTE

_FILES = Path(__file__).with_name("assets")


def text(value: object) -> str:
    """Anything as text of a page or of an attribute in quotes."""
    return html.escape(str(value), quote=True)


def numbers(content: Any) -> str:
    """JSON that no reader of HTML takes for anything else.

    Raises:
        ValueError: when a number is not finite.
    """
    found = json.dumps(content, allow_nan=False, separators=(",", ":"))
    # In strings only: JSON itself has none of these.
    return found.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def page(title: str, header: str, main: str, footer: str, groups: list[dict[str, Any]]) -> str:
    """The whole file.

    Args:
        title: text, not yet escaped.
        header: HTML.
        main: HTML, with the places that the charts of ``groups`` go to.
        footer: HTML.
        groups: what `vo.tools.reporting.charts.Charts.content` gives.
    """
    palette = "".join(f"--line-{i}: {colour}; " for i, colour in enumerate(PALETTE))
    swatches = "".join(f".line-{i} {{ background: {c}; }}\n" for i, c in enumerate(PALETTE))
    style = f":root {{ {palette}}}\n{swatches}{_read('report.css')}"
    script = _read("report.js")
    # The browser itself refuses every request, and every script and style but these.
    policy = (
        f"default-src 'none'; img-src data:; style-src '{_hash(style)}'; "
        f"script-src '{_hash(script)}'; base-uri 'none'; form-action 'none'"
    )
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{text(title)}</title>
<link rel="icon" href="data:,">
<style>{style}</style>
</head>
<body>
<header>{header}</header>
<main>
<noscript><p class="card notice">The charts are drawn by JavaScript, which is off.</p></noscript>
{main}
</main>
<footer>{footer}</footer>
<script type="application/json" id="numbers">{numbers(groups)}</script>
<script>{script}</script>
</body>
</html>
"""


def _read(name: str) -> str:
    return (_FILES / name).read_text(encoding="utf-8")


def _hash(content: str) -> str:
    """Of an element's content, as a content security policy names it."""
    return "sha256-" + base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
