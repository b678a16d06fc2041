"""The steps of one export, written down in the order in which they happen: start reading at `run_steps`.

Each `yield` hands a step to the runner and comes back with what became of it, when the process that did it is dead.  So nothing
that a step wrote can change any more when the next one looks at it.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Generator, Sequence
from typing import Any

from ckptd.errors import WorkerError
from ckptd.export.proofs import Compared, bounded, finding_json, read_compared, read_sizes, read_specs, sandbox_proof
from ckptd.export.targets import find_target
from ckptd.export.units import Failed, Made, Overtaken, Step, Unit
from ckptd.model import Identity, Json, Layer, Severity
from ckptd.proof import InputSpec, Verdict
from ckptd.sandbox.confine import Layers, RefusedError
from ckptd.sandbox.nursery import JobResult
from ckptd.storage.scratch import Scratch
from ckptd.text import escape
from ckptd.wire_exports import recipe_to_json

#: A format that is lossy to save room and keeps more than this part of it gets a remark.
_LEAST_SAVING = 0.9
_WORTH_SAVING_BYTES = 64 << 10
#: Outputs of a module beyond all that a proof names.
_MOST_OUTPUTS = 1 << 20
#: Layers that a worker is told, for guesses at the inputs: the first ones say most.
_MOST_LAYERS = 500


Steps = Generator[Step, JobResult, Made]


def run_steps(unit: Unit) -> Steps:
    """Give the steps of a unit, each when the one before it is done."""
    target = find_target(unit.wanted.target)
    return _module_steps(unit) if target.needs_module else _weights_steps(unit)


def _weights_steps(unit: Unit) -> Steps:
    wanted = unit.wanted
    scratch = unit.make_scratch()
    request: dict[str, Json] = {"target": wanted.target, "name": wanted.name, "options": wanted.options}
    written = yield Step("light", "write_weights", request, (unit.fd, scratch.fd), "writing", writable=(1,))
    answer = answer_of(written)
    checked = yield Step("light", "check_weights", request, (unit.fd, scratch.fd), "checking", readable=(1,))
    compared = read_compared(answer_of(checked), [wanted.name])
    _refuse_changed(unit)
    proof: dict[str, Json] = {
        "versions": compared.numbers.pop("versions", None),
        "weights": compared.numbers,
        "format": bounded(answer.get("notes")),
        "sandbox": sandbox_proof(_layers(written)),
        "findings": _degraded(_layers(written)),
        "seconds": {"export": round(written.seconds, 3), "verify": round(checked.seconds, 3)},
    }
    if compared.verdict is Verdict.VERIFIED and wanted.recipe is not None:
        compared = yield from _output_steps(unit, scratch, compared, proof)
    return _conclude(unit, scratch, compared, proof)


def _output_steps(
    unit: Unit, scratch: Scratch, weights: Compared, proof: dict[str, Json]
) -> Generator[Step, JobResult, Compared]:
    """See what the format does to the outputs of the module; what goes wrong here says nothing against the file."""
    outputs, recipe = unit.make_scratch(), unit.wanted.recipe
    assert recipe is not None
    fds = (unit.fd, scratch.fd, outputs.fd)
    ran = yield Step(
        "torch", "run_weights", _module_request(unit), fds, "running", (2,), readable=(1,), readable_paths=recipe.directories
    )
    try:
        answer = answer_of(ran)
        request = _compare_request(unit, ())
        judged = yield Step("light", "compare", request, (outputs.fd, outputs.fd, scratch.fd), "comparing", readable=(0, 1, 2))
        compared = read_compared(answer_of(judged), [])
        proof |= _module_proof(unit, answer, read_specs(answer.get("specs"))) | _numbers(compared, answer)
        # The walls that matter: those around the code of a person.
        proof |= {"sandbox": sandbox_proof(_layers(ran)), "findings": _degraded(_layers(ran))}
    except (Failed, WorkerError) as error:
        message = f"the outputs were not compared: {error}"
        proof["findings"] = [*_list(proof["findings"]), finding_json("outputs-not-compared", escape(message, 1_000))]
        return weights
    return compared._replace(files=weights.files)


def _module_steps(unit: Unit) -> Steps:
    wanted, recipe = unit.wanted, unit.wanted.recipe
    assert recipe is not None, "the caller resolves it"
    scratch, outputs, alone = unit.make_scratch(), unit.make_scratch(), unit.make_scratch()
    made = yield Step(
        "torch",
        "export_module",
        _module_request(unit),
        (unit.fd, scratch.fd),
        "exporting",
        writable=(1,),
        readable_paths=recipe.directories,
    )
    answer = answer_of(made)
    _refuse_changed(unit)
    specs, sizes = read_specs(answer.get("specs")), read_sizes(answer.get("sizes"))
    request: dict[str, Json] = {
        "target": wanted.target,
        "name": wanted.name,
        "options": wanted.options,
        "specs": [spec.to_json() for spec in specs],
        "sizes": dict(sizes),
    }
    names = _take_files(scratch, alone, wanted.name)
    ran = yield Step("torch", "run_export", request, (alone.fd, outputs.fd), "running the export", (1,), readable=(0,))
    run_answer = answer_of(ran)
    compare = _compare_request(unit, names)
    judged = yield Step("light", "compare", compare, (scratch.fd, outputs.fd, alone.fd), "comparing", readable=(0, 1, 2))
    compared = read_compared(answer_of(judged), names)
    proof = _module_proof(unit, answer, specs) | _numbers(compared, answer)
    proof |= {
        "format": bounded(answer.get("notes")),
        "sandbox": sandbox_proof(_layers(made)),
        "findings": _degraded(_layers(made)),
        "seconds": {"export": round(made.seconds, 3), "verify": round(ran.seconds + judged.seconds, 3)},
        "seconds_per_call": {
            "original": bounded(answer.get("seconds_per_call")),
            "export": bounded(run_answer.get("seconds_per_call")),
        },
        "versions": bounded({**_object(answer.get("versions")), **_object(run_answer.get("versions"))}),
    }
    return _conclude(unit, alone, compared, proof)


def layers_json(layers: Sequence[Layer]) -> list[Json]:
    """Give the layers of a checkpoint as a request holds them: names, types and sizes of the first ones."""
    return [{"name": layer.name, "type": layer.type, "detail": dict(layer.detail)} for layer in layers[:_MOST_LAYERS]]


def _compare_request(unit: Unit, files: Sequence[str]) -> dict[str, Json]:
    return {"target": unit.wanted.target, "files": list(files)}


def _module_request(unit: Unit) -> dict[str, Json]:
    wanted = unit.wanted
    assert wanted.recipe is not None
    return {
        "target": wanted.target,
        "name": wanted.name,
        "options": wanted.options,
        "recipe": recipe_to_json(wanted.recipe),
        "layers": layers_json(unit.layers),
        "hyperparameters": unit.hyperparameters,
    }


def _module_proof(unit: Unit, answer: dict[str, Any], specs: tuple[InputSpec, ...]) -> dict[str, Json]:
    recipe = unit.wanted.recipe
    assert recipe is not None
    return {
        "recipe": {"origin": recipe.origin, "maker": recipe.maker.value, "callable": recipe.callable, "digest": recipe.digest},
        "inputs": [spec.to_json() for spec in specs],
        "inputs_origin": bounded(answer.get("inputs_origin")),
        "is_deterministic": bounded(answer.get("is_deterministic")),
        "module": bounded(answer.get("built")),
    }


def _numbers(compared: Compared, answer: dict[str, Any]) -> dict[str, Json]:
    """Give what the checker measured, each output by the name that it has in the export."""
    numbers = dict(compared.numbers)
    measured, names = numbers.get("outputs"), bounded(answer.get("outputs"))
    if isinstance(measured, dict):
        shown = [str(name) for name in names] if isinstance(names, list) else []
        outputs: list[Json] = []
        for key, value in sorted(measured.items(), key=lambda item: _number_in(item[0])):
            number = _number_in(key)
            name = shown[number] if number < len(shown) else f"output_{number}"
            outputs.append({"name": name, **_object(value)})
        numbers["outputs"] = outputs
    return numbers


def _conclude(unit: Unit, scratch: Scratch, compared: Compared, proof: dict[str, Json]) -> Made:
    target, size = find_target(unit.wanted.target), sum(seen.size_bytes for seen in compared.files.values())
    ratio = size / max(1, unit.weights_bytes)
    proof["size_ratio"] = round(ratio, 4)
    reason = compared.reason
    if compared.verdict is Verdict.FAILED and proof.get("is_deterministic") is False:
        reason = f"the original gives other outputs for the same input (noise, or dropout in eval mode): {reason}"
    findings = _list(proof.pop("findings", None)) + _take_notes(proof)
    if untaken := _find_untaken(unit, proof):
        assert unit.wanted.recipe is not None
        what = f"the recipe states {escape(', '.join(untaken), 300)}, which {unit.wanted.recipe.callable} does not take"
        findings.append(finding_json("export-note", escape(what, 1_000)))
    if target.is_lossy and ratio > _LEAST_SAVING and unit.weights_bytes > _WORTH_SAVING_BYTES:
        what = "it is hardly smaller than the weights: little in the model is of a kind that the format makes smaller"
        findings.append(finding_json("export-note", what))
    if target.deprecated:
        findings.append(finding_json("target-deprecated", target.deprecated))
    if findings:
        proof["findings"] = findings
    return Made(unit, compared.verdict, reason, proof, compared.files, unit.keep(scratch))


def _find_untaken(unit: Unit, proof: dict[str, Json]) -> list[str]:
    """Name what the recipe itself states and its callable does not take; what a checkpoint says beyond that is no mistake."""
    recipe, module = unit.wanted.recipe, proof.get("module")
    left = module.get("left_out") if isinstance(module, dict) else None
    if recipe is None or not isinstance(left, list):
        return []
    known = unit.hyperparameters
    return [key for key, value in recipe.hyperparameters.items() if key in left and (key not in known or known[key] != value)]


def _take_notes(proof: dict[str, Json]) -> list[Json]:
    """Take the remarks of an exporter, which are texts, out of what it says about the format."""
    about = proof.get("format")
    notes = about.pop("findings", None) if isinstance(about, dict) else None
    return [finding_json("export-note", str(note)) for note in _list(notes)]


def answer_of(result: JobResult) -> dict[str, Any]:
    """Give what a job answered.

    Raises:
        Failed: it said that it can't be done.
        WorkerError: it gave no answer.
    """
    if result.error is not None:
        raise result.error if not result.words else _with_words(result.error, result.words)
    answer: dict[str, Any] = result.answer or {}
    if answer.keys() == {"unavailable"}:
        raise Failed(Verdict.UNAVAILABLE, escape(str(answer["unavailable"]), 2_000))
    return answer


def _with_words(error: WorkerError, words: str) -> WorkerError:
    last = words.strip().splitlines()[-1:] or [""]
    if not last[0] or isinstance(error, RefusedError):
        return error
    why = f"{error.why}; it last printed: {escape(last[0], 200)}" if error.why else f"it last printed: {escape(last[0], 200)}"
    return WorkerError(error.what, why=why, cure=error.cure)


def _layers(result: JobResult) -> Layers:
    if result.layers is None:
        raise WorkerError("a worker did not say how it is confined")
    return result.layers


def _degraded(layers: Layers) -> list[Json]:
    """Say which walls were missing, where the settings let an exporter work without them."""
    if not layers.degraded:
        return []
    message = f"the exporter ran with weaker confinement: {layers.describe_missing()}"
    return [finding_json("sandbox-degraded", escape(message, 1_000), Severity.WARNING)]


def _refuse_changed(unit: Unit) -> None:
    if Identity.of(os.fstat(unit.fd))[:4] != unit.identity[:4]:
        raise Overtaken(Verdict.ERROR, "the checkpoint was saved again meanwhile: it is exported again when its name is quiet")


def _take_files(scratch: Scratch, alone: Scratch, name: str) -> list[str]:
    """Move the files of an export into a directory of their own, and name them: itself, and what ONNX keeps beside it.

    It is run there, so that what was verified does without anything else that its exporter left in its scratch.
    """
    beside = (f"{name}.data",) if name.endswith(".onnx") else ()
    taken = []
    for file in (name, *beside):
        with contextlib.suppress(FileNotFoundError):
            os.rename(file, file, src_dir_fd=scratch.fd, dst_dir_fd=alone.fd)
            taken.append(file)
    if name not in taken:
        raise WorkerError("the exporter left no file")
    return taken


def _number_in(output: str) -> int:
    """Give the number in "outputN", as the checker calls an output; "output10" comes behind "output9"."""
    digits = output.removeprefix("output")
    return int(digits) if digits.isascii() and digits.isdigit() else _MOST_OUTPUTS


def _list(value: object) -> list[Json]:
    return value if isinstance(value, list) else []


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


#: Says of a step that begins: the unit and the words.
Told = Callable[[Unit, str], None]
