"""The leak gate: its ranks are exact, chance passes it, and what a model has learnt by heart does not."""

import json
import re
import subprocess
import sys
from collections import Counter
from random import Random

import numpy as np
import pytest
import tokenizers as libtokenizers
import torch
from transformers import BertConfig, BertForMaskedLM, T5Config, T5ForConditionalGeneration

from pretrain import tokenizer as tokenizers
from pretrain.corpus.documents import unusable
from pretrain.leakage import Canaries, LeakageError, LeakReport, Level, exposure, measure
from pretrain.leakage.canaries import CANDIDATES, PER_LEVEL, REPEATS
from pretrain.leakage.gate import FALSE_ALARM, FIRST_GUESSES, LEVEL_ERROR
from pretrain.leakage.ranking import Ranking, rank
from pretrain.models.families import load_t5
from pretrain.shingles import Shelf
from pretrain.trainer import Budget
from tests.benchmarks.leakage import CLEAN, DUPLICATED, OVERTRAINED, run
from tests.on_shards import pretrain_on

CANARIES = Canaries.plan(0)
OFTEN = Canaries(CANARIES.canaries[-PER_LEVEL:])
"""Those that stand eight times."""


@pytest.fixture(scope="module")
def tokenizer():
    return tokenizers.train([document.text for document in CANARIES.documents()], 512)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def tiny(tokenizer, seed: int = 0):
    """A T5 of one layer, with weights large enough that it has opinions."""
    torch.manual_seed(seed)
    config = T5Config(d_model=32, d_ff=32, d_kv=16, num_heads=2, num_layers=1, vocab_size=tokenizer.vocab_size)
    config.decoder_start_token_id = 0
    config._attn_implementation = "eager"
    model = T5ForConditionalGeneration(config).eval()
    model.lm_head.weight.data.normal_(std=0.5)
    return model


def report(*ranks: tuple[int, ...], controls: tuple[int, ...] = (50_000,) * PER_LEVEL) -> LeakReport:
    """Of levels 1, 2, 4, 8; those that are not given are by chance."""
    rows = [*ranks, *[(10_000, 20_000, 40_000, 60_000, 80_000, 90_000)] * (4 - len(ranks))]
    return LeakReport(tuple(Level(repeats, row, controls) for repeats, row in zip(REPEATS, rows, strict=True)))


def test_six_canaries_stand_once_twice_four_and_eight_times():
    assert Counter(len(canary.texts) for canary in CANARIES.canaries) == {1: 6, 2: 6, 4: 6, 8: 6}
    documents = CANARIES.documents()
    assert len(documents) == len({document.document_id for document in documents}) == 90
    marks = (mark for d in documents for mark in (d.document_id, d.group, d.deidentified_by))
    assert all(mark.startswith("canary") for mark in marks)


def test_the_only_number_of_a_canary_is_its_secret_and_its_control_stands_nowhere():
    for canary in CANARIES.canaries:
        assert {tuple(re.findall(r"\d+", text)) for text in canary.texts} == {(canary.secret,)}
        assert re.fullmatch(r"\d{5}", canary.control)
    texts = " ".join(document.text for document in CANARIES.documents())
    assert not any(canary.control in texts for canary in CANARIES.canaries)


def test_canaries_are_documents_that_neither_cleaning_nor_deduplication_would_drop():
    assert [unusable(document.text) for document in CANARIES.documents()] == [None] * 90
    for canary in CANARIES.canaries:
        for number, text in enumerate(canary.texts[1:], 1):
            assert not Shelf(canary.texts[:number]).nearly_holds([text]).any()


def test_a_seed_plans_the_same_canaries_in_every_process():
    script = "from pretrain.leakage import Canaries; print(*(d.text for d in Canaries.plan(3).documents()), sep='\\n')"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [document.text for document in Canaries.plan(3).documents()]
    assert {c.secret for c in Canaries.plan(3).canaries}.isdisjoint(c.secret for c in Canaries.plan(4).canaries)


def test_what_is_shown_names_no_secret():
    secrets = [number for canary in CANARIES.canaries for number in (canary.secret, canary.control)]
    shown = repr(CANARIES) + repr(CANARIES.canaries) + repr(CANARIES.documents())
    assert not any(secret in shown for secret in secrets)


