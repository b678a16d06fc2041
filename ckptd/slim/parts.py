"""Find the parts of a checkpoint that a smaller one leaves out: state of optimizers, schedulers and gradient scalers.

A part is a key of the outermost dict, and it goes only when both its name and its structure say what it is.  A name alone is
nothing: "optimizer" may hold weights (ASGD's averages, the iterate of a schedule-free optimizer, master copies), and then it
stays.  Source for the structures: `state_dict` of torch.optim.Optimizer, torch.optim.lr_scheduler and torch.amp.GradScaler of
torch 2.13, of apex.amp, and what Lightning 2 puts under `optimizer_states` and `lr_schedulers`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from ckptd.checkpoint.budgets import BUDGETS
from ckptd.checkpoint.totals import elements
from ckptd.checkpoint.values import Opaque, TensorValue, Value

_State: TypeAlias = dict[Any, Any]

#: A name that can be shown; what is called otherwise stays.
_NAME = re.compile(r"[A-Za-z0-9_.\- ]{1,80}")
_SEPARATORS = re.compile(r"[^a-z]+")
#: Words of names that are never touched, whatever lies below them.
_KEPT = frozenset("ema swa weight weights params hparams hyperparams hyperparameters hyper metric metrics".split())
_OPTIMIZERS = frozenset({"opt", "opts"})
_SCALERS = frozenset({"amp", "scaler", "scalers", "gradscaler"})

#: State of a parameter that is weights by itself: ASGD's average, the iterate of schedule-free optimizers, Lookahead's copy.
_WEIGHTS_OF_A_PARAMETER = frozenset({"ax", "z", "slow_buffer"})
_WORDS_OF_WEIGHTS = ("param", "weight", "master", "fp32")
#: `last_epoch` and one of these make a scheduler.
_SCHEDULER = frozenset(
    "_step_count base_lrs _last_lr _get_lr_called_within_step num_bad_epochs _schedulers T_max T_0 milestones".split()
)
_GRAD_SCALER = frozenset("scale growth_factor backoff_factor growth_interval _growth_tracker".split())
_LOSS_SCALER = frozenset({"loss_scale", "unskipped"})

#: Optimizers of one checkpoint, and how deep lists and dicts of them nest.
_MOST_STATES = 64
_DEPTH = 2


def find_parts(root: Mapping[Value, Value]) -> tuple[str, ...]:
    """Give the keys of the parts that go, in the order of the file."""
    look = _Look()
    return tuple([key for key, value in root.items() if type(key) is str and look.is_part(key, value)])


class _Look:
    """Looks at the structure of values, within one budget for the file: shared objects can be shown many times over."""

    def __init__(self) -> None:
        self._left = BUDGETS.nodes

    def is_part(self, key: str, value: Value) -> bool:
        if _NAME.fullmatch(key) is None:
            return False
        low = key.lower()
        words = frozenset(_SEPARATORS.split(low))
        if words & _KEPT:
            return False
        checks = (
            (self._is_optimizer, "optim" in low or not words.isdisjoint(_OPTIMIZERS)),
            (self._is_scheduler, "sched" in low),
            (self._is_scaler, not words.isdisjoint(_SCALERS)),
        )
        return any(is_called and self._are_states(value, is_state) for is_state, is_called in checks)

    def _are_states(self, value: Value, is_state: Callable[[_State], bool], depth: int = _DEPTH) -> bool:
        """Say whether a value is a state, or lists and dicts of nothing else."""
        if isinstance(value, dict) and is_state(value):
            return True
        if not isinstance(value, (dict, list, tuple)) or not 0 < len(value) <= _MOST_STATES or depth == 0:
            return False
        parts = value.values() if isinstance(value, dict) else value
        return all(self._are_states(part, is_state, depth - 1) for part in parts)

    def _is_optimizer(self, value: _State) -> bool:
        state, groups = value.get("state"), value.get("param_groups")
        if not isinstance(state, dict) or type(groups) is not list or not groups:
            return False
        rest = [part for key, part in value.items() if key != "state"]
        return all(self._is_group(group) for group in groups) and self._has_no_weights(state) and self._largest(rest) <= 1

    def _is_group(self, value: Value) -> bool:
        """Say whether a value is a parameter group, which names parameters and holds none."""
        params = value.get("params") if isinstance(value, dict) else None
        if type(params) is not list:
            return False
        self._left -= len(params)
        return self._left > 0 and all(type(param) in {int, str} for param in params)

    def _has_no_weights(self, state: _State) -> bool:
        """Say whether nothing in the state of the parameters could be weights."""
        seen: set[int] = set()
        for held in state.values():
            if not isinstance(held, dict) or id(held) in seen:
                continue
            seen.add(id(held))
            self._left -= len(held)
            if self._left <= 0 or any(_could_be_weights(name) for name in held):
                return False
        tensors = self._tensors(state.values())
        return tensors is not None and not any(tensor.parameter for tensor in tensors)

    def _is_scheduler(self, value: _State) -> bool:
        is_named = type(value.get("last_epoch")) is int and not _SCHEDULER.isdisjoint(value)
        return is_named and self._largest(value.values()) <= 1

    def _is_scaler(self, value: _State) -> bool:
        if "scale" in value and _GRAD_SCALER.issuperset(value):
            return self._largest(value.values()) <= 1
        parts = list(value.values())
        is_named = all(isinstance(part, dict) and part and _LOSS_SCALER.issuperset(part) for part in parts)
        return len(parts) > 0 and is_named and self._largest(parts) <= 1

    def _largest(self, values: Iterable[Value]) -> float:
        """Give the elements of the largest tensor in some values; 0 without any, infinity where nobody can say."""
        tensors = self._tensors(values)
        return float("inf") if tensors is None else max(map(elements, tensors), default=0)

    def _tensors(self, values: Iterable[Value]) -> list[TensorValue] | None:
        """Give the tensors in some values, whatever they lie in; None when that is too much to look at."""
        found: list[TensorValue] = []
        seen: set[int] = set()
        pending = list(values)
        while pending:
            value = pending.pop()
            self._left -= 1
            if self._left <= 0:
                return None
            if id(value) in seen:
                continue
            if type(value) is TensorValue:
                found.append(value)
            parts = _inside(value)
            if parts:
                seen.add(id(value))
                pending += parts
        return found


def _could_be_weights(name: Value) -> bool:
    if type(name) is not str:
        return False
    low = name.lower()
    return low in _WEIGHTS_OF_A_PARAMETER or any(word in low for word in _WORDS_OF_WEIGHTS)


def _inside(value: Value) -> Sequence[Value]:
    if isinstance(value, dict):
        return list(value.values())
    if type(value) in {list, tuple, set, frozenset}:
        return list(value)
    if type(value) is TensorValue:
        return (value.extra, value.attributes)
    if type(value) is Opaque:
        return [value.callee, value.args, value.state, *[part for item in value.items for part in item], *value.elements]
    return ()
