"""ARC-Challenge: science questions for schools that simple methods get wrong.

Protocol `lm-eval`, its own task: each option is scored as the continuation of the question; no examples unless
`--num_fewshot` says so; 1,172 test questions. Protocol `letters-dev` shows the options, on development questions.
Paper: https://arxiv.org/abs/1803.05457; data: allenai/ai2_arc.
"""

from ._arc_letters import letters
from ._lm_eval import Bridge, lm_eval_task
from ._lm_eval_files import ROOT

LM_EVAL = lm_eval_task(
    Bridge(ROOT / "arc" / "arc_challenge.yaml", primary="acc_norm,none", demo="arc_challenge"),
    name="arc_challenge",
    about="Science questions, each option's likelihood divided by its length (lm-eval; arXiv 1803.05457).",
    notes=(
        "Options are not shown to the model but scored one by one; models that see all options and name a "
        "letter score very differently. Published numbers are often 25-shot: --num_fewshot 25.",
    ),
)
TASK = (LM_EVAL, letters("arc_challenge", "Challenge", 295))
