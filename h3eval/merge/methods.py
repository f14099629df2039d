"""The thirteen methods by name: what each may be told, what it must be told, and how it is put together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from h3eval.errors import ConfigError
from h3eval.merge.breadcrumbs import Band
from h3eval.merge.dare import Drop, MagnitudeDrop
from h3eval.merge.gradients import Gradient
from h3eval.merge.pieces import Combination, Deltas, Prepared
from h3eval.merge.stock import Stock
from h3eval.merge.ties import Trim


@dataclass(frozen=True)
class Parameter:
    """A number in [low, high], a switch, or one of some words."""

    default: Any = None
    low: float = float("-inf")
    high: float = float("inf")
    choices: tuple[str, ...] = ()
    required: bool = False
    each: bool = False
    """May differ from model to model."""

    def check(self, where: str, value: Any) -> Any:
        """The value, in its own type. Raise ConfigError saying what is allowed."""
        if self.choices:
            if value not in self.choices:
                raise ConfigError(f"{where}: {value!r} is not one of {', '.join(self.choices)}")
            return value
        if isinstance(self.default, bool):
            if not isinstance(value, bool):
                raise ConfigError(f"{where}: {value!r} is not true or false")
            return value
        if isinstance(value, bool) or not isinstance(value, int | float) or not self.low <= value <= self.high:
            raise ConfigError(f"{where}: {value!r} is not a number from {self.low:g} to {self.high:g}")
        return float(value)


WEIGHT = Parameter(1.0, -1e6, 1e6, each=True)
REQUIRED_WEIGHT = Parameter(None, -1e6, 1e6, each=True, required=True)
DENSITY = Parameter(None, 0.0, 1.0, each=True, required=True)
LAMBDA = Parameter(1.0, -1e6, 1e6)
RANDOM_RESCALE = Parameter("inverse_density", choices=("inverse_density", "l1", "none"))
PLAIN_RESCALE = Parameter("none", choices=("l1", "none"))
SPARSE = {"weight": WEIGHT, "density": DENSITY, "lambda": LAMBDA}
TIES = {**SPARSE, "normalize": Parameter(True), "rescale": PLAIN_RESCALE}
DARE = {**SPARSE, "normalize": Parameter(False), "rescale": RANDOM_RESCALE}
DELLA = {**DARE, "epsilon": Parameter(0.15, 0.0, 0.5, each=True), "window": Parameter(None, 0.0, 1.0, each=True)}
BREADCRUMBS = {
    **SPARSE,
    "gamma": Parameter(0.01, 0.0, 1.0, each=True),
    "normalize": Parameter(False),
    "rescale": PLAIN_RESCALE,
    "scope": Parameter("tensor", choices=("tensor", "row")),
}
SINGULAR = {"lambda": LAMBDA, "include_embeddings": Parameter(False)}


@dataclass(frozen=True)
class Method:
    """A method's name, its paper, and its parameters."""

    about: str
    source: str
    parameters: Mapping[str, Parameter]
    elect: bool = False
    needs_base: bool = True
    whole: bool = False
    """Works on whole matrices, not on pieces."""


METHODS = {
    "weight_average": Method("mean of the weights", "https://arxiv.org/abs/2203.05482", {}, needs_base=False),
    "rewarded_soup": Method(
        "weighted mean of the weights", "https://arxiv.org/abs/2306.04488", {"weight": REQUIRED_WEIGHT},
        needs_base=False,
    ),
    "task_arithmetic": Method(
        "base plus weighted changes", "https://arxiv.org/abs/2212.04089",
        {"weight": REQUIRED_WEIGHT, "lambda": LAMBDA, "normalize": Parameter(False)},
    ),
    "ties": Method(
        "largest changes, elected signs", "https://arxiv.org/abs/2306.01708",
        {**TIES, "trim_scope": Parameter("tensor", choices=("tensor", "global"))}, elect=True,
    ),
    "dare": Method("random changes, rescaled", "https://arxiv.org/abs/2311.03099", DARE),
    "dare_ties": Method("dare with elected signs", "https://arxiv.org/abs/2311.03099", DARE, elect=True),
    "della_linear": Method("dare, large changes more likely", "https://arxiv.org/abs/2406.11617", DELLA),
    "della_ties": Method(
        "della_linear with elected signs", "https://arxiv.org/abs/2406.11617",
        {**DELLA, "normalize": Parameter(True)}, elect=True,
    ),
    "breadcrumbs": Method("changes without both tails", "https://arxiv.org/abs/2312.06795", BREADCRUMBS),
    "breadcrumbs_ties": Method(
        "breadcrumbs with elected signs", "https://arxiv.org/abs/2312.06795", BREADCRUMBS, elect=True
    ),
    "model_stock": Method(
        "between base and mean, by angles", "https://arxiv.org/abs/2403.19522", {"filter_wise": Parameter(False)}
    ),
    "tsvm": Method("orthogonal singular directions", "https://arxiv.org/abs/2412.00081", SINGULAR, whole=True),
    "r_tsvm": Method(
        "tsvm with outlier weights and sparsity-adaptive rank", "the 3H merging paper, eq. 6-11",
        {
            **SINGULAR,
            "gamma": Parameter(None, 0.0, 1.0),
            "weights": Parameter("mean1", choices=("mean1", "sum1")),
            "order": Parameter("truncate_first", choices=("truncate_first", "orthogonalize_first")),
            "epsilon": Parameter(0.1, 0.0, 1e6),
            "epsilon_mode": Parameter("absolute", choices=("absolute", "rms")),
            "clamp_rank": Parameter(False),
        },
        whole=True,
    ),
}  # fmt: skip
ALIASES = {"dare_linear": "dare"}
AMBIGUOUS = {
    "della": "`della` elects signs in its paper and in mergekit, and does not in the 3H merging paper: "
    "write della_ties (with election) or della_linear (without)",
    "linear": "write weight_average (equal weights) or rewarded_soup (weights of your own)",
}


