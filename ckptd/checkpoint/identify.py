"""What the object inside a file is, and which of its tensors are weights, copies of weights, or an optimizer's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from ckptd.checkpoint.jsonable import class_name, class_of, mapping_of, state_of
from ckptd.checkpoint.values import Opaque, OrderedDictValue, TensorValue, Value
from ckptd.model import Container, Kind

Role = Literal["weights", "copy", "optimizer", "neither"]

_OPTIMIZER = frozenset("""
    opt opts optim optims scheduler schedulers lr_scheduler lr_schedulers sched lr_sched scaler grad_scaler amp
    amp_scaler scaler_state_dict last_optimizer_state loss_scaler
""".split())  # fmt: skip
_COPY = frozenset("""
    ema model_ema ema_model state_dict_ema ema_state_dict model_ema_state_dict params_ema ema_params ema_weights g_ema
    netg_ema swa swa_model swa_state_dict average_model averaged_model best_model_state best_state_dict best_model
    best_model_state_dict
""".split())  # fmt: skip
_NEITHER = frozenset("""
    rng rng_state rng_states cuda_rng_state torch_rng_state callbacks loops metrics loss losses history args config cfg
    meta extra_state hparams hyper_parameters hyperparams hyperparameters replay_buffer memory buffer epoch step
    global_step train_losses val_losses criterion random_state best_loss best_acc best_score iteration results logs
    dataset data inputs targets predictions
""".split())  # fmt: skip
#: Keys that hold weights; a mapping with one of them is a checkpoint and no bare state dict.
_WEIGHTS = frozenset("""
    state_dict model_state_dict model model_state params net network module generator discriminator netg netd encoder
    decoder actor critic policy weights net_state_dict model_dict state_dicts models g d backbone teacher student head
    classifier
""".split())  # fmt: skip
_WRAPPED = frozenset(("state", "checkpoint", "ckpt", "trainer", "training_state", "train_state"))
_DEPTH = 3


class Identified(NamedTuple):
    """What a root object is.

    Attributes:
        copies: averaged or earlier copies of weights that are in the file too.
        named: weights (the copies when there is nothing else) by the module's own names, in the file's order.
        wrappers: prefixes around all names, outermost first: "DataParallel", "torch.compile".
        model_class: the class of a pickled module, None where no module is pickled.
    """

    kind: Kind
    weights: frozenset[str]
    copies: frozenset[str]
    optimizer: frozenset[str]
    named: list[tuple[str, TensorValue]]
    wrappers: tuple[str, ...]
    model_class: str | None


def identify(root: Value, tensors: Sequence[tuple[str, TensorValue]], container: Container) -> Identified:
    """Tell the kind of a root object and give each tensor its role."""
    if container is Container.TORCHSCRIPT:
        return _whole(Kind.TORCHSCRIPT, tensors, None)
    if isinstance(root, TensorValue):
        return _whole(Kind.TENSOR, tensors, None)
    if is_module(root):
        return _whole(Kind.MODULE, tensors, module_class(root))
    mapping = mapping_of(root)
    if mapping is None or (isinstance(root, Opaque) and not root.items):
        return (
            _whole(Kind.OTHER, tensors, None) if isinstance(root, (list, tuple)) else _assemble(Kind.OTHER, tensors, {}, None)
        )
    if all(type(value) is TensorValue for value in mapping.values()) and mapping:
        return _whole(Kind.STATE_DICT, tensors, None)
    if "param_groups" in mapping and "state" in mapping and not any(isinstance(v, TensorValue) for v in mapping.values()):
        return _assemble(Kind.OPTIMIZER, tensors, dict.fromkeys([name for name, _ in tensors], "optimizer"), None)
    return _identify_mapping(root, mapping, tensors)


def is_module(value: Value) -> bool:
    """Say whether an opaque value is a torch.nn.Module: it has the three registries of one."""
    state = state_of(value) if isinstance(value, Opaque) else None
    return state is not None and "_modules" in state and "_parameters" in state


def module_class(value: Value) -> str | None:
    """Name the class of a pickled module, looking through DataParallel."""
    name = class_name(value)
    if name in {"DataParallel", "DistributedDataParallel", "OptimizedModule"} and isinstance(value, Opaque):
        state = state_of(value)
        modules = mapping_of(state["_modules"]) if state is not None else None
        inner = (modules.get("module") or modules.get("_orig_mod")) if modules is not None else None
        if isinstance(inner, Opaque):
            return class_name(inner)
    return name


def is_builtin_module(value: Value) -> bool:
    """Say whether the class of a module is torch's own: "Sequential" names no model."""
    found = class_of(value) if isinstance(value, Opaque) else None
    return found is not None and found.module.partition(".")[0] == "torch"


