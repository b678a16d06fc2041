"""Read what torch.save wrote until 1.6: five pickles in a row, then the bytes of the storages.

The pickles are a magic number, a protocol number, a dict about the machine, the object, and the list of storage keys; then
comes, for each key, the number of elements (8 bytes) and the elements.  Nothing in it has a checksum.

Source: torch/serialization.py, `_legacy_save` and `_legacy_load` of torch 2.13; views: `torch.save` of 0.2.
"""

from __future__ import annotations

from typing import NamedTuple

from ckptd.checkpoint.budgets import BUDGETS, Budgets
from ckptd.checkpoint.containers.pickled import note_failure, read_growing
from ckptd.checkpoint.contents import Contents, Span, View
from ckptd.checkpoint.globals import ITEM_BYTES
from ckptd.checkpoint.opcodes import PickleError, run
from ckptd.checkpoint.source import Source
from ckptd.checkpoint.tensors import Builder
from ckptd.checkpoint.values import Global, StorageValue, Value
from ckptd.model import Container
from ckptd.text import escape

MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
#: LONG1 of ten bytes and the magic number: what stands within the first bytes, behind PROTO and perhaps FRAME.
MAGIC_OPCODE = b"\x8a\x0a" + MAGIC.to_bytes(10, "little")


class _Pickles(NamedTuple):
    """The five pickles, and where the storages begin."""

    builder: LegacyBuilder
    heads: tuple[Value, Value, Value]
    root: Value
    keys: Value
    end: int


class LegacyBuilder(Builder):
    """The host of a legacy file: storages may be views, classes may come with their source.

    Attributes:
        views: key of a view → the part of another storage that it is.
    """

    def __init__(self, budgets: Budgets = BUDGETS) -> None:
        super().__init__(budgets)
        self.views: dict[str, View] = {}

    def persistent(self, key: Value) -> Value:
        """Give the storage of ("storage", class, key, location, elements, view), or the class of ("module", class, …)."""
        if type(key) is not tuple or not key:
            raise PickleError("malformed-pickle", "a persistent id is none that torch.save writes")
        if key[0] == "module" and len(key) == 4 and type(key[1]) is Global:
            return key[1]
        if key[0] != "storage" or len(key) != 6:
            raise PickleError("malformed-pickle", "a persistent id is none that torch.save writes")
        root = self.storage(key[1], key[2], key[3], key[4])
        return root if key[5] is None else self.view(root, key[5])

    def view(self, root: StorageValue, described: Value) -> StorageValue:
        """Give the storage that is a part of `root`: (key, offset, elements).

        Raises:
            PickleError: it reaches beyond its root, or is described in two ways.
        """
        if type(described) is not tuple or len(described) != 3 or type(described[0]) is not str:
            raise PickleError("malformed-pickle", "a view of a storage is described as torch.save never does")
        key, offset, numel = described
        if type(offset) is not int or type(numel) is not int or offset < 0 or numel < 0 or offset + numel > root.numel:
            raise PickleError("malformed-pickle", f"the view {escape(key, 40)} reaches beyond its storage")
        width = ITEM_BYTES[root.dtype]
        view = View(root.key, offset * width, numel * width)
        held = self.storages.get(key)
        if held is None:
            held = self.storages[key] = StorageValue(key, root.dtype, numel, root.location)
            self.views[key] = view
        elif self.views.get(key) != view:
            raise PickleError("malformed-pickle", f"the view {escape(key, 40)} is described in two ways")
        return held


def is_legacy(head: bytes) -> bool:
    """Tell whether a file begins with the magic number, whatever the pickle protocol."""
    return head[:1] == b"\x80" and MAGIC_OPCODE in head[:32]


