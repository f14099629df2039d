"""The command line: arguments to calls, and errors to one line. Loads a command when it is asked for."""

import argparse
import gc
import importlib
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from types import ModuleType

from h3eval import extras, registry, streams, variables
from h3eval.errors import H3evalError, MissingPackage

EPILOG = """exit codes: 0 done · 1 gate failed · 2 usage · 3 incomplete · 4 no sandbox · 5 provider stopped ·
6 disk or damaged store · 70 a fault of h3eval's own · 75 another process holds the run. Every flag may be written with
- or _; a flag whose help ends with a variable, as [H3EVAL_MODEL], takes its value from there where it is not given."""


VARIABLES: set[str] = set()
"""All that the flags of all commands may be given in."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit code."""
    streams.prepare()
    try:
        return streams.flushed(_run(argv))
    except SystemExit:
        # Of argparse: help, or a flag that is not understood.
        streams.flushed(0)
        raise


def _run(argv: Sequence[str] | None) -> int:
    arguments = [_dashed(argument) for argument in (sys.argv[1:] if argv is None else argv)]
    try:
        args = parser().parse_args(arguments)
        for told in variables.unread(frozenset(VARIABLES)):
            print(f"h3eval: {told}", file=sys.stderr)
        for folder in getattr(args, "include_path", None) or ():
            registry.include(folder)
        module, _, function = args.command.partition(":")
        command: Callable[[argparse.Namespace], int] = getattr(_loaded(f"h3eval.commands.{module}"), function)
        return command(args)
    except H3evalError as error:
        return streams.told(error)
    except KeyboardInterrupt:
        streams.tell("stopped")
        return 130
    except BrokenPipeError:
        return streams.broken()
    except Exception as error:  # noqa: BLE001 - the last net: an exit code of 1 would say that a gate has failed
        if (line := extras.explained(error)) is None:
            return streams.unforeseen(error)
        return streams.told(MissingPackage(line))


def _loaded(name: str) -> ModuleType:
    """A module, with all it imports, which stays until the process ends.

    The garbage collector is spared it: it would look at all of it time and again while it is loaded, and once more at
    the end, and finds nothing. That is a third of the time in which a command starts and stops. Not so where torch is
    loaded: its extensions complain at the end of what was not collected.
    """
    if name in sys.modules:
        return sys.modules[name]
    gc.disable()
    try:
        made = importlib.import_module(name)
        if "torch" not in sys.modules:
            gc.freeze()
    finally:
        gc.enable()
    return made


def _dashed(argument: str) -> str:
    """`--num_fewshot=5` as `--num-fewshot=5`; a word with a space is a value, as --run-flags takes."""
    flag, sign, value = argument.partition("=")
    return flag.replace("_", "-") + sign + value if flag.startswith("--") and " " not in flag else argument


def parser() -> argparse.ArgumentParser:
    """All commands and flags."""
    top = argparse.ArgumentParser(
        "h3eval",
        description="How helpful, honest and harmless is a model, and how sure are we?",
        epilog=EPILOG,
    )
    top.add_argument("--version", action="version", version=f"h3eval {version('h3eval')}")
    commands = top.add_subparsers(dest="name", required=True, metavar="COMMAND")
    _running(commands)
    _stored(commands)
    _importing(commands)
    _looking(commands)
    _comparing(commands)
    _calibrating(commands)
    _publishing(commands)
    _merging(commands)
    _fusing(commands)
    return top


Commands = argparse._SubParsersAction  # the type has no public name


def _command(
    commands: "Commands[argparse.ArgumentParser]", name: str, call: str, about: str
) -> argparse.ArgumentParser:
    made = commands.add_parser(name, help=about, description=about)
    made.set_defaults(command=call)
    return made


def _flag(to: argparse.ArgumentParser, name: str, **keys: object) -> None:
    """A flag whose default is its environment variable, where that is set."""
    VARIABLES.update(variables.names(name))
    to.add_argument(name, **variables.applied(name, keys))


