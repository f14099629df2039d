"""`h3eval fuse align`: one aligned model, an expert to be, from a base and a file of rows. The loops are TRL's."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer, Trainer
from trl.trainer.dpo_config import DPOConfig
from trl.trainer.dpo_trainer import DPOTrainer
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

from h3eval.config import read_toml
from h3eval.errors import ConfigError
from h3eval.fusion.architectures import understood
from h3eval.fusion.checkpoints import Checkpoint, copy_tokenizer, digest, opened, write_json
from h3eval.fusion.folders import REPORT, working
from h3eval.fusion.progress import Progress, quiet
from h3eval.fusion.rows import Encoder, Row, encoded, rows, worded
from h3eval.fusion.saving import check_adapter, check_saved, waiting
from h3eval.fusion.settings import Source, built, merged, override
from h3eval.fusion.training import device_of, in_bf16, last_checkpoint

FFN = ["gate_proj", "up_proj", "down_proj"]
"""Both papers' experts are feed-forward networks; H3Fusion's code adapts nothing else."""


@dataclass(frozen=True)
class Alignment:
    """What to train, on what, how. `objective` is `sft` or `dpo`; `rank` 0 trains all weights."""

    base: str
    data: tuple[Source, ...]
    recipe: str = "h3fusion"
    objective: str = "sft"
    rank: int = 8
    alpha: int = 4
    dropout: float = 0.1
    targets: list[str] = field(default_factory=lambda: list(FFN))
    learning_rate: float = 5e-4
    epochs: float = 3.0
    steps: int = 0
    batch: int = 8
    accumulate: int = 1
    max_length: int = 300
    schedule: str = "linear"
    beta: float = 0.1
    """dpo: how strongly the trained model is held to the base."""
    seed: int = 42
    bf16: str | bool = "auto"
    checkpointing: bool = False
    save_every: int = 500
    log_every: int = 10
    device: str = "auto"
    template: str = ""
    merge: bool = False
    """Write a whole model rather than the adapter."""


RECIPES: dict[str, dict[str, Any]] = {
    # Tekin et al. 2024 and its code: LoRA on the feed-forward networks, the answer alone is learnt.
    "h3fusion": {},
    # TrinityX' code; unlike it, answers are learnt, and padding is not.
    "trinityx": {"rank": 64, "alpha": 32, "batch": 2, "max_length": 512},
}


def alignment(name: str, overrides: Sequence[str] = ()) -> Alignment:
    """A configuration file, or a recipe's name, with overrides. Raise ConfigError for what is wrong in it."""
    table: dict[str, Any] = {"recipe": name} if name in RECIPES else read_toml(Path(name))
    for text in overrides:
        table = merged(table, override(text))
    recipe = table.get("recipe", "h3fusion")
    if recipe not in RECIPES:
        raise ConfigError(f"{name}: recipe = {recipe!r} (allowed: {', '.join(RECIPES)})")
    table = {**RECIPES[recipe], **table}
    sources = [built(Source, row, f"{name}: data[{i}]") for i, row in enumerate(table.get("data", ()))]
    if not sources:
        raise ConfigError(f"{name}: data is missing: one or more [[data]] tables with file and format")
    made: Alignment = built(Alignment, {**table, "data": tuple(sources)}, name)
    if made.objective not in ("sft", "dpo"):
        raise ConfigError(f"{name}: objective = {made.objective!r} (allowed: 'sft', 'dpo')")
    if made.objective == "dpo" and any(source.format != "preferences" for source in sources):
        raise ConfigError(f"{name}: objective = 'dpo' needs data of format 'preferences'")
    return made


def align(asked: Alignment, out: Path, tell: Callable[[str], None]) -> dict[str, Any]:
    """Train, and write an adapter (or, with all weights trained or `merge`, a model); its report.

    Goes on from an interrupted call's last checkpoint. Raise ConfigError for a folder of other settings.
    """
    with working(out, asdict(asked)) as before:
        if before:
            tell(f"{out}: finished before; nothing to do")
            return before
        base = Checkpoint(Path(asked.base))
        understood(Checkpoint(base.folder))
        report = _aligned(asked, base, out, tell)
        write_json(out / REPORT, {"settings": asdict(asked), **report})
        shutil.rmtree(out / "checkpoints", ignore_errors=True)
        return report


