"""What the judges that have programs run share. Not a judge itself."""

import json
from collections.abc import Sequence
from typing import Any

from h3eval.errors import Unreadable
from h3eval.types import Reply, Sample

STATUSES = ("pass", "fail", "timeout")
UNSANDBOXED = "UNSANDBOXED"


def form(sample: Sample, reply: Reply) -> str:
    """How the answer becomes a program: as a file of samples says, else as the task asked."""
    return str(reply.extra.get("form") or sample.metadata.get("form", "answer"))


def statuses(text: str, suites: Sequence[str]) -> dict[str, Any]:
    """What the sandbox says of one program. Raise Unreadable for anything else."""
    try:
        told = json.loads(text)
        known = all(told[suite]["status"] in STATUSES for suite in suites) and isinstance(told["sandbox"], str)
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise Unreadable("not a result of the sandbox") from error
    if not known:
        raise Unreadable("not a result of the sandbox")
    return dict(told)
