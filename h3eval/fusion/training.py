"""Training of a fused model: its router, its experts' low-rank changes or weights, and attention where asked for.

The loop is the transformers Trainer's: gradient checkpointing, mixed precision, resuming.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from peft import LoraConfig
from peft.tuners.lora import LoraModel
from torch import Tensor
from transformers import Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_utils import get_last_checkpoint

from h3eval.fusion import losses, memory, modeling_mixture
from h3eval.fusion.architectures import FAMILIES
from h3eval.fusion.checkpoints import Checkpoint, Writer, copy_tokenizer, layers
from h3eval.fusion.construction import base_of
from h3eval.fusion.modeling_mixture import Mixture, mixtures
from h3eval.fusion.progress import quiet
from h3eval.fusion.rows import Padding
from h3eval.fusion.settings import Training

ATTENTION = ["q_proj", "k_proj", "v_proj", "o_proj"]


class Placed(Protocol):
    """Settings of where and how precisely to compute."""

    @property
    def device(self) -> str: ...

    @property
    def bf16(self) -> str | bool: ...


def device_of(how: Placed) -> torch.device:
    if how.device != "auto":
        return torch.device(how.device)
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def in_bf16(how: Placed, device: torch.device) -> bool:
    """`auto`: where the device computes in bfloat16 quickly."""
    if how.bf16 == "auto":
        return device.type == "cuda" and torch.cuda.is_bf16_supported()
    return bool(how.bf16)


def last_checkpoint(folder: Path) -> str | None:
    """Where an interrupted training goes on."""
    found: str | None = get_last_checkpoint(str(folder)) if folder.is_dir() else None  # type: ignore[no-untyped-call]
    return found


def loaded(folder: Path, how: Training) -> Any:
    """A construction, ready for training."""
    base, _ = base_of(Checkpoint(folder))
    name = f"Mixture{FAMILIES[base['model_type']]}ForCausalLM"
    dtype = torch.bfloat16 if in_bf16(how, device_of(how)) else torch.float32
    model = getattr(modeling_mixture, name).from_pretrained(folder, dtype=dtype)
    model.config.use_cache = False
    return model


def prepare(model: Any, how: Training, frozen_router: bool = False) -> Callable[[], Any]:
    """Freeze all but what is trained. Call the answer afterwards: it folds attention's changes into its weights."""
    model.requires_grad_(False)
    unfold: Callable[[], Any] = model.eval
    if how.what == "lora":
        asked = LoraConfig(r=how.rank, lora_alpha=how.alpha, lora_dropout=how.dropout, target_modules=ATTENTION)
        unfold = LoraModel(model, {"default": asked}, "default").merge_and_unload
    for layer in mixtures(model):
        layer.requires_grad_(False)
        layer.router.requires_grad_(not frozen_router)
        if layer.literal:
            layer.norm.requires_grad_(True)
        if how.what != "router":
            _free_experts(layer, how.what)
    for parameter in model.parameters():
        if parameter.requires_grad:
            # Small steps are lost in bfloat16.
            parameter.data = parameter.data.float()
    return unfold


def _free_experts(layer: Mixture, what: str) -> None:
    for name in modeling_mixture.PROJECTIONS:
        if layer.low_rank:
            getattr(layer, name + "_vectors").requires_grad_(True)
        if what == "experts" and not layer.shared:
            getattr(layer, name).requires_grad_(True)


@dataclass
class Regularisers:
    """The terms beside the task's loss. `parts` gathers their values since the last log."""

    how: Training
    code: bool
    """As H3Fusion's published code computes them."""
    layers: list[Mixture]
    drift: losses.Drift
    before: Tensor | None = None
    parts: dict[str, list[Tensor]] = field(default_factory=dict)

    def __call__(self, mask: Tensor, experts: Tensor | None) -> Tensor:
        """Their weighted sum for the batch that just ran."""
        how, logits = self.how, [layer.logits for layer in self.layers if layer.logits is not None]
        total = torch.zeros((), device=mask.device)
        if how.gating and experts is not None:
            total = total + how.gating * self._told("gating_loss", self._gating(logits, mask, experts))
        if how.drift:
            total = total + self._told("drift_loss", self._drift())
        if how.entropy:
            total = total + how.entropy * self._told("router_entropy", losses.entropy(logits, mask))
        if how.kl:
            now = losses.step_routing(logits, mask)
            before, self.before = self.before, now.detach()
            if before is not None:
                total = total + how.kl * self._told("router_kl", losses.divergence(now, before))
        self._watch(logits, mask, experts)
        return total

    def _gating(self, logits: list[Tensor], mask: Tensor, experts: Tensor) -> Tensor:
        return losses.gating_h3fusion_code(logits, experts) if self.code else losses.gating(logits, mask, experts)

    def _drift(self) -> Tensor:
        moved = losses.drift_h3fusion_code(self.layers) if self.code else self.drift()
        weighted = (moved * torch.tensor(self.how.drift, dtype=moved.dtype, device=moved.device)).sum()
        # Summed up in float64, the loss is float32 like its other terms.
        return weighted.float()

    @torch.no_grad()
    def _watch(self, logits: list[Tensor], mask: Tensor, experts: Tensor | None) -> None:
        shares = losses.mean_routing(logits, mask)
        self._told("router_confidence", shares.max(-1).values.mean())
        if experts is not None:
            self._told("router_accuracy", (shares.argmax(-1) == experts).float().mean())

    def _told(self, name: str, value: Tensor) -> Tensor:
        self.parts.setdefault(name, []).append(value.detach())
        return value

    def means(self) -> dict[str, float]:
        """Since the last call."""
        found = {name: float(torch.stack(values).mean()) for name, values in self.parts.items()}
        self.parts = {}
        return found