def _aligned(asked: Alignment, base: Checkpoint, out: Path, tell: Callable[[str], None]) -> dict[str, Any]:
    tokenizer = AutoTokenizer.from_pretrained(base.folder)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    found = [row for source in asked.data for row in rows(source)]
    tell(f"aligning {asked.base} by {asked.objective} on {len(found)} rows")
    torch.manual_seed(asked.seed)
    trainer = quiet(_trainer(asked, tokenizer, found, out / "checkpoints"), Progress(tell))
    trainer.train(resume_from_checkpoint=last_checkpoint(out / "checkpoints"))
    measured = _write(asked, base, trainer, out)
    losses = [each["loss"] for each in trainer.state.log_history if "loss" in each]
    return {
        "base_sha256": digest(base),
        "rows": len(found),
        "losses": losses,
        "steps": trainer.state.global_step,
        "check": {"measured": measured},
    }


def _trainer(asked: Alignment, tokenizer: Any, found: list[Row], folder: Path) -> Trainer:
    device = device_of(asked)
    lora = LoraConfig(
        r=asked.rank,
        lora_alpha=asked.alpha,
        lora_dropout=asked.dropout,
        target_modules=asked.targets,
        task_type="CAUSAL_LM",
    )
    same = {
        "model": AutoModelForCausalLM.from_pretrained(
            asked.base, dtype=torch.bfloat16 if in_bf16(asked, device) and asked.rank else torch.float32
        ),
        "train_dataset": Dataset.from_list(_examples(found, tokenizer, asked)),
        "processing_class": tokenizer,
        "peft_config": lora if asked.rank else None,
    }
    if asked.objective == "dpo":
        return DPOTrainer(args=DPOConfig(beta=asked.beta, **_arguments(asked, folder, device)), **same)
    return SFTTrainer(args=SFTConfig(**_arguments(asked, folder, device)), **same)


def _examples(found: list[Row], tokenizer: Any, asked: Alignment) -> list[dict[str, Any]]:
    """As a fused model's training encodes them, so that experts and their fusion see the same tokens."""
    if asked.objective == "sft":
        return encoded(found, Encoder(tokenizer, asked.template, asked.max_length))
    worded_rows = [(worded(row.prompt, tokenizer, asked.template), row) for row in found]
    return [{"prompt": prompt, "chosen": row.answer, "rejected": row.rejected} for prompt, row in worded_rows]


def _arguments(asked: Alignment, folder: Path, device: torch.device) -> dict[str, Any]:
    return {
        "output_dir": str(folder),
        "max_length": asked.max_length,
        "max_steps": asked.steps or -1,
        "num_train_epochs": asked.epochs,
        "per_device_train_batch_size": asked.batch,
        "gradient_accumulation_steps": asked.accumulate,
        "learning_rate": asked.learning_rate,
        "lr_scheduler_type": asked.schedule,
        "seed": asked.seed,
        "data_seed": asked.seed,
        "bf16": in_bf16(asked, device),
        "gradient_checkpointing": asked.checkpointing,
        "save_steps": asked.save_every,
        "save_total_limit": 1,
        "logging_steps": asked.log_every,
        "report_to": [],
        "use_cpu": device.type == "cpu",
        "disable_tqdm": True,
    }


def _write(asked: Alignment, base: Checkpoint, trainer: Trainer, out: Path) -> list[dict[str, Any]]:
    """Write what was trained; what the check of it measured. Raise Differs."""
    model = trainer.accelerator.unwrap_model(trainer.model)
    with waiting(out) as folder:
        if asked.rank and not asked.merge:
            model.save_pretrained(folder)
            opened(folder, base)
            return [check_adapter(model, folder, base.folder)]
        if asked.rank:
            model = model.merge_and_unload()
        # An expert has its base's types, whatever it was trained in.
        model.to(base.tensor(next(name for name in base.names if ".self_attn." in name)).dtype)
        model.save_pretrained(folder)
        copy_tokenizer(base.folder, folder)
        return check_saved(model, folder)
