"""HTML and RTF -> plain text with the lines a reader would see. Neither raises, whatever it is given.

RTF is read here, not by a library: striprtf 0.0.35 raises on numbers that are no character, and reads some texts in
quadratic time. Source: RTF Specification 1.9.1.
"""

import codecs
import re
from html.parser import HTMLParser

_BLOCKS = frozenset({
    "address", "article", "aside", "blockquote", "br", "caption", "dd", "div", "dl", "dt", "fieldset", "figcaption", "footer",
    "form", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hr", "li", "main", "nav", "ol", "p", "pre", "section", "table",
    "tbody", "tfoot", "thead", "tr", "ul",
})  # fmt: skip
_HIDDEN = frozenset({"script", "style", "template", "title"})
_CELLS = frozenset({"td", "th"})


def is_html(text: str) -> bool:
    """A whole page, not a `<` at the beginning of a note."""
    return (
        re.match(r"<(?:!doctype\s+html|html[\s>]|\?xml[^>]{0,200}\?>\s*<(?:!doctype\s+html|html[\s>]))", text, re.I) is not None
    )


def is_rtf(text: str) -> bool:
    """RTF announces itself."""
    return text.startswith("{\\rtf")


def html_to_text(markup: str) -> str:
    """The visible text: one line per block, cells of a row apart by a tab, blanks as a browser shows them."""
    page = _Page()
    try:
        page.feed(markup)
        page.close()
    except AssertionError:
        # html.parser's way of refusing `<![`; what was read before it stays, the rest goes without its tags.
        page.handle_data(re.sub(r"<[^<>]*>", " ", page.rawdata))
    return page.text()


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._lines: list[list[str]] = [[]]
        self._n_hidden = self._n_pre = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        # One that is never closed does not hide the body.
        self._n_hidden = 0 if tag == "body" else self._n_hidden + (tag in _HIDDEN)
        self._n_pre += tag == "pre"
        if tag in _BLOCKS:
            self._lines.append([])
        elif tag in _CELLS and self._lines[-1]:
            self._lines[-1].append("\t")

    def handle_endtag(self, tag: str) -> None:
        self._n_hidden = max(0, self._n_hidden - (tag in _HIDDEN))
        self._n_pre = max(0, self._n_pre - (tag == "pre"))
        if tag in _BLOCKS and tag != "br":
            self._lines.append([])

    def handle_data(self, data: str) -> None:
        if self._n_hidden:
            return
        if not self._n_pre:
            self._lines[-1].append(re.sub(r"\s+", " ", data))
            return
        first, *others = data.splitlines() or [""]
        self._lines[-1].append(first)
        self._lines.extend([line] for line in others)

    def text(self) -> str:
        lines = (re.sub(r" ?\t ?", "\t", "".join(pieces)).strip(" \t") for pieces in self._lines)
        return "\n".join(line for line in lines if line)


_TOKEN = re.compile(
    r"\\([a-zA-Z]{1,32})(-?\d{1,10})? ?"  # control word
    r"|\\'([0-9a-fA-F]{2})"  # byte in the code page
    r"|\\([^a-zA-Z])"  # control symbol
    r"|([{}])"
    r"|[\r\n]+"
    r"|([^\\{}\r\n]+)"
    r"|\\"
)
_SIGNS = {
    "par": "\n", "line": "\n", "sect": "\n", "page": "\n", "row": "\n", "nestrow": "\n", "cell": "\t", "nestcell": "\t",
    "tab": "\t", "emdash": "—", "endash": "–", "emspace": " ", "enspace": " ", "qmspace": " ", "bullet": "•",
    "lquote": "‘", "rquote": "’", "ldblquote": "“", "rdblquote": "”",
}  # fmt: skip
_SYMBOLS = {"~": "\xa0", "_": "‑", "{": "{", "}": "}", "\\": "\\", "\n": "\n", "\r": "\n"}
_NOT_BODY = frozenset({
    "annotation", "bkmkend", "bkmkstart", "colorschememapping", "colortbl", "datastore", "fldinst", "fonttbl", "footer",
    "footerf", "footerl", "footerr", "footnote", "generator", "header", "headerf", "headerl", "headerr", "info", "latentstyles",
    "listoverridetable", "listtable", "object", "pict", "revtbl", "rsidtbl", "stylesheet", "themedata", "xmlnstbl",
})  # fmt: skip


def rtf_to_text(rtf: str) -> str:
    """The body's text; styles, pictures, headers and footers are left out."""
    reader = _Rtf()
    for token in _TOKEN.finditer(rtf):
        word, number, byte, symbol, brace, plain = token.groups()
        if byte:
            reader.byte(int(byte, 16))
        elif word:
            reader.word(word, int(number) if number else None)
        elif brace:
            reader.brace(brace)
        elif symbol:
            reader.symbol(symbol)
        elif plain:
            reader.plain(plain)
    return reader.text()


class _Rtf:
    """What a group inherits is (is left out, characters that follow a \\u in case it is not understood)."""

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._bytes = bytearray()
        self._codec = "cp1252"
        self._is_hidden, self._n_substitutes = False, 1
        self._outer: list[tuple[bool, int]] = []
        self._n_skipped = 0

    def byte(self, value: int) -> None:
        if self._n_skipped:
            self._n_skipped -= 1
        elif not self._is_hidden:
            # Kept until the next sign that is none: a character of an Asian code page has two.
            self._bytes.append(value)

    def word(self, word: str, number: int | None) -> None:
        self._n_skipped = 0
        if word in _SIGNS:
            self._add(_SIGNS[word])
        elif word == "u" and number is not None:
            code = number % 0x10000
            self._add(chr(code))
            self._n_skipped = self._n_substitutes
        elif word == "uc" and number is not None:
            self._n_substitutes = max(0, min(number, 100))
        elif word == "ansicpg":
            self._codec = _code_page(number)
        elif word in _NOT_BODY:
            self._is_hidden = True

    def brace(self, brace: str) -> None:
        self._n_skipped = 0
        self._flush()
        if brace == "{":
            self._outer.append((self._is_hidden, self._n_substitutes))
        elif self._outer:
            self._is_hidden, self._n_substitutes = self._outer.pop()

    def symbol(self, symbol: str) -> None:
        if symbol == "*":
            # A group that readers may leave out when they do not know it: none of them is the note.
            self._is_hidden = True
        elif self._n_skipped:
            self._n_skipped -= 1
        else:
            self._add(_SYMBOLS.get(symbol, ""))

    def plain(self, text: str) -> None:
        skipped = min(self._n_skipped, len(text))
        self._n_skipped -= skipped
        self._add(text[skipped:])

    def text(self) -> str:
        self._flush()
        # \u writes what is beyond the first plane as two halves.
        return "".join(self._pieces).encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")

    def _add(self, text: str) -> None:
        self._flush()
        if not self._is_hidden:
            self._pieces.append(text)

    def _flush(self) -> None:
        if self._bytes:
            self._pieces.append(self._bytes.decode(self._codec, "replace"))
            self._bytes.clear()


def _code_page(number: int | None) -> str:
    try:
        return codecs.lookup(f"cp{number}").name
    except LookupError:
        return "cp1252"
