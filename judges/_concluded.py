"""Judges that reason first and conclude with one line: `VERDICT <nonce>: <verdict>`."""

import html
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from h3eval.errors import Unreadable
from h3eval.text import plain_letters
from h3eval.types import Generation, Reading, Reply, Request, Sample

from ._marks import introduced
from ._shared import Wording, nonce, only, question, sent

TAG = re.compile(r"<[^<>\n]{0,200}>")
SIGNS = re.compile(r"[\W_]+")
NEWLINES = re.compile(r"[\n\r\x0b\x0c\x1c-\x1e\x85\u2028\u2029]+")


def concluded(text: str, sign: str, verdict: str = r"\w+") -> str:
    """What the reply's last line says; `verdict` is the pattern of all of it (`(?i:yes|no)`, say).

    Raise Unreadable for a last line of any other form (another nonce, another verdict, words before
    or after it), for one that the line before introduces as something else (`Not:`), and for a reply that
    gives several verdicts, whatever they are written with.
    """
    head, _, last = text.rstrip().rpartition("\n")
    # ASCII: digits and look-alike letters of other scripts are not ours.
    match = re.fullmatch(rf"VERDICT {re.escape(sign)}: ({verdict})", last, re.ASCII)
    if match is None or "verdict" + sign in _squeezed(head) or _other(head, sign, verdict, match[1]):
        raise Unreadable(f"no single verdict on the last line: {text[-80:]!r}")
    if introduced(head):
        raise Unreadable(f"the verdict is introduced as another's: {text[-160:]!r}")
    return match[1]


def _bare(text: str) -> str:
    """The text as it looks, without HTML."""
    return TAG.sub("", plain_letters(html.unescape(text)))


def _squeezed(text: str) -> str:
    """Its letters and digits alone, in lower case: so that no markup hides a line."""
    return SIGNS.sub("", _bare(text)).casefold()


def _other(head: str, sign: str, verdict: str, said: str) -> bool:
    """Does a line with the nonce, or the one after it, say another verdict?"""
    if sign not in _squeezed(head):
        return False
    # Our own marks around what is judged may be spoken of.
    text = re.sub(rf"\[[a-z 0-9]*{sign}\]", "", _bare(head), flags=re.IGNORECASE)
    lines = [line for line in NEWLINES.split(text) if line.strip()]
    for place, line in enumerate(lines):
        if sign in _squeezed(line):
            rest = re.sub(sign, " ", " ".join(lines[place : place + 2]), flags=re.IGNORECASE)
            found = re.findall(rf"(?<!\w)({verdict})(?!\w)", rest, re.IGNORECASE)
            if any(each.casefold() != said.casefold() for each in found):
                return True
    return False


def reference(sample: Sample) -> str:
    """The sample's reference as text; anything but text as JSON."""
    given = sample.reference
    if given is None or isinstance(given, str):
        return given or ""
    return json.dumps(given, ensure_ascii=False, indent=1)


@dataclass(frozen=True)
class Concluding:
    """Implements `types.Judge`: asks once, and reads the last line.

    The wording may hold `{question}`, `{answer}`, `{reference}`, `{nonce}`, and `{standard}`: what
    this kind of sample asks for, from `standards` by the sample's metadata `kind`; a sample of no
    known kind gets the one of the empty name.
    """

    name: str
    scale: str
    prompt: Wording
    verdict: str
    """The pattern of all verdicts."""
    says: Callable[[str], Reading]
    """What a verdict means, in lower case."""
    kind: str = ""
    standards: Mapping[str, str] = field(default_factory=dict)
    max_tokens: int = 512
    version: int = 1
    calls: int = 1
    complete_reply: bool = True

    @property
    def wording(self) -> str:
        return self.prompt.source

    @property
    def template(self) -> str:
        return "\n".join((self.prompt.text, *(f"{kind}: {text}" for kind, text in self.standards.items())))

    def values(self, sample: Sample, generation: Generation) -> dict[str, str]:
        """What the wording is filled with. The nonce's placeholder depends on all the rest."""
        asked = self.standards.get(str(sample.metadata.get(self.kind)), self.standards.get("", ""))
        found = {
            "question": question(sample), "answer": generation.text, "reference": reference(sample), "standard": asked
        }  # fmt: skip
        return {**found, "nonce": nonce(self.template, *found.values())}

    def ask(self, sample: Sample, generation: Generation, replies: tuple[Reply, ...]) -> Sequence[Request]:
        if replies:
            return ()
        values = self.values(sample, generation)
        # An official wording has no place for a nonce.
        sign = "" if self.wording == "official" else values["nonce"]
        return (Request("complete", self.prompt.filled(**values), max_tokens=self.max_tokens, nonce=sign),)

    def read(self, sample: Sample, generation: Generation, replies: tuple[Reply, ...]) -> Reading:
        reply = only(replies)
        sign = sent(reply, self.values(sample, generation)["nonce"])
        return self.says(concluded(reply.text, sign, f"(?i:{self.verdict})").lower())
