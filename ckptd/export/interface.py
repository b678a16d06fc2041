"""What a target is: one export format, one file in `targets/`, one line in its tuple; all pass one contract suite.

Two families.  A weights target is made of the tensors alone and needs no code of anybody: it runs without torch.  A module
target needs the module, and so a recipe and the operator's trust.  The attributes and `options` are used in the daemon and
import nothing; the other methods run in a confined worker and import what they need when they are called.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from ckptd.model import Json

if TYPE_CHECKING:
    from ckptd.export.built import Built
    from ckptd.export.encodings import Encoding
    from ckptd.export.targets.opened import Opened
    from ckptd.export.weights import Weights
    from ckptd.settings.model import ExportSettings

#: What a target has to say about a file it made: plain JSON for the proof ("opset", "external_data", "findings" …).
Notes = dict[str, Json]


class Target(ABC):
    """What the daemon knows of every target.

    Attributes:
        name: as settings and commands spell it.
        ending: what comes after the stem of the checkpoint.
        needs_module: True for module targets.
        is_lossy: True when the values are not those of the original; the proof then gives the difference.
        packages: importable names that have to be installed, beyond the core's; `extra` names where they come from.
        deprecated: a sentence where the format is on its way out upstream.
    """

    name: ClassVar[str]
    ending: ClassVar[str]
    needs_module: ClassVar[bool]
    is_lossy: ClassVar[bool] = False
    packages: ClassVar[tuple[str, ...]] = ()
    extra: ClassVar[str] = ""
    deprecated: ClassVar[str] = ""

    def options(self, settings: ExportSettings) -> dict[str, Json]:
        """Give the settings that shape the file, none as a rule; when they change, it is made again."""
        del settings
        return {}


class WeightsTarget(Target):
    """A format that holds tensors."""

    needs_module: ClassVar[bool] = False

    @abstractmethod
    def encoding(self) -> Encoding:
        """Give how values are spelled; the checker asks for it too, and compares by it."""

    def write(self, weights: Weights, fd: int, options: Mapping[str, Json]) -> Notes:
        """Write the file to an empty descriptor, streaming.

        Raises:
            TargetError: it can't hold such tensors.
        """
        from ckptd.export.safetensors_file import write_file

        del options
        return write_file(weights, fd, self.encoding())


class ModuleTarget(Target):
    """A format that holds a program."""

    needs_module: ClassVar[bool] = True

    @abstractmethod
    def export(self, built: Built, name: str, options: Mapping[str, Json]) -> Notes:
        """Write the file `name`, and `name` + ".data" where that is needed, into the present directory.

        Raises:
            TargetError: no exporter takes this module; the text says why.
        """

    @abstractmethod
    def open(self, name: str, options: Mapping[str, Json]) -> Opened:
        """Open the file in the present directory by the runtime that a user would use."""
