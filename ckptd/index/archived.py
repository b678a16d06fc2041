"""Which archives there are, and what lies in each of them."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, Select, delete, func, select, update

from ckptd.errors import CkptdError
from ckptd.index.statements import insert_rows
from ckptd.index.tables import archive_members, archives

#: States of an archive.
VERIFIED, DAMAGED, MISSING = "verified", "damaged", "missing"


@dataclass(frozen=True, slots=True)
class Archived:
    """One archive.

    Attributes:
        directory: absolute path of the directory that holds it.
        name: of its file.
        state: `VERIFIED`, `DAMAGED` (at least one member is lost) or `MISSING`.
        created_at, verified_at, drilled_at: seconds since the epoch; the last is None before its first drill.
        members: how many files are in it.
    """

    id: int
    directory: str
    name: str
    format: str
    sha256: str
    size_bytes: int
    state: str
    created_at: float
    verified_at: float
    drilled_at: float | None
    members: int = 0


@dataclass(frozen=True, slots=True)
class ArchivedMember:
    """One file in an archive.

    Attributes:
        name: in the archive.
        what: "checkpoint", "sidecar" or "export".
        root, path: where it came from.
        is_lost: True when it can't be had from the archive any more.
    """

    archive: int
    name: str
    what: str
    root: str
    path: str
    sha256: str
    size_bytes: int
    is_lost: bool = False


def load_archives(connection: Connection, host: str) -> list[Archived]:
    """Give every archive, the oldest first."""
    query = _with_counts().where(archives.c.host == host).order_by(archives.c.created_at, archives.c.id)
    return [_archived(row) for row in connection.execute(query)]


def load_members(connection: Connection, host: str, archive: int) -> list[ArchivedMember]:
    """Give what lies in one archive, by name."""
    return _members(connection, host, archive_members.c.archive == archive)


def find_members(connection: Connection, host: str, digests: Collection[str]) -> list[ArchivedMember]:
    """Give the members that hold one of these contents and are not lost, of archives that are there; the newest first."""
    found: list[ArchivedMember] = []
    wanted = sorted(digests)
    for start in range(0, len(wanted), 500):
        found += _members(
            connection,
            host,
            archive_members.c.sha256.in_(wanted[start : start + 500]),
            archive_members.c.is_lost == 0,
            archives.c.state != MISSING,
        )
    return found


def find_archives_with(connection: Connection, host: str, sha256: str) -> list[int]:
    """Give the numbers of the archives that have a checkpoint of this content that is not lost, the newest first.

    Missing archives are among them: they may be back.
    """
    query = (
        select(archives.c.id)
        .join(archive_members, archives.c.id == archive_members.c.archive)
        .where(archives.c.host == host, archive_members.c.sha256 == sha256, archive_members.c.is_lost == 0)
        .where(archive_members.c.what == "checkpoint")
        .order_by(archives.c.created_at.desc(), archives.c.id.desc())
    )
    return list(dict.fromkeys(connection.scalars(query)))


def find_members_named(connection: Connection, host: str, name: str) -> list[ArchivedMember]:
    """Give the members that a name may mean: path, file name, stem, or the beginning of a digest; not lost ones only."""
    found = []
    for member in _members(connection, host, archive_members.c.what == "checkpoint"):
        file = member.path.rpartition("/")[2]
        absolute = f"{member.root}/{member.path}"
        is_digest = len(name) >= 6 and member.sha256.startswith(name.lower())
        if name in (member.path, absolute, file, file.rpartition(".")[0], member.name) or is_digest:
            found.append(member)
    return found


def load_archived_digests(connection: Connection, host: str) -> dict[str, tuple[str, ...]]:
    """Give for each content the verified archives that hold it: digest → names."""
    query = (
        select(archive_members.c.sha256, archives.c.name)
        .join(archives, archives.c.id == archive_members.c.archive)
        .where(archives.c.host == host, archives.c.state == VERIFIED, archive_members.c.is_lost == 0)
        .where(archive_members.c.what == "checkpoint")
        .order_by(archives.c.created_at)
    )
    found: dict[str, tuple[str, ...]] = {}
    for sha256, name in connection.execute(query):
        found[sha256] = (*found.get(sha256, ()), os.fsdecode(name))
    return found


def put_archive(connection: Connection, host: str, archive: Archived, members: Sequence[ArchivedMember]) -> int:
    """Write an archive down with all that is in it, in place of what was known of the same file; its number.

    Raises:
        CkptdError: another file is known by its name; what lies in that one would be forgotten.
    """
    directory, name = os.fsencode(archive.directory), os.fsencode(archive.name)
    c = archives.c
    here = (c.host == host, c.directory == directory, c.name == name)
    old = connection.execute(select(c.id, c.sha256).where(*here)).one_or_none()
    if old is not None:
        if old.sha256 != archive.sha256:
            why = "another archive is known by this name, and what lies in that one would be forgotten"
            cure = "give the file another name; it is found and written down then"
            raise CkptdError("write down an archive", path=f"{archive.directory}/{archive.name}", why=why, cure=cure)
        connection.execute(delete(archive_members).where(archive_members.c.archive == old.id))
        connection.execute(delete(archives).where(c.id == old.id))
    row: dict[str, Any] = {"host": host, "directory": directory, "name": name, "format": archive.format}
    row |= {"sha256": archive.sha256, "size": archive.size_bytes, "state": archive.state, "created_at": archive.created_at}
    row |= {"verified_at": archive.verified_at, "drilled_at": archive.drilled_at}
    number = int(connection.execute(archives.insert().values(**row).returning(c.id)).scalar_one())
    insert_rows(connection, archive_members, [_member_row(number, member) for member in members])
    return number


def note_verified(connection: Connection, host: str, archive: int, state: str, lost: Collection[str], at: float) -> None:
    """Write down what reading an archive again showed; `lost` are names of members."""
    c = archives.c
    connection.execute(update(archives).where(c.host == host, c.id == archive).values(state=state, verified_at=at))
    m = archive_members.c
    connection.execute(update(archive_members).where(m.archive == archive).values(is_lost=0))
    for name in lost:
        connection.execute(update(archive_members).where(m.archive == archive, m.name == os.fsencode(name)).values(is_lost=1))


def note_drilled(connection: Connection, host: str, archive: int, at: float) -> None:
    """Write down when a member of an archive was last restored to see whether it can be."""
    connection.execute(update(archives).where(archives.c.host == host, archives.c.id == archive).values(drilled_at=at))


def drop_archive(connection: Connection, host: str, archive: int) -> None:
    """Forget an archive that was removed."""
    connection.execute(delete(archive_members).where(archive_members.c.archive == archive))
    connection.execute(delete(archives).where(archives.c.host == host, archives.c.id == archive))


def _with_counts() -> Select[Any]:
    count = select(func.count()).where(archive_members.c.archive == archives.c.id).correlate(archives).scalar_subquery()
    return select(archives, count.label("members"))


def _archived(row: Row[Any]) -> Archived:
    return Archived(
        id=row.id,
        directory=os.fsdecode(row.directory),
        name=os.fsdecode(row.name),
        format=row.format,
        sha256=row.sha256,
        size_bytes=row.size,
        state=row.state,
        created_at=row.created_at,
        verified_at=row.verified_at,
        drilled_at=row.drilled_at,
        members=row.members,
    )


def _members(connection: Connection, host: str, *where: Any) -> list[ArchivedMember]:
    query = (
        select(archive_members)
        .join(archives, archives.c.id == archive_members.c.archive)
        .where(archives.c.host == host, *where)
        .order_by(archives.c.created_at.desc(), archives.c.id.desc(), archive_members.c.name)
    )
    return [
        ArchivedMember(
            archive=row.archive,
            name=os.fsdecode(row.name),
            what=row.what,
            root=os.fsdecode(row.root),
            path=os.fsdecode(row.path),
            sha256=row.sha256,
            size_bytes=row.size,
            is_lost=bool(row.is_lost),
        )
        for row in connection.execute(query)
    ]


def _member_row(archive: int, member: ArchivedMember) -> dict[str, Any]:
    return {
        "archive": archive,
        "name": os.fsencode(member.name),
        "what": member.what,
        "root": os.fsencode(member.root),
        "path": os.fsencode(member.path),
        "sha256": member.sha256,
        "size": member.size_bytes,
        "is_lost": int(member.is_lost),
    }