def read_legacy(source: Source, budgets: Budgets = BUDGETS) -> Contents:
    """Read the pickles and find the storages."""
    contents = Contents(Container.LEGACY)
    try:
        pickles = read_growing(source, budgets, lambda data: _read_pickles(data, budgets))
    except PickleError as error:
        note_failure(contents, error, source.read(0, min(source.size, budgets.pickle_bytes)))
        return contents
    builder = pickles.builder
    contents.builder, contents.root, contents.is_read, contents.views = builder, pickles.root, True, builder.views
    _check_heads(contents, pickles.heads)
    _find_storages(contents, source, pickles)
    return contents


def _read_pickles(data: bytes, budgets: Budgets) -> _Pickles:
    heads, at = [], 0
    for _ in range(3):
        # Nothing in these refers to a storage: a host of its own refuses it.
        head, at = run(data, at, _Plain(budgets), budgets, python2=True)
        heads.append(head)
    builder = LegacyBuilder(budgets)
    root, at = run(data, at, builder, budgets, python2=True)
    keys, at = run(data, at, _Plain(budgets), budgets, python2=True)
    return _Pickles(builder, (heads[0], heads[1], heads[2]), root, keys, at)


class _Plain(Builder):
    """The host of a pickle that holds plain values only."""

    def find_global(self, module: str, name: str) -> Global:
        """Refuse every name."""
        raise PickleError("malformed-pickle", f"{escape(module, 60)}.{escape(name, 60)} is named where only numbers belong")

    def persistent(self, key: Value) -> Value:
        """Refuse every persistent id."""
        del key
        raise PickleError("malformed-pickle", "a storage is named where only numbers belong")


def _check_heads(contents: Contents, heads: tuple[Value, Value, Value]) -> None:
    magic, protocol, machine = heads
    if magic != MAGIC or type(protocol) is not int or protocol != _PROTOCOL:
        contents.problem("malformed-container", "its magic number and protocol are not those that torch.save writes")
    contents.byteorder = read_machine(contents, machine, _PROTOCOL)


def read_machine(contents: Contents, machine: Value, protocol: int) -> str:
    """Give the byte order out of the dict about the machine that saved the file."""
    told = machine if type(machine) is dict else {}
    if told.get("protocol_version") != protocol or type(told.get("little_endian")) is not bool:
        contents.problem("malformed-container", "what it says about the machine that saved it is not what torch.save writes")
        return "little"
    return "little" if told["little_endian"] else "big"


def _find_storages(contents: Contents, source: Source, pickles: _Pickles) -> None:
    storages, keys, at = contents.builder.storages, pickles.keys, pickles.end
    if type(keys) is not list or not all(type(key) is str for key in keys):
        contents.problem("malformed-container", "its list of storages is no list of names")
        return
    for key in keys:
        storage = storages.get(key)
        if storage is None or key in contents.views:
            contents.problem("storage-unreferenced", f"it lists storage {escape(key, 40)}, which nothing in it uses")
            return  # its length cannot be known, so nothing behind it can be found
        if key in contents.spans:
            contents.problem("malformed-container", f"it lists storage {escape(key, 40)} twice", storage)
            return
        end = _place(contents, source, storage, at)
        if end is None:
            return
        at = end
    for key, storage in storages.items():
        if key not in contents.spans and key not in contents.views:
            contents.problem("storage-missing", f"storage {escape(key, 40)} is not in the file", storage)
    if at != source.size:
        contents.problem("trailing-bytes", f"{source.size - at:,} bytes follow the last storage")


def _place(contents: Contents, source: Source, storage: StorageValue, at: int) -> int | None:
    """Note where a storage lies; give the offset behind it, None when it does not fit."""
    length = storage.numel * ITEM_BYTES[storage.dtype]
    shown = escape(storage.key, 40)
    if at + 8 + length > source.size:
        contents.problem("truncated", f"the file ends before storage {shown} does", storage)
        return None
    told = int.from_bytes(source.read(at, 8), "little" if contents.byteorder != "big" else "big", signed=True)
    if told != storage.numel:
        message = f"storage {shown} has {told:,} elements, its tensors want {storage.numel:,}"
        contents.problem("storage-size-mismatch", message, storage)
        return None
    contents.spans[storage.key] = Span(at + 8, length, None)
    return at + 8 + length