def _identify_mapping(root: Value, mapping: Mapping[Value, Value], tensors: Sequence[tuple[str, TensorValue]]) -> Identified:
    tops = {name.partition(".")[0] for name, _ in tensors}
    roles: dict[str, Role] = {}
    direct = sum(1 for value in mapping.values() if isinstance(value, TensorValue))
    nested, model = _assign(mapping, "", tops, tensors, roles, _DEPTH)
    if not tensors:
        kind = Kind.STATE_DICT if isinstance(root, OrderedDictValue) and root.state is not None else Kind.OTHER
        if model is not None or any(
            type(key) is str and key.lower() in _WEIGHTS and isinstance(mapping[key], dict) for key in mapping
        ):
            kind = Kind.CHECKPOINT
    elif nested:
        kind = Kind.CHECKPOINT
    elif _is_flat(mapping, direct):
        kind = Kind.STATE_DICT
        roles = {name: "weights" for name, _ in tensors}
    else:
        kind = Kind.CHECKPOINT if any(role == "weights" for role in roles.values()) else Kind.OTHER
    return _assemble(kind, tensors, roles, model)


def _is_flat(mapping: Mapping[Value, Value], direct: int) -> bool:
    """Say whether a mapping of tensors and some other things is a state dict with extras, as quantized modules have."""
    others = [key for key, value in mapping.items() if not isinstance(value, TensorValue)]
    dotted = sum(1 for key in others if type(key) is str and ("." in key or key in {"_extra_state", "scale", "zero_point"}))
    return dotted == len(others) or direct > 4 * (len(others) - dotted)


def _assign(
    mapping: Mapping[Value, Value],
    prefix: str,
    tops: set[str],
    tensors: Sequence[tuple[str, TensorValue]],
    roles: dict[str, Role],
    depth: int,
) -> tuple[bool, str | None]:
    """Give roles to the keys of a mapping; say whether one of them holds a model or an optimizer, and a module's class."""
    nested, model = False, None
    for key, value in mapping.items():
        if type(key) is not str:
            roles[f"{prefix}{key}" if type(key) in (int, bool, float) or key is None else prefix] = "weights"
            nested = nested or (isinstance(value, dict) and len(value) > 0)
            continue
        low, path = key.lower().replace("-", "_"), prefix + key
        if isinstance(value, TensorValue):
            roles[path] = "neither" if low in _NEITHER or low in _OPTIMIZER or "rng" in low or not value.shape else "weights"
            continue
        if is_module(value):
            model = model or (None if is_builtin_module(value) else module_class(value))
            roles[path] = "copy" if _is_copy(low) else "weights"
            nested = True
            continue
        if key.partition(".")[0] not in tops:
            continue
        inner = mapping_of(value)
        if inner is not None and low in _WRAPPED and depth > 0 and any(type(k) is str and _is_known(k) for k in inner):
            part = f"{path}."
            inner_tops = {name[len(part) :].partition(".")[0] for name, _ in tensors if name.startswith(part)}
            deeper, found = _assign(inner, part, inner_tops, tensors, roles, depth - 1)
            nested, model = nested or deeper, model or found
            continue
        role = _role(low, inner)
        roles[path] = role
        nested = nested or (role != "neither" and (inner is not None or isinstance(value, (list, tuple))) and "." not in key)
    return nested, model


