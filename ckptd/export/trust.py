"""Whose code may run: the settings' callables, classes, directories and digests, held against what is really there.

`Trust.examine` looks at the directories once and gives a `Ground` on which questions are answered.  Nothing is imported, and
nothing is remembered from one look to the next: what was fine yesterday may be writable today.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ckptd.checkpoint.module_classes import TORCH_CLASSES, TORCH_FUNCTIONS
from ckptd.export.guarded import Refusal, check_directory, check_file, digest_file, lies_in_place, read_below
from ckptd.export.locating import environment_paths, find_module_file
from ckptd.proof import MAX_NAME, split_callable
from ckptd.text import escape

if TYPE_CHECKING:
    from ckptd.settings.model import TrustSettings

#: What a script that is run calls itself.
MAIN = "__main__"


@dataclass(frozen=True, slots=True)
class Code:
    """A callable that may run.

    Attributes:
        sha256: of its module's file; None where there is no source of a usual size.
        is_exact: it is named as trusted itself; else the worker has to see that it is defined in one of the directories.
    """

    callable: str
    file: str
    sha256: str | None
    is_exact: bool


@dataclass(frozen=True, slots=True)
class Trust:
    """What the settings trust.

    Attributes:
        uid: the user who, beside root, may own trusted code.
        environment: directories of installed packages, as a worker searches them.
    """

    callables: frozenset[str] = frozenset()
    classes: frozenset[str] = frozenset()
    directories: tuple[str, ...] = ()
    digests: frozenset[str] = frozenset()
    uid: int = 0
    environment: tuple[str, ...] = ()

    @classmethod
    def of(cls, settings: TrustSettings, *, uid: int | None = None, environment: Sequence[str] | None = None) -> Trust:
        """Take over the settings; relative directories count from the present one.

        Args:
            settings: the table of the settings file.
            uid: the effective one when None.
            environment: `environment_paths()` when None.
        """
        return cls(
            frozenset(settings.callables),
            frozenset(settings.classes),
            tuple(os.path.abspath(path) for path in settings.directories),
            frozenset(settings.digests),
            os.geteuid() if uid is None else uid,
            environment_paths() if environment is None else tuple(environment),
        )

    def examine(self) -> Ground:
        """Look at the trusted directories now."""
        passed, refused = [], []
        for path in self.directories:
            found = check_directory(path, self.uid)
            if isinstance(found, Refusal):
                refused.append((os.path.realpath(path), found))
            else:
                passed.append(found)
        return Ground(self, tuple(dict.fromkeys(passed)), tuple(refused))


@dataclass(frozen=True, slots=True)
class Ground:
    """The trust of one moment.

    Attributes:
        directories: real paths of the trusted ones that nobody else can write to.
        refused: the others, each with why.
    """

    trust: Trust
    directories: tuple[str, ...]
    refused: tuple[tuple[str, Refusal], ...]

    def find_callable(self, text: str) -> Code | Refusal:
        """Say whether "module:name" may run, and from which file it would come.

        Args:
            text: from anywhere; a sidecar may say what it likes.
        """
        parts = split_callable(text) if len(text) <= MAX_NAME else None
        if parts is None:
            return Refusal(
                f'"{escape(text, 80)}" names no callable', 'write it as "module:name", a function or class of a module'
            )
        module, _ = parts
        is_exact = text in self.trust.callables
        file = find_module_file(module, (*self.directories, *self.trust.environment))
        own = None if file is None else self._home_of(file, module)
        if file is None:
            return self._missing(text, module)
        if own is None:
            digest = digest_file(file)
            return Code(text, file, digest, is_exact=True) if is_exact else _untrusted(text)
        source = read_below(own, os.path.realpath(file), self.trust.uid)
        if isinstance(source, Refusal):
            return source
        return Code(text, file, hashlib.sha256(source).hexdigest(), is_exact)

    def untrusted_classes(self, names: Sequence[str]) -> tuple[str, ...]:
        """Give those of the dotted names that are neither torch.nn's own layers nor named in trust.classes."""
        known = TORCH_CLASSES | TORCH_FUNCTIONS | self.trust.classes
        return tuple([name for name in names if name not in known])

    def missing_package(self, names: Sequence[str]) -> str | None:
        """Give the first package of dotted classes that lies neither in a trusted directory nor among the installed ones."""
        search = (*self.directories, *self.trust.environment)
        for name in names:
            parts = name.split(".")[:-1]
            if not parts or not all(part.isidentifier() for part in parts) or parts[0] in sys.builtin_module_names:
                continue
            # Of "nets.Outer.Inner" the module is only "nets".
            if not any(find_module_file(".".join(parts[:end]), search) for end in range(len(parts), 0, -1)):
                return parts[0]
        return None

    def class_of_script(self, name: str) -> str | None:
        """Give the one class of trust.classes that "__main__.Net" can mean: pickles call the script that saved them so."""
        if not name.startswith(f"{MAIN}."):
            return None
        ending = name.removeprefix(MAIN)
        fitting = [dotted for dotted in self.trust.classes if dotted.endswith(ending)]
        return fitting[0] if len(fitting) == 1 else None

    def vouch_for_text(self, path: str, text: str, sha256: str) -> Refusal | None:
        """Say whether a text that was read from a file may run.

        It may when its digest is trusted, or when the file lies in a trusted directory and holds this very text.
        """
        if hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest() != sha256:
            return Refusal(f"{escape(path)} is not what was read from it", "try it again")
        if sha256 in self.trust.digests:
            return None
        home = self._directory_of(path)
        if isinstance(home, Refusal):
            return _or_digest(home, sha256)
        data = read_below(home, _real(path), self.trust.uid)
        if isinstance(data, Refusal):
            return data
        same = hashlib.sha256(data).hexdigest() == sha256
        return None if same else Refusal(f"{escape(path)} was changed while it was looked at", "try it again")

    def vouch_for_file(self, path: str, sha256: str | None) -> Refusal | None:
        """Say whether a file that is a program itself may run: by its digest, or because it lies in a trusted directory."""
        if sha256 is not None and sha256 in self.trust.digests:
            return None
        home = self._directory_of(path)
        if isinstance(home, Refusal):
            return _or_digest(home, sha256)
        return check_file(home, _real(path), self.trust.uid)

    def _home_of(self, file: str, module: str) -> str | None:
        return next((directory for directory in self.directories if lies_in_place(file, module, directory)), None)

    def _directory_of(self, path: str) -> str | Refusal:
        """Give the trusted directory that a file lies in; links on the way are followed, the file itself is none."""
        real = _real(path)
        for directory in self.directories:
            if real.startswith(directory.rstrip("/") + "/"):
                return directory
        for directory, why in self.refused:
            if real.startswith(directory.rstrip("/") + "/"):
                return why
        parent = os.path.dirname(real)
        return Refusal(f"{escape(path)} is not trusted", f'add "{escape(parent)}" to trust.directories')

    def _missing(self, text: str, module: str) -> Refusal:
        for directory, why in self.refused:
            file = find_module_file(module, (directory,))
            if file is not None and lies_in_place(file, module, directory):
                return Refusal(f"{text} is not trusted, because {why.reason}", why.cure)
        head = module.partition(".")[0]
        if head in sys.builtin_module_names:
            return Refusal(f'"{text}" is a part of Python, which builds no model', "name a function or class of your own")
        return Refusal(
            f'there is no module "{module}" in trust.directories or among the installed packages',
            f'add the directory that holds "{head}" to trust.directories, if you wrote it',
        )


def _untrusted(text: str) -> Refusal:
    return Refusal(f'"{text}" is not trusted', f'add "{text}" to trust.callables, if you wrote it or know what it runs')


def _or_digest(why: Refusal, sha256: str | None) -> Refusal:
    return why if sha256 is None else Refusal(why.reason, f'{why.cure}, or "{sha256}" to trust.digests')


def _real(path: str) -> str:
    """Follow links on the way to a file, not the file itself."""
    parent, name = os.path.split(os.path.abspath(path))
    return os.path.join(os.path.realpath(parent), name)