def _running(commands: "Commands[argparse.ArgumentParser]") -> None:
    run = _command(commands, "run", "running:run", "generate, judge, score and report")
    generate = _command(commands, "generate", "running:run", "generate only; judge and score later")
    estimate = _command(commands, "estimate", "estimating:estimate", "requests, tokens and money; sends nothing")
    for each in (run, generate, estimate):
        _model_flags(each)
        _task_flags(each)
        _report_flags(each)
        each.set_defaults(generate_only=each is generate)
    judge = _command(commands, "judge", "running:judge", "judge a stored run; nothing is generated again")
    judge.add_argument("run", help="run folder")
    _judge_flag(judge)
    _report_flags(judge)


def _model_flags(to: argparse.ArgumentParser) -> None:
    _flag(to, "--model", required=True, help="path, hub id, demo, or BACKEND:MODEL (outputs:FILE, openai:NAME)")
    _flag(to, "--backend", help="transformers, vllm, openai, outputs, replay (default: vllm on a GPU)")
    _flag(to, "--model-args", help="KEY=VALUE,... for the backend (dtype, device, base_url, ...)")
    _flag(to, "--batch-size", help="requests a batch, or auto")
    _judge_flag(to)


def _judge_flag(to: argparse.ArgumentParser) -> None:
    to.add_argument(
        "--judge", action="append", default=[], metavar="ROLE=SPEC",
        help="who judges: ROLE=[JUDGE@]BACKEND:MODEL[,key=value] or ROLE=[JUDGE@]self, or ROLE=demo; JUDGE may "
        "be a rubric's .toml file; a role given several times is a panel",
    )  # fmt: skip
    _flag(to, "--judges", choices=["demo"], help="demo: the demo model in every role that is left, as a demonstration")
    to.add_argument(
        "--unsafe-code", action="store_true", help="run the model's programs without a sandbox (with H3EVAL_UNSAFE=1)"
    )
    _flag(to, "--max-cost", type=_dollars, help="US dollars all paid engines together may spend on this run")
    to.add_argument("--include-path", action="append", type=Path, default=[], help="folder with tasks or judges")


def _task_flags(to: argparse.ArgumentParser) -> None:
    _choosing_flags(to)
    _flag(to, "--max-answer-tokens", type=_count, help="cut answers at N tokens: for a first look, not for a score")
    _flag(to, "--data", choices=["demo", "real"], help="demo: the samples shipped with h3eval")
    to.add_argument("--apply-chat-template", action="store_true", help="ask lm-eval's tasks as chat")
    to.add_argument("--fewshot-as-multiturn", action="store_true", help="few-shot examples as turns of a chat")
    _flag(to, "--system-instruction", help="system message for lm-eval's tasks")
    _flag(to, "--seed", type=int, help="seed of sampled answers, for lm-eval's tasks; other protocols fix theirs")
    _flag(to, "--out", help="run folder (default: one under runs/ that the same command finds again)")


def _choosing_flags(to: argparse.ArgumentParser) -> None:
    _flag(to, "--suite", help="a suite's name or .toml file (see h3eval ls suites)")
    _flag(to, "--tasks", help="NAME[/PROTOCOL],... (see h3eval ls tasks)")
    _flag(to, "--limit", type=_limit, help="first N samples of each task, or a share below 1")
    _flag(to, "--data-dir", type=_folder, help="local copies of the data")
    _flag(to, "--num-fewshot", type=int, help="examples in the prompt, for lm-eval's tasks")


def _report_flags(to: argparse.ArgumentParser) -> None:
    _flag(to, "--format", help="report writers, comma-separated (default: all but exports; see h3eval ls reports)")
    _flag(to, "--report-dir", help="where reports go (default: the run folder)")
    _flag(to, "--max-failed", type=_share, default=0.02, help="share of unscored samples that is still complete")
    to.add_argument("--log-samples", action="store_true", help="accepted for lm-eval's sake: always done")


