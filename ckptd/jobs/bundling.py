"""Gather a diagnostic bundle: each part by itself, so that what is broken hinders none of the others."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ckptd.bundle.masking import Masking, Names, keep_names, mask_text
from ckptd.bundle.parts import Part, pack_parts, write_alone
from ckptd.index.census import count_rows, load_names, load_schema
from ckptd.index.runs import load_runs
from ckptd.jobs.checks import Check, Patient, opened_index
from ckptd.jobs.doctoring_unit import asks_system, read_units
from ckptd.jobs.doctoring_versions import find_versions
from ckptd.jobs.overview import list_jobs
from ckptd.metadata.names import stem_of
from ckptd.settings.places import setting_variables
from ckptd.storage.journal import MOST_LINE_BYTES
from ckptd.storage.journal import NAME as JOURNAL
from ckptd.storage.lock import read_holder
from ckptd.storage.tail import read_tail
from ckptd.watch.filesystems import find_filesystem
from ckptd.watch.guard import look

#: Lines of the journal and of the log, the last ones.
MOST_LINES = 500
#: Runs of jobs, the last ones.
MOST_RUNS = 100
#: Keys of our own lines and summaries whose texts are names of checkpoints, or are called after them.
_NAMES = frozenset(
    "path source name file files member members archive group model dataset alias tag tags sidecar entry left moved bad "
    "recipe link what".split()
)
#: Patterns of names, in the settings.
_NAMES_IN_SETTINGS = frozenset({"match", "ignore"})
#: Tables with names of groups for keys.
_TABLES_OF_NAMES = frozenset({"freshness"})
#: In the journal, texts that are none of these are taken for names: its lines are long-lived, and so is what they may hold.
_PLAIN_IN_JOURNAL = frozenset("event sha256 source_sha256 how what state action kind at target".split())
_LOG_SECONDS = 10.0
_TAIL_BYTES = 2 << 20


@dataclass(frozen=True, slots=True)
class _Ward:
    """What a part is gathered from.

    Attributes:
        scrub: takes what is nobody's business out of a text.
        rename: gives the pseudonym of a name.
    """

    patient: Patient
    checks: Sequence[Check]
    scrub: Callable[[str], str]
    rename: Callable[[str], str]

    def mask(self, value: Any, names: frozenset[str] = frozenset()) -> Any:
        """Take what is nobody's business out of a value of JSON."""
        return Masking(self.scrub, self.rename, names, _TABLES_OF_NAMES).mask(value)


def write_bundle(patient: Patient, checks: Sequence[Check], file: Path, *, with_names: bool) -> list[Part]:
    """Write a bundle into a new file; what went in.

    Args:
        patient: what the doctor looked at.
        checks: what the doctor found.
        file: to be made.
        with_names: leave the names of checkpoints as they are.

    Raises:
        StorageError: it exists, or can't be written.
    """
    ward = _open_ward(patient, checks, with_names=with_names)
    parts = [_gather(ward, name, what, gather) for name, what, gather in PARTS]
    parts.insert(0, _explain(parts, with_names=with_names))
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(patient.now))
    write_alone(file, pack_parts(parts, f"ckptd-{stamp}", patient.now))
    return parts


def _open_ward(patient: Patient, checks: Sequence[Check], *, with_names: bool) -> _Ward:
    if with_names:
        return _Ward(patient, checks, keep_names, keep_names)
    known: set[str] = set()
    with suppress(Exception), opened_index(patient) as store:  # a broken index is a reason to make a bundle
        known = store.ask(load_names) if store is not None else set()
    known |= {stem_of(name) for name in known} | {recipe.match for recipe in patient.settings.recipe}
    roots = patient.real_roots + [str(root) for root in patient.settings.roots]
    names = Names(_find_key(patient), known, roots + [mask_text(root) for root in roots])
    return _Ward(patient, checks, names.replace, names.pseudonym)


def _find_key(patient: Patient) -> bytes:
    """Give what makes pseudonyms this installation's own: the id of its first root, which is in no bundle."""
    for root in patient.real_roots if patient.may_look else ():
        root_id = look(root, patient.find_user()).root_id
        if root_id is not None:
            return root_id.encode("ascii")
    return secrets.token_bytes(16)


