"""Marks that stand for themselves: hashes, versions, sizes, schedules, quantization, flags."""

from __future__ import annotations

import re

from ckptd.checkpoint.names.reading import Draft
from ckptd.checkpoint.names.words import FLAGS, IMAGE_SIZES, LOSSES, OPTIMIZERS, is_family

_HEX = re.compile(r"(?<![0-9A-Za-z.])(?:[0-9a-f]{64}|[0-9a-f]{40}|[0-9a-f]{32}|[0-9a-f]{6,12})(?![0-9A-Za-z.])")
_UUID = re.compile(
    r"(?<![0-9a-fA-F])[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}(?![0-9a-fA-F])"
)
#: Errors of interatomic potentials as CHGNet writes them: energy, force, stress, magnetic moment.
_POTENTIAL = re.compile(r"(?<![0-9A-Za-z])e([0-9]{1,4})f([0-9]{1,4})s([0-9]{1,4})(?:m([0-9]{1,4}))?(?![0-9A-Za-z])")
_POTENTIAL_NAMES = (("e", "energy_mae"), ("f", "force_mae"), ("s", "stress_mae"), ("m", "magmom_mae"))
_SHARD = re.compile(r"(?<![0-9A-Za-z])([0-9]{1,6})[-_]of[-_]([0-9]{1,6})(?![0-9A-Za-z])")
_SIZE = re.compile(r"(?<![0-9A-Za-z])([0-9]{2,4})x([0-9]{2,4})(?![0-9A-Za-z])")
_ENV = re.compile(r"(?<![A-Za-z0-9])([A-Z][A-Za-z0-9]{2,40}-v[0-9]{1,2})(?![0-9A-Za-z])")
_VERSION = re.compile(r"(?<![0-9A-Za-z.])[vV]?([0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3})(?![0-9A-Za-z.])")
_DIGIT, _LETTER = re.compile("[0-9]"), re.compile("[a-f]")

#: Number format → the words for it.
_FORMATS = {
    "int8": "int8 uint8 qint8 i8",
    "int4": "int4",
    "float8": "fp8 float8",
    "float16": "fp16 float16 half f16",
    "bfloat16": "bf16 bfloat16",
    "8-bit": "8bit qat8 w8a8 w8a16 q80 q8",
    "4-bit": "4bit qat4 w4a16 w4a8 q4 q40",
    "2-bit": "2bit",
    "1-bit": "1bit",
    "16-bit": "16bit",
    "quantized": "qat ptq quant quantized quantised gptq awq ggml q",
    "nf4": "nf4",
}
_QUANTIZED = {word: name for name, words in _FORMATS.items() for word in words.split()}
#: Weaker words give way to stronger ones ("quantized" to "int8").
_STRENGTH = {"quantized": 0}
_GRID = re.compile(r"[0-9]{1,3}x(?:b[0-9]{1,4}|[0-9]{1,2}(?:x[0-9]{1,2})?)")
_DTYPES = frozenset("fp32 float32 f32 fp64 float64 tf32".split())
_CHIPS = frozenset("ai84 ai85 ai86 ai87".split())


def blank_marks(draft_stem: str, other: dict[str, object], potential: dict[str, tuple[str, str]]) -> str:
    """Cut out of a stem what would read like words or numbers: hashes, environments, shards, versions of three parts.

    Args:
        draft_stem: the name without its suffix.
        other: takes what was found, by its name in `other`; `dataset` for an environment.
        potential: takes the errors of an interatomic potential, canonical name → (spelling, number).
    """
    stem = draft_stem
    for pattern, read in _BLANKED:
        for match in pattern.finditer(stem):
            if read(match, other, potential):
                stem = stem[: match.start()] + "\0" * (match.end() - match.start()) + stem[match.end() :]
                break
    return stem


def _read_hash(match: re.Match[str], other: dict[str, object], _: object) -> bool:
    text = match[0]
    mixed = _DIGIT.search(text) and _LETTER.search(text)
    before, at_end = match.string[match.start() - 1 : match.start()], match.end() == len(match.string)
    if at_end and match.string[: match.start()].endswith("model_final_"):  # detectron2, digits or not
        other["hash"] = text
        return True
    # Words of six letters or more are often hex ("facade", "decade"), and six digits are a date or a step.
    if not mixed or (len(text) < 32 and re.match("(?:acc|f)[0-9]+$", text) and len(text) != 8):
        return False
    if len(text) not in {8, 10, 32, 40, 64} and not (at_end and before in {"-", "_"}):
        return False
    if len(text) < 32 and re.fullmatch(r"[0-9]+[a-f]+|[a-f]+[0-9]+", text) and not (len(text) == 8 and before == "-"):
        return False
    other["hash"] = text
    return True


def _read_uuid(match: re.Match[str], other: dict[str, object], _: object) -> bool:
    other["uuid"] = match[0].lower()
    return True


def _read_potential(match: re.Match[str], _: object, potential: dict[str, tuple[str, str]]) -> bool:
    for (spelling, name), text in zip(_POTENTIAL_NAMES, match.groups(), strict=True):
        if text is not None:
            potential[name] = (spelling, text)
    return True


def _read_shard(match: re.Match[str], other: dict[str, object], _: object) -> bool:
    other["shard"] = f"{int(match[1])}/{int(match[2])}"
    return True


