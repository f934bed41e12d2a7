"""In-context learning: prompts, how answers are read, and each fault of the authors' scripts that is not repeated here."""

import pytest

from pretrain.experiments import in_context
from pretrain.experiments.in_context import (
    CLIP,
    MEDNLI,
    RADQA,
    TASKS,
    UNREAD,
    Template,
    ask,
    choose,
    found_again,
    measure,
    read_follow_up,
    read_label,
    read_quote,
    score_follow_up,
    score_quotes,
)
from pretrain.tasks import clip, mednli
from pretrain.tasks.base import Question
from pretrain.tasks.mednli import Pair
from pretrain.text import Span

CONTEXT = "IMPRESSION:  Small left\n effusion. No pneumothorax."
EFFUSION = Question("q1", "Is there an effusion?", CONTEXT, (Span(13, 33),), "r1")
FRACTURE = Question("q2", "Any rib fracture?", CONTEXT, (), "r1")


pytestmark = pytest.mark.usefixtures("one_thread")


class Oracle:
    """Says what it is told to, by what stands in the prompt, and keeps every prompt."""

    def __init__(self, *says: tuple[str, str], otherwise: str = "") -> None:
        self.says, self.otherwise = says, otherwise
        self.prompts: list[str] = []

    def __call__(self, prompts, most_tokens):
        self.prompts += prompts
        return [next((answer for words, answer in self.says if words in prompt), self.otherwise) for prompt in prompts]


def pairs(count, name="p"):
    return [
        Pair(f"{name}{n}", f"Premise {name}{n}.", f"Hypothesis {name}{n}.", mednli.LABELS[n % 3], f"g{n}") for n in range(count)
    ]


# The authors' faults, none of which is repeated


def test_the_fault_that_a_comma_joined_answer_is_one_string_and_matches_no_label(make_note):
    note = make_note("n", [("Repeat a chest film and a blood count.", {"Lab", "Imaging"})])
    oracle = Oracle(otherwise="Lab-related followup, Imaging-related followup")
    for template in CLIP.templates:
        result = score_follow_up([note], ask(oracle, CLIP, template, [note]))
        assert (result["micro_f1"], result["n_unread"]) == (1.0, 0)


def test_the_fault_that_other_is_often_not_offered(make_note):
    note = make_note("n", [("She ate well.", set())])
    for template in CLIP.templates:
        oracle = Oracle()
        ask(oracle, CLIP, template, [note])
        for name in (*in_context._ALSO_CALLED, "None of the above"):
            assert f"- {name}\n" in oracle.prompts[0]
    assert read_follow_up("Other helpful contextual information") == {"Other"}
    assert read_follow_up("Other") == {"Other"}
    assert set(in_context._ALSO_CALLED.values()) == set(clip.LABELS)


def test_the_fault_that_what_is_shuffled_is_thrown_away_and_the_first_quarter_is_measured():
    dev, test = pairs(40, "d"), pairs(30, "t")
    oracle = Oracle(otherwise="Yes")
    assert measure(oracle, MEDNLI, dev, test, most=10)["n_pairs"] == 30
    first = Oracle()
    choose(first, MEDNLI, dev, most=10)
    asked = [n for n in range(40) if any(f"Premise d{n}." in prompt for prompt in first.prompts)]
    assert len(asked) == 10
    assert asked != list(range(10))
    again, other = Oracle(), Oracle()
    choose(again, MEDNLI, dev, most=10)
    choose(other, MEDNLI, dev, most=10, seed=1)
    assert first.prompts == again.prompts != other.prompts


def test_the_fault_that_the_test_set_asked_for_is_the_validation_set():
    dev, test = pairs(3, "d"), pairs(3, "t")
    oracle = Oracle(("Premise t", "No"), otherwise="Yes")
    result = measure(oracle, MEDNLI, dev, test)
    said = oracle.prompts
    choosing, measuring = said[: 3 * len(MEDNLI.templates)], said[3 * len(MEDNLI.templates) :]
    assert all("Premise d" in prompt and "Premise t" not in prompt for prompt in choosing)
    assert [f"Premise t{n}." in prompt for n, prompt in enumerate(measuring)] == [True] * 3
    # All are said to contradict, which one in three does.
    assert result["confusion"] == [[0, 0, 1], [0, 0, 1], [0, 0, 1]]