def _stored(commands: "Commands[argparse.ArgumentParser]") -> None:
    for name, about in (
        ("score", "measure a stored run again"),
        ("report", "write a stored run's reports again, or the page of what merge, fuse or sweep has made"),
    ):
        each = _command(commands, name, f"stored:{name}", about)
        each.add_argument("run", help="run folder")
        each.add_argument("--include-path", action="append", type=Path, default=[])
        each.add_argument("--card", action="append", default=[], help="a judge's card.json, made by h3eval calibrate")
        _report_flags(each)
        if name == "score":
            _labels_flags(each)
            _flag(each, "--labels", help="people's labels of the run's answers (see docs/calibration.md)")
            each.add_argument(
                "--transport",
                action="store_true",
                help="correct scores by the cards' error rates, assuming they hold here",
            )
    export = _command(commands, "export", "stored:export", "write a run's results in other forms")
    export.add_argument("run", help="run folder")
    export.add_argument("--format", required=True, help="report writers, comma-separated (see h3eval ls reports)")
    export.add_argument("--out", required=True, help="folder to write into")
    export.add_argument("--include-path", action="append", type=Path, default=[])
    recover = _command(commands, "recover", "recovering:recover", "save what can be read of a damaged run")
    recover.add_argument("run", help="run folder")
    recover.add_argument("--out", required=True, help="folder for the new run")


def _labels_flags(to: argparse.ArgumentParser) -> None:
    _flag(to, "--label-scores", help="WORD=SCORE,...: what labels mean that are not the judge's own words")
    to.add_argument(
        "--random-labels", action="store_true", help="the labelled items were drawn at random from the run's"
    )


def _calibrating(commands: "Commands[argparse.ArgumentParser]") -> None:
    about = "how far a judge agrees with people: a card of a run's verdicts, or of a judge on a labelled set"
    calibrate = _command(commands, "calibrate", "calibrating:calibrate", about)
    calibrate.add_argument("what", help="run folder, or [JUDGE@]BACKEND:MODEL to judge the answers of the labels' file")
    _flag(calibrate, "--role", help="the judge's role in the run, where there are several")
    _flag(calibrate, "--labels", required=True, help="people's labels (see docs/calibration.md)")
    _flag(calibrate, "--out", help="folder for card.json and card.html; of a judge, the run folder too")
    _flag(calibrate, "--max-cost", type=_dollars, help="US dollars that the judge may spend")
    calibrate.add_argument("--include-path", action="append", type=Path, default=[])
    _labels_flags(calibrate)


def _importing(commands: "Commands[argparse.ArgumentParser]") -> None:
    about = "make a run from existing judgments"
    top = commands.add_parser("import", help=about, description=about)
    sources = top.add_subparsers(dest="source", required=True, metavar="SOURCE")
    alpaca = _command(sources, "alpaca_eval", "importing:alpaca_eval", "AlpacaEval's outputs and annotations")
    alpaca.add_argument("--outputs", required=True, help="model_outputs.json")
    alpaca.add_argument("--annotations", required=True, help="annotations.json")
    xstest = _command(sources, "xstest", "importing:xstest", "XSTest completions with labels, from the authors' files")
    xstest.add_argument("--completions", required=True, help="csv file with id, type, prompt, completion and labels")
    xstest.add_argument("--judged", choices=["human", "gpt4", "strmatch"], default="human", help="whose labels to read")
    xstest.add_argument("--out", required=True, help="run folder")
    mt_bench = _command(sources, "mt_bench", "importing:mt_bench", "FastChat's file of single-answer judgments")
    mt_bench.add_argument("--judgments", required=True, help="gpt-4_single.jsonl")
    mt_bench.add_argument("--model", default="", help="whose rows, where the file holds several models")
    for each in (alpaca, mt_bench):
        each.add_argument("--out", required=True, help="run folder")
        _flag(each, "--data-dir", type=_folder, help="the benchmark's own files, where there are some")


