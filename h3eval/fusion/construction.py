"""Base and experts to one model of mixtures, a layer at a time: no model is built, and no two layers are in memory.

Every FFN becomes the experts and a router; all else is the mean of the experts' (or the base's). What is written is the
construction that `modeling_mixture` defines; `serving` then writes it in a layout that engines load.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from h3eval.checkpoints import architecture, compatibility, tokenizers
from h3eval.checkpoints.tokenizers import Model, Ways
from h3eval.config import read_json
from h3eval.errors import ConfigError
from h3eval.fusion.architectures import FAMILIES, Form, activation, check_alike, understood
from h3eval.fusion.checkpoints import Adapted, Checkpoint, Writer, copy_tokenizer, digest, layers, opened
from h3eval.fusion.folders import REPORT
from h3eval.fusion.modeling_mixture import PROJECTIONS, Vectors
from h3eval.fusion.settings import Construction, Settings
from h3eval.fusion.vectors import factors, similarity_weights

CODE = Path(__file__).with_name("modeling_mixture.py")
ROUTER_SCALE = 0.02
"""Standard deviation of a new router's weights: close to even routing, yet no two experts are treated alike."""


@dataclass
class Built:
    """What a construction learnt on its way."""

    form: Form
    kept: dict[str, list[float]] = field(default_factory=dict)
    """Expert to the share of its task vectors' squared norm that the rank keeps, one number a matrix."""
    gamma: list[float] = field(default_factory=list)


@dataclass
class Parts:
    """The open checkpoints of a fusion."""

    base: Checkpoint
    experts: list[Checkpoint]
    unwanted: dict[int, Checkpoint]
    """Expert's place to the model whose behaviour it loses."""
    how: Construction
    names: list[str]
    notes: list[str] = field(default_factory=list)
    """What a user must know of how the experts differ beside their weights."""

    def change(self, expert: int, name: str, start: Tensor) -> Tensor:
        """D_i, less what the negated model adds: (out, in), float32."""
        moved = self.experts[expert].tensor(name).float() - start
        if expert in self.unwanted:
            moved -= self.how.negation * (self.unwanted[expert].tensor(name).float() - start)
        return moved

    def weights(self, name: str) -> Tensor:
        """All experts' own weights of one matrix: (experts, out, in), in the base's type."""
        base = self.base.tensor(name)
        if self.how.compat == "h3fusion_code":
            # The published code puts one parameter under all names and adds each expert's change to it.
            return torch.stack([self._summed(name, base)] * len(self.experts))
        if self.unwanted:
            start = base.float()
            return torch.stack([(start + self.change(i, name, start)).to(base.dtype) for i in range(len(self.experts))])
        return torch.stack([each.tensor(name).to(base.dtype) for each in self.experts])

    def _summed(self, name: str, base: Tensor) -> Tensor:
        start = base.float()
        return (start + sum(self.change(i, name, start) for i in range(len(self.experts)))).to(base.dtype)

    def rest(self, name: str) -> Tensor:
        """A tensor outside the FFNs: the experts' mean, or theirs where all agree."""
        base = self.base.tensor(name)
        if self.how.rest == "base" or self.how.compat == "h3fusion_code":
            return base
        first, *others = (each.tensor(name) for each in self.experts)
        if all(torch.equal(first, other) for other in others):
            return first.to(base.dtype)
        total = first.float()
        for other in others:
            total += other.float()
        return (total / len(self.experts)).to(base.dtype)


def parts(asked: Settings) -> Parts:
    """Open and check all checkpoints. Raise ConfigError for what can't be fused."""
    how = asked.construction
    base = understood(Checkpoint(Path(asked.base)))
    scaled = how.compat != "h3fusion_code"
    experts = [_opened(Path(folder), base, scaled) for folder in asked.experts.values()]
    names = list(asked.experts)
    unwanted = {names.index(name): _opened(Path(folder), base) for name, folder in how.negate.items()}
    for each in [*experts, *unwanted.values()]:
        check_alike(base, each, how.distant)
    made = Parts(base, experts, unwanted, how, names)
    made.notes += alike(made, {**asked.experts, **{f"{name} (negated)": each for name, each in how.negate.items()}})
    return made