def test_the_fault_that_two_demonstrations_of_a_prompt_have_each_others_label():
    # A clinician's table, apart from that of the module.
    right = {
        ("She takes metformin twice daily.", "She is treated for diabetes."): "entailment",
        ("No fever since admission.", "The patient was febrile overnight."): "contradiction",
        ("He was seen in clinic in May.", "He has a history of gout."): "neutral",
    }
    assert {(texts["premise"], texts["hypothesis"]): label for texts, label in MEDNLI.demonstrations} == right
    for template in MEDNLI.templates:
        if not template.demonstration:
            continue
        prompt = template.prompt({"premise": "-", "hypothesis": "-"}, MEDNLI.demonstrations)
        for (premise, hypothesis), label in right.items():
            behind = prompt[prompt.index(premise) :]
            answer = behind[behind.index("Answer: ") :].removeprefix("Answer: ").splitlines()[0]
            assert hypothesis in behind.split("Answer: ")[0]
            assert read_label(answer) == label


# Every task


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_the_answer_of_every_demonstration_is_read_as_what_it_is(task):
    assert len(task.templates) >= 3
    assert any(template.demonstration for template in task.templates)
    for template in task.templates:
        for _, answer in task.demonstrations:
            said = template.answers.get(answer, answer)
            read = {"mednli": read_label, "radqa": read_quote, "clip": read_follow_up}[task.name](said)
            if task.name == "mednli":
                assert read == answer
            elif task.name == "radqa":
                assert read == ("" if answer == "N/A" else answer)
            else:
                expected = set() if answer == in_context.NOTHING else {in_context._ALSO_CALLED[one] for one in answer.split(", ")}
                assert read == expected


def test_a_quote_that_a_demonstration_gives_stands_in_its_context():
    for texts, answer in RADQA.demonstrations:
        assert answer == "N/A" or answer in texts["context"]


def test_a_prompt_takes_a_notes_braces_as_they_are():
    template = Template("t", "{demonstrations}{sentence}|", "{sentence}={answer};", {"Lab": "L"})
    assert template.prompt({"sentence": "{answer} {0} {"}, [({"sentence": "{x}"}, "Lab")]) == "{x}=L;{answer} {0} {|"


def test_the_template_that_does_best_on_dev_items_is_taken_and_all_figures_are_told():
    dev = pairs(6)
    oracle = Oracle(*((f"Premise: {p.premise}\n", p.label) for p in dev), otherwise="who knows")
    template, figures = choose(oracle, MEDNLI, dev)
    assert template.name == "three-words-shown"
    assert figures == {"does-mean": 0.0, "does-mean-shown": 0.0, "three-words-shown": 1.0, "does-it-follow": 0.0}


def test_templates_of_clip_are_tried_on_sentences_drawn_from_all_notes(make_notes):
    oracle = Oracle(otherwise="none")
    choose(oracle, CLIP, make_notes(12), most=15)
    assert len(oracle.prompts) == 15 * len(CLIP.templates)


def test_without_dev_items_no_template_can_be_chosen(make_note):
    for task, dev in ((MEDNLI, []), (CLIP, [make_note("n", [])])):
        with pytest.raises(ValueError, match="no dev items"):
            choose(Oracle(), task, dev)


# Reading


