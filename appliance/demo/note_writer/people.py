"""Invented patients, clinicians and hospitals, and the dates and numbers that come with them.

Everything is recognisable at sight: family names start with Testpatient- or Testdoctor-, numbers with SYN, phones are
555-01xx (reserved for fiction), towns are in the state of ZZ, e-mail addresses at example.org (reserved for examples).
"""

from datetime import date, timedelta
from random import Random

from appliance.demo.note_writer.grammar import Fact, Identifier, Template
from appliance.demo.note_writer.records import IdentifierKind, Person

GIVEN_F = (  # noqa: SIM905
    "Ada Agnes Alma Bettina Carla Dalia Edith Elin Fatou Freya Greta Hanna Ines Irena Jolanda Kalinda Lena Lucia Mara Mei "
    "Nadia Nora Olga Paula Priya Rosa Sanna Selma Tamara Ulla Vera Wanda Yara Zofia"
).split()
GIVEN_M = (  # noqa: SIM905
    "Abel Anton Arvid Bruno Cyril Dario Edgar Emil Farid Felix Gustav Hasan Hugo Ivan Jonas Kenji Kofi Lars Leo Marek Milan "
    "Nils Omar Oskar Pablo Pavel Rafael Rune Samir Stefan Tomas Viktor Wim Yusuf"
).split()
FAMILY = (  # noqa: SIM905
    "Alder Amberly Applegarth Ashdown Aspen Barley Beech Bergamot Birch Bramble Briar Bulrush Cedar Celandine Chestnut "
    "Clover Comfrey Cowslip Cypress Damson Dogwood Elder Elmwood Fennel Fern Foxglove Furze Gorse Hawthorn Hazel Heather "
    "Hemlock Holly Hornbeam Ivy Juniper Larch Laurel Lichen Linden Lovage Mallow Maple Medlar Mistletoe Mulberry Myrtle "
    "Nettle Oak Osier Pine Poplar Privet Quince Rowan Rush Sedge Sorrel Spruce Tansy Teasel Thistle Walnut Willow Yarrow "
    "Yew"
).split()
HOSPITALS = (
    "Placeholder General Hospital",
    "Nowhere County Medical Center",
    "Saint Fictitia Hospital",
    "Samplewood Community Hospital",
    "Imaginary Lakes Medical Center",
    "Mockingham University Hospital",
)
STREETS = (
    "Placeholder Lane",
    "Example Street",
    "Lorem Avenue",
    "Specimen Road",
    "Mock Turtle Drive",
    "Dummy Court",
    "Null Island Way",
)
TOWNS = ("Testville", "Sampleton", "Nowhere Falls", "Port Fiction", "Mockingham")
FIRST_DAY = date(2019, 1, 1)
DAYS = 1800
"""Notes are written within so many days from the first."""

# Not strftime: that follows the machine's locale.
_MONTHS = (  # noqa: SIM905
    "January February March April May June July August September October November December"
).split()


def person(rng: Random, serial: int) -> Person:
    """An invented patient; two serials below ten million never share a record number."""
    sex = rng.choice("FM")
    given = rng.choice(GIVEN_F if sex == "F" else GIVEN_M)
    family = f"Testpatient-{rng.choice(FAMILY)}"
    return Person(
        given=given,
        family=family,
        sex=sex,
        born=FIRST_DAY - timedelta(days=rng.randint(20 * 365, 84 * 365)),
        # A bijection on seven digits: distinct, yet not in the order of admission.
        record_number=f"SYN{serial * 2_654_437 % 10_000_000:07d}",
        address=f"{rng.randint(1, 980)} {rng.choice(STREETS)}, {rng.choice(TOWNS)}, ZZ {rng.randint(0, 999):05d}",
        phone=phone(rng),
        email=email(f"{given} {family}", serial),
    )


def clinician(rng: Random) -> str:
    """An invented clinician's full name."""
    return f"{rng.choice(rng.choice((GIVEN_F, GIVEN_M)))} Testdoctor-{rng.choice(FAMILY)}"


def phone(rng: Random) -> str:
    """A number nobody has."""
    return rng.choice(("555-01{:02d}", "(000) 555-01{:02d}", "000-555-01{:02d}", "000.555.01{:02d}")).format(rng.randint(0, 99))


def email(name: str, serial: int) -> str:
    """Somebody's address at a domain nobody has: the same name and serial give the same."""
    given, family = name.lower().split(" ")
    forms = (f"{given}.{family}", f"{given[0]}{family}", f"{family}_{given}", f"{given}{serial % 90 + 10}", f"{given}+clinic")
    return f"{forms[serial % 5]}@{('', 'mail.', 'post-box.')[serial % 3]}example.org"


def doctor(rng: Random, name: str) -> Fact:
    """How a note speaks of a clinician: `Dr. Testdoctor-Fern`, with or without a given name."""
    given, family = name.split(" ")
    forms: tuple[Template, ...] = (
        ("Dr. ", Identifier(family, IdentifierKind.NAME)),
        ("Dr. ", Identifier(family, IdentifierKind.NAME)),
        ("Dr. ", Identifier(name, IdentifierKind.NAME)),
        ("Dr. ", Identifier(f"{given[0]}. {family}", IdentifierKind.NAME)),
        (Identifier(name, IdentifierKind.NAME), ", MD"),
    )
    return lambda: forms[int(rng.random() * len(forms))]


def written(day: date, style: int) -> str:
    """A date the way one of seven hands writes it."""
    month = _MONTHS[day.month - 1]
    return (
        f"{day.month:02d}/{day.day:02d}/{day.year}",
        f"{day.month}/{day.day}/{day.year % 100:02d}",
        day.isoformat(),
        f"{month} {day.day}, {day.year}",
        f"{day.day:02d}-{month[:3]}-{day.year}",
        f"{month} {day.day}",
        f"{day.month}/{day.day}",
    )[style]


def a_date(rng: Random, day: date, style: int, after: int = 0, before: int = 0) -> Fact:
    """A date from `before` days before `day` to `after` days after it, drawn anew each time, one in six in another hand."""

    def draw() -> Template:
        shifted = day + timedelta(days=int(rng.random() * (after + before + 1)) - before)
        hand = style if rng.random() < 5 / 6 else int(rng.random() * 7)
        return (Identifier(written(shifted, hand), IdentifierKind.DATE),)

    return draw