def _gather(ward: _Ward, name: str, what: str, gather: Callable[[_Ward], str]) -> Part:
    try:
        text = gather(ward)
    except Exception as error:  # noqa: BLE001 — what can't be had is said in its place
        text = f"not to be had: {type(error).__name__}: {mask_text(str(error), ward.scrub)}\n"
    return Part.of(name, what, text)


def _explain(parts: Sequence[Part], *, with_names: bool) -> Part:
    lines = [
        "A diagnostic bundle of ckptd. Look through it before you give it away.",
        "Secrets, homes, addresses and URLs but for their hosts are ***; no checkpoint and no metadata file was read for it.",
        "Names of checkpoints are as they are."
        if with_names
        else "Names of checkpoints, groups, tags and directories are pseudonyms (name-…), the same in each bundle from here.",
        "",
        *(f"{part.name:<16} {part.what}" for part in parts),
    ]
    return Part.of("README.txt", "what is in it", "\n".join(lines) + "\n")


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, default=str) + "\n"


def _give_versions(ward: _Ward) -> str:
    daemon = ward.patient.find_daemon()
    holder = read_holder(ward.patient.state_dir) if daemon is not None else None
    return _json({"installed": find_versions(), "daemon": ward.mask(dict(holder)) if holder else None})


def _give_settings(ward: _Ward) -> str:
    config = ward.patient.config
    return _json(
        {
            "file": None if config is None else mask_text(str(config)),
            "variables": sorted(setting_variables(os.environ)),  # their names; what they say is among the settings
            "settings": ward.mask(ward.patient.settings.model_dump(mode="json"), _NAMES_IN_SETTINGS),
        }
    )


def _give_checks(ward: _Ward) -> str:
    return _json(ward.mask([asdict(check) for check in ward.checks]))


def _give_jobs(ward: _Ward) -> str:
    with opened_index(ward.patient) as store:
        if store is None:
            return "there is no index\n"
        views = list_jobs(ward.patient.settings, store, ward.patient.state_dir, ward.patient.now)
    told = []
    for view in views:
        value = asdict(view)
        last = value.pop("last")
        told.append({**ward.mask(value), "last": None if last is None else ward.mask(last, _NAMES)})
    return _json(told)


def _give_runs(ward: _Ward) -> str:
    with opened_index(ward.patient) as store:
        if store is None:
            return "there is no index\n"
        runs = store.ask(load_runs, None, MOST_RUNS)
    return _json([ward.mask(asdict(run), _NAMES) for run in runs])


def _give_index(ward: _Ward) -> str:
    _check_may_look(ward.patient)
    sizes = {}
    for name in sorted(os.listdir(ward.patient.state_dir)):
        if name.startswith((ward.patient.index, JOURNAL)):
            with suppress(OSError):
                sizes[name] = (ward.patient.state_dir / name).lstat().st_size
    with opened_index(ward.patient) as store:
        if store is None:
            return _json({"bytes": sizes})
        return _json({"bytes": sizes, "rows": store.ask(count_rows), "schema": store.ask(load_schema)})


def _give_journal(ward: _Ward) -> str:
    _check_may_look(ward.patient)
    lines = read_tail(ward.patient.state_dir, JOURNAL, _TAIL_BYTES)
    short = [line for line in lines if len(line) < MOST_LINE_BYTES]
    return "".join(json.dumps(_mask_line(ward, line)) + "\n" for line in short[-MOST_LINES:])


def _check_may_look(patient: Patient) -> None:
    if not patient.may_look:
        raise PermissionError("the state directory is another user's, or a link")


def _mask_line(ward: _Ward, line: bytes) -> Any:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return {"broken": len(line)}
    if not isinstance(value, dict):
        return {"broken": len(line)}
    names = frozenset(key for key in value if key not in _PLAIN_IN_JOURNAL and key != "root")
    return ward.mask(value, names)


