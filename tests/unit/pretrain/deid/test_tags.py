import pytest

from pretrain.corpus import Document


@pytest.fixture
def tagged(deid):
    return lambda text: deid(Document("d", text, "g")).text


@pytest.mark.parametrize(
    ("mark", "tag"),
    [
        ("Last Name (un) 123", "[Name]"),
        ("Known lastname 4567", "[Name]"),
        ("First Name8 (NamePattern2) ", "[Name]"),
        ("Initials (NamePattern4) ", "[Name]"),
        ("Hospital1 18", "[Company]"),
        ("Hospital Unit Name 153", "[Company]"),
        ("Location (un) 620", "[LOC]"),
        ("Street Address(2) ", "[LOC]"),
        ("Telephone/Fax (1) 99", "[#]"),
        ("Pager number 1", "[#]"),
        ("Medical Record Number 3", "[Reg#]"),
        ("Numeric Identifier 77", "[Reg#]"),
        ("E-mail address 9", "[CI]"),
        ("Age over 90 ", "[Age]"),
        ("2151-7-4", "[Date]"),
        ("7-4", "[Date]"),
        ("2151-7", "[Date]"),
        ("Month/Day/Year 12", "[Date]"),
        ("Month (only) 51", "[MO]"),
        ("2151", "[YR]"),
        ("Year (4 digits) 8", "[YR]"),
        ("Date range (1) 5", "[DR]"),
        ("State 3", "[State]"),
        ("Country 11", "[Country]"),
        ("Holiday 2", "[DAY]"),
        ("5", "[Reg#]"),
        ("", "[MISC]"),
        ("Something unheard of", "[MISC]"),
    ],
)
def test_what_mimic_iii_took_away_becomes_the_papers_tag(tagged, mark, tag):
    assert tagged(f"seen [**{mark}**] today") == f"seen {tag} today"


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("Name:  ___                     Unit No:   ___", "Name:  [Name]                     Unit No:   [Reg#]"),
        ("Admission Date:  ___", "Admission Date:  [Date]"),
        ("Attending: ___.", "Attending: [Name]."),
        ("___ year old woman", "[Age] year old woman"),
        ("follow up with Dr. ___ on ___", "follow up with Dr. [Name] on [Date]"),
        ("transferred from another place to ___", "transferred from another place to [MISC]"),
        ("Signature: ________________", "Signature: ________________"),
    ],
)
def test_what_mimic_iv_took_away_is_told_by_the_words_before_it(tagged, text, clean):
    assert tagged(text) == clean


def test_a_mark_may_be_broken_by_a_line(tagged):
    assert tagged("by Dr. [**Last Name\n(STitle) 12**] at noon") == "by Dr. [Name] at noon"


def test_tags_take_the_place_of_identifiers_and_all_else_stays(tagged):
    text = "Mr. Okonkwo-Reyes, 93 years old, MRN: 4471902, was seen on 3/14/2021 at 10:30 for pain 5/10."
    assert tagged(text) == "Mr. [Name], [Age] years old, MRN: [Reg#], was seen on [Date] at 10:30 for pain 5/10."
