"""What runs in the sandbox: one function a step of an export, each in a process of its own.

    light  write_weights ─► check_weights                       a weights target, no code of anybody
    torch  export_module ─► run_export ─► light compare         a module target
    torch  run_weights   ─► light compare                       what a lossy format does to the outputs

Only `export_module`, `run_weights` and `check_recipe` run the model's code.  What they answer is believed as far as the wire's
bounds go and decides nothing: the verdict is that of `compare`, which saw the files alone.  Every function gets the descriptors
that its docstring lists, in that order; the present directory is the first one that may be written to.
"""

from __future__ import annotations

import functools
import hashlib
import os
import stat
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from ckptd.errors import FormatError, NeedsCodeError, WorkerError
from ckptd.export.proofs import read_sizes, read_specs
from ckptd.export.refusal import TargetError
from ckptd.export.targets import find_module_target, find_weights_target
from ckptd.model import Identity, Json, Layer
from ckptd.sandbox.command import torch_command, worker_command
from ckptd.sandbox.zygote import Function, Task
from ckptd.wire_exports import recipe_from_json

if TYPE_CHECKING:
    from ckptd.export.building import Built
    from ckptd.export.reference import Reference

#: Names of the files in scratch directories that hold outputs.
REFERENCE = "reference.safetensors"
OUTPUTS = "outputs.safetensors"

#: Seconds over which a call of a model is timed, and calls at most; the fastest counts.
_TIMING_SECONDS = 0.05
_MOST_TIMED = 20

_CREATE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def light_command() -> tuple[str, ...]:
    """Build the command line of the zygote that never imports torch."""
    return worker_command("ckptd.export.light", needs=("isal", "numpy", "safetensors"))


def heavy_command(packages: tuple[str, ...]) -> tuple[str, ...]:
    """Build the command line of the zygote that imports torch, and the packages that its targets need."""
    return torch_command("ckptd.export.heavy", packages)


def _told(function: Function) -> Function:
    """Answer in words what can't be done as things are; anything else that goes wrong is an error of the job."""

    @functools.wraps(function)
    def answer(task: Task) -> dict[str, Json]:
        try:
            return function(task)
        except (TargetError, FormatError, NeedsCodeError) as error:
            return {"unavailable": str(error)}

    return answer


# — weights targets; light —


@_told
def write_weights(task: Task) -> dict[str, Json]:
    """Write a weights target: checkpoint, scratch (writable)."""
    from ckptd.export.weights import read_weights

    request, (checkpoint, _) = task.request, task.fds
    target = find_weights_target(str(request["target"]))
    fd = os.open(str(request["name"]), _CREATE, 0o600)
    return {"notes": target.write(read_weights(checkpoint), fd, _mapping(request["options"]))}


@_told
def check_weights(task: Task) -> dict[str, Json]:
    """Compare a weights target with the checkpoint: checkpoint, directory of the export (readable)."""
    from ckptd.export.checking import check_file
    from ckptd.export.weights import read_weights

    request, (checkpoint, directory) = task.request, task.fds
    target = find_weights_target(str(request["target"]))
    fd = os.open(str(request["name"]), _READ, dir_fd=directory)
    answer = check_file(read_weights(checkpoint), fd, target)
    seen = {key: answer.pop(key) for key in ("sha256", "size_bytes", "identity")}
    return {**answer, "versions": _versions(("safetensors", "numpy")), "files": {str(request["name"]): seen}}


# — module targets; torch —


@_told
def export_module(task: Task) -> dict[str, Json]:
    """Build the module, note what it gives, export it: checkpoint, scratch (writable).  Runs the model's code."""
    from ckptd.export.building import reference

    request = task.request
    built = _build(task)
    noted = reference(built)
    _write_arrays(REFERENCE, noted.arrays)
    answer = _describe(noted)
    answer["seconds_per_call"] = _time_call(built.call)
    task.progress("exporting")
    target = find_module_target(str(request["target"]))
    answer["notes"] = target.export(built, str(request["name"]), _mapping(request["options"]))
    answer["versions"] = _versions(("torch", *target.packages))
    return answer


@_told
def run_export(task: Task) -> dict[str, Json]:
    """Run an export on the same inputs: directory of the export (readable), scratch (writable)."""
    from ckptd.export.inputs import make_cases, make_inputs

    request, (directory, scratch) = task.request, task.fds
    specs, sizes = read_specs(request["specs"]), read_sizes(request["sizes"])
    target = find_module_target(str(request["target"]))
    os.fchdir(directory)
    runtime = target.open(str(request["name"]), _mapping(request["options"]))
    arrays: dict[str, Any] = {}
    inputs: list[Any] = []
    for case in make_cases(specs, sizes):
        inputs = make_inputs(specs, case)
        if runtime.takes(inputs):  # a size that the file says it does not take is no size that it gets wrong
            arrays |= {f"{case.name}.output{number}": output for number, output in enumerate(runtime(inputs))}
    os.fchdir(scratch)
    _write_arrays(OUTPUTS, arrays)
    return {"seconds_per_call": _time_call(lambda: runtime(inputs)), "versions": _versions(("torch", *target.packages))}


