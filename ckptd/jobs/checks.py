"""What a check of `ckptd doctor` found, and what it is given to look at."""

from __future__ import annotations

import os
import pwd
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from ckptd.errors import CkptdError
from ckptd.index.store import Store
from ckptd.model import Severity
from ckptd.service.finding import find_service
from ckptd.service.places import Places
from ckptd.settings import Settings
from ckptd.settings.places import SYSTEM_USER
from ckptd.storage.access import Account, find_account
from ckptd.storage.lock import is_held, read_holder


@dataclass(frozen=True, slots=True)
class Check:
    """What one check found.

    Attributes:
        name: what was looked at, in a few words.
        ok: False wants a person.
        cure: what to do; empty when ok.
    """

    name: str
    ok: bool
    severity: Severity
    message: str
    cure: str = ""


def good(name: str, message: str) -> Check:
    """Say that all is well."""
    return Check(name, ok=True, severity=Severity.INFO, message=message)


def bad(name: str, message: str, cure: str, severity: Severity = Severity.ERROR) -> Check:
    """Say what is wrong, and what to do about it."""
    return Check(name, ok=False, severity=severity, message=message, cure=cure)


@dataclass(frozen=True, slots=True)
class Patient:
    """What the doctor looks at.  Nothing of it is changed by a check.

    Attributes:
        state_dir: may not be there yet.
        index: name of the index in it.
        now: seconds since the epoch.
        config: the settings file that was read; None when there is none.
    """

    settings: Settings
    state_dir: Path
    index: str
    now: float
    config: Path | None = None

    @property
    def index_file(self) -> Path:
        """Give the path of the index."""
        return self.state_dir / self.index

    @property
    def real_roots(self) -> list[str]:
        """Give the roots as the index knows them: absolute, links resolved."""
        return [os.path.realpath(root) for root in self.settings.roots]

    @property
    def may_look(self) -> bool:
        """Say whether we may look into the state directory, if there is one: into our own, and as root into the service's.

        What lies in another's is what he put there: a link, a pipe that nobody writes to, a database made for its reader.
        """
        try:
            seen = self.state_dir.lstat()
        except FileNotFoundError:
            return True
        except OSError:
            return False
        if not stat.S_ISDIR(seen.st_mode):
            return False
        return seen.st_uid == os.geteuid() or (os.geteuid() == 0 and _is_of_service(seen))

    def find_daemon(self) -> int | None:
        """Give the process that looks after these checkpoints now; None when none does, or when it does not say.

        What a stranger wrote into his lock is not believed: it could name any process.
        """
        holder = read_holder(self.state_dir) if self.may_look and is_held(self.state_dir) else None
        pid = (holder or {}).get("pid")
        return pid if isinstance(pid, int) and Path(f"/proc/{pid}").exists() else None

    def find_user(self) -> int:
        """Say as which user ckptd works: the daemon's; else whose the state is, where root or a stranger asks; else ours.

        A state of root's, or none yet, says nothing of a service that is installed for these settings: that has a user.
        """
        pid, user = self.find_daemon(), os.geteuid()
        with suppress(OSError):
            if pid is not None:
                return Path(f"/proc/{pid}").stat().st_uid
            if user == 0 or not self.may_look:
                user = self.state_dir.lstat().st_uid
        if user == 0 and self.find_service() is not None:
            with suppress(KeyError):
                return pwd.getpwnam(SYSTEM_USER).pw_uid
        return user

    def find_account(self) -> Account:
        """Give the user as whom ckptd works, with his groups."""
        return find_account(self.find_user(), self.find_daemon())

    def find_service(self) -> Places | None:
        """Give the system's service that reads these settings; None where none was installed."""
        return find_service(self.config)

    @property
    def is_of_service(self) -> bool:
        """Say whether it is the system's service that looks after these checkpoints."""
        return is_system_user(self.find_user()) or self.find_service() is not None


def is_system_user(user: int) -> bool:
    """Say whether the system's service runs as a user."""
    with suppress(KeyError):
        return user == pwd.getpwnam(SYSTEM_USER).pw_uid
    return False


def _is_of_service(seen: os.stat_result) -> bool:
    """Say whether a directory belongs to whom the system's service runs as, and nobody else can put anything into it."""
    return is_system_user(seen.st_uid) and not seen.st_mode & 0o022


#: Looks at one subject; it may raise, and then the others look all the same.
Look = Callable[[Patient], Iterable[Check]]


@contextmanager
def opened_index(patient: Patient) -> Iterator[Store | None]:
    """Open the index for a check, which writes nothing; None where none can be read, which the check of the index says."""
    store = None
    if patient.may_look and patient.index_file.exists():
        with suppress(CkptdError):
            store = Store.open_to_look(patient.index_file)
    if store is None:
        yield None
        return
    with closing(store):
        yield store
