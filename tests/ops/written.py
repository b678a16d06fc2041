"""Run the commands of a page of docs/ops as they are written, on a machine that is made for it.

In a mount namespace of its own /etc, /var/lib, /srv, /mnt and /opt are layers that vanish with it; `systemctl` starts and stops
a real daemon; `pip` says which version is installed; `ckptd service install` notes the settings by which a unit would be
confined, and by others the service does not start.

The user `ckptd` is a stand-in: it has the number 0 and the rights of root, since the interpreter of the tests may lie where no
other user may enter.  So nothing here shows whose files they are; that `runuser -u ckptd` can work in a root that people share
is shown under a real systemd, by tests/systemd/test_service.py.
"""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from ckptd.index import migrate
from tests.docs.pages import PROJECT

_LAYERS = ("/etc", "/var/lib", "/srv", "/mnt", "/opt")
#: A schema that only the next version knows.
NEXT = "9998"
#: The real program; the next version is the same, and has one more schema.
_CKPTD = """#!/bin/sh
if [ "$1" = service ]; then
    cp /etc/ckptd/ckptd.toml /opt/ckptd/installed.toml
    case "$*" in *--no-start*) exit 0 ;; esac
    if [ -e /opt/ckptd/pid ]; then exit 0; fi
    exec systemctl start ckptd
fi
if [ -e /opt/ckptd/is-next ]; then
    exec {python} -c 'import sys; from ckptd.index import migrate
migrate.REVISIONS, migrate.SCRIPTS = (*migrate.REVISIONS, "{next}"), "{scripts}"
from ckptd.cli import main; sys.exit(main())' "$@"
fi
exec {python} -m ckptd "$@"
"""
_PIP = """#!/bin/sh
case "$*" in
    "install --upgrade ckptd") touch /opt/ckptd/is-next ;;
    "install ckptd==OLD") rm -f /opt/ckptd/is-next ;;
    *) exit 2 ;;
esac
"""
#: What systemd would do for this unit; `stop` waits for the end, `start` for READY.
_SYSTEMCTL = """#!/bin/sh
case "$1" in
    stop)
        if [ -e /opt/ckptd/pid ]; then
            kill "$(cat /opt/ckptd/pid)" && tail --pid="$(cat /opt/ckptd/pid)" -f /dev/null
            rm /opt/ckptd/pid
        fi ;;
    start)
        if ! cmp /etc/ckptd/ckptd.toml /opt/ckptd/installed.toml; then
            echo "what the unit lets be written comes from other settings" >&2
            exit 1
        fi
        : >/opt/ckptd/log
        CKPTD_LOG__FORMAT=json setsid ckptd run </dev/null >>/opt/ckptd/log 2>&1 &
        echo $! >/opt/ckptd/pid
        until grep -q daemon.started /opt/ckptd/log; do
            kill -0 "$(cat /opt/ckptd/pid)" || exit 1
            sleep 0.05
        done ;;
    *) exit 2 ;;
esac
"""
_SETTINGS = """roots = ["/srv/trained_models"]
state_dir = "/var/lib/ckptd"
[archive]
directory = "/mnt/archives"
[policy]
keep_last = 1
keep_best = 0
keep_within_seconds = 0
min_age_seconds = 0
max_fraction = 1.0
[schedule]
retention = ""
scrub = ""
drill = ""
purge = ""
report = ""
"""


def read_blocks(page: str) -> dict[str, str]:
    """Give the bash blocks of a page: heading (or a bold beginning) before it → its lines."""
    blocks: dict[str, str] = {}
    title = ""
    text = (PROJECT / "docs" / "ops" / page).read_text()
    for part in re.split(r"^(##+ [^\n]*|\*\*[^*]+\*\*|```bash\n.*?^```)", text, flags=re.MULTILINE | re.DOTALL):
        if part.startswith(("#", "**")):
            title = part.strip("#* ")
        elif part.startswith("```bash"):
            blocks[title] = blocks.get(title, "") + part.removeprefix("```bash\n").removesuffix("```")
    return blocks


def _write_migrations(place: Path) -> None:
    """Write the schemas down with one more."""
    (place / "versions").mkdir(parents=True)
    here = Path(migrate.__file__).parent / "migrations"
    for file in (here / "env.py", *(here / "versions").glob("v*.py")):
        shutil.copy(file, place / file.relative_to(here))
    (place / "versions" / "next.py").write_text(
        f"from alembic import op\nimport sqlalchemy as sa\nrevision, down_revision = {NEXT!r}, {migrate.REVISIONS[-1]!r}\n"
        "def upgrade():\n    op.add_column('places', sa.Column('colour', sa.Text))\n"
    )


def play(place: Path, script: str) -> str:
    """Run a script on such a machine, which is gone afterwards, and give what it printed.

    Args:
        place: an empty directory.
        script: for bash; ended by the first command that fails.  A plan that waits for a person is no failure.
    """
    script = re.sub(r"^(.*ckptd plan)$", r"\1 || test $? = 1", script, flags=re.MULTILINE)
    programs = place / "programs"
    for directory in (programs, *(place / "layers" / f"{kind}{layer}" for layer in _LAYERS for kind in ("upper", "work"))):
        directory.mkdir(parents=True)
    _write_migrations(place / "migrations")
    for name, text in {"ckptd": _CKPTD, "systemctl": _SYSTEMCTL, "pip": _PIP}.items():
        values = {"{python}": sys.executable, "{next}": NEXT, "{scripts}": str(place / "migrations")}
        (programs / name).write_text(functools.reduce(lambda made, one: made.replace(*one), values.items(), text))
        (programs / name).chmod(0o755)
    upper, work = place / "layers" / "upper", place / "layers" / "work"
    mounts = [
        f"mount -t overlay overlay -o lowerdir={layer},upperdir={upper}{layer},workdir={work}{layer} {layer}"
        for layer in _LAYERS
    ]
    prepare = [
        "set -eu",
        *mounts,
        "sed -i '/^ckptd:/d' /etc/passwd /etc/group",
        "echo 'ckptd:x:0:0::/nonexistent:/usr/sbin/nologin' >>/etc/passwd; echo 'ckptd:x:0:' >>/etc/group",
        "mkdir -p /etc/ckptd /opt/ckptd/bin /srv/trained_models /mnt/archives; install -d -m 0700 /var/lib/ckptd",
        f"cp {programs}/* /opt/ckptd/bin/; printf %s '{_SETTINGS}' >/etc/ckptd/ckptd.toml",
        "ckptd service install --no-start",
        "trap 'systemctl stop ckptd' EXIT",
    ]
    environ = {
        **os.environ,
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "HOME": "/nonexistent",
        "PYTHONPATH": str(PROJECT),
    }
    done = subprocess.run(
        ["unshare", "--mount", "--propagation", "private", "bash", "-c", "\n".join([*prepare, script])],
        capture_output=True,
        text=True,
        timeout=300,
        cwd="/",
        env=environ,
    )
    log = place / "layers" / "upper" / "opt" / "ckptd" / "log"
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}\n{log.read_text() if log.exists() else ''}"
    shutil.rmtree(place / "layers")
    return done.stdout