def test_the_model_is_shown_the_text_with_one_sentinel_for_the_number(tokenizer):
    canary = CANARIES.canaries[0]
    ids = Ranking(tiny(tokenizer), tokenizer).masked(canary.texts[0], canary.secret, [tokenizer.sentinel_id(0)])
    assert tokenizer.decode(ids[:-1]).replace("<extra_id_0>", canary.secret) == canary.texts[0]
    assert ids.count(tokenizer.sentinel_id(0)) == 1
    assert ids[-1] == tokenizer.eos_id


@pytest.fixture(scope="module")
def joining(tokenizer, tmp_path_factory):
    """A vocabulary with a few numbers of two and three digits, as those of other T5s have."""
    path = tmp_path_factory.mktemp("joining") / "tokenizer.json"
    tokenizer.save(path)
    file = json.loads(path.read_text())
    file["pre_tokenizer"]["pretokenizers"] = [step for step in file["pre_tokenizer"]["pretokenizers"] if step["type"] != "Digits"]
    unused = [piece for piece in file["model"]["vocab"] if piece[0].startswith("<unused")]
    for piece, digits in zip(unused, ("12", "123", "99", "▁99", CANARIES.canaries[0].secret[:3]), strict=False):
        piece[:] = [digits, 0.0]
    path.write_text(json.dumps(file))
    return tokenizers.Tokenizer.load(path)


@pytest.mark.parametrize("vocabulary", ["tokenizer", "joining"])
def test_the_tree_gives_the_loss_that_the_model_has_on_each_number(vocabulary, request):
    tokenizer, canary = request.getfixturevalue(vocabulary), CANARIES.canaries[0]
    ranking = Ranking(model := tiny(tokenizer), tokenizer)
    losses_S = ranking.losses(canary.texts[0], canary.secret)
    assert losses_S.shape == (CANDIDATES,)
    source = torch.tensor([ranking.masked(canary.texts[0], canary.secret, [tokenizer.sentinel_id(0)])])
    lengths = set()
    for number in ("00000", "99999", "12345", canary.secret):
        encoding = tokenizer.encode(number)
        ids = encoding.ids[encoding.ends > encoding.starts].tolist()
        lengths.add(len(ids))
        with torch.no_grad():
            logits = model(input_ids=source, labels=torch.tensor([[tokenizer.sentinel_id(0), *ids]])).logits
        plain = -logits[0, 1:].log_softmax(1)[range(len(ids)), ids].sum().item()
        # float32 sums in another order
        assert losses_S[int(number)] == pytest.approx(plain, abs=1e-4)
    assert lengths == ({5} if vocabulary == "tokenizer" else {3, 5})
    assert losses_S.std() > 0.1


def test_an_encoder_is_asked_for_all_masked_tokens_of_a_number_at_once():
    pieces = libtokenizers.BertWordPieceTokenizer()
    pieces.train_from_iterator([document.text for document in CANARIES.documents()], 400, show_progress=False)
    frame = [(name, pieces.token_to_id(name)) for name in ("[SEP]", "[CLS]")]
    pieces.post_processor = libtokenizers.processors.BertProcessing(*frame)
    words = tokenizers.Tokenizer(pieces._tokenizer)
    config = BertConfig(
        hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, vocab_size=words.vocab_size
    )
    torch.manual_seed(0)
    ranking = Ranking(model := BertForMaskedLM(config), words)
    canary = CANARIES.canaries[0]
    losses_S = ranking.losses(canary.texts[0], canary.secret)
    lengths = set()
    for number in ("00000", "99999", "12345", canary.secret):
        spelled = words.encode(number).ids.tolist()
        lengths.add(len(spelled))
        before, after = canary.texts[0].split(canary.secret)
        blanks = len(spelled) * [words.mask_id]
        ids = [*words.prefix_ids, *words.encode(before).ids.tolist(), *blanks]
        ids += [*words.encode(after).ids.tolist(), *words.suffix_ids]
        with torch.no_grad():
            log_p = model(input_ids=torch.tensor([ids])).logits[0].log_softmax(1)
        at = ids.index(words.mask_id)
        plain = -sum(log_p[at + k, token].item() for k, token in enumerate(spelled))
        assert losses_S[int(number)] == pytest.approx(plain, abs=1e-4)
    assert len(lengths) > 1


def test_a_rank_is_its_place_among_all_numbers_and_ties_count_against_it():
    losses_S = np.arange(CANDIDATES, dtype=np.float32)[::-1].copy()
    assert [rank(losses_S, number) for number in ("99999", "99998", "00000")] == [1, 2, CANDIDATES]
    assert rank(np.zeros(CANDIDATES, np.float32), "00000") == CANDIDATES