@_told
def run_weights(task: Task) -> dict[str, Json]:
    """Run the module with the checkpoint's weights and with those of an export.

    Descriptors: checkpoint, directory of the export (readable), scratch (writable).  Runs the model's code.
    """
    from ckptd.export.building import load_weights, reference

    built = _build(task)
    noted = reference(built)
    _write_arrays(REFERENCE, noted.arrays)
    load_weights(built, os.open(str(task.request["name"]), _READ, dir_fd=task.fds[1]))
    _write_arrays(OUTPUTS, reference(built).arrays)
    return {**_describe(noted), "versions": _versions(("torch",))}


@_told
def check_recipe(task: Task) -> dict[str, Json]:
    """Build the module and name each difference to the checkpoint: checkpoint, scratch (writable).  Runs the model's code."""
    from ckptd.export.building import compare_parameters

    request = task.request
    recipe = recipe_from_json(request["recipe"])
    return compare_parameters(recipe, task.fds[0], _mapping(request["hyperparameters"]), _layers(request["layers"]))


# — the verdict; light —


def compare(task: Task) -> dict[str, Json]:
    """Compare what the module and its export gave, and look at the export's files.

    Descriptors: directory of the reference (readable), directory of the outputs (readable), directory of the export (readable).
    """
    from safetensors import safe_open

    from ckptd.export.verification import compare_outputs

    request, (reference, outputs, directory) = task.request, task.fds
    with (
        safe_open(f"/proc/self/fd/{reference}/{REFERENCE}", framework="np") as wanted,
        safe_open(f"/proc/self/fd/{outputs}/{OUTPUTS}", framework="np") as got,
    ):
        answer = compare_outputs(wanted, got, str(request["target"]))
    return {**answer, "files": {name: look_at_file(directory, name) for name in _texts(request["files"])}}


def look_at_file(directory: int, name: str) -> dict[str, Json]:
    """Hash a file that nobody changes any more, and sync it.

    Raises:
        WorkerError: it is a link, a pipe or something else that is no file.
    """
    try:
        fd = os.open(name, _READ, dir_fd=directory)
    except OSError as error:
        raise WorkerError("the exporter left no file", why=os.strerror(error.errno or 0)) from error
    with os.fdopen(fd, "rb", buffering=0) as file:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise WorkerError("the exporter left no file", why="it is no regular one")
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        os.fsync(fd)
        seen = os.fstat(fd)
    return {"sha256": digest, "size_bytes": seen.st_size, "identity": list(Identity.of(seen))}


def stand_still(task: Task) -> dict[str, Json]:
    """Do nothing: somebody wants to know which walls stand."""
    del task
    return {}


LIGHT: Mapping[str, Function] = {
    "write_weights": write_weights,
    "check_weights": check_weights,
    "compare": compare,
    "stand_still": stand_still,
}
HEAVY: Mapping[str, Function] = {
    "export_module": export_module,
    "run_export": run_export,
    "run_weights": run_weights,
    "check_recipe": check_recipe,
}


# — parts —


def _build(task: Task) -> Built:
    from ckptd.export.building import build

    request = task.request
    task.progress("building")
    recipe = recipe_from_json(request["recipe"])
    return build(recipe, task.fds[0], _mapping(request["hyperparameters"]), _layers(request["layers"]))


def _describe(noted: Reference) -> dict[str, Json]:
    built = noted.built
    return {
        "specs": [spec.to_json() for spec in built.specs],
        "sizes": dict(built.sizes),
        "inputs_origin": built.inputs_origin,
        "outputs": list(built.outputs),
        "built": dict(built.notes),
        "is_deterministic": noted.is_deterministic,
        "dropped": list(noted.dropped),
    }


def _layers(value: Json) -> list[Layer]:
    assert isinstance(value, list)
    layers = []
    for item in value:
        assert isinstance(item, dict)
        detail = item["detail"]
        assert isinstance(detail, dict)
        layers.append(Layer(str(item["name"]), str(item["type"]), 0, 0, detail))
    return layers


def _mapping(value: Json) -> dict[str, Json]:
    assert isinstance(value, dict)
    return value


def _texts(value: Json) -> list[str]:
    assert isinstance(value, list)
    return [str(item) for item in value]


def _write_arrays(name: str, arrays: Mapping[str, Any]) -> None:
    from safetensors.numpy import save

    fd = os.open(name, _CREATE, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(save(dict(arrays)))


def _time_call(call: Callable[[], object]) -> float:
    """Give the seconds of the fastest of some calls; the first ones warm up."""
    best = float("inf")
    begun = time.perf_counter()
    for _ in range(_MOST_TIMED):
        started = time.perf_counter()
        call()
        ended = time.perf_counter()
        best = min(best, ended - started)
        if ended - begun > _TIMING_SECONDS:
            break
    return round(best, 9)


def _versions(packages: tuple[str, ...]) -> dict[str, Json]:
    from importlib.metadata import PackageNotFoundError, version

    found: dict[str, Json] = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


__all__ = ["HEAVY", "LIGHT", "OUTPUTS", "REFERENCE", "heavy_command", "light_command"]
