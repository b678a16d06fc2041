"""How large things in a pack may be; readers refuse what is larger, so that memory does not depend on what an archive says."""

from __future__ import annotations

#: Most bytes of one object, before compression.
PIECE_BYTES = 4 << 20
#: A shorter storage stays in the skeleton: an object of its own takes 150 bytes of tables and 0.1 ms.
SMALLEST_OBJECT_BYTES = 4 << 10
#: A longer stretch of bytes that is no storage is stored as objects of its own.
LONGEST_STRETCH_BYTES = 64 << 10
#: What a block of the compressed form holds.
BLOCK_BYTES = 512 << 10
#: An object file that is longer gets no more objects.
OBJECT_FILE_BYTES = 1 << 30
#: One copy of the table of an archive; so many bytes name 800,000 objects, which is 3 TiB of large tensors.
MOST_TABLE_BYTES = 64 << 20
#: Threads that compress or decompress beside the one that reads and hashes.
WORKERS = 2