def alike(have: Parts, folders: dict[str, str]) -> list[str]:
    """Warnings of tokenizers and configurations that differ. Raise ConfigError where what is made would be wrong."""
    held = [*have.experts, *(have.unwanted[place] for place in sorted(have.unwanted))]
    base = Model("base", have.base.folder, have.base.config)
    ways = Ways(
        rows='give them one tokenizer first, or take embeddings from the base alone (construction.rest = "base")',
        differing="make both the same first",
    )
    others = [
        Model(name, each.folder, each.config, adapter=isinstance(each, Adapted))
        for name, each in zip(folders, held, strict=True)
    ]
    for each in (have.base, *held):
        # Adapters bear their base's configuration. Types of numbers are those of transformers' own layers here.
        compatibility.check_whole(each.folder, each.config, dict.fromkeys(each.names, "F32"))
    rows = have.how.rest == "mean" and have.how.compat != "h3fusion_code"
    told = [note for each in held for note in each.notes]
    told += compatibility.check(base, others, (), ways)
    return told + tokenizers.check(base, others, rows, (), ways)


def _opened(folder: Path, base: Checkpoint, scaled: bool = True) -> Checkpoint:
    found = opened(folder, base, scaled)
    # An adapter has its base's configuration and names.
    return found if found.config is base.config else understood(found)


def check_origins(have: Parts) -> None:
    """Raise ConfigError for an expert that `h3eval fuse align` made from other weights than this base's.

    An adapter fits any model of its shape, so only its maker knows.
    """
    reports = {each.folder: each.folder / REPORT for each in have.experts}
    told = {folder: read_json(file).get("base_sha256") for folder, file in reports.items() if file.is_file()}
    known = {folder: made_from for folder, made_from in told.items() if made_from}
    own = digest(Checkpoint(have.base.folder)) if known else ""
    for folder, made_from in known.items():
        if made_from != own:
            raise ConfigError(
                f"{folder}: {REPORT}: was made from another base (sha256 {made_from}; this one has {own})"
            )


def form(asked: Settings) -> Form:
    """The mixture that the method and its options make; similarity weights are filled in while building."""
    how, count = asked.construction, len(asked.experts)
    if asked.method == "h3fusion":
        plain = Form(count, how.top_k or min(2, count), False, temperature=how.temperature or 1.0, bias=how.router_bias)
        return _adaptable(plain, asked)
    literal = how.compat == "paper"
    gamma = tuple(how.gamma) if isinstance(how.gamma, list) else (1 / count,) * count
    made = Form(
        experts=count,
        top_k=how.top_k or count,
        shared=how.task_vectors,
        rank=how.rank if how.task_vectors else 0,
        temperature=how.temperature or 0.7,
        gamma=tuple(each / sum(gamma) for each in gamma),
        bias=how.router_bias or literal,
        literal=literal,
        dropout=how.dropout if literal else 0.0,
    )
    return made if made.shared else _adaptable(made, asked)


def _adaptable(plain: Form, asked: Settings) -> Form:
    """With room for low-rank changes, where training is to make some to experts that have weights of their own."""
    how = asked.training
    if asked.data and how.what in ("vectors", "lora"):
        return Form(**{**plain.__dict__, "rank": how.rank, "scale": how.alpha / how.rank})
    return plain


def construct(asked: Settings, folder: Path) -> Built:
    """Write the construction into a folder. Raise ConfigError for experts that don't belong together."""
    have = parts(asked)
    check_origins(have)
    made = Built(form(asked), {name: [] for name in have.names})
    products = torch.zeros(len(have.names), len(have.names), dtype=torch.float64)
    writer = Writer(folder)
    generator = torch.Generator().manual_seed(asked.training.seed)
    for key, names in layers(have.base.names):
        for name in names:
            if _of_ffn(name):
                products += _experts(have, made, writer, name, generator)
            else:
                writer.add(name, have.rest(name))
        if key.startswith("model.layers."):
            _router(writer, key, have.base, made.form, generator)
        writer.flush()
    if asked.method == "mocae" and asked.construction.gamma == "similarity":
        made.form = Form(**{**made.form.__dict__, "gamma": tuple(similarity_weights(products))})
    made.gamma = made.form.table()["gamma"]
    writer.close(configuration(have.base.config, made.form))
    copy_tokenizer(have.base.folder, folder)
    return made


