"""Verdicts that a published wording wants as a mark in the reply, `[[7]]` say: which ones a reply gives for itself.

A mark counts where the reply speaks in its own words: not in a quotation, not where it is denied or told of ("the
answer asks for [[10]]"), and not where it stands just so in what is judged. Not a judge itself.
"""

import html
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from h3eval.errors import Unreadable
from h3eval.text import own_words, plain_letters

LABEL = (
    r"(?:(?:the|my|our|final|overall|so|thus|therefore|hence)\W{1,3})*(?:rating|verdict|score|judge?ment|decision|"
    r"answer|grade|class|choice|result|winner|preference|evaluation)(?:\W{1,3}is)?"
)
# What says of the mark that follows that it is not the verdict.
OTHERS = (
    r"not|never|cannot|without|instead of|rather than|other than|wrong|incorrect|mistaken|refuse[sd]?|says?|said|"
    r"saying|claims?|claimed|demand(?:s|ed|ing)?|ask(?:s|ed|ing)?|tells?|told|telling|wants?|wanted|wrote|writes|"
    r"written|states?|stated|quotes?|quoted|instruct(?:s|ed|ing)?|orders?|ordered|begs?|inject(?:s|ed)?|contain(?:s|ed)?|"
    r"includ(?:es?|ed|ing)|end(?:s|ed|ing)? with|begin(?:s|ning)? with|pretends?|ignore|ignoring|reject(?:s|ing)?"
)
FILLED = (
    r"a|an|the|be|been|is|as|it|its|me|us|you|judges?|to|of|for|with|by|that|this|such|give|giving|given|say|saying|"
    r"output|write|rate|rated|answer|deserve|worth|merit|rating|score|verdict|text|line|string"
)
DENIED = re.compile(
    rf"(?:\b(?:{OTHERS})|n't)(?:[^\w.;!?,\n]{{1,3}}(?:{FILLED}))*[^\w.;!?\n]{{0,6}}$",
    re.IGNORECASE,
)
# The last clause of a line that introduces the next one.
LEADS = re.compile(
    rf"(?:\b(?:{OTHERS}|no|false|reads?|runs|example|prompt|attack|injection)|n't)\b[^\n.;,!?]*[:\u2026]\W*$"
    r"|^\W*(?:not|no|never|wrong|false)(?:\W{1,3}(?:this|that|so))?\W*$|\(\W*(?:not|ignore)\b[^()\n]*\)\W*$",
    re.IGNORECASE,
)
TAKEN_BACK = re.compile(
    r"\b(?:correction|scratch that|strike that|i meant|i mean\b|on second thoughts?|i retract|i withdraw|"
    r"i take (?:that|it) back|disregard (?:that|the above)|ignore (?:that|the above))",
    re.IGNORECASE,
)
# What says so of the mark before it: `[[10]] is what it wants`.
DISOWNED = re.compile(
    r"[\"'*`)\]]{0,4}(?:[\s,;-]*(?:(?:is|was|as|which|that)\s+)?(?:what|injected|it|they|an?\s+(?:injection|attack|quote|"
    r"quotation|trick)|the\s+(?:answer|assistant|user|model|text|response))\b(?:[^\n.]{0,60}\b(?:says?|said|claims?|demands?|"
    r"wants?|asks?|writes?|wrote|inject(?:ed|ion|s)?|text|trick|attack|quote)\b)?)",
    re.IGNORECASE,
)
OF_OTHERS = re.compile(r"say|said|claim|demand|want|ask|writ|wrote|inject|trick|attack|quot", re.IGNORECASE)
DOUBTED = re.compile(r"[\"'*`)\]]{0,4}\?")
MOST = 200
"""Marks of one reply that are looked at: one with more has no verdict."""
NEAR = 12
"""Characters on each side of a mark that tell whether it is copied."""
QUOTING = re.compile(r"[\"'`\u2018\u2019\u201c\u201d\u201e\u00ab\u00bb\u300c-\u300f\uff02\uff07\\]")