def _give_log(ward: _Ward) -> str:
    manager = () if asks_system(ward.patient) else ("--user",)
    units = [f"--unit={unit}" for unit in ("ckptd", "ckptd@*", "ckptd-scan")]
    command = ["journalctl", *manager, "--no-pager", "--quiet", "--output=cat", f"--lines={MOST_LINES}", *units]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_LOG_SECONDS, check=False)  # noqa: S603 — words of ours, no shell
    if not done.stdout:
        return "systemd has no line of it for who asks; root, and members of systemd-journal, may read every one\n"
    lines = done.stdout[-_TAIL_BYTES:].split(b"\n")[-MOST_LINES:]
    return "".join(f"{mask_log_line(line.decode('utf-8', 'replace'), ward.mask, ward.scrub)}\n" for line in lines if line)


def mask_log_line(line: str, mask: Callable[[Any, frozenset[str]], Any], scrub: Callable[[str], str]) -> str:
    """Mask a line of the log: by its keys where it is JSON, else as a text."""
    begin = line.find("{")
    if 0 <= begin <= len("<6>"):
        with suppress(ValueError, RecursionError):
            value = json.loads(line[begin:])
            if isinstance(value, dict):
                return json.dumps(mask(value, _NAMES))
    return mask_text(line, scrub)


def _give_unit(ward: _Ward) -> str:
    return _json(ward.mask(read_units(is_system=asks_system(ward.patient))))


def _give_system(ward: _Ward) -> str:
    pid = ward.patient.find_daemon() or os.getpid()
    found: dict[str, Any] = {"kernel": os.uname().release, "machine": os.uname().machine, "cores": len(os.sched_getaffinity(0))}
    found["limits"] = _read_lines(Path(f"/proc/{pid}/limits"), 40)
    found["status"] = [line for line in _read_lines(Path(f"/proc/{pid}/status"), 80) if line.startswith(_STATUS)]
    found["memory"] = _read_lines(Path("/proc/meminfo"), 5)
    found["load"] = _read_lines(Path("/proc/loadavg"), 1)
    found["inotify"] = {path.name: _read_lines(path, 1) for path in sorted(Path("/proc/sys/fs/inotify").glob("*"))}
    found["places"] = list(_describe_places(ward))
    return _json(ward.mask(found))


_STATUS = ("VmRSS", "VmHWM", "Threads", "FDSize", "Uid", "Gid", "Groups", "NoNewPrivs", "Seccomp", "voluntary", "nonvoluntary")


def _describe_places(ward: _Ward) -> Iterator[dict[str, Any]]:
    for path in dict.fromkeys([*ward.patient.settings.roots, ward.patient.state_dir]):
        with suppress(OSError):
            seen, disk = path.stat(), os.statvfs(path)
            yield {
                "path": str(path),
                "file_system": find_filesystem(path).name,
                "mode": f"{seen.st_mode & 0o7777:04o}",
                "owner": seen.st_uid,
                "group": seen.st_gid,
                "read_only": bool(disk.f_flag & os.ST_RDONLY),
                "free_bytes": disk.f_bavail * disk.f_frsize,
                "total_bytes": disk.f_blocks * disk.f_frsize,
                "free_files": disk.f_favail,
            }


def _read_lines(path: Path, most: int) -> list[str]:
    with suppress(OSError):
        return path.read_text(encoding="utf-8", errors="replace").split("\n")[:most]
    return []


#: Name in the bundle, what it is, and what gathers it.  A further part is one line.
PARTS: tuple[tuple[str, str, Callable[[_Ward], str]], ...] = (
    ("versions.json", "what is installed, and what runs", _give_versions),
    ("settings.json", "the settings that hold", _give_settings),
    ("doctor.json", "what `ckptd doctor` found", _give_checks),
    ("jobs.json", "how each job stands", _give_jobs),
    ("runs.json", "the last runs of jobs", _give_runs),
    ("index.json", "tables of the index, and how many rows each has", _give_index),
    ("journal.jsonl", "the last lines of ckptd's own journal", _give_journal),
    ("log.txt", "the last lines that the daemon logged, where systemd has them", _give_log),
    ("units.json", "the systemd units", _give_unit),
    ("system.json", "kernel, limits, memory, and the disks of the roots", _give_system),
)