def method_name(given: str) -> str:
    """A method's own name. Raise ConfigError for one that is unknown or could be two."""
    name = ALIASES.get(given, given)
    if name in AMBIGUOUS:
        raise ConfigError(f"method: {AMBIGUOUS[name]}")
    if name not in METHODS:
        raise ConfigError(f"method: no {given!r}; there are {', '.join(METHODS)}")
    return name


@dataclass(frozen=True)
class Chosen:
    """A method with all its numbers: one row of `each` for a model, in the order of `labels`."""

    name: str
    labels: tuple[str, ...]
    each: Sequence[Mapping[str, float | Gradient]]
    shared: Mapping[str, Any]
    seed: int = 0

    @property
    def method(self) -> Method:
        """The method."""
        return METHODS[self.name]

    def varies(self, name: str | None = None) -> bool:
        """Does this number (any, where none is named) differ from tensor to tensor?"""
        return any(
            isinstance(value, Gradient) and name in (None, key) for row in self.each for key, value in row.items()
        )

    def at(self, tensor: str, depth: float) -> "Chosen":
        """With the numbers that hold for one tensor."""
        if not self.varies():
            return self
        rows = [
            {key: value.at(tensor, depth) if isinstance(value, Gradient) else value for key, value in row.items()}
            for row in self.each
        ]
        return replace(self, each=rows)

    def column(self, name: str) -> list[float]:
        """One parameter of all models. Raise TypeError where `at` must be asked first."""
        made: list[float] = []
        for row in self.each:
            value = row[name]
            if isinstance(value, Gradient):
                raise TypeError(f"{name} is not one number")
            made.append(value)
        return made

    def sorted(self) -> "Chosen":
        """The models in the order of their labels: sums do not depend on the order they were given in."""
        order = sorted(range(len(self.labels)), key=lambda at: self.labels[at])
        return replace(self, labels=tuple(self.labels[at] for at in order), each=[self.each[at] for at in order])


class Family(Protocol):
    """How a method looks at a tensor before it changes its pieces."""

    @property
    def by_row(self) -> bool:
        """Are rows not to be cut?"""
        ...

    @property
    def everywhere(self) -> bool:
        """Must it see the whole model first?"""
        ...

    def prepare(self, deltas: Deltas) -> Prepared:
        """What it must know of the whole tensor (of the whole model, where `everywhere`)."""
        ...


class Plain:
    """Changes nothing."""

    by_row = False
    everywhere = False

    def prepare(self, deltas: Deltas) -> Prepared:
        """Nothing is to be known."""
        return Prepared()


def family(chosen: Chosen) -> Family:
    """The transform of a method's pieces."""
    shared, l1 = chosen.shared, chosen.shared.get("rescale") == "l1"
    if chosen.name == "ties":
        return Trim(chosen.column("density"), shared["trim_scope"] == "global", l1)
    if chosen.name in ("dare", "dare_ties"):
        return Drop(chosen.column("density"), shared["rescale"], chosen.seed)
    if chosen.name in ("della_linear", "della_ties"):
        return MagnitudeDrop(chosen.column("density"), chosen.column("epsilon"), shared["rescale"], chosen.seed)
    if chosen.name in ("breadcrumbs", "breadcrumbs_ties"):
        return Band(chosen.column("density"), chosen.column("gamma"), shared["scope"] == "row", l1)
    return Stock(shared["filter_wise"]) if chosen.name == "model_stock" else Plain()


def combination(chosen: Chosen) -> Combination:
    """How a method's changes become one."""
    mean = not chosen.method.needs_base or chosen.method.whole or chosen.name == "model_stock"
    weights = chosen.column("weight") if "weight" in chosen.method.parameters else [1.0] * len(chosen.labels)
    return Combination(
        np.array(weights),
        chosen.method.elect,
        mean or bool(chosen.shared.get("normalize", False)),
        float(chosen.shared.get("lambda", 1.0)),
    )


def check(chosen: Chosen) -> None:
    """Raise ConfigError for numbers that are allowed one by one, and make no sense together."""
    weights = chosen.column("weight") if "weight" in chosen.method.parameters else []
    divides = not chosen.method.needs_base or chosen.shared.get("normalize", False)
    if weights and divides and not chosen.method.elect and abs(sum(weights)) < 1e-8:
        raise ConfigError(f"{chosen.name}: the weights sum to 0, and their sum is what is divided by")
    if chosen.method.elect and divides and min(weights) < 0:
        raise ConfigError(
            f"{chosen.name}: negative weights with normalize divide by a difference of weights, which may be nearly 0: "
            "set normalize: false, or use weights from 0 up"
        )
    if chosen.name == "model_stock" and len(chosen.labels) < 2:
        raise ConfigError("model_stock: needs two models or more beside the base")
    if isinstance(family(chosen), MagnitudeDrop):
        _check_windows(chosen)


def _check_windows(chosen: Chosen) -> None:
    for label, density, epsilon in zip(chosen.labels, chosen.column("density"), chosen.column("epsilon"), strict=True):
        low, high = density - epsilon, density + epsilon
        if density < 1 and not (low > 0 and high < 1):
            raise ConfigError(
                f"{chosen.name}: {label}: density ± epsilon (half the window) must stay between 0 and 1, and is "
                f"{low:g} to {high:g}"
            )
