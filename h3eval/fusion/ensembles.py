"""H3Fusion's two ensemble forms: a model that reads several models' answers to a question and gives one of its own.

`instruct`: a language model is tuned on prompts that carry the candidates. `summary`: a model with an encoder (LED)
reads question and candidates between marks, as its authors' earlier LLM-TOPLA does; the question gets global attention
where the model knows such. Neither is in H3Fusion's published code; the wording is our own.
"""

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer, Trainer

from h3eval.checkpoints import adapters, adaptersettings
from h3eval.config import read_json
from h3eval.errors import ConfigError
from h3eval.fusion.checkpoints import write_json
from h3eval.fusion.folders import REPORT, working
from h3eval.fusion.progress import Progress, quiet
from h3eval.fusion.report import card
from h3eval.fusion.rows import IGNORED, Encoder, Padding, Row, encoded, rows, worded
from h3eval.fusion.saving import check_saved, waiting
from h3eval.fusion.settings import Settings, Training
from h3eval.fusion.training import arguments, device_of, last_checkpoint

Tell = Callable[[str], None]
MARKS = ("[BOQ]", "[EOQ]")


def asking(prompt: str, candidates: Sequence[str]) -> str:
    """`instruct`: the question with its candidates."""
    numbered = "\n".join(f"({number}) {candidate}" for number, candidate in enumerate(candidates, 1))
    return f"{prompt}\n\nAnswers by other assistants:\n{numbered}\n\nGive the best answer of your own."


def marked(prompt: str, candidates: Sequence[str]) -> str:
    """`summary`: [BOQ]question[EOQ][BOC0]first[EOC0][BOC1]..."""
    return MARKS[0] + prompt + MARKS[1] + "".join(f"[BOC{i}]{each}[EOC{i}]" for i, each in enumerate(candidates))


def ensemble(asked: Settings, out: Path, tell: Tell) -> dict[str, Any]:
    """Gather the experts' answers where rows don't carry them, train the fusing model, and write it with its report.

    Raise ConfigError for a folder of other settings, and where there are neither candidates nor experts.
    """
    with working(out, asdict(asked)) as before:
        if before:
            tell(f"{out}: finished before; nothing to do")
            return before
        report = _ensembled(asked, out, tell)
        card(out / "README.md", report)
        write_json(out / REPORT, report)
        shutil.rmtree(out / "checkpoints", ignore_errors=True)
        return report


def _ensembled(asked: Settings, out: Path, tell: Tell) -> dict[str, Any]:
    found = with_candidates(
        asked, [row for source in asked.data for row in rows(source)], out / "candidates.json", tell
    )
    torch.manual_seed(asked.training.seed)
    tokenizer = AutoTokenizer.from_pretrained(asked.base)
    kind = AutoModelForCausalLM if asked.method == "instruct" else AutoModelForSeq2SeqLM
    model = kind.from_pretrained(asked.base, dtype=torch.float32)
    if asked.method == "instruct":
        wording = [Row(asking(row.prompt, row.candidates), row.answer) for row in found]
        data = encoded(wording, Encoder(tokenizer, asked.template, asked.training.max_length))
        collator: Any = Padding(int(tokenizer.pad_token_id or tokenizer.eos_token_id or 0))
    else:
        most = max(len(row.candidates) for row in found)
        mark(tokenizer, model, most)
        data = [_summed(row, tokenizer, model, asked.training.max_length) for row in found]
        collator = Marked(int(tokenizer.pad_token_id or 0))
    tell(f"training {asked.method} on {len(data)} rows")
    losses = _trained(model, data, collator, asked.training, out / "checkpoints", tell)
    with waiting(out) as folder:
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        measured = check_saved(model, folder, kind)
    return {
        "serving": {"format": model.config.model_type, "check": {"measured": measured}},
        "method": asked.method,
        "settings": asdict(asked),
        "experts": list(asked.experts),
        "rows": len(data),
        "losses": losses,
    }


