"""Do several models mean the same by a token's number, a turn of a chat, an end of an answer? Files alone are read.

A merged or fused model gets one model's tokenizer, template and generation settings. Where the others' differ, that
is said by name; where a number means another token elsewhere, rows of embeddings that have nothing in common would be
averaged, and that is refused.
"""

import hashlib
import json
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from h3eval.config import read_json
from h3eval.errors import ConfigError

SHOWN = 5
NONE = "none"
PIECES = ("tokenizer.model", "spiece.model", "sentencepiece.bpe.model")
SAME_FILES = (*PIECES, "tekken.json", "tiktoken.model", "qwen.tiktoken")
"""What is compared by its bytes where there is no tokenizer.json."""
SECTIONS = ("normalizer", "pre_tokenizer", "post_processor", "decoder")
SPECIAL = ("bos_token", "eos_token", "pad_token", "unk_token", "sep_token", "cls_token", "mask_token")
EXTRA = ("additional_special_tokens", "extra_special_tokens")
ENDS = {"eos_token_id": "end tokens", "bos_token_id": "start token", "pad_token_id": "padding token"}
SAVED = {
    "added_tokens_decoder", "backend", "chat_template", "device_map", "files_loaded", "fix_mistral_regex", "is_local",
    "local_files_only", "max_length", "model_input_names", "name_or_path", "pad_to_multiple_of", "processor_class",
    "special_tokens_map_file", "stride", "tokenizer_file", "truncation_strategy", "use_fast", *SPECIAL, *EXTRA,
}  # fmt: skip
"""tokenizer_config.json's keys that say how it was saved, or that are compared on their own."""
GENERATION_SAVED = {"transformers_version", "use_cache", "return_dict_in_generate", *ENDS}
VOCABULARY = "vocabulary"
"""What `allow` names, to merge rows of different tokens knowingly."""


@dataclass(frozen=True)
class Model:
    """A model, or an adapter of one, that goes into a result."""

    label: str
    folder: Path
    config: Mapping[str, Any]
    adapter: bool = False


@dataclass(frozen=True)
class Ways:
    """What a user can do about differences, in the words of the command that met them."""

    rows: str
    """Where rows of different tokens would be merged."""
    donor: str = ""
    """To have another model's tokenizer, `{label}`; empty where there is no way."""
    differing: str = ""
    """Where configurations differ in `{key}`."""


@dataclass(frozen=True)
class Tokenizer:
    """What a folder says of tokens."""

    model: Model
    tokens: Mapping[int, str]
    """Empty where the folder holds no vocabulary that can be read."""
    facts: Mapping[str, Any]
    """All else, by name; what is missing has no name here."""
    present: bool
    """Is there any tokenizer at all?"""


def check(result: Model, others: Sequence[Model], rows: bool, allow: Container[str], ways: Ways) -> list[str]:
    """Warnings where others' tokenizers differ from the result's.

    Raise ConfigError where rows of embeddings are merged and a number means another token, unless that is allowed.
    """
    own = read(result)
    read_ = [read(each) for each in others]
    # An adapter's folder need not hold a tokenizer: it has its base's.
    given = [each for each in read_ if each.present or not each.model.adapter]
    told = _present(own, given, ways)
    have = [each for each in (own, *given) if each.tokens]
    for each in have[1:]:
        told += _vocabulary(have[0], each, ways.rows if rows and VOCABULARY not in allow else "")
    return told + list(_facts(own, [each for each in given if each.present], ways))


def _present(own: Tokenizer, others: Sequence[Tokenizer], ways: Ways) -> list[str]:
    having = [each.model.label for each in others if each.present]
    lacking = [each.model.label for each in others if not each.present]
    if not own.present and having:
        return [
            f"tokenizer: {own.model.label}, whose the result gets, has none, and {_and(having)} one: the result has "
            f"none{_donor(others, ways)}"
        ]
    unread = [each.model.label for each in (own, *others) if each.present and not each.tokens]
    if unread:
        return [f"vocabulary: that of {_and(unread)} can't be read here: whether token ids mean the same is not known"]
    if own.present and lacking:
        return [f"tokenizer: {_and(lacking)} without one: whether token ids mean the same there is not known"]
    return []


