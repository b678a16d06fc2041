"""Every shape of a real file: an object of `objects`, written by a way of `savers`, and what an inspector must say of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from ckptd.model import Container, Kind, Status
from tests.corpus import objects, savers
from tests.corpus.case import Case, Expectation, expect

#: Written in these ways beside the default one; each way is a code path of its own in a reader.
_WAYS: dict[str, tuple[Container, Callable[[Any, Path], None], frozenset[str] | None]] = {
    "zip": (Container.ZIP, savers.save_zip, None),
    "zip3": (Container.ZIP, partial(savers.save_zip, protocol=3), None),
    "zip4": (Container.ZIP, partial(savers.save_zip, protocol=4), None),
    "zip5": (Container.ZIP, partial(savers.save_zip, protocol=5), None),
    "legacy": (Container.LEGACY, savers.save_legacy, None),
    "legacy4": (Container.LEGACY, partial(savers.save_legacy, protocol=4), None),
    "no-crc": (Container.ZIP, savers.save_without_crc, frozenset({"cnn_state_dict", "adam_checkpoint", "views"})),
    "stream": (Container.ZIP, savers.save_to_stream, frozenset({"cnn_state_dict", "lightning"})),
    "like-1.6": (Container.ZIP, savers.save_like_1_6, frozenset({"cnn_state_dict", "lightning", "views", "quantized"})),
    "cuda": (Container.ZIP, savers.save_located("cuda:0"), frozenset({"cnn_state_dict", "adam_checkpoint", "views"})),
    "mps": (Container.ZIP, savers.save_located("mps"), frozenset({"cnn_state_dict"})),
    "big-endian": (Container.ZIP, savers.save_big_endian, frozenset({"bilstm_attention", "tied_embeddings"})),
}

#: Plain pickles of these hold no tensor and need no code; with tensors in them torch's `_load_from_bytes` is called.
_PLAIN = frozenset({"plain_values", "rarer_values", "empty_dict"})


def cases() -> list[Case]:
    """Give every good case; building one takes milliseconds, once torch is there."""
    return [*_written(), *_pickled(), *_special()]


def readable() -> list[Case]:
    """Give the cases that need no code: those which `ckptd.load` must load."""
    return [case for case in cases() if case.expected.statuses == {Status.OK}]


def _written() -> Iterator[Case]:
    for name, shape in objects.SHAPES.items():
        for way, (container, save, only) in _WAYS.items():
            if only is None or name in only:
                expected = Expectation(frozenset({shape.status}), container, shape.kind, shape.tensors)
                yield Case(f"{name}-{way}", _build(shape.make, save), expected)


def _pickled() -> Iterator[Case]:
    for protocol in (2, 3, 4, 5):
        save = partial(savers.save_plain_pickle, protocol=protocol)
        for name in sorted(_PLAIN):
            yield Case(
                f"{name}-pickle{protocol}",
                _build(objects.SHAPES[name].make, save),
                expect(Status.OK, container=Container.PICKLE),
            )
    needs_code = expect(Status.NEEDS_CODE, container=Container.PICKLE)
    yield Case("cnn_state_dict-pickle4", _build(objects.cnn_state_dict, savers.save_plain_pickle), needs_code)


def _special() -> Iterator[Case]:
    script = expect(Status.NEEDS_CODE, container=Container.TORCHSCRIPT, kind=Kind.TORCHSCRIPT)
    yield Case("scripted", savers.save_scripted, script)
    yield Case("traced", savers.save_traced, script)
    yield Case("old-tar", savers.save_tar, expect(Status.OK, container=Container.TAR, kind=Kind.STATE_DICT, tensors=4))
    yield Case(
        "legacy-view", savers.save_legacy_view, expect(Status.OK, container=Container.LEGACY, kind=Kind.STATE_DICT, tensors=2)
    )


def _build(make: Callable[[], Any], save: Callable[[Any, Path], None]) -> Callable[[Path], None]:
    def build(path: Path) -> None:
        save(make(), path)

    return build
