"""Take out of texts and values what is nobody's business: secrets, homes, addresses, and the names of checkpoints.

What is left in is what is known to be harmless; a pattern that takes too much costs a helper a question, one that takes too
little costs a password.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

#: What stands in the place of a secret.
MASK = "***"
#: Beyond this a text is cut: a bundle is read by people.
_MOST_TEXT = 4_000
_MOST_DEPTH = 20

#: Words that a key has which says a secret; the short ones only by themselves: an author and a pass over files are none.
_WORDS = (
    r"secret|passw(?:or)?d|passphrase|pwd|token|(?:api|access|private)[_-]?key|credential|authorization|cookie"
    r"|(?<![a-z])(?:auth|pass)(?![a-z])"
)
_SECRET_KEY = re.compile(rf"{_WORDS}|signature|username", re.IGNORECASE)
#: A key with one of these words, and what is said of it: "password = …", '"token": "…"', "Authorization: Bearer …".
_STATED = re.compile(
    rf"(?i)([\w.-]*(?:{_WORDS})[\w.-]*\\?[\"']?\s*[:=]\s*)"
    r"(\\?\"[^\"\n]*\"?|'[^'\n]*'?|(?:bearer |basic )?[^\s,;&\"')\]}]+)"
)
_BEARER = re.compile(r"(?i)\b(bearer|basic)\s+[\w+/=.~-]{6,}")
#: The key of a signature, wherever it stands: in the place of its file, too.  Source: Standard Webhooks, "Signature scheme".
_SIGNATURE_KEY = re.compile(r"\bwhsec_[\w+/=-]+")
#: Of a URL only the scheme and the host stay: tokens stand in paths and queries, passwords before the host.
_URL = re.compile(r"(?i)\b([a-z][a-z0-9+.-]{1,20}://)(?:[^\s/@\"'<>]*@)?([^\s/:@\"'<>?#]*)(:\d+)?[^\s\"'<>]*")
_MAIL = re.compile(r"[\w.+-]+@([\w-]+(?:\.[\w-]+)+)")
_HOME = re.compile(r"(/(?:home|homes|Users))/[^/\s\"':,;)]+|(?<![\w./-])/root(?![\w.-])")
#: A word that ends as files of models do, whoever made them.
_FILE = re.compile(
    r"[^\s/\"'`,;:()\[\]{}<>=|]+(?:\.(?:pth|pt|ckpt|pt2|bin|th|onnx|safetensors|failed)(?:\.(?:tar|data))?|_metadata\.json|\.ckptd\.json)\b"
)
#: What may be a name that is known: a run of anything but what separates words.
_WORD = re.compile(r"[^\s/\"'`,;:()\[\]{}<>=|]+")


class Names:
    """Pseudonyms for the names of checkpoints and of whatever is called after them: the same one for the same name.

    Args:
        key: makes them those of this installation, so that two bundles can be compared and nobody can try names out.
        known: names to be replaced in texts: of files, stems, directories, groups.
        roots: directories that are no secret; what lies below them is.
    """

    def __init__(self, key: bytes, known: Iterable[str] = (), roots: Iterable[str] = ()) -> None:
        self._key = key
        self._known = frozenset(name for name in known if name)
        self._odd = sorted((name for name in self._known if not _WORD.fullmatch(name)), key=len, reverse=True)[:2_000]
        self._below = [re.compile(re.escape(root.rstrip("/")) + r"/([^\s\"'`,;:()<>|]+)") for root in roots]

    def pseudonym(self, name: str) -> str:
        """Give the name that stands for a name; the ending stays, for it says what the file is."""
        digest = hmac.new(self._key, name.encode("utf-8", "surrogateescape"), hashlib.sha256).hexdigest()[:10]
        ending = "".join(PurePosixPath(name).suffixes[-2:])
        return f"name-{digest}{ending if re.fullmatch(r'(?:[.][A-Za-z0-9]{1,12}){1,2}', ending) else ''}"

    def replace(self, text: str) -> str:
        """Replace every name in a text that is known, that ends like a model's file, or that lies below a root."""
        for name in self._odd:
            if name in text:
                text = text.replace(name, self.pseudonym(name))
        for below in self._below:
            text = below.sub(self._replace_below, text)
        text = _FILE.sub(self._replace_word, text)
        return _WORD.sub(lambda match: self._replace_word(match) if match[0] in self._known else match[0], text)

    def _replace_below(self, match: re.Match[str]) -> str:
        inner = match[1]
        if inner.split("/", 1)[0] in (".ckptd", "archives") and "/" not in inner.partition("/")[2]:
            return match[0]  # ckptd's own, and not a path of somebody
        return match[0][: -len(inner)] + "/".join(self.pseudonym(part) for part in inner.split("/"))

    def _replace_word(self, match: re.Match[str]) -> str:
        word = match[0]
        return word if word.startswith("name-") else self.pseudonym(word)


