"""
Files that come from elsewhere: is a file what its hash says, what does an archive hold, and how does what
lies on the host differ from it?

Reads files; no Salt.
"""

import hashlib
import json
import os
import stat
import time

PIECE = 1024 * 1024
# A file that was changed a moment ago may be changed once more without looking any other (nanoseconds).
SETTLED = 2 * 10**9
DIRECTORY_MODE = FILE_MODE = 0o755


class Unusable(ValueError):
    """An archive cannot be used; the text says why."""


def digest(file, algorithm):
    """The hash of an open file's contents, as hex text."""
    found = hashlib.new(algorithm)
    for piece in iter(lambda: file.read(PIECE), b""):
        found.update(piece)
    return found.hexdigest()


def mismatch(source, source_hash, found):
    """
    How a file is another one than its hash says (text), None where it is that file.

    found
        ``{hash_type, hsum}`` of the file, as Salt tells it.
    """
    kind, _, wanted = source_hash.replace(":", "=").rpartition("=")
    if kind in ("", found["hash_type"]) and wanted.lower() == found["hsum"].lower():
        return None
    return "%s is %s=%s, which does not match" % (source, found["hash_type"], found["hsum"])


class Memory:
    """
    What was found out before, in a file that only its owner can write; where there is none, nothing was.

    A hash holds for as long as nothing about its file has changed: size, inode, and both times.
    """

    def __init__(self, path):
        self._path = path
        self._known = {"files": {}, "archives": {}, "saltenv": None}
        try:
            with open(path, encoding="utf-8") as file:
                about = os.fstat(file.fileno())
                if about.st_uid == os.geteuid() and not about.st_mode & 0o022:
                    self._known.update(json.load(file))
        except (OSError, ValueError, TypeError):
            pass

    def digest(self, path, algorithm):
        """The hash of a file, as hex text; read only where the file is not the one that was read before."""
        stamp = _stamp(os.stat(path))
        kept = self._known["files"].get(path)
        if isinstance(kept, dict) and kept.get("stamp") == stamp and algorithm in kept:
            return kept[algorithm]
        with open(path, "rb") as file:
            stamp = _stamp(os.fstat(file.fileno()))
            found = digest(file, algorithm)
        if time.time_ns() - max(stamp[-2:]) > SETTLED:
            same = kept if isinstance(kept, dict) and kept.get("stamp") == stamp else {}
            self._known["files"][path] = dict(same, stamp=stamp, **{algorithm: found})
            self._save()
        return found

    def contents(self, source_hash, read=None):
        """What the archive of this hash holds, ``{name: sha256}``; ``read`` tells it the first time."""
        found = self._known["archives"].get(source_hash)
        if found is None and read:
            found = read()
            # The one of now; that of another release is of no use any more.
            self._known["archives"] = {source_hash: found}
            self._save()
        return found

    @property
    def saltenv(self):
        """The environment that the last run came from, or None."""
        return self._known["saltenv"]

    @saltenv.setter
    def saltenv(self, name):
        if name != self._known["saltenv"]:
            self._known["saltenv"] = name
            self._save()

    def _save(self):
        """Nobody needs it: without it, all is found out once more."""
        new = self._path + ".new"
        try:
            if os.path.lexists(new):
                os.unlink(new)
            with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                json.dump(self._known, file)
            os.replace(new, self._path)
        except OSError:
            pass


def _stamp(about):
    return [about.st_dev, about.st_ino, about.st_size, about.st_mtime_ns, about.st_ctime_ns]


def files(path):
    """(name, open file) of every file in an archive (tar, in any compression, or zip)."""
    # Seldom needed, and slow to load.
    import tarfile
    import zipfile

    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                for member in archive.infolist():
                    if not member.is_dir():
                        with archive.open(member) as file:
                            yield _name(path, member.filename), file
            return
        with tarfile.open(path) as archive:
            for member in archive:
                if member.isfile() or member.islnk() or member.issym():
                    with archive.extractfile(member) as file:
                        yield _name(path, member.name), file
    except Unusable:
        raise
    # A link to nothing is a KeyError or a TypeError, an encrypted member a RuntimeError, and what is no
    # compressed data has an error of each compression's own.
    except Exception as err:
        said = (str(err) or type(err).__name__).splitlines()[0]
        raise Unusable("%s cannot be read as an archive: %s" % (path, said)) from err


def _name(path, given):
    name = os.path.normpath(given)
    if os.path.isabs(name) or name.split("/")[0] in ("..", "."):
        raise Unusable("%s cannot be used: it holds %r, which leads elsewhere" % (path, given))
    return name


def contents(path):
    """``{name: sha256}`` of every file in an archive. Raises :class:`Unusable`."""
    return {name: digest(file, "sha256") for name, file in files(path)}


def file_differs(path, wanted, read):
    """
    How a file differs from one of root's with mode 0755 and these contents (text); "" where it does not.

    wanted
        Its SHA-256 (text).
    read
        A function that tells that of a path.
    """
    try:
        about = os.lstat(path)
    except OSError:
        return "not there"
    if not stat.S_ISREG(about.st_mode):
        return "no file"
    others = [] if read(path) == wanted else ["other contents"]
    return ", ".join(others + _not_roots(about, FILE_MODE))


def directory_differs(path):
    """The same of a directory."""
    try:
        about = os.stat(path)
    except OSError:
        return "not there"
    if not stat.S_ISDIR(about.st_mode):
        return "no directory"
    return ", ".join(_not_roots(about, DIRECTORY_MODE))


def is_own(path):
    """Whether nobody but us can have written what lies there."""
    about = os.lstat(path)
    return about.st_uid == os.geteuid() and not about.st_mode & 0o022


def _not_roots(about, mode):
    found = []
    if (about.st_uid, about.st_gid) != (os.geteuid(), os.getegid()):
        found.append("owner %d:%d" % (about.st_uid, about.st_gid))
    if stat.S_IMODE(about.st_mode) != mode:
        found.append("mode %04o" % stat.S_IMODE(about.st_mode))
    return found
