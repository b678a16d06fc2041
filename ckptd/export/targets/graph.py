"""Capture a module by torch.export, with as many dynamic sizes as it takes; pt2 and onnx begin here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from ckptd.export.interface import Notes
from ckptd.export.making import listed, reason
from ckptd.export.refusal import TargetError
from ckptd.export.targets.opened import Shapes
from ckptd.export.targets.recurrent import ALL, whole_recurrences
from ckptd.proof import InputSpec

if TYPE_CHECKING:
    from ckptd.export.building import Built


def capture(built: Built, *, is_dynamic: bool) -> tuple[Any, Notes]:
    """Give the exported program, and notes on which dimensions are really dynamic in it.

    Raises:
        TargetError: torch.export does not take the module, with dynamic sizes or without.
    """
    import torch

    if isinstance(built.module, torch.jit.ScriptModule):
        raise TargetError("torch.export takes no TorchScript program, only the module that it was made from")
    wanted = dynamic_names(built.specs) if is_dynamic else []
    first: Exception | None = None
    for names in _attempts(wanted):
        try:
            program = _export(built, names)
        except Exception as error:  # noqa: BLE001 — an exporter raises what it likes
            first = first or error
            continue
        return program, _notes(program, built.specs, wanted, first)
    assert first is not None
    raise TargetError(f"torch.export does not take {built.name}: {reason(first)}") from first


def dynamic_names(specs: Sequence[InputSpec]) -> list[str]:
    """Give the names of all dynamic dimensions, each once, in order."""
    return list(dict.fromkeys(size for spec in specs for size in spec.shape if isinstance(size, str)))


def eager_attention() -> None:
    """Switch torch's fused attention off for this process: its operator has no translation in any exporter."""
    import torch

    torch.backends.mha.set_fastpath_enabled(False)


def _attempts(wanted: Sequence[str]) -> Iterator[Sequence[str]]:
    """Give sets of dynamic dimensions to try: all, the batch alone, none."""
    yield wanted
    if len(wanted) > 1:
        yield wanted[:1]
    if wanted:
        yield ()


def _export(built: Built, names: Sequence[str]) -> Any:
    import torch

    from ckptd.export.arrays import to_tensors

    eager_attention()
    # AUTO: a size that the program fixes becomes a constant in place of an error (an LSTM's length under a named Dim).
    auto = torch.export.Dim.AUTO
    shapes = tuple([{i: auto for i, size in enumerate(spec.shape) if size in names} for spec in built.specs])
    with whole_recurrences(ALL):
        return torch.export.export(built.module, to_tensors(built.example()), dynamic_shapes=_by_forward(built.module, shapes))


def _by_forward(module: Any, shapes: tuple[dict[int, Any], ...]) -> Any:
    """Nest the shapes of what a forward takes as *args, as torch.export wants them."""
    import inspect

    parameters = list(inspect.signature(module.forward).parameters.values())
    fixed = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    if len(fixed) >= len(shapes):
        return shapes
    return (*shapes[: len(fixed)], shapes[len(fixed) :])


def _notes(program: Any, specs: Sequence[InputSpec], wanted: Sequence[str], error: Exception | None) -> Notes:
    found = _dynamic_in(shapes_of(program), specs)
    lost = [name for name in wanted if name not in found]
    notes: Notes = {"dynamic": [*found]}
    if lost:
        why = f": {reason(error)}" if error is not None else ""
        notes["findings"] = [f"the size of {listed(lost)} is fixed in the export, torch.export can't leave it open{why}"]
        notes["fixed"] = [*lost]
    return notes


def shapes_of(program: Any) -> Shapes:
    """Read from a program which sizes it takes: None where a size is a symbol."""
    import torch

    names = frozenset(program.graph_signature.user_inputs)
    inputs = [node for node in program.graph.nodes if node.op == "placeholder" and node.name in names]
    return tuple([tuple([None if isinstance(n, torch.SymInt) else int(n) for n in node.meta["val"].shape]) for node in inputs])


def _dynamic_in(shapes: Shapes, specs: Sequence[InputSpec]) -> list[str]:
    """Say which of the named dimensions are open in a file."""
    found: dict[str, bool] = {}
    for spec, shape in zip(specs, shapes, strict=False):
        for wanted, size in zip(spec.shape, shape, strict=False):
            if isinstance(wanted, str):
                found[wanted] = found.get(wanted, True) and size is None
    return [name for name, is_open in found.items() if is_open]
