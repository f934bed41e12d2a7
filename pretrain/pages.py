"""What every page has: a frame in one style, and tables. Self-contained HTML, no script, nothing fetched."""

from collections.abc import Iterable, Sequence
from html import escape


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; its cells are text and are escaped."""
    head = "".join(f"<th>{escape(name)}</th>" for name in header)
    body = "".join("<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table>{f'<tr>{head}</tr>' if head else ''}{body}</table>"


def page(title: str, body: str) -> str:
    """A whole page around a body of HTML."""
    return _FRAME.format(title=escape(title), style=_STYLE, body=body)


_STYLE = """
:root { color-scheme: light dark; --line: #8884; --blue: #3b76c4; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 56rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2.2rem; border-top: 1px solid var(--line); padding-top: .8rem; }
h3 { font-size: 1rem; margin-bottom: .2rem; }
table { border-collapse: collapse; } td, th { text-align: left; padding: .15rem 1.2rem .15rem 0; vertical-align: top; }
td.n { text-align: right; font-variant-numeric: tabular-nums; } td.bar { width: 16rem; }
td.bar i { display: block; height: .7rem; margin-top: .35rem; background: var(--blue); border-radius: 2px; min-width: 1px; }
.chip { padding: .15rem .6rem; border-radius: 1rem; color: #fff; } .good { background: #2e7d4f; } .bad { background: #b3362b; }
.open { background: #8a6d1d; } svg { max-width: 100%; height: auto; background: #fff; border-radius: 4px; }
"""

_FRAME = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{title}</title>
<style>{style}</style></head><body>
{body}
</body></html>
"""
