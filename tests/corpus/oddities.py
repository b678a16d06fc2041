"""Strange and honest: files that must stay ok, however odd, because torch.save writes such things or lets people write them."""

from __future__ import annotations

from collections.abc import Iterator

from ckptd.model import Status
from tests.corpus import asm, zips
from tests.corpus.case import Case, raw

_OK = frozenset({Status.OK})


def cases() -> list[Case]:
    """Give all of them."""
    return list(_cases())


def _cases() -> Iterator[Case]:
    names = {
        "escape sequence": "a\x1b]0;owned\x07\x1b[2J",
        "newline": "a\nb\r\nc",
        "right to left": "\u202egnp.thgiew",
        "surrogate": "a\udc80b",
        "NUL": "a\0b",
        "64 KiB": "k" * 65536,
        "markup": "<script>alert(1)</script>",
        "SQL": "'; DROP TABLE places; --",
        "path": "../../etc/passwd",
        "empty": "",
        "dots": "a..b.",
    }
    for name, key in names.items():
        yield raw(f"odd-key {name}", zips.checkpoint(asm.program(asm.mapping({key: asm.tensor()}))), _OK, f"a key with {name}")
    yield raw("odd-smallest", zips.checkpoint(asm.program(asm.state_dict())), _OK, "the smallest state dict")
    yield raw("odd-no byteorder", zips.make_zip(zips.records(asm.program(asm.state_dict()), byteorder=None)), _OK, "torch 1.x")
    expanded = asm.tensor(size=(1000, 4), stride=(0, 1))
    yield raw("odd-expanded", zips.checkpoint(asm.program(asm.mapping({"w": expanded}))), _OK, "a bias expanded over a batch")
    sized = asm.state_dict(size=asm.call("torch", "Size", asm.sequence(asm.integer(-1))))
    yield raw("odd-size negative", zips.checkpoint(asm.program(sized)), _OK, "a torch.Size with -1, as hyperparameters have it")
    linked = zips.changed(zips.records(asm.program(asm.state_dict())), "data/0", central={"attributes": 0xA1FF0000})
    yield raw("odd-attributes", zips.make_zip(linked), _OK, "attributes of a symbolic link, which no reader uses")
    reused = asm.mapping({"w": asm.tensor() + asm.put(0), "same": asm.get(0)})
    yield raw("odd-shared", zips.checkpoint(asm.program(reused)), _OK, "one tensor under two names")
    keyed = asm.EMPTY_DICT + asm.sequence(asm.integer(1), asm.text("a")) + asm.tensor() + asm.SETITEM
    yield raw("odd-tuple as key", zips.checkpoint(asm.program(keyed)), _OK, "a flat tuple as key, as some schedulers have")
