"""Two models on the same notes: who reads, and what is counted."""

from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from appliance.config import parse
from appliance.home import Home
from appliance.keeper import EngineKeeper
from appliance.publishing import tagger_of
from appliance.reading import Reading, ReportReader, TaggerReader
from appliance.registry import Registry, RegistryError
from appliance.trial import Trial
from integrations.records import ModelVersion, Note, NoteKind
from serving import predictor
from serving.compilation import compile_bundle
from serving.engine import EngineError
from tests import tiny_bundle
from tests.appliance_process import eventually

NOTES = [
    Note(f"n{i}", NoteKind.DISCHARGE_SUMMARY, f"Follow up in {i} weeks. Recheck the potassium. Call us.") for i in range(200)
]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home")
    home.init()
    registry = Registry(home.models)
    for seed in (0, 1):
        registry.add("q", "clip", lambda at, version, seed=seed: tiny_bundle.write(at, "q", version, seed))
    registry.promote(registry.find("q@1", "clip"))
    return home


@pytest.fixture
def readers(home: Home) -> tuple[TaggerReader, TaggerReader]:
    def reader(version: int) -> TaggerReader:
        entry = Registry(home.models).find(f"q@{version}", "clip")
        return TaggerReader(tagger_of(home, entry, "onnxruntime"), ModelVersion("q", str(version), "0" * 64))

    return reader(1), reader(2)


@pytest.fixture
def counted() -> dict[str, float]:
    """What the metrics have grown by, asked for by name and label."""

    class Growth(dict[str, float]):
        def value(self, key: str) -> float:
            name, _, outcome = key.partition(" ")
            return REGISTRY.get_sample_value(f"clinappliance_candidate_{name}", {"outcome": outcome} if outcome else {}) or 0.0

        def __missing__(self, key: str) -> float:
            return self.value(key) - before[key]

    keys = ("sentences_total same", "sentences_total different", "failures_total", "skipped_total")
    growth = Growth()
    before = {key: growth.value(key) for key in keys}
    return growth


def by(reading: Reading) -> str:
    assert {f.model for f in reading.findings} <= {str(reading.model)}, "a note is read by one model"
    return str(reading.model)


def test_a_shadow_reads_every_note_and_nobody_sees_what_it_found(readers, counted):
    promoted, candidate = readers
    trial = Trial(promoted, candidate, 0.0)
    for note in NOTES[:50]:
        # The time of reading differs from one to the next, what is found does not.
        assert [(f.finding_id, f.label) for f in trial.read(note).findings] == [
            (f.finding_id, f.label) for f in promoted.read(note).findings
        ]
    eventually(lambda: counted["sentences_total same"] + counted["sentences_total different"] == 150)
    assert counted["sentences_total different"] > 0
    trial.close()


def test_a_candidate_that_is_the_same_model_never_differs(readers, counted):
    promoted, _ = readers
    trial = Trial(promoted, promoted, 0.0)
    for note in NOTES[:50]:
        trial.read(note)
    eventually(lambda: counted["sentences_total same"] == 150)
    assert counted["sentences_total different"] == 0
    trial.close()


@pytest.mark.parametrize("share", [0.1, 0.5, 1.0])
def test_a_share_of_the_notes_is_read_by_the_candidate_and_always_the_same_ones(share, readers):
    trial = Trial(*readers, share)
    first = [by(trial.read(note)) for note in NOTES]
    assert [by(trial.read(note)) for note in NOTES] == first
    # Four standard deviations of a binomial.
    assert abs(first.count("q@2") - share * len(NOTES)) <= 4 * (share * (1 - share) * len(NOTES)) ** 0.5
    trial.close()


class Silent:
    """A tagger that does not answer."""

    def tag(self, texts: list[str]) -> list[object]:
        raise EngineError("it does not answer")


