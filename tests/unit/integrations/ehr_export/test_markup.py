import time

import pytest

from integrations.ehr_export.markup import html_to_text, is_html, is_rtf, rtf_to_text


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        ("<p>Plan:</p><ul><li>CBC <b>Friday</b></li><li>INR</li></ul>", "Plan:\nCBC Friday\nINR"),
        ("one<br>two<br/>three<BR />four", "one\ntwo\nthree\nfour"),
        ("a\n  b\t c <b> d</b>", "a b c d"),
        ("<pre>Na  140\nK   4.0</pre>", "Na  140\nK   4.0"),
        ("<table><tr><th>Drug</th><th>Dose</th></tr><tr><td>ASA</td> <td>81</td></tr></table>", "Drug\tDose\nASA\t81"),
        ("T &lt; 38 &amp; BP&nbsp;&gt; 90 &#233;", "T < 38 & BP > 90 é"),
        ("<html><head><title>x</title><style>p {}</style></head><body>seen<script>if (a<b) {}</script></body></html>", "seen"),
        ("a<!-- hidden <p> -->b", "ab"),
        ('<img alt="3 > 2" src=x>a', "a"),
        ("<p title=don't>a</p>b", "a\nb"),
        ("T < 38 and 5 <6", "T < 38 and 5 <6"),
        ("<style>never closed", "never closed"),
        ("&#" + "9" * 5000, "&#" + "9" * 5000),
        ("", ""),
    ],
)
def test_html_reads_as_a_browser_shows_it(markup, text):
    assert html_to_text(markup) == text


@pytest.mark.parametrize(
    ("rtf", "text"),
    [
        (r"{\rtf1\ansi Plan:\par CBC \b Friday\b0\line INR}", "Plan:\nCBC Friday\nINR"),
        (r"{\rtf1{\fonttbl{\f0 Arial;}}{\colortbl;\red0;}{\*\generator X;}{\info{\title T}}\f0 seen}", "seen"),
        (r"{\rtf1\ansicpg1252 caf\'e9}", "café"),
        (r"{\rtf1\ansicpg1251 \'cf\'f0\'e8}", "При"),
        (r"{\rtf1\ansicpg932 \'83\'65}", "テ"),
        (r"{\rtf1\uc1 caf\u233?s \u-10179?\u-8704?}", "cafés 😀"),
        (r"{\rtf1\uc2 \u233\'65\'65x{\uc0 \u233 y}}", "éxéy"),
        (r"{\rtf1 a\{b\}\\c\~d}", "a{b}\\c d"),
        (r"{\rtf1\trowd ASA\cell 81\cell\row INR\cell 2\cell\row}", "ASA\t81\t\nINR\t2\t\n"),
        (r"{\rtf1{\field{\*\fldinst HYPERLINK x}{\fldrslt shown}}}", "shown"),
        (r"{\rtf1\u99999999 \u\uc-7 \ansicpg77777 a}}}{{", "\ue0ffa"),
        ("{\\rtf1 one\r\ntwo}", "onetwo"),
    ],
)
def test_rtf_reads_as_its_body(rtf, text):
    assert rtf_to_text(rtf) == text


@pytest.mark.parametrize("read", [html_to_text, rtf_to_text])
@pytest.mark.parametrize("piece", ["<a ", "<!--", "<![", "<a href='", "<script>", "<", "&", "{", "\\'e9", "\\u5 ", "}", "<p>"])
def test_the_time_it_takes_grows_with_the_length_only(read, piece):
    start = time.process_time()
    read(piece * 100_000)
    # 0.05 s to 0.3 s measured; in quadratic time it would be minutes.
    assert time.process_time() - start < 3


def test_a_note_that_mentions_a_tag_is_neither():
    assert not is_html("<b>Impression</b>: normal")
    assert not is_html("< 38 C")
    assert is_html("<!DOCTYPE html>\n<html>")
    assert is_html('<?xml version="1.0"?>\n<html xmlns="x">')
    assert is_rtf("{\\rtf1}")
    assert not is_rtf("{rtf}")


def test_a_note_in_rtf_or_html_becomes_plain_text_and_is_remarked(read_one):
    notes, drops, remarks = read_one("n.csv", 'text\n"{\\rtf1 one\\par two}"\n<html><p>one<p>two</html>\n')
    assert [n.text for n in notes] == ["one\ntwo", "one\ntwo"]
    assert (drops, remarks) == ({}, {"RTF, turned into plain text": 1, "HTML, turned into plain text": 1})