def keep_names(text: str) -> str:
    """Leave every name as it is, for who asked for that."""
    return text


def mask_text(text: str, replace_names: Callable[[str], str] = keep_names) -> str:
    """Take secrets, homes and addresses out of a text; and names, by the function given."""
    text = text[: 4 * _MOST_TEXT]
    text = _STATED.sub(lambda match: match[1] + MASK, text)
    text = _SIGNATURE_KEY.sub(f"whsec_{MASK}", text)
    text = _BEARER.sub(lambda match: f"{match[1]} {MASK}", text)
    text = _URL.sub(lambda match: f"{match[1]}{match[2]}{match[3] or ''}/{MASK}", text)
    text = _MAIL.sub(lambda match: f"{MASK}@{match[1]}", text)
    text = _HOME.sub(lambda match: f"{match[1]}/{MASK}" if match[1] else "~", text)
    text = replace_names(text)
    return text if len(text) <= _MOST_TEXT else f"{text[:_MOST_TEXT]}…"


@dataclass(frozen=True, slots=True)
class Masking:
    """How values are masked.

    Attributes:
        replace_names: as for `mask_text`.
        rename: gives the pseudonym of a name.
        names: keys whose texts are names of checkpoints, or called after them.
        tables: keys of tables whose own keys are such names.
    """

    replace_names: Callable[[str], str] = keep_names
    rename: Callable[[str], str] = keep_names
    names: Collection[str] = ()
    tables: Collection[str] = ()

    def mask(self, value: Any, depth: int = 0) -> Any:
        """Mask every text in a value of JSON; what a key calls a secret goes whole.

        Args:
            value: out of `json.loads`, or of the like.
            depth: of `value` in the whole.
        """
        if depth > _MOST_DEPTH:
            return MASK
        match value:
            case str():
                return mask_text(value, self.replace_names)
            case bool() | int() | float() | None:
                return value
            case Mapping():
                return {
                    mask_text(str(key), self.replace_names): self._mask_member(str(key), item, depth)
                    for key, item in value.items()
                }
            case list() | tuple() | set() | frozenset():
                return [self.mask(item, depth + 1) for item in value]
            case _:
                return mask_text(str(value), self.replace_names)

    def _mask_member(self, key: str, value: Any, depth: int) -> Any:
        if value in (None, "", [], {}, ()):
            return value
        if _SECRET_KEY.search(key) and not isinstance(value, bool | int | float):
            return MASK
        if key == "command" and isinstance(value, list | tuple):  # arguments hold what their authors liked to put there
            return [mask_text(str(value[0]), self.replace_names), *(MASK for _ in value[1:])]
        if key in self.tables and isinstance(value, Mapping):
            return {self._rename(str(name)): self.mask(item, depth + 1) for name, item in value.items()}
        return self._rename(value) if key in self.names else self.mask(value, depth + 1)

    def _rename(self, value: Any) -> Any:
        match value:
            case str():
                parts = mask_text(value).split("/")
                return "/".join(part if part in ("", "~", MASK) else self.rename(part) for part in parts)
            case list() | tuple():
                return [self._rename(item) for item in value]
            case bool() | int() | float() | None:
                return value
            case _:
                return MASK
