"""`h3eval fuse`: several aligned models become one; `h3eval fuse align` makes them."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from h3eval.commands import modelpages
from h3eval.commands.activating import activate
from h3eval.errors import UsageError
from h3eval.fusion.aligning import align, alignment
from h3eval.fusion.ensembles import ensemble
from h3eval.fusion.fusing import fuse as make
from h3eval.fusion.settings import presets, settings
from h3eval.terminal import output, say


def fuse(args: argparse.Namespace) -> int:
    """Do what the words say: a configuration to fuse, or one of `WORDS`."""
    first, *others = args.words
    if first in WORDS:
        return WORDS[first](others, args)
    if others:
        raise UsageError(
            f"h3eval fuse: unexpected {' '.join(others)!r}: expected one configuration file, or a preset's name"
        )
    out = _out(args)
    asked = settings(first, args.set)
    if asked.method in ("h3fusion", "mocae"):
        make(asked, out, say, args.keep_work)
    else:
        ensemble(asked, out, say)
    output().print(f"model: {out}\nreport: {modelpages.write(out, 'fusion')}", markup=False)
    return 0


def _out(args: argparse.Namespace) -> Path:
    if not args.out:
        raise UsageError("h3eval fuse: --out is missing: the folder for the model")
    return Path(args.out)


def _presets(others: Sequence[str], args: argparse.Namespace) -> int:
    output().print("\n".join(presets()))
    return 0


def _align(others: Sequence[str], args: argparse.Namespace) -> int:
    out = _out(args)
    align(alignment(_one("align", others, "one configuration file, or a recipe's name"), args.set), out, say)
    say(f"report: {modelpages.write(out, 'fusion')}")
    return 0


def _activation(others: Sequence[str], args: argparse.Namespace) -> int:
    return activate(Path(_one("activation", others, "one folder, of a model that h3eval fuse has made")), args)


def _one(word: str, others: Sequence[str], what: str) -> str:
    if len(others) != 1:
        raise UsageError(f"h3eval fuse {word}: expected {what}")
    return others[0]


WORDS = {"presets": _presets, "align": _align, "activation": _activation}
