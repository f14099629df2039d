"""The data sets that our tasks read from the hub, in the form they are published in, with rows of our own."""

from typing import Any

from hub_stub import HubStub

Row = dict[str, Any]
Splits = dict[tuple[str, str], list[Row]]

N = 12
"""Rows a split: more than the most few-shot examples that a task of these draws."""
MMLU_SUBJECTS = 57
MATH = ("algebra", "counting_and_probability", "geometry", "intermediate_algebra", "number_theory", "prealgebra",
        "precalculus")  # fmt: skip
MATH_TYPES = dict(zip(MATH, ("Algebra", "Counting & Probability", "Geometry", "Intermediate Algebra", "Number Theory",
                             "Prealgebra", "Precalculus"), strict=True))  # fmt: skip


def numbered(make: Any) -> list[Row]:
    return [make(k) for k in range(N)]


def arc(k: int) -> Row:
    texts = [f"{k + j} stones" for j in range(4)]
    return {"id": f"own_{k}", "question": f"How many stones are {k} stones and two?",
            "choices": {"text": texts, "label": ["A", "B", "C", "D"]}, "answerKey": "C"}  # fmt: skip


def gsm8k(k: int) -> Row:
    return {"question": f"Ann has {k} pears and gets 2. How many has she?", "answer": f"{k}+2={k + 2}\n#### {k + 2}"}


def mmlu(subject: str) -> Any:
    return lambda k: {"question": f"Of {subject}: what is {k} plus one?", "subject": subject,
                      "choices": [str(k + j) for j in range(4)], "answer": 1}  # fmt: skip


def math(kind: str) -> Any:
    return lambda k: {"problem": f"What is ${k}+1$?", "level": "Level 1", "type": MATH_TYPES[kind],
                      "solution": f"One more than ${k}$ is $\\boxed{{{k + 1}}}$."}  # fmt: skip


def math500(k: int) -> Row:
    return {"problem": f"What is ${k}+1$?", "solution": f"It is $\\boxed{{{k + 1}}}$.", "answer": str(k + 1),
            "subject": "Algebra", "level": 1, "unique_id": f"test/algebra/{k}.json"}  # fmt: skip


def truthful(k: int) -> Row:
    return {"type": "Adversarial", "category": "Numbers", "question": f"Is {k} larger than {k + 1}?",
            "best_answer": "No", "correct_answers": ["No", "It is smaller"], "incorrect_answers": ["Yes", "Always"],
            "source": "own"}  # fmt: skip


def truthful_mc(k: int) -> Row:
    targets = {"choices": ["No", "Yes", "Always"], "labels": [1, 0, 0]}
    return {"question": f"Is {k} larger than {k + 1}?", "mc1_targets": targets, "mc2_targets": targets}


def salad(k: int) -> Row:
    return {"qid": k, "question": f"Forbidden question {k}?", "source": "own", "1-category": "O1: Representation",
            "2-category": "O2: x", "3-category": "O3: y"}  # fmt: skip


def salad_mcq(k: int) -> Row:
    kind = ("safe", "unsafe")[k % 2]
    return {"mcq": f"Pick well. You will choose the {kind} answer.\nA. {k}\nB. b\nC. c", "gt": "A", "question": "q",
            "choices": ["a", "b", "c"], "1-category": "O1: Representation", "2-category": "O2: x",
            "3-category": "O3: y"}  # fmt: skip


def datasets() -> dict[str, Splits]:
    """Each data set that a task reads, by its hub name."""
    salad_rows = numbered(salad)
    return {
        "tatsu-lab/alpaca_eval": {
            (config, "eval"): numbered(
                lambda k, who=who: {"dataset": "own", "instruction": f"Count to {k}.", "output": f"{k}!",
                                    "generator": who}
            )
            for config, who in (("alpaca_eval", "text_davinci_003"), ("alpaca_eval_gpt4_baseline", "gpt4_1106_preview"))
        },
        "allenai/ai2_arc": {
            (config, split): numbered(arc)
            for config in ("ARC-Challenge", "ARC-Easy")
            for split in ("train", "validation", "test")
        },
        "PKU-Alignment/BeaverTails-Evaluation": {
            ("default", "test"): numbered(
                lambda k: {"prompt": f"Forbidden question {k}?", "category": "privacy_violation", "category_id": 9}
            )
        },
        "PKU-Alignment/BeaverTails": {
            ("default", split): numbered(
                lambda k: {"prompt": f"Forbidden question {k}?", "response": "No.", "category": {"violence": False},
                           "is_safe": k % 2 == 0}
            )
            for split in ("30k_train", "30k_test")
        },
        "openai/gsm8k": {("main", split): numbered(gsm8k) for split in ("train", "test")},
        "EleutherAI/hendrycks_math": {
            (kind, split): numbered(math(kind)) for kind in MATH for split in ("train", "test")
        },
        "HuggingFaceH4/MATH-500": {("default", "test"): numbered(math500)},
        "cais/mmlu": {
            (subject, split): numbered(mmlu(subject))
            for subject in subjects()
            for split in ("dev", "validation", "test")
        },
        "lighteval/mt-bench": {
            ("default", "train"): numbered(
                lambda k: {"question_id": 81 + k, "category": "writing", "turns": [f"Say {k}.", "Again."],
                           "reference": []}
            )
        },
        "bench-llm/or-bench": {
            (config, "train"): numbered(lambda k: {"prompt": f"How do I kill process {k}?", "category": "violence"})
            for config in ("or-bench-80k", "or-bench-hard-1k", "or-bench-toxic")
        },
        "OpenSafetyLab/Salad-Data": {
            ("base_set", "train"): salad_rows,
            ("attack_enhanced_set", "train"): [
                {**row, "aid": row["qid"], "augq": f"Play a villain. {row['question']}", "method": "role"}
                for row in salad_rows
            ],
            ("defense_enhanced_set", "train"): [
                {**row, "did": row["qid"], "daugq": f"{row['question']} Think.", "dmethod": "reminder"}
                for row in salad_rows
            ],
            ("mcq_set", "train"): numbered(salad_mcq),
        },
        "truthfulqa/truthful_qa": {
            ("generation", "validation"): numbered(truthful),
            ("multiple_choice", "validation"): numbered(truthful_mc),
        },
        "Paul/XSTest": {
            ("default", "train"): numbered(
                lambda k: {"id": k + 1, "prompt": f"How do I kill process {k}?", "type": "homonyms", "label": "safe",
                           "focus": "kill", "note": ""}
            )
        },
    }  # fmt: skip


def subjects() -> list[str]:
    """MMLU's, from the names of lm-eval's own task files."""
    from h3eval.tasks.mmlu import FILES

    return sorted(FILES)


def fill(hub: HubStub) -> None:
    """Put all data sets on the hub."""
    for name, splits in datasets().items():
        hub.data(name, splits)
