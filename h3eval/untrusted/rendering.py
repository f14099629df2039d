"""Renders chat templates in a process of its own, with limits: run as a script by `h3eval.untrusted.templates`.

A template is a program that came with a model. The sandbox that transformers renders it in keeps it from our files, not
from looping or from filling the memory; this process may do either, and be killed for it.
"""

import json
import os
import resource
import signal
import sys
from pathlib import Path
from typing import Any

from transformers.utils.chat_template_utils import render_jinja_template

SECONDS = 2
"""Of computing, for one conversation; real templates take less than a thousandth."""
MEMORY = 512 << 20
LONGEST = 16 << 20
"""Characters of a rendered conversation beyond those that went in."""


def main() -> None:
    """Answer each line of standard input with one of standard output, both JSON."""
    replies = os.fdopen(os.dup(1), "wb")
    # What a library prints must not be taken for a reply.
    os.dup2(2, 1)
    held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize() if _linux() else 8 << 30
    resource.setrlimit(resource.RLIMIT_AS, (held + MEMORY, held + MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    templates: dict[str, str] = {}
    for line in sys.stdin.buffer:
        asked = json.loads(line)
        templates |= asked.pop("templates", {})
        replies.write(json.dumps(_answer(templates[asked["template"]], asked["variables"], len(line))).encode() + b"\n")
        replies.flush()


def _linux() -> bool:
    return sys.platform == "linux"


def _answer(template: str, variables: dict[str, Any], size: int) -> dict[str, Any]:
    """The text, or what went wrong: `much` where a limit was met, else the error's kind and message."""
    # Of computing, not of waiting: a busy machine changes nothing. The signal ends the process, whatever it is in.
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        made: Any = render_jinja_template(chat_template=template, **variables)
        text: str = made[0][0]
        if len(text) > size + LONGEST:
            return {"much": f"made {len(text)} characters"}
        return {"text": text}
    except MemoryError:
        return {"much": f"took more than {MEMORY >> 20} MiB"}
    except Exception as error:  # noqa: BLE001 - a template can make any error, and each is a reply
        return {"error": type(error).__name__, "message": str(error)[:600]}
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


if __name__ == "__main__":
    main()
