import pytest

from pretrain.labelling.questions import MOST_CHARACTERS, Report, make_questions

CHEST = """EXAM:  Chest x-ray.

INDICATION:  Cough for two weeks.

FINDINGS:  There is no pneumothorax or pleural effusion.  A nodule in the right upper lobe measures 1.2 cm.  The heart is
enlarged.  There is mild scoliosis.

IMPRESSION:  Solitary pulmonary nodule.
"""
HEART = """EXAM:  Echocardiogram.

FINDINGS:  The left atrium is dilated.  Ejection fraction is 55%.  There is severe aortic stenosis.  No vegetation was seen.

IMPRESSION:  Severe aortic stenosis.
"""


@pytest.fixture(scope="module")
def reports():
    return [Report("chest", CHEST, "p1"), Report("heart", HEART, "p2")]


@pytest.fixture(scope="module")
def made(reports):
    return [question for seed in range(8) for question in make_questions(reports, per_report=30, seed=seed)]


def test_an_answer_is_a_trimmed_stretch_of_the_report_that_was_asked_about(made):
    texts = {"p1": CHEST, "p2": HEART}
    for question in made:
        assert question.context == texts[question.group]
        assert question.question.endswith("?")
        assert "{" not in question.question
        for start, end in question.answers:
            answer = question.context[start:end]
            assert answer == answer.strip(" .\n")
            assert answer


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        ("measure", "1.2 cm"),
        ("pneumothorax", "There is no pneumothorax or pleural effusion"),
        ("scoliosis", "mild"),
        ("indication", "Cough for two weeks"),
        ("fraction", "55%"),
        ("vegetation", "No vegetation was seen"),
        ("impression", "Solitary pulmonary nodule"),
    ],
)
def test_a_sentence_is_asked_for_what_it_says(made, words, answer):
    answers = {one.context[slice(*span)] for one in made for span in one.answers if words in one.question.lower()}
    assert answer in answers


def test_an_unanswerable_question_is_about_what_another_report_names_and_this_one_does_not(made):
    for own, named, unnamed in (("p1", "pneumothorax", "stenosis"), ("p2", "stenosis", "pneumothorax")):
        silent = [one.question for one in made if one.group == own and not one.answers]
        assert any(unnamed in question for question in silent)
        assert not any(named in question for question in silent)


def test_a_third_have_no_answer(reports):
    few = make_questions(reports, per_report=6)
    assert sum(not question.answers for question in few) / len(few) == pytest.approx(1 / 3)


def test_the_same_seed_makes_the_same_questions_and_another_one_others(reports):
    assert make_questions(reports, seed=3) == make_questions(reports, seed=3)
    assert make_questions(reports, seed=3) != make_questions(reports, seed=4)


def test_questions_have_ids_of_their_own_and_the_group_of_their_report(reports):
    made = make_questions(reports)
    assert len({question.question_id for question in made}) == len(made)
    assert {question.group for question in made} == {"p1", "p2"}


def test_what_the_rules_do_not_fit_is_not_asked_about():
    assert make_questions([Report("long", CHEST * (MOST_CHARACTERS // len(CHEST) + 1), "p"), Report("empty", "", "q")]) == []
