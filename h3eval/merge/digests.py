"""Digests of weights files, kept beside the system's own record of each file: a sweep hashes its inputs once.

What is kept counts while device, inode, size and both of the file's times are the same. No program sets the time of
the last change of status (ctime), so that a file put in another's place, or written to, is read anew.
"""

import json
import os
import time
from contextlib import suppress

from platformdirs import user_cache_path

from h3eval.merge.checkpoints import File
from h3eval.text import digest

RACY_NS = 2_000_000_000
"""A file that has changed since could, on a file system with a coarse clock, still show the same times."""


def sha256(file: File) -> str:
    """The file's digest: the kept one, or a new one, which is kept unless the file is younger than two seconds."""
    stands = identity(file)
    place = user_cache_path("h3eval") / "digests" / f"{digest(str(file.path.resolve()))}.json"
    with suppress(OSError, ValueError):
        kept = json.loads(place.read_bytes())
        if isinstance(kept, dict) and kept.get("identity") == stands:
            return str(kept["sha256"])
    began = time.time_ns()
    found = file.sha256()
    if identity(file) == stands and began - max(stands[3:]) > RACY_NS:
        # A cache that can't be written costs time, and nothing else.
        with suppress(OSError):
            place.parent.mkdir(parents=True, exist_ok=True)
            part = place.with_suffix(f".{os.getpid()}.part")
            part.write_text(json.dumps({"identity": stands, "sha256": found}))
            part.replace(place)
    return found


def identity(file: File) -> list[int]:
    """Device, inode, size, and the times of the last change of content and of status, in nanoseconds."""
    stands = os.fstat(file.descriptor)
    return [stands.st_dev, stands.st_ino, stands.st_size, stands.st_mtime_ns, stands.st_ctime_ns]