def _looking(commands: "Commands[argparse.ArgumentParser]") -> None:
    ls = _command(commands, "ls", "showing:ls", "what there is")
    ls.add_argument("kind", choices=["tasks", "judges", "reports", "backends", "suites", "composites"])
    show = _command(commands, "show", "showing:show", "all about one plug-in or run")
    show.add_argument("kind", choices=["task", "judge", "report", "backend", "suite", "composite", "run"])
    show.add_argument("name", help="plug-in name, or run folder")
    doctor = _command(commands, "doctor", "showing:doctor", "what works on this machine, and where data is (--data)")
    doctor.add_argument(
        "--data", nargs="?", const="asked", choices=["demo", "real", "asked"], metavar="demo|real",
        help="say what each task would load, and from where; choose tasks as for h3eval run, or all are looked at",
    )  # fmt: skip
    _choosing_flags(doctor)
    for each in (ls, show, doctor):
        each.add_argument("--include-path", action="append", type=Path, default=[])


def _comparing(commands: "Commands[argparse.ArgumentParser]") -> None:
    compare = _command(commands, "compare", "comparing:compare", "how a run differs from another on the same items")
    compare.add_argument("old", help="run folder to compare with")
    compare.add_argument("new", help="run folder")
    compare.add_argument("--all", action="store_true", help="every metric, not only the primary ones")
    gate = _command(commands, "gate", "comparing:gate", "may this model ship? 0 pass, 1 fail, 3 inconclusive")
    gate.add_argument("new", help="run folder")
    _flag(gate, "--baseline", required=True, help="run folder to compare with")
    _flag(gate, "--policy", required=True, help="what to watch and how much may be lost (.toml)")
    _flag(gate, "--junit", help="write the outcome as a JUnit file")
    gate.add_argument(
        "--anchors", nargs=2, metavar=("OLD", "NEW"),
        help="two runs of the same answers, judged at the time of the baseline and now: tells judge drift from change",
    )  # fmt: skip
    for each in (compare, gate):
        _flag(each, "--out", help="folder for comparison.json and gate.json")
        each.add_argument("--html", metavar="FILE", help="write the comparison with both answers of all that changed")
        each.add_argument(
            "--labels", nargs=2, metavar=("OLD", "NEW"),
            help="people's labels of the two runs' answers: corrects the difference of the judged scores",
        )  # fmt: skip
        _labels_flags(each)
        each.add_argument("--include-path", action="append", type=Path, default=[])


def _publishing(commands: "Commands[argparse.ArgumentParser]") -> None:
    site = _command(commands, "leaderboard", "leaderboard:site", "a static site of many runs")
    site.add_argument("runs", nargs="+", metavar="RUN", help="run folder with results.json")
    site.add_argument("--out", required=True, help="folder for the site")
    site.add_argument(
        "--published", action="append", default=[], metavar="FILE",
        help="CSV of numbers that others have published: names, then numbers; shown apart from what was measured",
    )  # fmt: skip
    site.add_argument("--lower", metavar="COLUMN,...", help="columns of --published whose lower values are better")
    site.add_argument("--include-path", action="append", type=Path, default=[])
    nightly = _command(commands, "nightly", "nightly:nightly", "run suites for models, gate them, and write the site")
    nightly.add_argument("config", metavar="CONFIG.toml", help="what to run, and what to gate (see docs/nightly.md)")
    nightly.add_argument("--night", help="the night's name (default: today's date, UTC)")
    nightly.add_argument("--include-path", action="append", type=Path, default=[])


