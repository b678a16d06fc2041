"""Files that are no checkpoints: each is named for what it is, in one sentence, and is not called damaged."""

from __future__ import annotations

import gzip
import json
import pickle
import struct
from collections.abc import Iterator

from ckptd.model import Status
from tests.corpus import zips
from tests.corpus.case import NOT_OK, Case, raw

_STRANGER = frozenset({Status.NOT_A_CHECKPOINT})


def cases() -> list[Case]:
    """Give all of them."""
    return list(_cases())


def _cases() -> Iterator[Case]:
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"a" * 64 + b"\nsize 123\n"
    header = json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    files = {
        "empty": b"",
        "git-lfs pointer": pointer,
        "JSON": json.dumps({"accuracy": 0.9}).encode(),
        "HTML": b"<!DOCTYPE html>\n<html><body>404 Not Found</body></html>\n",
        "HTML upper case": b"\n  <HTML><HEAD><TITLE>Sign in</TITLE></HEAD></HTML>",
        "XML": b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>',
        "text": b"To be done tomorrow\n",
        "Python source": b"import torch\nprint(torch.__version__)\n",
        "PNG": b"\x89PNG\r\n\x1a\n" + b"\0" * 64,
        "gzip": gzip.compress(b"x" * 100),
        "safetensors": struct.pack("<Q", len(header)) + header + b"\0\0\0\0",
        "HDF5": b"\x89HDF\r\n\x1a\n" + b"\0" * 64,
        "npy": b"\x93NUMPY\x01\x00v\x00{'descr': '<f4', 'fortran_order': False, 'shape': (1,), }".ljust(128) + b"\0" * 4,
        "GGUF": b"GGUF" + struct.pack("<IQQ", 3, 0, 0),
        "ELF": b"\x7fELF\x02\x01\x01" + b"\0" * 57,
        "shell script": b"#!/bin/sh\nrm -rf /\n",
        "zeros": b"\0" * 4096,
        "noise": bytes((i * 167 + (i >> 3) * 31) % 256 for i in range(4096)),
        "a zip of text": zips.make_zip([zips.Member(b"readme.txt", b"hello")]),
        "npz": zips.make_zip([zips.Member(b"arr_0.npy", b"\x93NUMPY")]),
    }
    for name, data in files.items():
        statuses = _STRANGER if name not in {"zeros", "noise"} else _STRANGER | NOT_OK
        yield raw(f"stranger-{name}", data, statuses, f"it is {name}")
    for name, data in {
        "one byte": b"\x80",
        "PK": b"PK",
        "PK34": b"PK\x03\x04",
        "PROTO": b"\x80\x02",
        "magic cut": pickle.dumps(0x1950A8, 2),
    }.items():
        yield raw(f"stub-{name}", data, NOT_OK | _STRANGER, f"nothing but {name}")
