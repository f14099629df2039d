"""Several of lm-eval's task files as one task: the parts of a benchmark that is split by subject.

Samples are taken in turn, the first of each part, then the second of each: so the first N are spread
over all parts, and the first N x k of N parts are those that lm-eval takes with `--limit k`.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain, islice

import numpy as np

from h3eval.stats.estimates import UNIT, Direction, nothing, wilson
from h3eval.types import (
    Dimension,
    Estimate,
    Generation,
    Item,
    Json,
    Metric,
    Reading,
    Reply,
    Request,
    Sample,
    Score,
    Source,
    Task,
)

from ._lm_eval import Bridge
from ._lm_eval_metrics import stored

Row = dict[str, Json]


@dataclass(frozen=True)
class Group:
    """Bridges by the names of their parts; `demo` are the parts that demo samples ship for."""

    parts: Mapping[str, Bridge]
    demo: tuple[str, ...]

    def samples(self, source: Source) -> Iterator[Sample]:
        """Samples of all parts in turn; `metadata["part"]` says whose each is."""
        shared = Shared(source)
        live = [self._part(name, shared) for name in (self.demo if source.demo else self.parts)]
        limit = source.options.get("limit") or 0
        most = int(limit) if limit >= 1 else None
        # The first round is read as a whole, so that whoever asks for one sample knows which data all of them are of.
        firsts = [(part, sample) for part in live[:most] if (sample := next(part, None)) is not None]
        rest = _in_turn([part for part, _ in firsts])
        yield from islice(chain((sample for _, sample in firsts), rest), most)

    def _part(self, name: str, source: Source) -> Iterator[Sample]:
        for sample in self.parts[name].samples(source):
            yield replace(sample, metadata={**sample.metadata, "part": name})

    def ask(self, sample: Sample, replies: tuple[Reply, ...]) -> Sequence[Request]:
        """What the sample's own part asks."""
        return self.parts[sample.metadata["part"]].ask(sample, replies)

    def rule(self, sample: Sample, generation: Generation) -> Reading:
        """What the sample's own part makes of the answer."""
        return self.parts[sample.metadata["part"]].rule(sample, generation)

    @property
    def first(self) -> Bridge:
        """Any part: all have the same metrics and the same version."""
        return next(iter(self.parts.values()))

    @property
    def measured(self) -> tuple[Metric, ...]:
        """lm-eval's metrics over all samples, each with a `_macro` form: the mean over parts."""
        return (*self.first.measured, *(self.macro(metric) for metric in self.first.measured))

    def macro(self, metric: Metric) -> Metric:
        """The mean of the parts' means of this metric, under its name with `_macro` before the filter."""
        name, comma, kept = metric.name.partition(",")
        parts = tuple(self.parts)
        value = partial(placed, metric.name, parts)
        return Metric(f"{name}_macro{comma}{kept}", value, partial(mean_of_parts, parts=parts))


@dataclass
class Shared:
    """A source whose files are read once for all parts of a group."""

    source: Source
    _rows: dict[tuple[object, ...], list[Row]] = field(default_factory=dict)
    _files: dict[tuple[str, ...], str | None] = field(default_factory=dict)

    @property
    def demo(self) -> bool:
        """The source's own."""
        return self.source.demo

    @property
    def options(self) -> Mapping[str, Json]:
        """The source's own."""
        return self.source.options

    def file(self, *names: str) -> str | None:
        """As the source has it."""
        if names not in self._files:
            self._files[names] = self.source.file(*names)
        return self._files[names]

    def rows(
        self,
        hub: str,
        config: str | None = None,
        split: str = "test",
        files: tuple[str, ...] = (),
        demo: str = "",
    ) -> list[Row]:
        """As the source has them; a file that is there holds the rows of all configurations."""
        if files and self.file(files[0]):
            config, files = None, files[:1]
        key = hub, config, split, files
        if key not in self._rows:
            self._rows[key] = self.source.rows(hub, config, split, files=files, demo=demo)
        return self._rows[key]


def _in_turn(live: list[Iterator[Sample]]) -> Iterator[Sample]:
    while live:
        for turn in tuple(live):
            sample = next(turn, None)
            if sample is None:
                live.remove(turn)
            else:
                yield sample


def placed(key: str, parts: Sequence[str], item: Item) -> Score:
    """The place of the item's part among the parts, and its score; None where it was not scored."""
    score = stored(key, item)
    return (float(parts.index(item.sample.metadata["part"])), score) if isinstance(score, int | float) else None


def mean_of_parts(
    metric: str, scores: Sequence[Score], failed: int, parts: Sequence[str], direction: Direction = "higher"
) -> Estimate:
    """The unweighted mean of the means of the parts that were asked, each of which is in `details`.

    Parts are fixed and their items drawn: se is sqrt(sum of var_i / n_i) / k over k parts, with
    ddof 1; none where a part has one item only. The interval puts the parts' Wilson intervals
    together (MOVER: Zou and Donner 2008, Stat. Med. 27:1693), so that it has a width even where each
    part's items agree. There are no bounds where an item failed, for its part is not known.
    """
    if not scores:
        return nothing(metric, failed, direction, "nothing was scored")
    places, values = np.asarray(scores, dtype=float).T
    groups = {parts[int(place)]: values[places == place] for place in np.unique(places)}
    means = {name: float(np.mean(group)) for name, group in groups.items()}
    value = math.fsum(means.values()) / len(means)
    se = None
    if all(len(group) > 1 for group in groups.values()):
        se = math.hypot(*(float(np.std(group, ddof=1)) / math.sqrt(len(group)) for group in groups.values()))
    ends = [(means[name], *wilson(math.fsum(group), len(group))) for name, group in groups.items()]
    below, above = (math.hypot(*(each[0] - each[end] for each in ends)) / len(means) for end in (1, 2))
    return Estimate(
        metric, value, len(values), failed,
        se=None if se is None else se / len(means),
        ci=(max(UNIT[0], value - below), min(UNIT[1], value + above)),
        bounds=None if failed else (value, value),
        direction=direction, method="wilson, over parts", details={"parts": means},
    )  # fmt: skip


def group_task(
    group: Group,
    name: str,
    protocol: str = "lm-eval",
    metrics: tuple[Metric, ...] = (),
    dimension: Dimension = "helpful",
    about: str = "",
    notes: tuple[str, ...] = (),
) -> Task:
    """The group as a task; `metrics` stand after the group's own, whose first is the primary."""
    own = group.measured
    return Task(
        name=name, version=1, dimension=dimension, protocol=protocol,
        samples=group.samples, ask=group.ask, rule=group.rule,
        metrics=(*own, *metrics), primary=own[0].name,
        about=about, notes=(f"{group.first.about}, and the other {len(group.parts) - 1} parts.", *notes),
    )  # fmt: skip
