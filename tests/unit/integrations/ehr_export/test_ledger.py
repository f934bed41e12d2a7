import json
from collections import Counter

from integrations.ehr_export.ledger import MOST_REASONS, Ledger


def test_reasons_that_an_export_makes_up_are_no_longer_told_apart_but_all_count(read_one):
    resources = (json.dumps({"resourceType": f"Kind{chr(65 + n // 26)}{chr(65 + n % 26)}"}) for n in range(26 * 26))
    _, drops, _ = read_one("n.ndjson", "\n".join(resources))
    assert sum(drops.values()) == 26 * 26
    assert len(drops) == MOST_REASONS + 1
    assert drops["for another reason"] == 26 * 26 - MOST_REASONS


def test_a_ledger_counts_into_the_callers_counters_and_knows_its_own_share():
    drops = Counter({"before": 3})
    ledger = Ledger(drops, Counter())
    ledger.drop("before")
    ledger.drop("now", 2)
    assert (drops, ledger.n_dropped) == ({"before": 4, "now": 2}, 3)
