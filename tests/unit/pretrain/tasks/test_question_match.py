import pytest

from pretrain.tasks.question_match import OF_ITS_KIND, best_phrase, best_sentence, matches

REPORT = """EXAM:  Ultrasound of the kidneys.

FINDINGS:  The right kidney is normal.  A cyst in the left kidney measures 2.4 x 1.8 cm.  There is moderate narrowing of the
renal artery.  No hydronephrosis was seen.  Contrast was not given because of an allergy.

IMPRESSION:
1.  Simple cyst in the left kidney.
2.  Follow-up ultrasound in six months is recommended.
"""


def said(question: str, text: str = REPORT) -> str:
    match = best_phrase(question, text)
    return text[slice(*match.answer)]


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("How large is the cyst?", "2.4 x 1.8 cm"),
        ("What is the size of the cyst?", "2.4 x 1.8 cm"),
        ("Is there hydronephrosis?", "No hydronephrosis was seen"),
        ("How severe is the narrowing of the artery?", "moderate"),
        ("Why was contrast not given?", "an allergy"),
        ("When is follow-up recommended?", "six months"),
        ("What is the state of the right kidney?", "The right kidney is normal"),
        ("Where is the simple cyst?", "left kidney"),
    ],
)
def test_the_kind_of_a_question_says_which_part_of_its_sentence_answers(question, answer):
    assert said(question) == answer


def test_a_sentence_that_says_all_of_a_question_gets_1_and_one_that_says_nothing_0():
    shares = {REPORT[slice(*match.sentence)]: match.share for match in matches("Is there hydronephrosis?", REPORT)}
    assert shares["No hydronephrosis was seen."] == 1.0
    assert sum(share > 0 for share in shares.values()) == 1


def test_what_is_not_named_at_all_weighs_most():
    named = max(match.share for match in matches("Is there a cyst in the kidney?", REPORT))
    unnamed = max(match.share for match in matches("Is there an aneurysm in the kidney?", REPORT))
    assert named == pytest.approx(1.0)
    assert 0 < unnamed < 0.5


def test_between_sentences_that_say_as_much_the_one_with_a_number_answers_how_much():
    text = "The aorta was seen. The aorta measures 3 cm."
    first, second = matches("How wide is the aorta?", text)
    assert first.share == second.share
    assert second.score == first.score + OF_ITS_KIND
    assert said("How wide is the aorta?", text) == "3 cm"


def test_the_floor_is_the_whole_sentence_without_heading_list_number_and_full_stop():
    match = best_sentence("Is the cyst simple?", REPORT)
    assert REPORT[slice(*match.answer)] == "Simple cyst in the left kidney"


@pytest.mark.parametrize("text", ["", " \n ", "---", "No."])
@pytest.mark.parametrize("question", ["How large is it?", "?", "Where?", "What is seen?", "Is there a mass?"])
def test_a_text_with_nothing_to_say_gives_an_answer_within_it_or_none(question, text):
    for match in matches(question, text):
        assert match.sentence.start <= match.answer.start < match.answer.end <= match.sentence.end
    assert (best_phrase(question, text) is None) == (best_sentence(question, text) is None)
