"""A root with checkpoints of several days, indexed without a daemon, and an `App` whose clock is the test's own."""

from __future__ import annotations

import io
import json
import os
import time
from pathlib import Path
from typing import Any

import torch

from ckptd.app import App
from ckptd.checkpoint.inspection import inspect_fd
from ckptd.index.store import Store
from ckptd.jobs.roots import WatchedRoot
from ckptd.metadata.sidecar import ensure
from ckptd.model import PlaceState
from ckptd.opening import INDEX_NAME, find_state_dir
from ckptd.settings import load_settings
from ckptd.storage.beneath import open_beneath
from ckptd.storage.state import ensure_state_dir
from ckptd.watch.scanner import scan
from ckptd.watch.wanted import compile_wanted

DAY = 86_400.0
#: A day long ago, so that nothing depends on today.
NOW = 1_767_268_800.0  # 2026-01-01T12:00:00Z

#: A policy that archives all but the last two, and takes them away.
ARCHIVING = {"keep_last": 2, "keep_best": 0, "ladder": ["archive", "trash"]}


class Clock:
    """Seconds since the epoch that pass when a test says so."""

    def __init__(self, now: float = NOW) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def name_of(model: str, days: float, accuracy: int) -> str:
    """Name a checkpoint as people do."""
    day = time.strftime("%Y%m%d", time.gmtime(NOW - days * DAY))
    return f"{model}_ECG_acc{accuracy}_{day}.pth"


def save_checkpoint(path: Path, number: int, *, days: float = 0.0, optimizer: bool = False, **values: Any) -> Path:
    """Save a small checkpoint with content of its own, as old as `days` before `NOW`."""
    generator = torch.Generator().manual_seed(number)
    content: dict[str, Any] = {"model": {"layer.weight": torch.randn(8, 16, generator=generator)}, "epoch": number, **values}
    if optimizer:
        weights = [torch.nn.Parameter(torch.randn(64, 64, generator=generator))]
        made = torch.optim.Adam(weights)
        weights[0].grad = torch.ones(64, 64)
        made.step()
        content["model"]["other"] = weights[0].detach()
        content["optimizer"] = made.state_dict()
    path.parent.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    torch.save(content, buffer)
    path.write_bytes(buffer.getvalue())
    os.utime(path, (NOW - days * DAY, NOW - days * DAY))
    return path


def make_series(root: Path, model: str = "BiLSTM", count: int = 10, *, every: float = 10.0, **values: Any) -> list[Path]:
    """Save checkpoints of one model, the oldest first, `every` days apart; the youngest is `every` days old."""
    made = []
    for i in range(count):
        days = every * (count - i)
        accuracy = 50 + (i * 7) % count  # the best are neither the first nor the last
        made.append(save_checkpoint(root / name_of(model, days, accuracy), i, days=days, **values))
    return made


def open_app(*roots: Path, clock: Clock | None = None, **tables: Any) -> App:
    """Open an App; settings as tables, without the brakes unless they are asked for."""
    policy = {"max_fraction": 1.0, "min_age_seconds": 0, "keep_within_seconds": 0} | tables.pop("policy", {})
    settings = load_settings(overrides={"roots": list(roots), "policy": policy, **tables}, environ={})
    return App(settings, clock or Clock())


def index_roots(app: App, *, first_seen_days: float = 1_000.0, sidecars: bool = True) -> None:
    """Read every checkpoint in this process and write it down, as a daemon would have done long ago."""
    state_dir = ensure_state_dir(find_state_dir(app.settings))
    store = Store.open(state_dir / INDEX_NAME)
    wanted = compile_wanted(app.settings.suffixes, app.settings.ignore)
    for number, path in enumerate(app.settings.roots):
        with WatchedRoot.open(number, path, wanted) as root:
            root.learn(store)
            root.look_again()
            store.save_root(root.path, root.root_id)
            for relative, raw in sorted(scan(root.handle.fd, wanted).files.items()):
                known = store.find_place(root.path, relative)
                if known is not None and known.identity == raw and known.state == PlaceState.READY.value:
                    continue
                fd = open_beneath(root.handle.fd, relative, os.O_RDONLY)
                try:
                    inspection = inspect_fd(fd, relative)
                finally:
                    os.close(fd)
                if sidecars and inspection.sha256 is not None:
                    _describe(root, relative, inspection)
                with store.batch() as batch:
                    at = NOW - first_seen_days * DAY
                    batch.record_ready(root.path, relative, inspection.identity, inspection, now=at)
    store.close()


def _describe(root: WatchedRoot, relative: str, inspection: Any) -> None:
    directory = os.open(Path(root.path, relative).parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        name = relative.rpartition("/")[2]
        ensure(directory, name, inspection, generated_at=NOW, like=os.stat(name, dir_fd=directory))
    finally:
        os.close(directory)


def states(app: App) -> dict[str, str]:
    """Give the state of every place in the index: path → state."""
    return {record.path: record.state.value for record in app.records("size>=0")}


def audit(app: App) -> list[tuple[str, str | None, dict[str, Any]]]:
    """Give the audit: what, path, why; the oldest first."""

    def read(connection: Any, _host: str) -> list[tuple[str, str | None, dict[str, Any]]]:
        rows = connection.exec_driver_sql("SELECT what, path, why FROM audit ORDER BY id").all()
        return [(what, None if path is None else os.fsdecode(path), json.loads(why)) for what, path, why in rows]

    return app.store.ask(read)


def checkpoints(root: Path) -> set[str]:
    """Give the checkpoints that lie in a root, relative to it."""
    return {
        str(path.relative_to(root))
        for path in root.rglob("*.pth")
        if not any(part.startswith(".") for part in path.relative_to(root).parts)
    }
