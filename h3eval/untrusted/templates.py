"""Chat templates, rendered exactly as transformers does it, within limits of time, memory and length.

The work is done by `rendering.py` in a process that stays for as long as ours does: what a template does there harms
nobody. A conversation that goes over a limit is a `bad_prompt`; a template that does so with a greeting is broken.
"""

import atexit
import json
import os
import select
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from jinja2 import TemplateError

from h3eval.errors import BackendError
from h3eval.text import digest, visible
from h3eval.untrusted.messages import cut, first_line, shown

PATIENCE_S = 300.0
"""After which a process that neither answers nor computes is given up."""
MOST_FAILURES = 3
"""Conversations of one template that may go over a limit: each takes its seconds."""
BROKEN = {"TemplateSyntaxError", "TemplateAssertionError", "TemplateNotFound", "TemplatesNotFound"}
NO_LOADER = "no loader for this environment"
"""What jinja2 says of a template that wants to read another file."""


class TooMuch(TemplateError):
    """A template went over a limit."""


class Broken(TemplateError):
    """A template can't be rendered, whatever is said."""


class Renderer:
    """The process, started when it is first needed, and again where a template has ended it."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.process: subprocess.Popen[bytes] | None = None
        self.owner = 0
        self.sent: set[str] = set()
        self.failures: Counter[str] = Counter()

    def start(self) -> None:
        """Begin to start it, without waiting."""
        with self.lock:
            self._running()

    def render(self, template: str, variables: Mapping[str, Any]) -> str:
        """The text of a conversation. Raise TemplateError, TooMuch, or BackendError for a template that goes over the
        limits again and again."""
        name = digest(template)
        if self.failures[name] >= MOST_FAILURES:
            raise BackendError(f"the chat template went over its limits {MOST_FAILURES} times: it can't be used")
        with self.lock:
            told = self._asked(name, template, variables)
        if "text" in told:
            return str(told["text"])
        if "much" in told:
            self.failures[name] += 1
            raise TooMuch(f"the chat template {told['much']}")
        kind, message = str(told["error"]), visible(cut(str(told["message"]), 300))
        if kind in BROKEN or NO_LOADER in message:
            raise Broken(f"the chat template is broken: {kind}: {message}")
        raise TemplateError(message if kind.endswith("TemplateError") else f"{kind}: {message}")

    def close(self) -> None:
        """End the process: it does so by itself when nothing more can come."""
        if self.process is not None and self.owner == os.getpid():
            self._stopped(self.process)

    def _asked(self, name: str, template: str, variables: Mapping[str, Any]) -> dict[str, Any]:
        process = self._running()
        line: dict[str, Any] = {"template": name, "variables": variables}
        if name not in self.sent:
            line["templates"] = {name: template}
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(json.dumps(line, default=str).encode() + b"\n")
            process.stdin.flush()
            self.sent.add(name)
            reply = self._line(process.stdout)
        except BrokenPipeError:
            reply = b""
        if reply.endswith(b"\n"):
            found: dict[str, Any] = json.loads(reply)
            return found
        return self._ended(process)

    def _line(self, stream: IO[bytes]) -> bytes:
        """The reply, empty where none comes."""
        ready, _, _ = select.select([stream], [], [], PATIENCE_S)
        return stream.readline() if ready else b""

    def _ended(self, process: subprocess.Popen[bytes]) -> dict[str, Any]:
        """End the process; why no reply came. Raise BackendError where the template is not why."""
        code = self._stopped(process)
        if code == -signal.SIGPROF:
            return {"much": "computes without end"}
        if code in (-signal.SIGKILL, -signal.SIGSEGV, -signal.SIGABRT):
            return {"much": f"ended the process that renders it (signal {-code})"}
        raise BackendError(f"the process that renders chat templates ended with {code}: is transformers whole?")

    def _stopped(self, process: subprocess.Popen[bytes]) -> int:
        """The code with which the process has ended; it is ended now if it has not."""
        self.process = None
        if process.poll() is None and process.stdin is not None:
            process.stdin.close()
        try:
            return process.wait(timeout=1.0)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()

    def _running(self) -> subprocess.Popen[bytes]:
        # A copy of ours by fork must not talk over the same pipes.
        if self.process is None or self.owner != os.getpid() or self.process.poll() is not None:
            self.sent, self.owner = set(), os.getpid()
            script = Path(__file__).with_name("rendering.py")
            # -P: the modules beside the script must not stand for others of their names.
            self.process = subprocess.Popen(
                [sys.executable, "-P", str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                env={**os.environ, "TRANSFORMERS_VERBOSITY": "error"},
            )  # fmt: skip
        return self.process


RENDERER = Renderer()
atexit.register(RENDERER.close)


def start() -> None:
    """Have the renderer ready by the time that a model is loaded."""
    RENDERER.start()


def rendered(tokenizer: Any, messages: Sequence[Mapping[str, Any]], **options: Any) -> str:
    """`tokenizer.apply_chat_template(messages, tokenize=False, **options)`, within limits. Raise TemplateError.

    A tokenizer whose class brings conversations into form by code of its own, and not by a template, does so here.
    """
    own = type(tokenizer).apply_chat_template
    if not own.__module__.endswith("tokenization_utils_base"):
        return str(tokenizer.apply_chat_template(list(messages), tokenize=False, **options))
    try:
        template = tokenizer.get_chat_template()
    except ValueError as error:
        raise Broken(f"no chat template can be chosen: {first_line(error)}") from error
    if not isinstance(template, str):
        raise Broken(f"the chat template is no text: {shown(template)}")
    variables = {"tools": None, "documents": None, **tokenizer.special_tokens_map, **options}
    return RENDERER.render(template, {"conversations": [[dict(each) for each in messages]], **variables})


def check(tokenizer: Any, name: str) -> None:
    """Raise BackendError for a template that can't even render a greeting within the limits.

    One that refuses it in its own words is left: it may want other roles.
    """
    try:
        rendered(tokenizer, [{"role": "user", "content": "Hello"}], add_generation_prompt=True)
    except (TooMuch, Broken) as error:
        raise BackendError(f"model {name}: {error}") from error
    except TemplateError:
        return
