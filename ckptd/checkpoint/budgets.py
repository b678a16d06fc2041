"""How much of a file the engine is willing to look at: every limit in one place, each with the reason for its size."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Budgets:
    """Limits of one inspection; a file beyond one of them is refused with a finding that names the limit.

    Attributes:
        opcodes: of one pickle.  Source: 45 a tensor in what torch.save writes, so 80,000 tensors and room for the rest.
        stack: items on the stack and below its marks.  Source: pickle hands over containers in batches of 1,000.
        memo: highest memo slot.  Source: torch.save memoizes about 12 objects a tensor.
        marks: open marks, which is how deep containers nest.  Source: Python's own pickler ends at 1,000 nested calls.
        text_bytes: one string or run of bytes in a pickle.  Source: the longest in real files are class sources, 100 KiB.
        raw_bytes: runs of bytes (numpy arrays, generator states) in a pickle; RNG states and histories reach some MiB.
        long_bytes: one LONG1 integer.  Source: seeds and hashes have up to 256 bits.
        name_bytes: module and name of a global, together.
        globals: names in one file.  Source: whole pickled modules name some hundred.
        pickle_bytes: one pickle.  Source: 80,000 tensors make 20 MB.
        members: entries of a zip.  Source: the largest public state dicts have some thousand tensors a file.
        index_bytes_per_member: central directory of a zip.  Source: 46 bytes, a name, 28 bytes of zip64.
        text_tail_bytes: where the end record is looked for: 22 bytes and the longest comment (65,535).
        file_bytes: of the whole file; beyond it even the digest takes half an hour.
        depth: of nesting in the walk over the object.
        nodes: objects visited in that walk.
        rank: dimensions of a tensor.  Source: torch refuses more than 64.
        expanded_elements: elements of a view that repeats its storage (stride 0); a real one is a mask or an index.
        copied_items: items that set(), frozenset(), OrderedDict() and the like copy out of their arguments, and dimensions of
            tensors, in one file.
        tuple_keys: dict keys that are flat tuples; their hash is not keyed, so that thousands could be made to collide.
        tuple_key_items: items of one such key.
        number_probes: numbers that are keys and larger than their dict, times its size, summed over a file: as many slots
            are probed when they are made to collide.  Source: 6 ns a probe; 23,000 large numbers in one dict stay below.
        sets: sets in one pickle; an empty one weighs 216 bytes for one byte of pickle.
        whole_bytes: a file up to this size is read in one go and checked in memory.
        chunk_bytes: what is read, hashed and judged at a time beyond that.  Source: half of an L2 cache.
        index_elements: indices of sparse tensors in one file whose values are checked.
        inflated_bytes: what one deflated member (TorchScript code) may become.
    """

    opcodes: int = 4_000_000
    stack: int = 1_000_000
    memo: int = 2_000_000
    marks: int = 1_000
    text_bytes: int = 1 << 20
    raw_bytes: int = 16 << 20
    long_bytes: int = 32
    name_bytes: int = 256
    globals: int = 10_000
    pickle_bytes: int = 64 << 20
    members: int = 50_000
    index_bytes_per_member: int = 512
    text_tail_bytes: int = 22 + 65_535
    file_bytes: int = 1 << 40
    depth: int = 1_000
    nodes: int = 4_000_000
    rank: int = 64
    expanded_elements: int = 1 << 28
    copied_items: int = 4_000_000
    tuple_keys: int = 1_000
    tuple_key_items: int = 8
    number_probes: int = 1 << 28
    sets: int = 100_000
    whole_bytes: int = 1 << 20
    chunk_bytes: int = 1 << 20
    index_elements: int = 4 << 20
    inflated_bytes: int = 64 << 20


BUDGETS = Budgets()