def test_a_candidate_that_fails_keeps_no_note_from_being_read(readers, counted):
    promoted, _ = readers
    trial = Trial(promoted, TaggerReader(Silent(), ModelVersion("q", "2", "0" * 64)), 0.5)
    assert {by(trial.read(note)) for note in NOTES[:40]} == {"q@1"}
    eventually(lambda: counted["failures_total"] == 40)
    trial.close()


def test_what_is_tried_is_taken_up_compared_and_left_again_by_a_running_appliance(home, counted):
    registry = Registry(home.models)
    keeper = EngineKeeper(home, parse('[worker]\nengine = "local"'))
    keeper.step()
    alone = keeper.readers()["clip"]
    assert by(alone.read(NOTES[0])) == "q@1"
    registry.try_out("clip", registry.find("q@2", "clip"), 1.0)
    keeper.step()
    assert by(keeper.readers()["clip"].read(NOTES[0])) == "q@2"
    registry.try_out("clip", registry.find("q@2", "clip"), 0.0)
    keeper.step()
    assert by(keeper.readers()["clip"].read(NOTES[0])) == "q@1"
    eventually(lambda: counted["sentences_total same"] + counted["sentences_total different"] == 6)
    registry.try_out("clip", None)
    keeper.step()
    assert keeper.readers()["clip"] is alone
    keeper.close()


def test_a_candidate_that_is_promoted_is_not_tried_any_more(home):
    registry = Registry(home.models)
    registry.try_out("clip", registry.find("q@2", "clip"), 0.1)
    keeper = EngineKeeper(home, parse('[worker]\nengine = "local"'))
    keeper.step()
    assert isinstance(keeper.readers()["clip"], Trial)
    registry.promote(registry.find("q@2", "clip"))
    keeper.step()
    assert registry.candidate("clip") is None
    assert by(keeper.readers()["clip"].read(NOTES[0])) == "q@2"
    keeper.close()


def test_a_candidate_that_cannot_be_opened_or_is_gone_leaves_the_promoted_model_alone(home, caplog):
    registry = Registry(home.models)
    bad = registry.add("q", "clip", lambda at, version: tiny_bundle.write(at, "q", version, drift=0.5))
    keeper = EngineKeeper(home, parse('[worker]\nengine = "local"'))
    registry.try_out("clip", bad, 1.0)
    with caplog.at_level("WARNING", logger="appliance.candidacy"):
        for _ in range(3):
            keeper.step()
    assert by(keeper.readers()["clip"].read(NOTES[0])) == "q@1"
    assert [r.getMessage()[:31] for r in caplog.records if r.name == "appliance.candidacy"] == ["the candidate cannot be tried: "]
    (home.models / "promoted.json").write_text('{"clip": ["q", 1], "candidate": {"clip": ["gone", 1, 1.0]}}')
    keeper.step()
    assert by(keeper.readers()["clip"].read(NOTES[0])) == "q@1"
    with pytest.raises(RegistryError, match="no clip model gone@1"):
        registry.candidate("clip")
    keeper.close()


def test_readers_of_reports_are_compared_question_by_question(tmp_path, counted):
    def reader(name: str, asked: list[str]) -> ReportReader:
        bundle = tiny_bundle.write_reader(tmp_path / name, name)
        engine = compile_bundle(bundle, tmp_path / f"{name}-artifact", "onnxruntime").open()
        return ReportReader(predictor.Reader(bundle, engine), ModelVersion(name, "1", "0" * 64), lambda note: asked)

    both = ["Is there a pleural effusion?", "Is there a fracture?"]
    one, other = reader("one", [*both, "Is there a zebra?"]), reader("other", [*both, "Is there a lion?"])
    trial = Trial(one, other, 0.0)
    trial.read(Note("n", NoteKind.RADIOLOGY_REPORT, "FINDINGS: There is a pleural effusion. No fracture."))
    eventually(lambda: counted["sentences_total same"] == 2)
    assert counted["sentences_total different"] == 2
    trial.close()
