"""Bare numbers that count saves, and what is sure only beside something else."""

from __future__ import annotations

from ckptd.checkpoint.names.reading import Draft

#: Words before a bare number that counts saves: an epoch when it is small, a step when it is large.
_COUNTED = frozenset(
    "checkpoint ckpt ckp cp chkpt chk chkp snapshot model weights weight net state g d generator discriminator".split()
)


def read_counted(draft: Draft) -> None:
    """Read `checkpoint_6` and `model_49`: a bare number that counts saves, after everything surer was read."""
    for position, atom in enumerate(draft.atoms):
        value = atom.integer if atom.number and draft.free(position) else None
        if value is None or (position and not draft.free(position - 1) and draft.atoms[position - 1].low not in {"g", "d"}):
            continue
        if _names_network(draft, position):
            if draft.epoch is None:
                draft.epoch, draft.confidence["epoch"] = value, 0.6
            draft.take(position, position)
            continue
        if position == 0:
            continue
        before = draft.atoms[position - 1]
        last = position + 1 == len(draft.atoms)
        if (
            before.low not in _COUNTED
            or (atom.glued and before.low not in {"checkpoint", "ckpt", "chk"})
            or draft.runs_on(position)
        ):
            continue
        if draft.free(position + 1) and draft.atoms[position + 1].number and not draft.taken[position + 1]:
            # Keras: weights.EPOCH-VALUE; fairseq: checkpoint_EPOCH_UPDATES.
            if (
                "." in draft.atoms[position + 1].text
                and position == 1
                and draft.stem[before.end] == "."
                and len(draft.atoms) == 3
            ):
                draft.epoch, draft.confidence["epoch"] = value, 0.6
                draft.take(0, position)
                continue
            updates = draft.atoms[position + 1].integer
            if before.low != "checkpoint" or position + 2 != len(draft.atoms) or updates is None or updates < 100:
                continue
            draft.step, draft.confidence["step"] = updates, 0.6
            draft.take(position + 1, position + 1)
            last = True
        _count(draft, position, value, before.low, last=last)


def _names_network(draft: Draft, position: int) -> bool:
    """Recognise `100_net_G`: the epoch stands before the part of the GAN."""
    after = draft.atoms[position + 1 : position + 3]
    return len(after) == 2 and after[0].low == "net" and after[1].low in {"g", "d"} and not draft.atoms[position].glued


def _is_best(draft: Draft, position: int) -> bool:
    """Say whether "best" stands at a position: "best_model_3" is rather the third of several than an epoch's."""
    return position >= 0 and draft.atoms[position].low == "best"


#: The two halves of a GAN.
_HALVES = {"g": "generator", "d": "discriminator"}


def read_lone(draft: Draft) -> None:
    """Read a name that is a number and nothing else: an epoch, or a round number of a thousand or more as a step."""
    if len(draft.atoms) != 1 or draft.taken[0] or draft.step is not None or draft.epoch is not None:
        return
    value = draft.atoms[0].integer
    if value is not None and value < 1000:
        draft.epoch, draft.confidence["epoch"] = value, 0.5
    elif value is not None and value % 100 == 0 and value < 100_000_000:
        draft.step, draft.confidence["step"] = value, 0.5


def _count(draft: Draft, position: int, value: int, word: str, *, last: bool) -> None:
    if draft.epoch is not None or (draft.step is not None and value >= 1000):
        return
    if word in _HALVES:
        draft.note(_HALVES[word], value=True)
    if value >= 1000:
        if value < 10_000_000:
            draft.step, draft.confidence["step"] = value, 0.5
            draft.take(position - 1, position)
        return
    if word in {"model", "net", "state", "weights", "weight"} and (
        not last or value in _SIZES or len(draft.atoms[position].text) > 4 or _is_best(draft, position - 2)
    ):
        return
    if word in {"g", "d", "generator", "discriminator"} and not last:
        return
    draft.epoch, draft.confidence["epoch"] = value, 0.6
    draft.take(position - 1, position)


#: "model_224" is an image size at least as likely as an epoch.
_SIZES = frozenset((224, 256, 320, 384, 416, 512, 608, 640, 768, 1024))


def read_trailing_step(draft: Draft) -> None:
    """Read a round number of a thousand or more at the very end, beside a metric, as a step."""
    environment = draft.dataset is not None and "-v" in draft.dataset
    if draft.step is not None or not (draft.metrics or environment) or not draft.atoms or draft.taken[-1]:
        return
    atom = draft.atoms[-1]
    value = atom.integer if atom.number and not atom.glued else None
    if value is not None and value >= 1000 and value % 100 == 0 and not 1900 <= value <= 2100 and value < 100_000_000:
        draft.step, draft.confidence["step"] = value, 0.4
        draft.take(len(draft.atoms) - 1, len(draft.atoms) - 1)


def read_pairs(draft: Draft) -> None:
    """Read what is sure only beside something else: `e12` beside a metric or a step, `_0_1` behind an environment."""
    atoms = draft.atoms
    for position in range(len(atoms) - 1):
        atom, number = atoms[position], atoms[position + 1]
        value = number.integer if number.number and number.glued and draft.free(position) and draft.free(position + 1) else None
        if value is None or atom.glued or draft.runs_on(position + 1) or value >= 10_000:
            continue
        if atom.low == "s" and value >= 100 and draft.step is None and position and atoms[position - 2].low == "e":
            draft.step, draft.confidence["step"] = value, 0.6
            draft.take(position, position + 1)
        elif (
            atom.text == "e"
            and draft.epoch is None
            and (position + 2 == len(atoms) or draft.metrics or _has_step(draft, position))
        ):
            draft.epoch, draft.confidence["epoch"] = value, 0.6
            draft.take(position, position + 1)
    _read_seed_and_run(draft)


def _has_step(draft: Draft, position: int) -> bool:
    after = draft.atoms[position + 2 : position + 4]
    return len(after) == 2 and after[0].low == "s" and after[1].glued and after[1].number and len(after[1].text) >= 3


def _read_seed_and_run(draft: Draft) -> None:
    """Read `PPO_LunarLander-v2_0_1`: seed and run, as actor-critic examples write them."""
    if draft.dataset is None or "-v" not in draft.dataset or len(draft.atoms) < 2:
        return
    seed, run = draft.atoms[-2:]
    if (
        seed.number
        and run.number
        and not seed.glued
        and not run.glued
        and draft.free(len(draft.atoms) - 2)
        and draft.free(len(draft.atoms) - 1)
    ):
        one, two = seed.integer, run.integer
        if one is not None and two is not None and one < 10_000 and two < 100:
            draft.note("seed", one, 0.5)
            draft.note("run", two, 0.5)
            draft.take(len(draft.atoms) - 2, len(draft.atoms) - 1)