def _vocabulary(own: Tokenizer, other: Tokenizer, refusal: str) -> Iterator[str]:
    """What differs. Raise ConfigError with the refusal, where there is one, for a number that means two tokens."""
    ours, theirs = own.model.label, other.model.label
    moved = sorted(at for at in own.tokens.keys() & other.tokens.keys() if own.tokens[at] != other.tokens[at])
    if moved:
        first = ", ".join(f"{at} is {own.tokens[at]!r} and {other.tokens[at]!r}" for at in moved[:SHOWN])
        what = f"vocabulary: {len(moved)} token ids mean other tokens in {ours} and in {theirs}: {first}"
        if len(moved) > SHOWN:
            what += " and so on"
        if refusal:
            raise ConfigError(f"{what}: rows of different tokens would be merged; {refusal}")
        yield what
    for left, right in ((own, other), (other, own)):
        if only := sorted(left.tokens.keys() - right.tokens.keys()):
            first = ", ".join(f"{at} {left.tokens[at]!r}" for at in only[:SHOWN])
            yield (
                f"vocabulary: {len(only)} tokens of {left.model.label} are none of {right.model.label}: {first}; the "
                f"result has the tokenizer of {ours}"
            )


def _facts(own: Tokenizer, others: Sequence[Tokenizer], ways: Ways) -> Iterator[str]:
    """What differs, each with all values and whose the result's is."""
    names = dict.fromkeys(name for each in (own, *others) for name in each.facts)
    for name in names:
        by_value: dict[str, list[str]] = {}
        for each in others:
            if each.model.adapter and name not in each.facts:
                continue
            if not _equal(each.facts.get(name), own.facts.get(name)):
                by_value.setdefault(_shown(name, each), []).append(each.model.label)
        if by_value:
            differing = "; ".join(f"{value} in {_and(labels)}" for value, labels in by_value.items())
            cure = _donor(others, ways) if name in ("chat template", *ENDS.values()) else ""
            yield f"{name}: {_shown(name, own)} in {own.model.label}, as in the result; {differing}{cure}"


def _donor(others: Sequence[Tokenizer], ways: Ways) -> str:
    whole = [each.model.label for each in others if each.present and not each.model.adapter]
    return f" ({ways.donor.format(label=whole[0])})" if whole and ways.donor else ""


def _equal(one: Any, other: Any) -> bool:
    """Off, empty and missing are the same."""
    return (one or None) == (other or None)


def _shown(name: str, tokenizer: Tokenizer) -> str:
    value = tokenizer.facts.get(name)
    if value in (None, [], ""):
        return NONE
    if name == "chat template":
        return f"one of {len(value)} characters (sha256 {_hash(value)})"
    if name in ENDS.values():
        return " ".join(f"{at} {tokenizer.tokens[at]!r}" if at in tokenizer.tokens else str(at) for at in value)
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else f"{text[:60]}... (sha256 {_hash(text)})"


def _and(labels: Sequence[str]) -> str:
    return " and ".join(", ".join(labels).rsplit(", ", 1))


def _hash(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:12]


def read(model: Model) -> Tokenizer:
    """What a folder's files say. Raise ConfigError for one that can't be read."""
    core, settings = _json(model.folder, "tokenizer.json"), _settings(model.folder)
    tokens = _tokens(model.folder, core, settings)
    kept = {name: _file_hash(model.folder / name) for name in SAME_FILES if (model.folder / name).is_file()}
    facts: dict[str, Any] = {"chat template": template(model.folder, settings)}
    if not model.adapter:
        facts |= dict(_ends(model))
    # Where tokenizer.json is, it is read, and what it was made from is not.
    facts |= kept if not core else dict(_core(core))
    facts |= {f"special tokens: {key}": _content(settings.get(key)) for key in SPECIAL}
    facts["special tokens: others"] = _extra(settings)
    facts |= {f"tokenizer_config.json: {key}": value for key, value in settings.items() if key not in SAVED}
    if not model.adapter:
        facts |= dict(_generation(model.folder))
    return Tokenizer(model, tokens, _given(facts), bool(tokens or kept))


def _given(facts: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in facts.items() if value not in (None, [], "")}


def template(folder: Path, settings: Mapping[str, Any]) -> str:
    """A folder's chat templates as one text, in the order in which transformers looks for them; empty for none."""
    files = [folder / "chat_template.jinja", *sorted(folder.glob("chat_templates/*.jinja"))]
    found = [file.read_text(encoding="utf-8", errors="replace") for file in files if file.is_file()]
    if found:
        return "\n".join(found)
    given = settings.get("chat_template")
    if isinstance(given, list):
        given = {str(each.get("name")): each.get("template") for each in given if isinstance(each, dict)}
    if isinstance(given, dict):
        return given["default"] if list(given) == ["default"] else json.dumps(given, sort_keys=True)
    return str(given or "")


def _json(folder: Path, name: str) -> dict[str, Any]:
    return read_json(folder / name) if (folder / name).is_file() else {}


def _settings(folder: Path) -> dict[str, Any]:
    return {**_json(folder, "special_tokens_map.json"), **_json(folder, "tokenizer_config.json")}