def configuration(base: dict[str, Any], made: Form) -> dict[str, Any]:
    """config.json of the construction: the base's, with the mixture and where its code is."""
    name = FAMILIES[base["model_type"]]
    module = CODE.stem
    kept = {key: value for key, value in base.items() if key not in ("architectures", "auto_map", "_name_or_path")}
    return {
        **kept,
        "model_type": f"h3eval_mixture_{name.lower()}",
        "architectures": [f"Mixture{name}ForCausalLM"],
        "auto_map": {
            "AutoConfig": f"{module}.Mixture{name}Config",
            "AutoModel": f"{module}.Mixture{name}Model",
            "AutoModelForCausalLM": f"{module}.Mixture{name}ForCausalLM",
        },
        "mixture": made.table(),
        "mixture_base_type": base["model_type"],
        "mixture_activation": activation(base),
    }


def _of_ffn(name: str) -> bool:
    return ".mlp." in name and name.endswith(".weight") and name.split(".")[-2] in PROJECTIONS


def _experts(have: Parts, made: Built, writer: Writer, name: str, generator: torch.Generator) -> Tensor:
    """Add one matrix of all experts; the inner products of their task vectors."""
    count, stem = len(have.experts), name.removesuffix(".weight")
    if not made.form.shared:
        weights = have.weights(name)
        writer.add(name, weights)
        if made.form.rank:
            fresh = Vectors(count, weights.shape[2], weights.shape[1], made.form.rank)
            fresh.reset(generator)
            _add_vectors(writer, stem, fresh.a.detach(), fresh.b.detach())
        return torch.zeros(count, count, dtype=torch.float64)
    base = have.base.tensor(name)
    start = base.float()
    changes = torch.stack([have.change(i, name, start) for i in range(count)])
    low = [factors(change, made.form.rank) for change in changes]
    # A matrix smaller than the rank has fewer directions; the others stay zero.
    rank = made.form.rank
    a, b = torch.zeros(count, rank, start.shape[1]), torch.zeros(count, start.shape[0], rank)
    for i, each in enumerate(low):
        a[i, : each.a.shape[0]], b[i, :, : each.b.shape[1]] = each.a, each.b
        made.kept[have.names[i]].append(each.kept)
    writer.add(name, base)
    _add_vectors(writer, stem, a, b)
    flat = changes.flatten(1)
    return (flat @ flat.T).double()


def _add_vectors(writer: Writer, stem: str, a: Tensor, b: Tensor) -> None:
    """In float32: what training adds to them is small."""
    writer.add(stem + "_vectors.a", a)
    writer.add(stem + "_vectors.b", b)


def _router(writer: Writer, layer: str, base: Checkpoint, made: Form, generator: torch.Generator) -> None:
    """Start close to even routing."""
    hidden = base.config["hidden_size"]
    weight = torch.randn(made.experts, hidden, generator=generator) * ROUTER_SCALE
    writer.add(f"{layer}.mlp.router.weight", weight)
    if made.bias:
        writer.add(f"{layer}.mlp.router.bias", torch.zeros(made.experts))
    if made.literal:
        writer.add(f"{layer}.mlp.norm.weight", torch.ones(hidden))
        writer.add(f"{layer}.mlp.norm.bias", torch.zeros(hidden))


def base_of(constructed: Checkpoint) -> tuple[dict[str, Any], dict[str, Any]]:
    """All values of the base's configuration, and the mixture's form, from a construction's config.json."""
    config = dict(constructed.config)
    if "mixture" not in config:
        raise ConfigError(f"{constructed.folder}: not a fusion that h3eval made")
    mixture = config.pop("mixture")
    config["model_type"] = config.pop("mixture_base_type")
    config.pop("mixture_activation", None)
    return architecture.full(architecture.parsed(config, str(constructed.folder / "config.json"))), mixture