def _merging(commands: "Commands[argparse.ArgumentParser]") -> None:
    merge = _command(commands, "merge", "merging:merge", "several checkpoints into one; see docs/merge.md")
    merge.add_argument("config", nargs="?", help="recipe (.yaml), h3eval's or mergekit's; or use the flags")
    merge.add_argument("--method", help="ties, dare_ties, model_stock, r_tsvm, ...")
    merge.add_argument("--base", help="the model that all others were trained from: folder or hub id")
    merge.add_argument(
        "--model", action="append", default=[], metavar="PATH[,weight=W,density=D,...]",
        help="a model, or a LoRA adapter of the base: folder or hub id; once for each",
    )  # fmt: skip
    merge.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a parameter for all models")
    merge.add_argument("--out", help="the result's folder: must not exist, or be empty")
    merge.add_argument("--seed", type=int, help="for random masks (default: the recipe's, or 0)")
    merge.add_argument("--dtype", help="bfloat16, float16 or float32 (default: the base's)")
    merge.add_argument("--tokenizer", help="whose tokenizer: base, or a model's name")
    merge.add_argument("--embeddings", help="where vocabularies differ: refuse, intersect or base")
    merge.add_argument(
        "--allow", action="append", metavar="NAME", help="merge in spite of this difference; refusals name them"
    )
    merge.add_argument("--shard-size", help="largest weights file, as 5GB (default: as the base's)")
    _flag(merge, "--threads", type=_count, help="processors to use (default: all); the result is the same")
    merge.add_argument(
        "--device", choices=("auto", "cpu", "cuda"), default="auto",
        help="where tsvm and r_tsvm decompose matrices (default: a GPU if there is one)",
    )  # fmt: skip
    merge.add_argument(
        "--check", action="store_true",
        help="load the result with transformers before it gets its name, and compare its logits with its parents'",
    )  # fmt: skip
    merge.add_argument("--no-page", action="store_true", help="write no merge_report.html (h3eval report DIR does)")
    merge.add_argument("--dry-run", action="store_true", help="check everything, and say what would be done")
    sweep = _command(commands, "sweep", "sweeping:sweep", "merge at many points, evaluate each, keep the unbeaten")
    sweep.add_argument("config", help="a recipe and what to vary (.toml); see docs/merge.md")
    sweep.add_argument("--suite", help="what to evaluate: as for h3eval run")
    sweep.add_argument("--tasks", help="what to evaluate: as for h3eval run")
    sweep.add_argument("--run-flags", help="more flags for h3eval run, in one word: '--limit 50 --judge ...'")
    sweep.add_argument("--out", required=True, help="the sweep's folder; repeat the command to go on in it")
    sweep.add_argument("--keep-all", action="store_true", help="keep also the models that others beat on every axis")


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text}: a whole number from 1 up")
    return value


def _fusing(commands: "Commands[argparse.ArgumentParser]") -> None:
    fuse = _command(commands, "fuse", "fusing:fuse", "several aligned models become one (see docs/fusion.md)")
    fuse.usage = (
        "h3eval fuse [align] CONFIG --out DIR [--set KEY=VALUE ...] [--keep-work]\n       "
        "h3eval fuse activation DIR --run RUN\n       h3eval fuse presets"
    )
    fuse.add_argument(
        "words", nargs="+", metavar="CONFIG",
        help="a .toml file or a preset's name; after the word align, one that makes an expert; after the word "
        "activation, a fused model's folder; or the word presets",
    )  # fmt: skip
    _flag(fuse, "--out", help="folder for the model")
    fuse.add_argument("--run", help="for activation: a run of that model, whose report then shows whom it asked")
    fuse.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="as in training.steps=100")
    fuse.add_argument("--keep-work", action="store_true", help="keep the constructions and checkpoints in DIR/work")


def _limit(text: str) -> float:
    value = float(text)
    if not (value >= 1 and value.is_integer()) and not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"{text}: a whole number from 1 up, or a share between 0 and 1")
    return int(value) if value >= 1 else value


def _dollars(text: str) -> float:
    value = float(text)
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text}: an amount of US dollars from 0 up")
    return value


def _share(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text}: a share between 0 and 1")
    return value


def _folder(text: str) -> Path:
    folder = Path(text)
    if not text.strip() or not folder.is_dir():
        raise argparse.ArgumentTypeError(f"{text}: no such folder")
    return folder


if __name__ == "__main__":
    sys.exit(main())