def _is_known(key: str) -> bool:
    low = key.lower()
    return low in _WEIGHTS or _is_optimizer(low)


def _is_optimizer(low: str) -> bool:
    return low in _OPTIMIZER or "optim" in low or low.endswith(("_opt", "scheduler", "_sched")) or low.startswith("opt_")


def _is_copy(low: str) -> bool:
    return low in _COPY or low.startswith("ema_") or low.endswith(("_ema", "_swa"))


def _role(low: str, inner: Mapping[Value, Value] | None) -> Role:
    if _is_optimizer(low) or (inner is not None and "param_groups" in inner and "state" in inner):
        return "optimizer"
    if _is_copy(low):
        return "copy"
    return "neither" if low in _NEITHER or "rng" in low else "weights"


def _whole(kind: Kind, tensors: Sequence[tuple[str, TensorValue]], model: str | None) -> Identified:
    names = frozenset([name for name, _ in tensors])
    named, wrappers = _plain_names(list(tensors), "")
    return Identified(kind, names, frozenset(), frozenset(), named, wrappers, model)


def _assemble(
    kind: Kind, tensors: Sequence[tuple[str, TensorValue]], roles: Mapping[str, Role], model: str | None
) -> Identified:
    groups: dict[Role, list[tuple[str, TensorValue]]] = {"weights": [], "copy": [], "optimizer": [], "neither": []}
    tops: dict[str, str] = {}
    for item in tensors:
        path, role = _find_role(item[0], roles)
        groups[role].append(item)
        tops[item[0]] = path
    if not groups["weights"]:  # a file of averaged weights only
        groups["weights"], groups["copy"] = groups["copy"], []
    weights = groups["weights"]
    prefixes = {tops[name] for name, _ in weights}
    prefix = f"{prefixes.pop()}." if len(prefixes) == 1 else ""
    if not all(name.startswith(prefix) for name, _ in weights):
        prefix = ""
    named, wrappers = _plain_names(weights, prefix)
    sets = {role: frozenset([name for name, _ in items]) for role, items in groups.items()}
    return Identified(kind, sets["weights"], sets["copy"], sets["optimizer"], named, wrappers, model)


def _find_role(name: str, roles: Mapping[str, Role]) -> tuple[str, Role]:
    """Find the longest known beginning of a name that ends at one of its first dots, else the name itself."""
    if name in roles:
        return name, roles[name]
    position = -1
    for _ in range(8):  # keys may hold dots themselves
        position = name.find(".", position + 1)
        if position < 0:
            break
        role = roles.get(name[:position])
        if role is not None:
            return name[:position], role
    return "", "neither"


#: Prefix that all names share → what put it there.
_WRAPPERS = (("module.", "DataParallel"), ("_orig_mod.", "torch.compile"), ("_forward_module.", "Fabric"))


def _plain_names(items: list[tuple[str, TensorValue]], prefix: str) -> tuple[list[tuple[str, TensorValue]], tuple[str, ...]]:
    """Take the checkpoint's key, the registries of pickled modules and the prefixes of wrappers off the names."""
    start = len(prefix)
    named = [(name[start:], tensor) for name, tensor in items]
    if any("_parameters." in name or "_buffers." in name or "_flat_weights." in name for name, _ in named):
        # A recurrent module keeps its weights a second time in a list.
        named = [(_module_name(name), tensor) for name, tensor in named if "_flat_weights." not in name]
    wrappers: list[str] = []
    for _ in range(4):
        if not named:
            break
        found = next(((p, w) for p, w in _WRAPPERS if all(name.startswith(p) for name, _ in named)), None)
        if found is None:
            break
        named = [(name[len(found[0]) :], tensor) for name, tensor in named]
        wrappers.append(found[1])
    return named, tuple(wrappers)


_REGISTRIES = frozenset(("_modules", "_parameters", "_buffers", "state"))


def _module_name(name: str) -> str:
    return ".".join([part for part in name.split(".") if part not in _REGISTRIES]) or name