def test_exposure_is_what_carlini_et_al_define():
    assert exposure(1) == pytest.approx(16.61, abs=0.01)
    assert exposure(CANDIDATES // 2) == pytest.approx(1)
    assert exposure(CANDIDATES) == 0


def test_ranks_by_chance_pass_999_times_in_1000():
    draw = Random(0)
    failed = 0
    for _ in range(20_000):
        rows = [[draw.randint(1, CANDIDATES) for _ in range(PER_LEVEL)] for _ in range(8)]
        levels = tuple(Level(n, tuple(a), tuple(b)) for n, a, b in zip(REPEATS, rows[:4], rows[4:], strict=True))
        failed += not LeakReport(levels).passed
    # At most 20 are expected; 38 or more of a Poisson variable of 20 come once in 5,000 times. None would be too cautious.
    assert 0 < failed < 38
    assert FALSE_ALARM == 0.001


def test_the_p_value_is_the_chance_of_ranks_so_early():
    assert Level(1, (123,), (1,)).p_value == pytest.approx(123 / CANDIDATES)
    # Six mean exposures just around 4.7 bits.
    assert Level(1, (3863,) * 6, (1,)).p_value > LEVEL_ERROR > Level(1, (3800,) * 6, (1,)).p_value


def test_a_secret_among_the_first_guesses_fails_whatever_the_others_are():
    alone = (FIRST_GUESSES, 50_000, 60_000, 70_000, 80_000, 90_000)
    for level in range(4):
        rows = [(50_000,) * 6] * level + [alone]
        (reason,) = report(*rows).reasons
        assert reason.startswith(f"1 of 6 secrets that stood {REPEATS[level]} time")
    assert report((FIRST_GUESSES + 1, *alone[1:])).passed


def test_secrets_that_come_out_early_together_fail_before_any_can_be_had():
    (reason,) = report((500, 1000, 2000, 3000, 4000, 9000)).reasons
    assert "that stood 1 time come out earlier than by chance" in reason


def test_controls_that_stand_out_fail_because_the_measurement_is_wrong():
    (reason,) = report(controls=(3000,) * 6).reasons
    assert "planted nowhere" in reason


def test_the_card_gets_a_row_for_each_level():
    row = report((1, 2, 4, 8, 16, 32)).to_dict()["levels"][0]
    assert row == {
        "repeats": 1,
        "n": 6,
        "median_exposure": 14.11,
        "control_median_exposure": 1.0,
        # The ranks' product is 2**15, so x = 6 ln(100,000) - 15 ln 2 = 58.68; e**-x (1 + x + ... + x**5 / 120)
        "p_value": pytest.approx(2.07e-19, rel=0.01),
        "worst_rank": 1,
    }


def test_a_model_that_never_saw_the_canaries_passes(tokenizer):
    done = []
    untaught = measure(tiny(tokenizer), tokenizer, CANARIES, done.append)
    assert untaught.passed
    assert done == list(range(1, 25))
    assert [level.repeats for level in untaught.levels] == [1, 2, 4, 8]
    assert json.loads(json.dumps(untaught.to_dict()))["reasons"] == []


def test_a_model_that_learnt_them_by_heart_fails(tokenizer, tmp_path):
    """Some twenty passes over a corpus of nothing else."""
    pretrain_on(OFTEN.documents(), [], tokenizer, "mini", tmp_path, Budget(steps=90), batch_tokens=1024)
    learnt = measure(load_t5(tmp_path), tokenizer, OFTEN)
    assert not learnt.passed
    assert learnt.levels[0].p_value < 1e-6


@pytest.mark.slow
@pytest.mark.parametrize("training", [CLEAN, OVERTRAINED, DUPLICATED], ids=lambda training: training.name)
def test_the_gate_tells_a_sound_training_from_a_leak(training):
    assert run(training, seed=0).passed != training.is_leak


def test_a_tokenizer_that_does_not_tell_numbers_apart_is_refused():
    words = tokenizers.train(["There is no number in any of these words of a note. " * 20], 256)
    with pytest.raises(LeakageError, match="does not tell all numbers apart"):
        measure(tiny(words), words, OFTEN)


def test_a_model_without_answers_is_not_passed(tokenizer):
    model = tiny(tokenizer)
    torch.nn.init.constant_(model.lm_head.weight, float("nan"))
    with pytest.raises(LeakageError, match="no numbers"):
        measure(model, tokenizer, OFTEN)
