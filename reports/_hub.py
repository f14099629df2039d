"""Where models and data sets live on the Hugging Face Hub, for exports that name them to others."""

from h3eval.text import digest
from h3eval.types import Run, TaskResult

from ._shared import identity, safe_name

DATASETS = {
    "alpaca_eval": "tatsu-lab/alpaca_eval",
    "arc_challenge": "allenai/ai2_arc",
    "arc_easy": "allenai/ai2_arc",
    "beavertails": "PKU-Alignment/BeaverTails",
    "beavertails/pku-700": "PKU-Alignment/BeaverTails-Evaluation",
    "gsm8k": "openai/gsm8k",
    "math": "EleutherAI/hendrycks_math",
    "math/math500": "HuggingFaceH4/MATH-500",
    "mmlu": "cais/mmlu",
    "mt_bench": "lighteval/mt-bench",
    "or_bench": "bench-llm/or-bench",
    "saladbench": "OpenSafetyLab/Salad-Data",
    "truthfulqa": "truthfulqa/truthful_qa",
    "truthfulqa_mc": "truthfulqa/truthful_qa",
    "truthfulqa_mc/binary": "sylinrl/TruthfulQA",
    "xstest": "Paul/XSTest",
}
"""Task, or one protocol of it, to the data set that tasks/ or lm-eval reads it from."""
SUBSET = "-subset"
"""Where the mark of a subset begins in a protocol."""
RESERVED = "data"


def on_demo_data(run: Run) -> bool:
    """Was the run made on h3eval's own few samples? Its numbers are no benchmark's."""
    options = run.manifest.get("options") or {}
    return bool(options.get("data") == "demo")


def dataset(run: Run, result: TaskResult) -> str | None:
    """The data set's repository; None where there is none, or the samples are the demo's."""
    if on_demo_data(run):
        return None
    protocol = result.protocol.partition(SUBSET)[0]
    return DATASETS.get(f"{result.task}/{protocol}") or DATASETS.get(result.task)


def revision(run: Run, repository: str) -> str | None:
    """The commit that was read, where the samples came from the Hub itself and not from a local copy."""
    read = run.manifest.get("data") or {}
    found = {commit for key, commit in read.items() if key.startswith(f"hub:{repository}:")}
    return found.pop() if len(found) == 1 else None


def model_name(run: Run) -> str:
    """`owner/name`. A model in a folder, or behind an API, gets its backend as owner; the folder is not told."""
    backend, _, rest = run.model.partition(":")
    if not backend.isidentifier():
        backend, rest = "local", run.model
    parts = (rest or backend).partition(",")[0].strip().rstrip("/").split("/")
    if len(parts) == 2 and all(_portable(part) for part in parts):
        return "/".join(parts)
    name = parts[-1] if _portable(parts[-1]) else safe_name(parts[-1])
    return f"{backend if rest and _portable(backend) else 'local'}/{name}"


def _portable(name: str) -> bool:
    return safe_name(name) == name and name != RESERVED


def fingerprint(run: Run) -> str:
    """Digest of what the run is and of every number it has: another judge, another digest."""
    numbers = [
        (identity(result), each.metric, each.value, each.n) for result in run.results for each in result.estimates
    ]
    return digest(repr((run.model, dict(run.manifest), numbers)))
