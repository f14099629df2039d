"""The answers of a recorded run: `replay:RUN_FOLDER`. Calls no model.

A request is answered with what any of the recorded run's models answered to the same request, the
model under test before its judges. What was not asked then has no answer.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

from h3eval.config import ModelSpec, check_args
from h3eval.errors import ConfigError
from h3eval.nonces import nonce_for, secret_of, unsealed
from h3eval.store import Reader, call_key
from h3eval.text import canonical, digest
from h3eval.types import Backend, Call, Fault, Journal, Json, Reply, Request

CHUNK = 256
NOT_RECORDED = Fault("not recorded", "the recorded run did not ask this", transient=True)


class Replay:
    """Implements `types.Backend`."""

    can = frozenset({"complete", "loglikelihood", "classify"})
    paid = False

    def __init__(self, spec: ModelSpec) -> None:
        check_args(spec, {})
        with Reader(Path(spec.model)) as reader:
            manifest = reader.meta("manifest")
            self.secret = secret_of(reader)
        if manifest is None:
            raise ConfigError(f"replay: {spec.model} has no manifest: the run there never began")
        self.folder = Path(spec.model)
        recorded = {"backend": "replay", "recorded": digest(canonical(manifest))}
        # Where the recorded requests named their sample, ours must.
        by_sample = {"by_sample": True} if manifest["model"]["identity"].get("by_sample") else {}
        self.identity: Mapping[str, Json] = recorded | by_sample
        judges = [judge["identity"] for _, judge in sorted(manifest["judges"].items())]
        self.asked = [
            ("gen", manifest["model"]["identity"]),
            *(("judge", identity) for identity in judges if identity is not None),
        ]

    def answer(self, calls: Iterable[Call], journal: Journal) -> Iterator[tuple[Call, Reply | Fault]]:
        source = iter(calls)
        with Reader(self.folder) as reader:
            while chunk := list(islice(source, CHUNK)):
                yield from self._recorded(reader, chunk)

    def _recorded(self, reader: Reader, chunk: Sequence[Call]) -> Iterator[tuple[Call, Reply | Fault]]:
        keys = [self._keys(unsealed(call)) for call in chunk]
        known = reader.get_many([key for group in keys for key in group])
        for call, group in zip(chunk, keys, strict=True):
            found = [self._as_asked(call, known[key]) for key in group if key in known]
            yield call, next((each for each in found if isinstance(each, Reply)), (*found, NOT_RECORDED)[0])

    def _as_asked(self, call: Call, answer: Reply | Fault) -> Reply | Fault:
        """The answer with the nonce that the call has, where it repeats the one that the recorded call had."""
        recorded = nonce_for(self.secret, unsealed(call))
        if isinstance(answer, Fault) or recorded == call.request.nonce:
            return answer
        return replace(answer, text=answer.text.replace(recorded, call.request.nonce))

    def _keys(self, request: Request) -> list[bytes]:
        return [call_key(stage, identity, request) for stage, identity in self.asked]

    def close(self) -> None:
        """Nothing is held between calls."""


BACKEND: Callable[[ModelSpec], Backend] = Replay
