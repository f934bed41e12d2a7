"""Every alert fires on its cause and is silent without it, and somebody who is woken finds a page that says what to do."""

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
RULES = sorted((ROOT / "ops/prometheus/rules").glob("*.yml"))
CASES = ROOT / "tests/ops/alerts"
ALERTS = {
    rule["alert"]: rule
    for path in RULES
    for group in yaml.safe_load(path.read_text())["groups"]
    for rule in group["rules"]
    if "alert" in rule
}

pytestmark = pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed: apt-get install prometheus")


def promtool(*arguments: str | Path, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["promtool", *map(str, arguments)], cwd=cwd, capture_output=True, text=True, check=False)


def test_prometheus_takes_the_rules_and_the_configuration():
    checked = promtool("check", "rules", *RULES)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    configured = promtool("check", "config", ROOT / "ops/prometheus/prometheus.yml")
    assert configured.returncode == 0, configured.stdout + configured.stderr
    assert "2 rule files found" in configured.stdout


@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_fires_on_its_cause_and_is_silent_without_it(alert):
    cases = yaml.safe_load((CASES / f"{alert}.yml").read_text())["tests"]
    expected = [(case["name"].split(":")[0], len(asked["exp_alerts"])) for case in cases for asked in case["alert_rule_test"]]
    assert expected == [("fires", 1), ("is silent", 0)]
    assert {asked["alertname"] for case in cases for asked in case["alert_rule_test"]} == {alert}
    tested = promtool("test", "rules", f"{alert}.yml", cwd=CASES)
    assert tested.returncode == 0, tested.stdout + tested.stderr


@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_says_what_is_wrong_how_urgent_it_is_and_where_to_read_on(alert):
    rule = ALERTS[alert]
    assert rule["labels"] == {"severity": rule["labels"]["severity"]}
    assert rule["labels"]["severity"] in {"page", "warn"}
    assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}
    page = (ROOT / "ops" / rule["annotations"]["runbook_url"]).read_text()
    assert page.startswith(f"# {alert}\n")
    assert "\n## Look\n" in page
    assert "\n## Do\n" in page


def test_no_case_and_no_page_is_left_of_an_alert_that_is_gone():
    assert {path.stem for path in CASES.iterdir()} == set(ALERTS)
    assert {path.stem for path in (ROOT / "ops/runbooks").iterdir()} == set(ALERTS)