class FusionTrainer(Trainer):
    """Adds the regularisers to the task's loss."""

    def __init__(self, regularisers: Regularisers, **keys: Any) -> None:
        super().__init__(**keys)
        self.regularisers = regularisers

    def compute_loss(
        self, model: Any, inputs: dict[str, Tensor], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        experts = inputs.pop("expert", None)
        loss, outputs = super().compute_loss(model, inputs, True, num_items_in_batch)
        added = self.regularisers(inputs["attention_mask"], experts)
        # The task's loss comes divided by all tokens of the accumulated batches, so the parts add up to their mean.
        many = self.args.gradient_accumulation_steps if num_items_in_batch is not None else 1
        loss = loss + added / many
        return (loss, outputs) if return_outputs else loss

    def log(self, logs: dict[str, float], *more: Any) -> None:
        super().log({**logs, **self.regularisers.means()}, *more)


def arguments(how: Training, folder: Path, device: torch.device) -> TrainingArguments:
    return TrainingArguments(
        output_dir=str(folder),
        max_steps=how.steps or -1,
        num_train_epochs=how.epochs,
        per_device_train_batch_size=how.batch,
        gradient_accumulation_steps=how.accumulate,
        learning_rate=how.learning_rate,
        lr_scheduler_type=how.schedule,
        warmup_steps=how.warmup,
        seed=how.seed,
        data_seed=how.seed,
        bf16=in_bf16(how, device),
        gradient_checkpointing=how.checkpointing,
        gradient_checkpointing_kwargs={"use_reentrant": False},
        save_steps=how.save_every,
        save_total_limit=1,
        logging_steps=how.log_every,
        remove_unused_columns=False,
        report_to=[],
        use_cpu=device.type == "cpu",
        disable_tqdm=True,
        label_names=["labels"],
    )


@dataclass
class Trained:
    """What a training leaves besides the model."""

    history: list[dict[str, float]]
    parameters: int
    trained: int
    need: memory.Need
    drift: list[float]
    """||W - W_init||^2, one number an expert."""


def train(
    model: Any,
    data: Sequence[dict[str, Any]],
    how: Training,
    folder: Path,
    pad: int,
    progress: TrainerCallback,
    code: bool = False,
) -> Trained:
    """Train in place; goes on from the last checkpoint in `folder`. Raise UsageError where memory won't do."""
    device = device_of(how)
    # What is added for training starts at random, and starts the same when it goes on.
    torch.manual_seed(how.seed)
    unfold = prepare(model, how, frozen_router=code)
    need = memory.predicted(model, model.config, how, 2 if in_bf16(how, device) else 4)
    # On a CPU the weights are in memory already.
    memory.check(need, memory.available(device) + (need.weights if device.type == "cpu" else 0))
    together = mixtures(model)
    for layer in together:
        layer.watched = True
    model.to(device)
    start = losses.Drift(together)
    trainer = FusionTrainer(
        Regularisers(how, code, together, start),
        model=model,
        args=arguments(how, folder, device),
        train_dataset=list(data),
        data_collator=Padding(pad),
    )
    quiet(trainer, progress)
    counts = [sum(each.numel() for each in model.parameters() if free or each.requires_grad) for free in (True, False)]
    trainer.train(resume_from_checkpoint=last_checkpoint(folder))
    with torch.no_grad():
        moved = [float(each) for each in start()]
    unfold()
    for layer in together:
        layer.watched, layer.logits = False, None
    return Trained(trainer.state.log_history, counts[0], counts[1], need, moved)


def save(model: Any, source: Checkpoint, folder: Path) -> None:
    """Write a trained construction, in the types of the one it came from."""
    writer = Writer(folder)
    weights = model.state_dict()
    tied = {"lm_head.weight"} if model.config.tie_word_embeddings else set()
    dtypes = {name: source.tensor(name).dtype for name in source.names}
    plain = next(iter(dtypes.values()))
    for _, names in layers(sorted(set(weights) - tied)):
        for name in names:
            writer.add(name, weights[name].detach().cpu().to(dtypes.get(name, plain)))
        writer.flush()
    writer.close({**source.config, "mixture": dict(model.config.mixture)})
    copy_tokenizer(source.folder, folder)
