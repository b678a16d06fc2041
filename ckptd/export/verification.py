"""Compare what an export gave with what the original gave: numpy and nothing else, in a process that ran nothing foreign.

Arrays are named "CASE.outputN".  Each output is judged over all cases together: a difference counts relative to the largest
value that the output has anywhere, so that a case of zeros does not make a rounding error look like a wrong answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from ckptd.model import Json
from ckptd.proof import Verdict
from ckptd.text import escape

#: Outputs and cases in one answer.
_MOST_SHOWN = 64


class Arrays(Protocol):
    """What holds arrays by name: a safetensors file that is open, or `Held`."""

    def keys(self) -> Iterable[str]:
        """Give the names."""

    def get_tensor(self, name: str) -> Any:
        """Give one array."""


class Held:
    """Arrays in memory."""

    def __init__(self, arrays: Mapping[str, Any]) -> None:
        self._arrays = arrays

    def keys(self) -> Iterable[str]:
        """Give the names."""
        return self._arrays.keys()

    def get_tensor(self, name: str) -> Any:
        """Give one array."""
        return self._arrays[name]


class Tolerance(NamedTuple):
    """How far a value may be off: `absolute` + `relative` × the largest magnitude of the output over all cases."""

    relative: float
    absolute: float


#: For an export that computes what the original computes, by the dtype of the output.
#: Source: measured with torch 2.13 and ONNX Runtime 1.32 on the models of tests/export: in float32 at most 4e-7 of the scale,
#: and 6e-6 where 32,768 products are summed in another order; float16 keeps 11 bits.
_EXACT: Mapping[str, Tolerance] = {
    "float64": Tolerance(1e-9, 1e-11),
    "float32": Tolerance(1e-4, 1e-6),
    "float16": Tolerance(1e-2, 1e-3),
    "complex64": Tolerance(1e-4, 1e-6),
    "complex128": Tolerance(1e-9, 1e-11),
}
#: For targets that change the numbers: it tells a rounding from a wrong answer, and the proof gives the measured difference.
#: Source: measured on the models of tests/export, at most: float16 6e-4, bfloat16 7e-3, int8 weights 7e-3 of the scale;
#: onnx-int8, whose activations are rounded too, 6e-2.
_LOSSY: Mapping[str, Tolerance] = {
    "float16": Tolerance(1e-2, 1e-4),
    "bfloat16": Tolerance(5e-2, 1e-3),
    "int8": Tolerance(1e-1, 1e-3),
    "onnx-int8": Tolerance(2e-1, 1e-3),
}


#: An absolute tolerance is for roundings next to larger values: where all values of an output are tiny, it is this part of the
#: largest one at most, or anything would be equal to them.
_MOST_ABSOLUTE = 1e-2

#: Whole numbers, such as the class with the largest score, are exact; but where a target changes the numbers behind them, a
#: near tie may fall the other way: so many of them at most.
_LOSSY_SHARE = 0.1


@dataclass(slots=True)
class _Output:
    """What was seen of one output so far, over all cases.

    Attributes:
        compared: how many values say something: NaN in the same places may have any cause.
    """

    dtype: str = ""
    scale: float = 0.0
    worst: float = 0.0
    wrong: int = 0
    size: int = 0
    compared: int = 0
    problem: str = ""


def compare_outputs(reference: Arrays | Mapping[str, Any], outputs: Arrays | Mapping[str, Any], kind: str) -> dict[str, Json]:
    """Judge the outputs of an export.

    A case that is wholly missing was not run, because the export says of itself that it does not take that size; it is named
    in the answer.  The last case, which is the one that was exported, may not be missing.

    Args:
        reference: what the original gave.
        outputs: what the export gave.
        kind: name of the target; it decides on the tolerance.

    Returns:
        "verdict", "reason" (empty when verified), "outputs" (name → max_abs, max_rel, scale, dtype, tolerance), "max_abs",
        "max_rel", "cases", "cases_not_run".
    """
    wanted, got = _held(reference), _held(outputs)
    cases, skipped, problem = _match(sorted(wanted.keys()), set(got.keys()))
    seen: dict[str, _Output] = {}
    for case, names in cases.items():
        for name in names:
            number = name.rpartition(".")[2]
            _compare(wanted.get_tensor(name), got.get_tensor(name), case, seen.setdefault(number, _Output()))
    numbers: dict[str, Json] = {
        name: _numbers(output, _tolerance(kind, output)) for name, output in list(seen.items())[:_MOST_SHOWN]
    }
    problem = problem or next(filter(None, (_judge(name, output, kind) for name, output in seen.items())), "")
    if not problem and not any(output.compared for output in seen.values()):
        problem = "nothing could be compared: every output is empty, NaN or infinite"
    return {
        "verdict": (Verdict.FAILED if problem else Verdict.VERIFIED).value,
        "reason": problem,
        "outputs": numbers,
        "max_abs": max((output.worst for output in seen.values()), default=0.0),
        "max_rel": max((_relative(output) for output in seen.values()), default=0.0),
        "cases": [escape(case, 80) for case in list(cases)[:_MOST_SHOWN]],
        "cases_not_run": [escape(case, 80) for case in skipped[:_MOST_SHOWN]],
    }


def _held(arrays: Any) -> Arrays:
    return Held(arrays) if isinstance(arrays, Mapping) else arrays


def _match(wanted: Sequence[str], got: set[str]) -> tuple[dict[str, list[str]], list[str], str]:
    """Sort the names by case; say which cases were not run and what else does not fit."""
    groups: dict[str, list[str]] = {}
    for name in wanted:
        groups.setdefault(name.rpartition(".")[0], []).append(name)
    strange = sorted(got - set(wanted))
    skipped = [case for case, names in groups.items() if not got.intersection(names)]
    cases = {case: [name for name in names if name in got] for case, names in groups.items() if case not in skipped}
    short = next((case for case, names in cases.items() if len(names) < len(groups[case])), None)
    problem = ""
    if not groups:
        problem = "the original gave no outputs"
    elif strange:
        problem = f"the export gives {escape(strange[0], 80)}, which the original does not"
    elif short is not None:
        problem = f"the export gives fewer outputs than the original on {escape(short, 80)}"
    elif _last(groups) in skipped:
        problem = f"the export was not run on {escape(_last(groups), 80)}, with whose sizes it was made"
    return cases, skipped, problem


def _last(groups: Mapping[str, Any]) -> str:
    """Give the case with the highest number at the end of its name."""
    return max(groups, key=lambda case: (int("".join(char for char in case if char in "0123456789") or 0), case))


def _compare(wanted: Any, got: Any, case: str, output: _Output) -> None:
    import numpy as np

    wanted, got = np.asarray(wanted), np.asarray(got)
    output.dtype = output.dtype or str(wanted.dtype)
    shown = escape(case, 80)
    if output.problem:
        return
    if wanted.shape != got.shape:
        output.problem = f"has the shape {got.shape} in place of {wanted.shape} on {shown}"
    elif wanted.dtype != got.dtype:
        output.problem = f"is {got.dtype} in place of {wanted.dtype} on {shown}"
    elif wanted.dtype.kind in "fcV":
        _compare_floating(wanted, got, shown, output)
    else:
        output.wrong += int(np.count_nonzero(wanted != got))
        output.size += wanted.size
        output.compared += wanted.size


def _compare_floating(wanted: Any, got: Any, case: str, output: _Output) -> None:
    import numpy as np

    wide = np.complex128 if wanted.dtype.kind == "c" else np.float64
    wanted, got = wanted.astype(wide), got.astype(wide)
    if not np.array_equal(np.isnan(wanted), np.isnan(got)):
        output.problem = f"has NaN at other places than the original on {case}"
        return
    endless = np.isinf(wanted) | np.isinf(got)
    if not np.array_equal(wanted[endless], got[endless]):
        output.problem = f"has infinities at other places than the original on {case}"
        return
    finite = np.isfinite(wanted)
    output.compared += int(np.count_nonzero(finite))
    if finite.any():
        output.scale = max(output.scale, float(np.abs(wanted[finite]).max()))
        output.worst = max(output.worst, float(np.abs(wanted[finite] - got[finite]).max()))


def _judge(name: str, output: _Output, kind: str) -> str:
    shown = escape(name, 80)
    if output.problem:
        return f"{shown} {output.problem}"
    if output.wrong > output.size * (_LOSSY_SHARE if kind in _LOSSY else 0):
        return f"{shown} differs in {output.wrong} of {output.size} values, which are {output.dtype}"
    tolerance = _tolerance(kind, output)
    most = tolerance.absolute + tolerance.relative * output.scale
    if output.worst > most:
        return f"{shown} is off by {output.worst:.3g}, and {most:.3g} is allowed (its largest value is {output.scale:.3g})"
    return ""


def _tolerance(kind: str, output: _Output) -> Tolerance:
    found = _EXACT.get(output.dtype, Tolerance(0.0, 0.0))
    if output.dtype in _EXACT and kind in _LOSSY:
        found = Tolerance(max(found.relative, _LOSSY[kind].relative), max(found.absolute, _LOSSY[kind].absolute))
    return found._replace(absolute=min(found.absolute, _MOST_ABSOLUTE * output.scale)) if output.scale else found


def _numbers(output: _Output, tolerance: Tolerance) -> dict[str, Json]:
    return {
        "dtype": output.dtype,
        "max_abs": output.worst,
        "max_rel": _relative(output),
        "scale": output.scale,
        **({"wrong": output.wrong, "values": output.size} if output.size else {}),
        "tolerance": {"relative": tolerance.relative, "absolute": tolerance.absolute},
    }


def _relative(output: _Output) -> float:
    return output.worst / output.scale if output.scale else 0.0