def _read_size(match: re.Match[str], other: dict[str, object], _: object) -> bool:
    if max(int(match[1]), int(match[2])) < 32:
        return False
    other["input"] = match[0]
    return True


def _read_env(match: re.Match[str], other: dict[str, object], _: object) -> bool:
    if is_family(match[1].rsplit("-", 1)[0].lower()):  # "MobileNet-v2" is no environment
        return False
    other["dataset"] = match[1]
    return True


def _read_version(match: re.Match[str], other: dict[str, object], _: object) -> bool:
    other["version"] = match[1]
    return True


_BLANKED = (
    (_UUID, _read_uuid),
    (_HEX, _read_hash),
    (_POTENTIAL, _read_potential),
    (_SHARD, _read_shard),
    (_SIZE, _read_size),
    (_ENV, _read_env),
    (_VERSION, _read_version),
)


def read_marks(draft: Draft) -> None:
    """Read the marks that are one word, or a word and the number glued to it."""
    quantized: list[str] = []
    position = 0
    while position < len(draft.atoms):
        position = _read_mark(draft, position, quantized)
    if quantized:
        draft.note("quant", ",".join(quantized))


def _read_mark(draft: Draft, position: int, quantized: list[str]) -> int:
    """Read the token that starts at an atom and return the position behind it."""
    atoms, end = draft.atoms, position
    while end + 1 < len(atoms) and atoms[end + 1].glued and not draft.taken[end + 1]:
        end += 1
    if draft.taken[position]:
        return position + 1
    low = draft.stem[atoms[position].start : atoms[end].end].lower()
    if low in _QUANTIZED and (low != "q" or position > 0):
        _quantize(draft, low, quantized)
    elif (
        low in {"8", "4"}
        and draft.free(end + 1)
        and atoms[end + 1].low in {"bit", "bits"}
        and (end + 2 == len(atoms) or not atoms[end + 2].glued)
    ):
        end += 1
        _quantize(draft, f"{low}bit", quantized)
    elif low in _DTYPES:
        draft.note("dtype", {"fp32": "float32", "f32": "float32", "fp64": "float64"}.get(low, low))
    elif low in _CHIPS:
        draft.note("hw", low)
    elif low in OPTIMIZERS and (position > 0 or low != "sam"):  # Segment Anything
        draft.note("optimizer", low)
    elif low in LOSSES:
        draft.note("loss_function", low)
    elif low in {"12k", "21k", "22k"} and position > 0:
        draft.note("pretrain", low)
    elif low == "1k" and draft.other.get("pretrain") in {"12k", "21k", "22k"}:
        pass
    elif _GRID.fullmatch(low):  # GPUs and samples of each, as OpenMMLab writes them
        draft.note("samples", low)
    elif low in {"1x", "2x", "3x", "20e", "12e"}:
        draft.note("schedule", low)
    elif (
        low in {"netg", "gnet", "gen", "generator"}
        or atoms[position].text == "G"
        or (low == "g" and position and atoms[position - 1].low == "net")
    ):
        if low == "generator":
            return end + 1
        draft.note("generator", value=True)
    elif low in {"netd", "dnet"} or atoms[position].text == "D":
        draft.note("discriminator", value=True)
    elif low.lstrip("0123456789") == "best":  # "10best": the mean of so many
        draft.note("best", value=True)
    elif low in FLAGS:
        draft.note(FLAGS[low], value=True)
        if low == "baseline" and position == 0:  # a model of that name when there is no other
            return end + 1
    else:
        return end + 1
    draft.take(position, end)
    return end + 1


def _quantize(draft: Draft, low: str, quantized: list[str]) -> None:
    found = _QUANTIZED[low]
    if draft.quantization is None or _STRENGTH.get(draft.quantization, 1) < _STRENGTH.get(found, 1):
        draft.quantization = found
        draft.confidence["quantization"] = 0.8
    if len(quantized) < 4:
        quantized.append(low)


def read_sizes(draft: Draft) -> None:
    """Read a lone number that is an edge length models take, and the version at the end, after the model was read."""
    for position, atom in enumerate(draft.atoms):
        if draft.taken[position]:
            continue
        alone = not atom.glued and not (position + 1 < len(draft.atoms) and draft.atoms[position + 1].glued)
        if (
            atom.number
            and alone
            and atom.text.isdigit()
            and len(atom.text) <= 4
            and int(atom.text) in IMAGE_SIZES
            and draft.model is not None
        ):
            draft.note("input", int(atom.text), 0.6)
            draft.take(position, position)
        elif atom.low == "v" and not atom.glued and position + 1 < len(draft.atoms):
            number = draft.atoms[position + 1]
            if number.glued and not (position + 2 < len(draft.atoms) and draft.atoms[position + 2].glued):
                draft.note("version", f"v{number.text}")
                draft.take(position, position + 1)


def stage_of(draft: Draft) -> str | None:
    """Name the stage: a trial of a search, a quantized or final model, the best or the last of a run."""
    other = draft.other
    if "trial" in other or any(atom.low in {"optuna", "hpo"} for atom in draft.atoms):
        return "bo_trial"
    if draft.quantization is not None and not draft.quantization.startswith(("float", "bfloat", "16")):
        return "quantized"
    return next((stage for stage in ("final", "best", "last") if stage in other), None)