def _tokens(folder: Path, core: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[int, str]:
    """Token by number, from whichever files there are."""
    model = core.get("model") or {}
    listed = model.get("vocab") if isinstance(model, dict) else None
    if isinstance(listed, list):
        made = {at: str(entry[0]) for at, entry in enumerate(listed) if isinstance(entry, list) and entry}
    else:
        made = _turned(listed or _json(folder, "vocab.json"))
    made = made or _listed(folder)
    made |= _turned(_json(folder, "added_tokens.json"))
    added = core.get("added_tokens")
    made |= {each["id"]: each["content"] for each in added or [] if isinstance(each, dict) and _token(each)}
    decoder = settings.get("added_tokens_decoder")
    for at, each in (decoder if isinstance(decoder, dict) else {}).items():
        if str(at).isdecimal() and (content := _content(each)):
            made[int(at)] = content
    return made


def _listed(folder: Path) -> dict[int, str]:
    """Tokens by their places in a list: WordPiece's lines, or SentencePiece's model."""
    lines = folder / "vocab.txt"
    if lines.is_file():
        return dict(enumerate(lines.read_text(encoding="utf-8", errors="replace").splitlines()))
    file = next((folder / name for name in PIECES if (folder / name).is_file()), None)
    return dict(enumerate(_pieces(file.read_bytes()))) if file else {}


def _pieces(data: bytes) -> list[str]:
    """The pieces of a SentencePiece model (a protocol buffer whose field 1 has one piece each, whose field 1 is its
    text); none of another file."""
    try:
        messages = [value for field, value in _fields(data) if field == 1]
        return [next(text for field, text in _fields(each) if field == 1).decode() for each in messages]
    except (IndexError, StopIteration, UnicodeDecodeError):
        return []


def _fields(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Numbers and bytes of a message's fields of variable length. Raise IndexError for what is no message."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        kind = tag & 7
        if kind == 0:
            _, at = _varint(data, at)
        elif kind in (1, 5):
            at += 8 if kind == 1 else 4
        elif kind == 2:
            size, at = _varint(data, at)
            if at + size > len(data):
                raise IndexError(at)
            yield tag >> 3, data[at : at + size]
            at += size
        else:
            raise IndexError(at)


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value, shift, at = value | (byte & 127) << shift, shift + 7, at + 1
        if byte < 128 or shift > 63:
            return value, at


def _token(entry: Mapping[str, Any]) -> bool:
    return isinstance(entry.get("id"), int) and isinstance(entry.get("content"), str)


def _turned(vocabulary: Any) -> dict[int, str]:
    """Token by number, from number by token."""
    given = vocabulary if isinstance(vocabulary, dict) else {}
    return {at: str(token) for token, at in given.items() if isinstance(at, int)}


def _core(core: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """tokenizer.json without its vocabulary, by digest: how text is cut into tokens."""
    for section in SECTIONS:
        if core.get(section):
            yield f"tokenizer.json: {section}", _hash(core[section])
    model = core.get("model")
    for key, value in sorted((model if isinstance(model, dict) else {}).items()):
        # Dropout is of training alone; merges of both forms are the same.
        if key == "merges":
            pairs = [" ".join(each) if isinstance(each, list) else each for each in value or []]
            yield "tokenizer.json: merges", _hash(pairs)
        elif key not in ("vocab", "dropout") and value:
            yield f"tokenizer.json: model.{key}", value
    how = {
        each["content"]: {key: value for key, value in each.items() if key not in ("id", "content") and value}
        for each in core.get("added_tokens") or []
        if isinstance(each, dict) and _token(each)
    }
    if how:
        yield "tokenizer.json: how added tokens are found", _hash(how)


def _content(token: Any) -> str | None:
    made = token.get("content") if isinstance(token, dict) else token
    return made if isinstance(made, str) else None


def _extra(settings: Mapping[str, Any]) -> list[str]:
    found = set()
    for key in EXTRA:
        given = settings.get(key) or []
        found |= {_content(each) for each in (given.values() if isinstance(given, dict) else given)}
    return sorted(each for each in found if each)


def _ends(model: Model) -> Iterator[tuple[str, Any]]:
    """Which ids end an answer, start a text and fill a batch: the generation settings', else the configuration's."""
    generation = _json(model.folder, "generation_config.json")
    inner = model.config.get("text_config")
    text = inner if isinstance(inner, Mapping) else {}
    for key, name in ENDS.items():
        for shown, places in ((name, (generation, model.config, text)), (f"config.json: {key}", (model.config, text))):
            value = next((held[key] for held in places if held.get(key) is not None), None)
            yield shown, sorted(value) if isinstance(value, list) else [] if value is None else [value]


def _generation(folder: Path) -> Iterator[tuple[str, Any]]:
    for key, value in _json(folder, "generation_config.json").items():
        if key not in GENERATION_SAVED and not key.startswith(("_", "output_")):
            yield f"generation_config.json: {key}", value


def _file_hash(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