@pytest.mark.parametrize(
    ("said", "label"),
    [
        ("Yes", "entailment"),
        ("yes, it does.", "entailment"),
        ("No.", "contradiction"),
        ("It's impossible to say", "neutral"),
        ("Maybe", "neutral"),
        ("It is not possible to say yes or no", "neutral"),
        ("FALSE", "contradiction"),
        ("- Sometimes", "neutral"),
        ("neutral\n\nPremise: He ate.\nAnswer: entailment", "neutral"),
        # Whole words only.
        ("I do not know", None),
        ("Note that nothing was said", None),
        ("yesterday", None),
        ("not true", None),
        ("", None),
        (None, None),
    ],
)
def test_a_verbaliser_is_a_whole_word(said, label):
    assert MEDNLI.read(pairs(1)[0], [said]) == label


@pytest.mark.parametrize(
    ("said", "labels"),
    [
        ("Lab-related followup", {"Lab"}),
        ("Lab, Imaging", {"Lab", "Imaging"}),
        ("- Lab-related followup\n- Medication-related followups\n", {"Lab", "Medication"}),
        ("1. Appointment\n2) Lab.", {"Appointment", "Lab"}),
        ("lab; appointment and imaging", {"Lab", "Appointment", "Imaging"}),
        ("Medication-related followup", None),
        ("Patient instructions, what is this", {"Patient instructions"}),
        ("None of the above", set()),
        ("none of the above.", set()),
        ("None", set()),
        ("Lab, None of the above", {"Lab"}),
        ("Lab\n\nSentence: He ate.\nLabels: Imaging", {"Lab"}),
        # "Other" as a word of a sentence names no label.
        ("Other than that she is well", None),
        ("label", None),
        ("", None),
        (None, None),
    ],
)
def test_a_list_of_labels_is_read_part_by_part(said, labels):
    assert read_follow_up(said) == labels


def test_what_cannot_be_read_has_no_label_and_is_told(make_note):
    note = make_note("n", [("Recheck the INR.", {"Lab"}), ("She ate well.", set())])
    result = score_follow_up([note], ask(Oracle(otherwise="gibberish"), CLIP, CLIP.templates[0], [note]))
    assert (result["micro_f1"], result["n_unread"]) == (0.0, 2)


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        ("N/A", ""),
        ("n/a.", ""),
        ("N/A: it does not say", ""),
        ("No answer.", ""),
        ('"Small left effusion"', "Small left effusion"),
        ("effusion\n\nContext: another", "effusion"),
        ("none of the ribs is broken", "none of the ribs is broken"),
        ("", UNREAD),
        (None, UNREAD),
    ],
)
def test_n_a_is_no_answer_and_silence_is_not(said, answer):
    assert read_quote(said) == answer


@pytest.mark.parametrize(
    ("answer", "quoted"),
    [
        ("No pneumothorax", "No pneumothorax"),
        ("small LEFT effusion.", "Small left\n effusion"),
        ("Small left effusion, no pneumothorax", "Small left\n effusion. No pneumothorax"),
        ("left", "left"),
        ("large effusion", None),
        ("effus", "effus"),
        ("", None),
        ("...", None),
    ],
)
def test_an_answer_is_found_again_word_by_word_whatever_case_and_white_space(answer, quoted):
    span = found_again(answer, CONTEXT)
    assert (span and CONTEXT[span.start : span.end]) == quoted


def test_an_invented_answer_is_wrong_also_where_there_is_none_to_give():
    """The authors blank it, which makes it right there."""
    questions = [EFFUSION, FRACTURE, FRACTURE, EFFUSION]
    said = ["small left effusion", "the third rib is broken", "", "a small left-sided effusion"]
    result = score_quotes(questions, said)
    assert result["em"] == 0.5
    assert result["no_answer"] == {"accuracy": 0.5, "n": 2}
    assert (result["n_literal"], result["n_found_again"], result["n_not_in_context"], result["n_unread"]) == (0, 1, 2, 0)
    # Words in common count where answers are taken as they were given.
    assert result["as_said"]["f1"] > result["f1"]


def test_silence_is_wrong_for_every_question():
    result = score_quotes([EFFUSION, FRACTURE], [UNREAD, UNREAD])
    assert (result["em"], result["f1"], result["n_unread"]) == (0.0, 0.0, 2)
