"""`nightly`: run, gate, remember, publish. Every step is a command of h3eval's own, in a process of its own."""

from argparse import Namespace
from dataclasses import replace
from pathlib import Path

from h3eval import nightly as plan
from h3eval.commands import children, leaderboard
from h3eval.nightly import Config, Model, Night
from h3eval.terminal import say

USABLE = (0, plan.INCOMPLETE)


def nightly(args: Namespace) -> int:
    """One night of every model; the gate's exit code."""
    config = plan.read_config(Path(args.config))
    night = plan.tonight(args.night)
    include = [flag for folder in args.include_path for flag in ("--include-path", str(folder.resolve()))]
    for model in config.models:
        # A baseline that is not there must be known before anything is paid for.
        plan.baseline_of(model, night, [], config.history.parent)
    done, codes = [], []
    for model in config.models:
        found, code = _model(config, model, night, include)
        plan.append(config.history, found)
        say(f"{night} {model.name}: {found.outcome}")
        done.append(found)
        codes.append(code)
    _publish(config)
    return plan.exit_code(done, codes)


def _model(config: Config, model: Model, night: str, include: list[str]) -> tuple[Night, int]:
    """Run and gate one model; what was found, and the exit code of what went least well."""
    home, out = config.history.parent, config.runs / night / model.name
    say(f"{night} {model.name}: running")
    code = children.h3eval("run", *model.flags, "--out", str(out), *include)
    place = _relative(out, home)
    if code not in USABLE:
        return Night(night, model.name, model.flags[1], place, code, "error"), code
    numbers = tuple(plan.numbers(out))
    found = Night(night, model.name, model.flags[1], place, code, "ungated", numbers=numbers)
    if model.policy is None:
        return found, code
    baseline = plan.baseline_of(model, night, plan.read_history(config.history), home)
    if baseline is None:
        return replace(found, outcome="first"), code
    return _gated(config, model, found, baseline, include)


def _gated(config: Config, model: Model, found: Night, baseline: Path, include: list[str]) -> tuple[Night, int]:
    """The night with the gate's outcome."""
    home, out = config.history.parent, config.runs / found.night / model.name
    page = f"comparisons/{found.night}-{model.name}.html" if config.comparisons else ""
    shown = config.site / page if page else out / "comparison.html"
    code = children.h3eval(
        "gate", str(out), "--baseline", str(baseline), "--policy", str(model.policy), "--out", str(out),
        "--junit", str(out / "junit.xml"), "--html", str(shown), *include,
    )  # fmt: skip
    outcome = plan.OUTCOMES.get(code, "error")
    found = replace(found, outcome=outcome, baseline=_relative(baseline, home))
    if outcome == "error":
        return found, code
    if page:
        # It is part of a site, which others read.
        shown.chmod(0o644)
    failed, unsure = plan.checks(out / "gate.json")
    return replace(found, page=page, failed=failed, unsure=unsure), code


def _publish(config: Config) -> None:
    """The site: each model's last run, and all nights."""
    history = plan.read_history(config.history)
    home = config.history.parent
    last = {night.name: home / night.run for night in history if night.numbers}
    runs = [folder for folder in last.values() if (folder / "results.json").is_file()]
    if runs:
        files = leaderboard.write(runs, config.site, nights=[plan.plain(night) for night in history])
        say(f"site: {files[0].resolve()}")


def _relative(folder: Path, home: Path) -> str:
    """The folder as the history names it: below its own, where it lies there."""
    whole = folder.resolve()
    return str(whole.relative_to(home.resolve())) if whole.is_relative_to(home.resolve()) else str(whole)
