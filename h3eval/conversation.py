"""What has been asked of a model about one sample, and what is still to be asked.

Pure: given what the store holds, a conversation is replayed from its first request; nothing of it
is kept anywhere else. So a run that was killed goes on where it stopped, and scoring is a function
of the store alone.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice

from h3eval.nonces import nonce_for, sealed
from h3eval.types import Call, Fault, Json, Reply, Request, Sample, Task

Lookup = Callable[[Sequence[bytes]], Mapping[bytes, Reply | Fault]]
CHUNK = 256


@dataclass
class Conversation:
    """One sample's exchange with one model.

    `calls` are those of the turn that is under way, `answers` what is known of them so far.
    """

    task: Task
    sample: Sample
    ask: Callable[[tuple[Reply, ...]], Sequence[Request]]
    key: Callable[[Request], bytes]
    tag: Mapping[str, Json] | None = None
    """Added to the options of every request, with the turn: for engines that look answers up by sample."""
    replies: tuple[Reply, ...] = ()
    calls: tuple[Call, ...] = ()
    answers: dict[bytes, Reply | Fault] = field(default_factory=dict)
    turn: int = 0
    secret: bytes | None = field(default=None, repr=False)
    """The run's, which requests' nonces are made from."""

    @property
    def pending(self) -> list[Call]:
        """The calls of this turn that have no answer yet."""
        return [call for call in self.calls if call.key not in self.answers]

    @property
    def fault(self) -> Fault | None:
        """The first call of this turn that gave nothing."""
        given = (self.answers.get(call.key) for call in self.calls)
        return next((answer for answer in given if isinstance(answer, Fault)), None)

    def ask_next(self) -> Sequence[Call]:
        """Begin the next turn: its calls, none when the conversation has ended."""
        requests = map(self._tagged, self.ask(self.replies))
        self.calls = tuple(Call(self.key(request), request) for request in requests)
        self.answers = {}
        return self.calls

    @property
    def ended(self) -> bool:
        """Has this turn met a fault, or is there nothing more to ask?"""
        return self.fault is not None or (not self.calls and not self.ask(self.replies))

    def hear(self, answers: Mapping[bytes, Reply | Fault]) -> bool:
        """Take answers of this turn; true when the turn is complete and the next may be asked."""
        self.answers.update((call.key, answers[call.key]) for call in self.calls if call.key in answers)
        replies = [(call, self.answers.get(call.key)) for call in self.calls]
        heard = tuple(self._told(call, reply) for call, reply in replies if isinstance(reply, Reply))
        if not self.calls or len(heard) < len(self.calls):
            return False
        self.replies += heard
        self.calls = ()
        self.turn += 1
        return True

    def sent(self, call: Call) -> Call:
        """One of the calls as an engine gets it."""
        return sealed(call, self.secret)

    def _told(self, call: Call, reply: Reply) -> Reply:
        """The reply with the nonce that was sent."""
        return replace(reply, nonce=nonce_for(self.secret, call.request)) if call.request.nonce else reply

    def _tagged(self, request: Request) -> Request:
        if self.tag is None:
            return request
        return replace(request, options={**request.options, **self.tag, "turn": self.turn})


def replay(conversations: Iterable[Conversation], lookup: Lookup) -> Iterator[Conversation]:
    """Bring each conversation as far as the store's answers go, a chunk of look-ups at a time."""
    source = iter(conversations)
    while chunk := list(islice(source, CHUNK)):
        live = chunk
        while live:
            asked = [talk for talk in live if talk.ask_next()]
            known = lookup([call.key for talk in asked for call in talk.calls])
            live = [talk for talk in asked if talk.hear(known)]
        yield from chunk
