"""Dangerous names in bytes that break off or cannot be read."""

from __future__ import annotations

import os
import pickle

import pytest

from ckptd.checkpoint.harvest import dangerous_names


class Call:
    """Reduces to a call of `os.system`."""

    def __reduce__(self):
        return os.system, ("true",)


SYSTEM = os.system.__module__ + ".system"


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("cut", [1, 5])
def test_a_pickle_that_breaks_off_still_names_what_it_would_call(protocol, cut):
    """In every protocol, as it stands before the break."""
    data = pickle.dumps([Call(), "x" * 20], protocol)[:-cut]
    assert dangerous_names(data) == [SYSTEM]


def test_names_in_opcodes_that_torch_never_writes_are_found():
    """INST, and STACK_GLOBAL with long texts between memo opcodes."""
    assert dangerous_names(b"(ios\nsystem\n.") == ["os.system"]
    long = b"X\x02\x00\x00\x00os\x94X\x06\x00\x00\x00system\x94\x93"
    assert dangerous_names(long) == ["os.system"]


@pytest.mark.parametrize(
    "data",
    [b"", b"ctorch._utils\n_rebuild_tensor_v2\n", b"ccollections\nOrderedDict\n", b"cos path\nsystem", bytes(range(256))],
)
def test_harmless_names_and_other_bytes_say_nothing(data):
    """Only what is dangerous is named."""
    assert dangerous_names(data) == []


def test_a_few_names_are_enough_and_each_is_said_once():
    """A file of a thousand gadgets."""
    names = [b"system", b"popen", b"execv", b"execve", b"spawnl", b"spawnv", b"system"]
    found = dangerous_names(b"".join(b"cos\n" + name + b"\n" for name in names) * 1_000)
    assert len(found) == len(set(found)) == 5


def test_texts_that_were_remembered_apart_are_put_together():
    """STACK_GLOBAL takes its two texts from the memo, where they need not stand side by side."""
    apart = b"\x80\x04(0\x8c\x02os\x940\x8c\x06system\x940h\x00h\x01\x93)R."
    assert dangerous_names(apart) == ["os.system"]
    assert dangerous_names(apart.replace(b"\x93", b"0")) == []
    assert dangerous_names(apart.replace(b"\x02os", b"\x02up")) == []


@pytest.mark.parametrize("piece", [b"c", b"\x8c\x02os\x94", b"cos", b"X\x02\x00\x00\x00os", b"\x8c.", b"a\n"])
def test_megabytes_of_one_piece_are_searched(piece):
    """They say nothing and end."""
    assert dangerous_names(piece * (1_000_000 // len(piece))) == []
