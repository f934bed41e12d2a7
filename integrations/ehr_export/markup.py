"""HTML and RTF -> plain text with the lines a reader would see.

Neither raises, whatever it is given, and both take time in proportion to its length. That is why they are here: html.parser
of Python 3.11 takes hours for a megabyte of tags that do not end, striprtf 0.0.35 raises on numbers that are no character.
Source: HTML Living Standard, 13.2.5; RTF Specification 1.9.1.
"""

import codecs
import html
import re

_BLOCKS = frozenset({
    "address", "article", "aside", "blockquote", "br", "caption", "dd", "div", "dl", "dt", "fieldset", "figcaption", "footer",
    "form", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hr", "li", "main", "nav", "ol", "p", "pre", "section", "table",
    "tbody", "tfoot", "thead", "tr", "ul",
})  # fmt: skip
_HIDDEN = frozenset({"script", "style", "template", "title"})
_CELLS = frozenset({"td", "th"})
_MARK = re.compile(
    r"<(?:!--"
    r"|[!?][^<>]*+>"
    # A > in quotes does not end a tag; where quotes are not in pairs, it does.
    r"|(/?)([a-zA-Z][\w:-]*+)(?:(?:[^<>\"']++|\"[^\"<]*+\"|'[^'<]*+')*+>|[^<>]*+>))"
)


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
    page, position = _Page(), 0
    never_closed: set[str] = set()
    while mark := _MARK.search(markup, position):
        page.add(markup[position : mark.start()])
        tag, position = (mark[2] or "").lower(), mark.end()
        if mark[0] == "<!--" or (tag in _HIDDEN and not mark[1] and tag not in never_closed):
            end = re.compile(f"</{tag}[^>]*>" if tag else "-->", re.IGNORECASE).search(markup, position)
            # Looked for once only: a file of nothing but <script> would take for ever.
            never_closed.update({tag} if end is None else ())
            position = end.end() if end else len(markup) if not tag else position
        elif tag:
            page.tag(tag, is_end=bool(mark[1]))
    page.add(markup[position:])
    return page.text()


class _Page:
    def __init__(self) -> None:
        self._lines: list[list[str]] = [[]]
        self._is_pre = False

    def tag(self, tag: str, is_end: bool) -> None:
        if tag == "pre":
            self._is_pre = not is_end
        if tag in _BLOCKS:
            self._lines.append([])
        elif tag in _CELLS and not is_end and self._lines[-1]:
            self._lines[-1].append("\t")

    def add(self, text: str) -> None:
        if not text:
            return
        if "&" in text:
            text = _unescaped(text)
        if self._is_pre:
            first, *others = text.split("\n")
            self._lines[-1].append(first)
            self._lines.extend([line] for line in others)
        else:
            line, text = self._lines[-1], re.sub(r"\s+", " ", text)
            line.append(text.removeprefix(" ") if line and line[-1].endswith(" ") else text)

    def text(self) -> str:
        lines = (re.sub(r" ?\t ?", "\t", "".join(pieces)).strip() for pieces in self._lines)
        return "\n".join(line for line in lines if line)


def _unescaped(text: str) -> str:
    try:
        return html.unescape(text)
    except ValueError:  # a character reference of thousands of digits
        return text


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
_SYMBOLS = {"~": " ", "_": "-", "{": "{", "}": "}", "\\": "\\", "\n": "\n", "\r": "\n"}
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
    """Collects the text of the body, token by token."""

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._bytes = bytearray()
        self._codec = "cp1252"
        # What a group inherits: whether it is left out, and how many characters follow a \u for those who do not know it.
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
