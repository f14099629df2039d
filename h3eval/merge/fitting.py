"""Do the models of a merge belong together? What differs beside the weights is told by name, or refused."""

from collections.abc import Container, Mapping, Sequence
from pathlib import Path

from h3eval.checkpoints import compatibility, tokenizers
from h3eval.checkpoints.tokenizers import VOCABULARY, Model, Ways
from h3eval.errors import ConfigError
from h3eval.merge.checkpoints import Checkpoint

HEAD = "lm_head.weight"
HEADS = "lm_head"
"""What `allow` names, to leave out heads of models whose reference has none."""
WAYS = Ways(
    rows="give both one tokenizer first, keep the base's rows (--embeddings base), or, knowing this, "
    f"--allow {VOCABULARY}",
    donor="--tokenizer {label} takes its tokenizer, template and generation settings",
    differing="make both the same, or, knowing this, --allow {key}",
)


def fit(
    result: tuple[str, Checkpoint], giver: tuple[str, Checkpoint], others: Mapping[str, Checkpoint | Path],
    rows: bool, allow: Container[str],
) -> list[str]:  # fmt: skip
    """Warnings, for the report, the card and the terminal. Raise ConfigError for models that don't belong together.

    `result` gives config.json and `giver` tokenizer, template and generation settings; `rows` tells whether rows of
    embeddings are merged.
    """
    whole = {label: model for label, model in (result, giver, *others.items()) if isinstance(model, Checkpoint)}
    for model in whole.values():
        compatibility.check_whole(model.folder, model.config, {name: t.dtype for name, t in model.tensors.items()})
    told = _heads(result, whole, allow)
    models = [_named(label, model) for label, model in others.items()]
    reference, donor = _named(*result), _named(*giver)
    told += compatibility.check(reference, [each for each in models if each.folder != reference.folder], allow, WAYS)
    rest = [each for each in (reference, *models) if each.folder != donor.folder]
    return told + tokenizers.check(donor, _once(rest), rows, allow, WAYS)


def _named(label: str, model: Checkpoint | Path) -> Model:
    if isinstance(model, Checkpoint):
        return Model(label, model.folder, model.config)
    return Model(label, model, {}, adapter=True)


def _once(models: Sequence[Model]) -> list[Model]:
    return list({each.folder: each for each in models}.values())


def _heads(result: tuple[str, Checkpoint], whole: Mapping[str, Checkpoint], allow: Container[str]) -> list[str]:
    """Heads that would be lost, or made of embeddings."""
    name, reference = result
    told = []
    for label, model in whole.items():
        own_head = HEAD in model.tensors and not model.tied
        if reference.tied and own_head:
            line = (
                f"head: {label} has a head of its own ({HEAD}), and in {name} output and input embeddings are one "
                f"matrix, as in the result: the head of {label} is left out"
            )
            if HEADS not in allow:
                raise ConfigError(f"{line}; untie {name} first, or, knowing this, --allow {HEADS}")
            told.append(line)
        elif HEAD in reference.tensors and not reference.tied and model.tied:
            told.append(
                f"head: {label} has no head of its own, and {name} has: its input embeddings are merged in place of one"
            )
    return told
