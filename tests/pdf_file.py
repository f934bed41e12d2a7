"""Small PDFs: pages of lines in Helvetica, and what else a page may show."""

import zlib
from collections.abc import Sequence


def pdf(
    pages: Sequence[Sequence[str]], image: bytes = b"", drawn: bytes = b"", catalog: bytes = b"", third: bytes = b"null"
) -> bytes:
    """One page per list of lines; `image` (a JPEG's bytes, never looked at) and `drawn` are on each page.

    `catalog` are entries of the catalog, which may refer to the object `third` as `3 0 R`.
    """
    font = b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica/Encoding/WinAnsiEncoding>>"
    objects = [font, stream(image, b"/Type/XObject/Subtype/Image"), third]
    root, kids = len(objects) + 2 * len(pages) + 1, []
    for lines in pages:
        content = b"BT /F1 10 Tf 12 TL 50 780 Td " + b" ".join(b"(%s) Tj T*" % escaped(line) for line in lines) + b" ET"
        content += b" q 99 0 0 99 0 0 cm /I1 Do Q " * bool(image) + drawn
        objects.append(stream(zlib.compress(content), b"/Filter/FlateDecode"))
        resources = b"<</Font<</F1 1 0 R>>/XObject<</I1 2 0 R>>>>"
        kids.append(len(objects) + 1)
        page = b"<</Type/Page/Parent %d 0 R/MediaBox[0 0 612 792]/Contents %d 0 R/Resources%s>>"
        objects.append(page % (root, len(objects), resources))
    objects.append(b"<</Type/Pages/Count %d/Kids[%s]>>" % (len(kids), b" ".join(b"%d 0 R" % kid for kid in kids)))
    objects.append(b"<</Type/Catalog/Pages %d 0 R%s>>" % (root, catalog))
    return joined(objects)


def escaped(line: str) -> bytes:
    return line.replace("\\", "\\\\").replace("(", "\\(").replace(")", "\\)").encode("cp1252")


def stream(content: bytes, entries: bytes = b"") -> bytes:
    return b"<<%s/Length %d>>stream\n%s\nendstream" % (entries, len(content), content)


def joined(objects: Sequence[bytes], trailer: bytes = b"") -> bytes:
    """A whole file, whose last object is the catalog."""
    found, places = bytearray(b"%PDF-1.4\n"), []
    for number, content in enumerate(objects, 1):
        places.append(len(found))
        found += b"%d 0 obj\n%s\nendobj\n" % (number, content)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    end = b"trailer<</Size %d/Root %d 0 R%s>>\nstartxref\n%d\n%%%%EOF\n"
    found += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1) + table
    found += end % (len(objects) + 1, len(objects), trailer, found.rindex(b"xref\n0 "))
    return bytes(found)
