"""Corpus work on a Ray cluster of two nodes: the functions that run here run there unchanged."""

import json
import os
from collections import Counter

import pytest

from appliance.corpus_building import build
from appliance.parallel import WorkError, run
from integrations.ehr_export import open_export
from tests.unit.pretrain.corpus.notes import text

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
ray_cluster = pytest.importorskip("ray.cluster_utils", reason="the extra [ray] is not installed")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def address():
    node = {"num_cpus": 1, "object_store_memory": 80_000_000}
    options = {**node, "include_dashboard": False}
    cluster = ray_cluster.Cluster(initialize_head=True, head_node_args=options)
    cluster.add_node(**node)
    yield cluster.address
    cluster.shutdown()


def inverse(n: int) -> tuple[float, int]:
    return 1 / n, os.getpid()


def test_results_come_in_the_order_of_the_items_and_from_other_processes(address):
    results = run(inverse, range(1, 20), str, ray_address=address)
    assert [result for result, _ in results] == [1 / n for n in range(1, 20)]
    assert os.getpid() not in {process for _, process in results}


def test_the_first_failure_ends_it_and_names_its_item(address):
    with pytest.raises(WorkError, match=r"^file 0: ZeroDivisionError$"):
        run(inverse, [2, 0], lambda n: f"file {n}", ray_address=address)


def test_a_corpus_made_on_ray_is_the_one_made_here(address, tmp_path):
    export = tmp_path / "export"
    export.mkdir()
    for month in range(6):
        notes = [{"patient_id": n % 7, "text": text(n)} for n in range(month * 10, month * 10 + 12)]
        # Not small enough to be read as one.
        (export / f"{month}.jsonl").write_text("\n".join(map(json.dumps, notes)) + "\n" * 5_000_000)
    drops = Counter()
    here = build(open_export(export, drops), tmp_path / "here", b"key", workers=1)
    there = build(open_export(export, drops), tmp_path / "there", b"key", ray_address=address)
    assert len(here.parts) > 1
    assert [part.sha256 for part in here.parts] == [part.sha256 for part in there.parts]
    assert list(here.train) == list(there.train)
    assert here.drops == there.drops