def with_candidates(asked: Settings, found: list[Row], file: Path, tell: Tell) -> list[Row]:
    """Rows with candidates: their own, else the experts' greedy answers, stored so that none is made twice."""
    if not found:
        raise ConfigError("data is missing: an ensemble is trained on rows")
    if all(row.candidates for row in found):
        return found
    if not asked.experts:
        raise ConfigError('experts: rows carry no candidates, so experts must answer: NAME = "FOLDER"')
    stored = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    prompts = list(dict.fromkeys(row.prompt for row in found))
    for name, folder in asked.experts.items():
        if name not in stored:
            tell(f"{name} answers {len(prompts)} prompts")
            stored[name] = answers(Path(folder), prompts, asked)
            file.write_text(json.dumps(stored, ensure_ascii=False), encoding="utf-8")
    place = {prompt: number for number, prompt in enumerate(prompts)}
    chosen = [tuple(stored[name][place[row.prompt]] for name in asked.experts) for row in found]
    return [
        Row(row.prompt, row.answer, row.expert, row.source, candidates=own)
        for row, own in zip(found, chosen, strict=True)
    ]


@torch.no_grad()
def answers(folder: Path, prompts: Sequence[str], asked: Settings) -> list[str]:
    """A model's greedy answers. LoRA adapters are loaded on their base by transformers itself. Raise ConfigError for
    those that it does not load as peft merges them."""
    if adapters.is_adapter(folder):
        adaptersettings.read(folder, read_json(folder / adaptersettings.CONFIG), by_peft=True)
    tokenizer = AutoTokenizer.from_pretrained(folder if (folder / "tokenizer_config.json").is_file() else asked.base)
    device = device_of(asked.training)
    model: Any = AutoModelForCausalLM.from_pretrained(folder)
    model = model.to(device).eval()
    longest = asked.answer_tokens or 3 * asked.training.max_length // (4 * len(asked.experts))
    made = []
    for prompt in prompts:
        special = bool(asked.template or not tokenizer.chat_template)
        text = worded(prompt, tokenizer, asked.template)
        ids = tokenizer(text, return_tensors="pt", add_special_tokens=special)["input_ids"].to(device)
        answer = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=longest, do_sample=False)
        made.append(str(tokenizer.decode(answer[0, ids.shape[1] :], skip_special_tokens=True)).strip())
    return made


def mark(tokenizer: Any, model: Any, candidates: int) -> None:
    """Teach tokenizer and model the marks around question and candidates."""
    marks = [*MARKS, *(f"[{side}OC{i}]" for i in range(candidates) for side in "BE")]
    tokenizer.add_special_tokens({"additional_special_tokens": marks})
    model.resize_token_embeddings(len(tokenizer), mean_resizing=False)


def _summed(row: Row, tokenizer: Any, model: Any, max_length: int) -> dict[str, Any]:
    ids = tokenizer(marked(row.prompt, row.candidates), truncation=True, max_length=max_length)["input_ids"]
    labels = tokenizer(row.answer, truncation=True, max_length=max_length)["input_ids"]
    made = {"input_ids": ids, "labels": labels}
    if model.config.model_type == "led":
        end = tokenizer.convert_tokens_to_ids(MARKS[1])
        made["question"] = ids.index(end) + 1 if end in ids else len(ids)
    return made


class Marked:
    """Batches for a model with an encoder: input, labels and, for LED, which tokens see all others."""

    def __init__(self, pad: int) -> None:
        self.pad = pad

    def __call__(self, batch: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
        inputs, labels = (max(len(each[key]) for each in batch) for key in ("input_ids", "labels"))
        made = {
            "input_ids": torch.full((len(batch), inputs), self.pad),
            "labels": torch.full((len(batch), labels), IGNORED),
        }
        made["attention_mask"] = torch.zeros_like(made["input_ids"])
        if "question" in batch[0]:
            made["global_attention_mask"] = torch.zeros_like(made["input_ids"])
        for i, each in enumerate(batch):
            made["input_ids"][i, : len(each["input_ids"])] = torch.tensor(each["input_ids"])
            made["attention_mask"][i, : len(each["input_ids"])] = 1
            made["labels"][i, : len(each["labels"])] = torch.tensor(each["labels"])
            if "question" in each:
                made["global_attention_mask"][i, : each["question"]] = 1
        return made


def _trained(
    model: Any, data: list[dict[str, Any]], collator: Any, how: Training, folder: Path, tell: Tell
) -> list[float]:
    device = device_of(how)
    trainer = Trainer(model=model, args=arguments(how, folder, device), train_dataset=data, data_collator=collator)
    quiet(trainer, Progress(tell))
    trainer.train(resume_from_checkpoint=last_checkpoint(folder))
    return [each["loss"] for each in trainer.state.log_history if "loss" in each]
