"""`recover`: what can still be read of a damaged run, as a new run."""

from argparse import Namespace
from pathlib import Path

from h3eval.recovery import recover as recover_run
from h3eval.terminal import say

INCOMPLETE = 3


def recover(args: Namespace) -> int:
    """Save what is whole, and say what is lost: 0 where nothing is known to be, else 3."""
    out = Path(args.out)
    done = recover_run(Path(args.run), out)
    say(f"saved: {done.tasks} tasks with {done.samples} samples, {done.answers} answers: {out}")
    if done.lost:
        say(f"lost: {done.lost} answers; repeat the run's command with --out {out}, and they are asked for again")
    if done.unpriced:
        say(f"lost: what {done.unpriced} of the saved answers cost")
    return INCOMPLETE if done.lost or done.unpriced else 0