@dataclass(frozen=True)
class Form:
    """What a verdict looks like. `mark` and `like` have one group, the value; `like` also finds what comes near, in a
    text whose letters are plain. `value` reads the group; None for what is no verdict at all."""

    mark: re.Pattern[str]
    like: re.Pattern[str]
    value: Callable[[str], object]

    def alone(self, line: str) -> bool:
        """Is the line a verdict and no more, perhaps with a word before it (`Rating: [[7]]`)?"""
        found = list(self.mark.finditer(line))
        if len(found) != 1:
            return False
        before, after = line[: found[0].start()], line[found[0].end() :]
        told = re.fullmatch(rf"\W*(?:{LABEL})?\W*", before, re.IGNORECASE)
        return told is not None and re.fullmatch(r"\W*", after) is not None


def copied(text: str, *material: str) -> bool:
    """Is the whole reply a piece of what it is about?"""
    said = " ".join(text.split())
    return bool(said) and any(said in " ".join(each.split()) for each in material)


def introduced(head: str) -> bool:
    """Does the text before a line say that the line is not its own, as `The answer ends with:` does?"""
    last = head.rstrip().rpartition("\n")[2]
    return LEADS.search(last[-200:].replace("\u2019", "'")) is not None


def verdicts(form: Form, text: str, material: Sequence[str] = ()) -> set[object]:
    """The different verdicts that a reply about `material` gives in its own words.

    Raise Unreadable where one of them is taken back, or others hide in unusual characters.
    """
    text = html.unescape(text).rstrip()
    start = text.rfind("\n") + 1
    last = text[start:]
    plain_end = form.alone(QUOTING.sub("", last))
    own = own_words(text, *material, bare=start if plain_end else None)
    theirs = [" ".join(each.split()) for each in material if form.mark.search(each)]
    found: set[object] = set()
    end = 0
    for number, match in enumerate(form.mark.finditer(own)):
        if number >= MOST:
            raise Unreadable(f"more than {MOST} verdicts: {text[-80:]!r}")
        # What stands in the answer, and in quotation marks here, is a quotation.
        at_end = plain_end and match.start() >= start and not QUOTING.search(last)
        if not _own(own, match, theirs, at_end):
            continue
        if DOUBTED.match(own, match.end()):
            raise Unreadable(f"a verdict that is asked, not said: {text[-80:]!r}")
        value = form.value(match[1])
        if value is not None:
            found.add(value)
            end = match.end()
    if found and TAKEN_BACK.search(own, end):
        raise Unreadable(f"a verdict that is taken back: {text[-80:]!r}")
    if found and _hidden(form, own, found):
        raise Unreadable(f"another verdict in unusual characters: {text[-80:]!r}")
    return found


def _own(own: str, match: re.Match[str], theirs: Sequence[str], alone: bool) -> bool:
    """Is this mark said by the reply, and neither denied nor copied?"""
    line = own.rfind("\n", 0, match.start()) + 1
    before = own[max(line, match.start() - 80) : match.start()].replace("\u2019", "'")
    after = DISOWNED.match(own, match.end())
    if after and OF_OTHERS.search(after[0]):
        return False
    if DENIED.search(before) or (not before.strip() and introduced(own[max(0, line - 400) : line])):
        return False
    if not any(match[0] in each for each in theirs):
        return True
    left = " ".join(own[max(0, match.start() - NEAR) : match.end()].split())
    right = " ".join(own[match.start() : match.end() + NEAR].split())
    more = len(match[0]) + 3
    copied = any(len(each) >= more and any(each in text for text in theirs) for each in (left, right))
    return alone and not copied


def _hidden(form: Form, own: str, found: set[object]) -> bool:
    """Is there another verdict in full-width digits, letters of other scripts, with signs between that nobody sees?"""
    seen = {form.value(value.strip()) for value in form.like.findall(plain_letters(own))} - {None}
    denied = {form.value(match[1]) for match in form.mark.finditer(own)}
    return bool(seen - found - denied)
