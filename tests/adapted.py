"""Random LoRA adapters of tiny models."""

from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

PROJECTIONS = ("q_proj", "v_proj", "gate_proj", "up_proj", "down_proj")


def adapter(base: Path, folder: Path, seed: int = 0, rank: int = 4, **more: object) -> Path:
    """An adapter that changes what the model says; peft's own start changes nothing."""
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    config = LoraConfig(
        r=rank, lora_alpha=8 * rank, target_modules=list(PROJECTIONS), init_lora_weights=False, task_type="CAUSAL_LM",
        **more,
    )  # fmt: skip
    get_peft_model(model, config).save_pretrained(folder)
    return folder
