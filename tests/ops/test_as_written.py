"""The pages for administrators are run as they are written, on losses that really happened."""

from __future__ import annotations

import os
import re
import sys

import pytest

from ckptd.index.migrate import REVISIONS
from tests.docs.pages import PROJECT
from tests.ops.written import NEXT, play, read_blocks

OPS = PROJECT / "docs" / "ops"
RESTORE, UPGRADE = read_blocks("restore.md"), read_blocks("upgrade.md")

#: Three checkpoints of one series, one of them pinned, all of them archived; then what the page says to back up.
PREPARED = f"""
{sys.executable} - <<'PYTHON'
import os, torch
os.makedirs("/srv/trained_models/runs")
for n in range(3):
    path = f"/srv/trained_models/runs/BiLSTM_ECG_acc8{{n}}_2025010{{n + 1}}.pth"
    torch.manual_seed(n)
    torch.save({{"w": torch.randn(64)}}, path)
    os.utime(path, (1_700_000_000 + n, 1_700_000_000 + n))
PYTHON
ckptd scan
ckptd pin BiLSTM_ECG_acc81_20250102
ckptd archive write 'size>0' >/dev/null
(cd /srv/trained_models/runs && sha256sum *.pth) >/mnt/sums
{RESTORE["Before anything is lost"]}
"""
#: Says which schema the index has.
READ_SCHEMA = """
import sqlite3
print(sqlite3.connect("/var/lib/ckptd/index.sqlite").execute("SELECT version_num FROM alembic_version").fetchone()[0])
"""
SUMS = "(cd /srv/trained_models/runs && sha256sum --check --quiet /mnt/sums)"
#: What must hold afterwards: every byte, the pin, the archives, and nothing removed by itself.
WHOLE = f"""
{SUMS}
for _ in $(seq 200); do
    found=$(ckptd ls --json | grep -o '"path": "runs/' | wc -l)
    test "$found" = 3 && break
    sleep 0.2
done
test "$found" = 3
ckptd plan --json | grep -q '"pin'
ckptd archives
if grep -q checkpoint.trashed /opt/ckptd/log; then exit 1; fi
"""
FROZEN = """ckptd plan --json | python3 -c 'import json, sys; assert json.load(sys.stdin)["frozen"]'
"""
THAWED = FROZEN.replace("assert json", "assert not json")


@pytest.fixture
def run(tmp_path):
    """Give a function that runs a script on a machine of its own; only root can make one."""
    if os.geteuid() != 0:
        pytest.skip("layers over /etc and /srv can only be mounted by root")
    return lambda script: play(tmp_path, script)


@pytest.mark.root
def test_a_lost_state_is_made_again_out_of_checkpoints_and_journal(run):
    """With the pin; and frozen, until the plan was confirmed as the page says."""
    run(
        f"{PREPARED}\nsystemctl start ckptd\nsystemctl stop ckptd\nrm -rf /var/lib/ckptd/*\n"
        f"{RESTORE['The state is lost, the checkpoints are there']}\n{WHOLE}\n{FROZEN}\n{RESTORE['Lift the freeze']}\n{THAWED}"
    )


@pytest.mark.root
def test_a_lost_machine_is_made_again_out_of_its_archives(run):
    """Nothing is left but the archives and what was backed up: every checkpoint comes back bit for bit."""
    lost = "rm -rf /srv/* /var/lib/ckptd; mkdir /srv/trained_models\n"
    lost += "sed -i '/archive/,$d' /etc/ckptd/ckptd.toml; ckptd service install\n"  # of the new machine: it knows no archives
    lost += "systemctl stop ckptd; rm -rf /var/lib/ckptd"
    script = RESTORE["The disk with the checkpoints is lost, or the whole machine"]
    told = run(f"{PREPARED}\n{lost}\n{script}\n{WHOLE}\n{FROZEN}\n{RESTORE['Lift the freeze']}\n{THAWED}\necho again\n{script}")
    assert "again" in told
    assert "not restored" in told.partition("again")[2], "what is there already stays, and is told"


@pytest.mark.root
def test_one_checkpoint_comes_back(run):
    """By the one line of the page."""
    gone = "rm /srv/trained_models/runs/BiLSTM_ECG_acc80_20250101*\nckptd scan"
    run(f"{PREPARED}\n{gone}\n{RESTORE['One checkpoint']}\n{SUMS}")


@pytest.mark.root
def test_an_upgrade_and_both_ways_back(run):
    """The older version refuses the newer index, takes the copy, and makes an index of its own; pins survive the second way."""
    by_copy = re.sub(r"index\.sqlite\.\d{4}\.bak", f"index.sqlite.{REVISIONS[-1]}.bak", UPGRADE["By the copy"])
    schema = f"{sys.executable} -c '{READ_SCHEMA}'"
    told = run(
        f"{PREPARED}\nsystemctl start ckptd\n{schema}\n"
        f"{UPGRADE['To a newer version'].replace('ckptd doctor', 'ckptd doctor || true')}\n{schema}\n"
        "systemctl stop ckptd\nrm /opt/ckptd/is-next\nckptd run || echo refused with $?\ntouch /opt/ckptd/is-next\n"
        "systemctl start ckptd\n"
        f"{by_copy}\n{schema}\nckptd ls >/dev/null\n"
        "systemctl stop ckptd\ntouch /opt/ckptd/is-next\nckptd tag BiLSTM_ECG_acc82_20250103 since\nsystemctl start ckptd\n"
        f"{UPGRADE['By a new index']}\n{schema}\nckptd tag BiLSTM_ECG_acc82_20250103\n{WHOLE}\n{FROZEN}"
    )
    assert re.findall(r"^(\d{4})$", told, re.MULTILINE) == [REVISIONS[-1], NEXT, REVISIONS[-1], REVISIONS[-1]]
    assert "refused with 5" in told
    assert "since" in told


def test_what_works_on_the_state_without_a_daemon_is_said_as_its_user():
    """Root would be refused; here it would not, as `ckptd` is a stand-in (see `written`)."""
    for name in ("runbook.md", "restore.md", "upgrade.md"):
        text = (OPS / name).read_text()
        for found in re.finditer(r"ckptd (?:scan|reindex)\b", text):
            assert text[: found.start()].endswith("runuser -u ckptd -- "), (name, text[found.start() :][:60])
    for page in (RESTORE, UPGRADE):
        for block in page.values():
            stopped = "\n".join(re.findall(r"systemctl stop [^\n]+\n(.*?)(?:systemctl start|\Z)", block, re.DOTALL))
            assert not re.findall(r"^\s*ckptd (?!service ).*", stopped, re.MULTILINE)


def test_the_list_of_pages_has_every_page():
    """A page nobody finds is not there; and every link of every page leads somewhere."""
    listed = (OPS / "README.md").read_text()
    for path in OPS.glob("*.md"):
        text = path.read_text()
        assert path.name == "README.md" or f"]({path.name})" in listed, path.name
        for link in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text):
            assert "://" in link or (path.parent / link).exists(), (path.name, link)


def test_the_page_about_watching_has_what_the_doctor_has():
    """Every file of a bundle, and every look of the doctor."""
    from ckptd.jobs.bundling import PARTS
    from ckptd.jobs.doctoring import LOOKS

    text = (OPS / "watch.md").read_text()
    for name, *_ in PARTS:
        assert f"`{name}`" in text, name
    for subject, _ in LOOKS:
        assert subject.rstrip("s") in text, subject
