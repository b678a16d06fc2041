"""The pages for administrators: every metric and every alert is on them, and every alert rule works."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from ckptd.health.page import FAMILIES
from ckptd.settings import load_settings
from ckptd.settings.sample import documented_settings
from tests.docs.pages import commands
from tests.health.moments import find_tool

OPS = Path(__file__).parents[2] / "docs" / "ops"
RULES = (OPS / "ckptd.rules.yml").read_text()
ALERTS = re.findall(r"- alert: (\w+)\n", RULES)


def test_every_metric_is_on_the_page_and_every_one_of_the_page_exists():
    """With its labels and what it says, word for word."""
    text = (OPS / "metrics.md").read_text()
    rows = re.findall(r"^\| `(ckptd_\w+)` \| (.+) \| (.+) \|$", text, re.MULTILINE)
    labels = {family.name: ", ".join(f"`{label}`" for label in family.labels) or "-" for family in FAMILIES}
    assert sorted(rows) == sorted((family.name, labels[family.name], family.text) for family in FAMILIES)


def test_the_rules_ask_for_metrics_that_exist():
    """A misspelt name would keep quiet for ever."""
    known = {family.name for family in FAMILIES}
    asked = set(re.findall(r"\b(ckptd_\w+)", RULES))
    assert asked <= known
    labels = {label for family in FAMILIES for label in family.labels} | {"job", "instance"}
    assert set(re.findall(r"\$labels\.(\w+)", RULES)) <= labels
    assert set(re.findall(r"[{,](\w+)=~?\"", RULES)) <= labels


def test_every_alert_has_its_section_in_the_runbook():
    """In the same order, with where to look and what to do, and the link of the alert leads there."""
    text = (OPS / "runbook.md").read_text()
    sections = re.findall(r"^## (\w+)\n\n\*\*Look:\*\* .+\n\n\*\*Do:\*\* .+$", text, re.MULTILINE)
    assert sections == ALERTS
    assert re.findall(r'runbook: "runbook\.md#(\w+)"', RULES) == [name.lower() for name in ALERTS]
    assert set(re.findall(r"\]\(#(\w+)\)", text)) <= {name.lower() for name in ALERTS}


@pytest.mark.parametrize("name", ["metrics.md", "runbook.md"])
def test_what_the_pages_name_exists(name):
    """Commands and what they are told, settings, and links."""
    text = (OPS / name).read_text()
    known = {typed.removeprefix("ckptd").strip(): command for typed, command, _ in commands()}
    for words in re.findall(r"`ckptd ([a-z][^`]*)`", text):
        verb = max((one for one in known if one and f"{words} ".startswith(f"{one} ")), key=len)
        options = {spelling for parameter in known[verb].params for spelling in parameter.opts}
        assert set(re.findall(r"--[a-z-]+", words)) <= options, words
    settings = {setting.dotted for setting in documented_settings()}
    events = set(re.findall(r"^\| `([a-z_.]+)` \|", (OPS.parent / "logs.md").read_text(), re.MULTILINE))
    for dotted in re.findall(r"`([a-z_]+\.[a-z_]+)(?: = .*)?`", text):
        assert dotted in settings | events or dotted.startswith("fs."), dotted
    for link in re.findall(r"\]\(([^)#]+)", text):
        assert (OPS / link).exists(), link


def test_the_examples_are_valid(tmp_path):
    """The settings load, and Prometheus takes its part of its own."""
    text = (OPS / "metrics.md").read_text()
    (settings,) = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    (tmp_path / "ckptd.toml").write_text(settings.replace("# textfile", "textfile"))
    assert load_settings(tmp_path / "ckptd.toml", None, {}).health.is_wanted
    (config,) = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    (tmp_path / "prometheus.yml").write_text(config.replace("/etc/prometheus/ckptd.rules.yml", str(OPS / "ckptd.rules.yml")))
    done = subprocess.run(
        [find_tool("promtool"), "check", "config", tmp_path / "prometheus.yml"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_is_tested():
    """It fires on a bad day of its own."""
    text = (OPS / "ckptd.rules.test.yml").read_text()
    assert set(re.findall(r'alertname="(\w+)"', text)) == set(ALERTS)
    assert set(re.findall(r'- name: "(\w+): ', text)) == set(ALERTS)


@pytest.mark.parametrize("arguments", [("check", "ckptd.rules.yml"), ("test", "ckptd.rules.test.yml")])
def test_promtool_accepts_the_rules(arguments):
    """Each fires on its bad day and no other does; all keep quiet on a good one."""
    what, file = arguments
    done = subprocess.run([find_tool("promtool"), what, "rules", file], cwd=OPS, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", ALERTS)
def test_a_rule_that_is_gone_is_missed(name, tmp_path):
    """The tests of the rules are no decoration: without an alert they fail."""
    gone = re.sub(rf"(?s)      - alert: {name}\n.*?(?=      - alert|  - name|\Z)", "", RULES)
    (tmp_path / "ckptd.rules.yml").write_text(re.sub(r"(?m)^    rules:\n(?=  - name|\Z)", "    rules: []\n", gone))
    text = (OPS / "ckptd.rules.test.yml").read_text()
    head, days = text.split("tests:\n")
    ones = [day for day in re.split(r"(?m)^(?=  - name:)", days) if f'"{name}: ' in day]
    (tmp_path / "days.yml").write_text(head + "tests:\n" + "".join(ones))
    done = subprocess.run([find_tool("promtool"), "test", "rules", "days.yml"], cwd=tmp_path, capture_output=True, timeout=120)
    assert done.returncode == 1, done.stdout
    assert b"FAILED" in done.stdout + done.stderr
