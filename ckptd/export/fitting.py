"""Build the module of a checkpoint in a confined process and see whether it fits: one job, and its caller waits for it."""

from __future__ import annotations

import selectors
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ckptd.errors import WorkerError
from ckptd.export.steps import answer_of, layers_json
from ckptd.export.units import Failed
from ckptd.export.worker import heavy_command
from ckptd.model import Inspection, Json
from ckptd.policy.exports import estimate_need
from ckptd.proof import Recipe, Verdict
from ckptd.sandbox.jail import Jail, library_paths
from ckptd.sandbox.nursery import Job, JobResult, Nursery
from ckptd.settings.exporting import ExportSettings
from ckptd.storage.scratch import Scratch, used_bytes
from ckptd.text import escape
from ckptd.wire_exports import recipe_to_json

_LONGEST_SLEEP_SECONDS = 1.0
#: Nothing is written there but what the model's own code may write: one file, and all of them.
_FILE_BYTES = 64 << 20
_SCRATCH_BYTES = 4 * _FILE_BYTES
#: Differences that are taken from an answer; a worker names fewer.
_MOST_LINES = 1_000
_MOST_LEFT_OUT = 50


@dataclass(frozen=True, slots=True)
class Fit:
    """How a module and a checkpoint fit.

    Attributes:
        differences: one line for each parameter or buffer that differs; escaped.
        problem: what else is wrong: the inputs are not known; empty when nothing is.
        left_out: hyperparameters that the callable does not take; escaped.
    """

    differences: tuple[str, ...] = ()
    problem: str = ""
    left_out: tuple[str, ...] = ()


def check_fit(
    recipe: Recipe, inspection: Inspection, fd: int, state_dir: Path, settings: ExportSettings, selector: selectors.BaseSelector
) -> Fit:
    """Build the module and compare its parameters with the checkpoint's.

    Args:
        recipe: how to build it.
        inspection: of the checkpoint.
        fd: of the checkpoint; stays open.
        state_dir: `.ckptd` of its root, for a scratch directory.
        settings: limits.
        selector: for the wait.

    Raises:
        Failed: it can't be built; the text says what to add.
        WorkerError: the process crashed, was late, or could not be confined.
    """
    need = estimate_need(inspection.tensors.bytes, with_module=True)
    jail = Jail(
        readable=(*library_paths(), *recipe.directories),
        memory_bytes=need.memory_bytes,
        file_bytes=_FILE_BYTES,
        required=settings.sandbox == "required",
    )
    request: dict[str, Json] = {
        "recipe": recipe_to_json(recipe),
        "layers": layers_json(inspection.layers),
        "hyperparameters": dict(inspection.metadata.hyperparameters),
    }
    with Scratch.make(state_dir) as scratch:
        job = Job(1, "check_recipe", request, (fd, scratch.fd), (1,), (), jail, settings.seconds)
        answer = answer_of(run_alone(job, heavy_command(()), selector))
    return _read(answer)


def run_alone(job: Job, command: tuple[str, ...], selector: selectors.BaseSelector) -> JobResult:
    """Run one job in a zygote of its own and wait for it.

    Args:
        job: its descriptors stay the caller's.
        command: of the zygote.
        selector: for the wait.
    """
    nursery = Nursery(selector, command)
    try:
        nursery.submit(job)
        while not nursery.results:
            deadline = nursery.next_deadline()
            pause = _LONGEST_SLEEP_SECONDS if deadline is None else deadline - time.monotonic()
            for key, _ in selector.select(max(0.0, min(pause, _LONGEST_SLEEP_SECONDS))):
                key.data()
            nursery.tick(time.monotonic())
            if any(used_bytes(job.fds[index]) > _SCRATCH_BYTES for index in job.writable):
                why = f"it wrote more than {_SCRATCH_BYTES} bytes"
                nursery.cancel(job.id, WorkerError("a worker was ended", why=why))
        return nursery.results.popleft()
    finally:
        nursery.close()


def _read(answer: dict[str, Any]) -> Fit:
    found, problem = answer.get("differences"), answer.get("problem")
    if not isinstance(found, list) or not isinstance(answer.get("count"), int):
        raise Failed(Verdict.ERROR, "a worker's answer was refused: its differences are not what was agreed")
    lines = [_line(item) for item in found[:_MOST_LINES] if isinstance(item, dict)]
    if answer["count"] > len(lines):
        lines.append(f"and {answer['count'] - len(lines)} more")
    notes = answer.get("notes")
    left = notes.get("left_out") if isinstance(notes, dict) else None
    left_out = tuple([escape(str(key), 80) for key in left[:_MOST_LEFT_OUT]]) if isinstance(left, list) else ()
    return Fit(tuple(lines), escape(problem, 1_000) if isinstance(problem, str) else "", left_out)


def _line(item: dict[str, Any]) -> str:
    name, kind, module, file = (escape(str(item.get(key, "")), 200) for key in ("name", "kind", "module", "file"))
    match kind:
        case "missing":
            return f"{name} {module} is missing in the checkpoint"
        case "unexpected":
            return f"{name} {file} is not in the module"
        case _:
            return f"{name} is {module} in the module and {file} in the checkpoint"
