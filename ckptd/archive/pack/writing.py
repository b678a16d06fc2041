"""Write an archive: its new objects first, then the file that names them; a kill in between leaves objects that nobody uses."""

from __future__ import annotations

from collections.abc import Sequence

from ckptd.archive.interface import Member, Progress, Receipt
from ckptd.archive.manifest import manifest_of, render_manifest
from ckptd.archive.pack.known import read_known
from ckptd.archive.pack.objects import ObjectWriter, room_check
from ckptd.archive.pack.opening import FORMAT_NAME
from ckptd.archive.pack.place import locked, make_place, opened_place
from ckptd.archive.pack.reading import read_members
from ckptd.archive.pack.store import Store
from ckptd.archive.pack.table import make_block
from ckptd.archive.placing import NewFile


def write_archive(
    directory: int, name: str, members: Sequence[Member], *, now: float, free_bytes: int, progress: Progress
) -> Receipt:
    """Write an archive; see `Format.write`.

    Raises:
        ArchiveError: as `Format.write`.
        OSError, DamageError, ManifestError: why it can't be written; nothing is left.
    """
    manifest = manifest_of(FORMAT_NAME, members, now)
    rendered = render_manifest(manifest)
    make_place(directory)
    with (
        opened_place(directory) as place,
        locked(place),
        ObjectWriter(place, room_check(place, free_bytes)) as writer,
        NewFile(directory, name, free_bytes=free_bytes) as file,
    ):
        store = Store(place, read_known(directory), writer)
        read = read_members(members, store, progress)
        block = make_block(rendered, store.files, store.places, [recipe for recipe, _ in read])
        like = [seen for _, seen in read]
        writer.finish(like)
        file.append(block)
        file.append(block)
        file.place(like)
        return Receipt(name, file.sha256, file.size_bytes + writer.size_bytes, manifest)
