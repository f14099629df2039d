"""Tiny random checkpoints with tokenizers, written by transformers itself: real, and quick to load."""

import random
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GptOssConfig,
    GptOssForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedTokenizerFast,
    Qwen3Config,
    Qwen3ForCausalLM,
)

_TEXT = (
    "the a one two three red green blue cat dog bird house tree river sees likes wants eats near under "
    "question answer yes no why how what Paris Berlin Rome capital of France is"
)
WORDS = _TEXT.split()
# A template of our own: turns between special tokens, so that a test can look for them.
TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}<turn>{{ message['role'] }}\n{{ message['content'] }}<end>\n"
    "{% endfor %}{% if add_generation_prompt %}<turn>assistant\n{% endif %}"
)
SIZES: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    # Large enough for answers and probabilities to differ from text to text.
    "initializer_range": 0.4,
    "bos_token_id": 0,
    "eos_token_id": 1,
}
LABELS = [f"label_{number}" for number in range(14)]


def sentences(count: int, seed: int = 0, longest: int = 40) -> list[str]:
    """Random sentences of 1 to `longest` words."""
    source = random.Random(seed)
    return [" ".join(source.choices(WORDS, k=source.randint(1, longest))) for _ in range(count)]


def tokenizer(folder: Path, template: bool = False, bos: bool = True, pad: bool = True) -> Any:
    """A byte-level BPE tokenizer, trained on our sentences; saved in the folder."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    special = ["<s>", "</s>", "<pad>", "<turn>", "<end>"]
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    core.train_from_iterator(sentences(200), trainer)
    made: Any = PreTrainedTokenizerFast(
        tokenizer_object=core,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>" if pad else None,
        additional_special_tokens=["<turn>", "<end>"],
        add_bos_token=bos,
    )
    made.add_bos_token = bos
    if template:
        made.chat_template = TEMPLATE
    made.save_pretrained(folder)
    return made


def llama(folder: Path, template: bool = False, head_dim: int = 8) -> Path:
    """A causal LLaMA. vLLM on a CPU needs heads of 32 and more."""
    size = len(tokenizer(folder, template))
    config = LlamaConfig(vocab_size=size, pad_token_id=2, head_dim=head_dim, **SIZES)
    return _saved(LlamaForCausalLM, config, folder)


def mistral(folder: Path, head_dim: int = 8) -> Path:
    """A causal Mistral with a sliding window of 16."""
    size = len(tokenizer(folder))
    config = MistralConfig(vocab_size=size, pad_token_id=2, head_dim=head_dim, sliding_window=16, **SIZES)
    return _saved(MistralForCausalLM, config, folder)


def gemma3(folder: Path, head_dim: int = 8) -> Path:
    """A causal Gemma 3: sliding windows of 16 in two layers, full attention in one."""
    size = len(tokenizer(folder))
    config = Gemma3TextConfig(
        vocab_size=size,
        pad_token_id=2,
        head_dim=head_dim,
        sliding_window=16,
        layer_types=["sliding_attention", "sliding_attention", "full_attention"],
        **SIZES,
    )
    return _saved(Gemma3ForCausalLM, config, folder)


def classifier(folder: Path, pad: bool = True, multi_label: bool = True, head_dim: int = 8) -> Path:
    """A LLaMA sequence classifier with 14 labels; without `pad`, neither config nor tokenizer has one."""
    size = len(tokenizer(folder, pad=pad))
    config = LlamaConfig(
        vocab_size=size,
        pad_token_id=2 if pad else None,
        head_dim=head_dim,
        id2label=dict(enumerate(LABELS)),
        label2id={label: number for number, label in enumerate(LABELS)},
        problem_type="multi_label_classification" if multi_label else "single_label_classification",
        **SIZES,
    )
    return _saved(LlamaForSequenceClassification, config, folder)


def _saved(kind: Any, config: Any, folder: Path) -> Path:
    torch.manual_seed(0)
    kind(config).eval().save_pretrained(folder)
    return folder


GUARDS: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "llama": (LlamaForCausalLM, LlamaConfig, {}),
    "mistral": (MistralForCausalLM, MistralConfig, {"sliding_window": None}),
    "gemma2": (Gemma2ForCausalLM, Gemma2Config, {"query_pre_attn_scalar": 32, "tie_word_embeddings": True}),
    "qwen3": (Qwen3ForCausalLM, Qwen3Config, {}),
    "gpt_oss": (GptOssForCausalLM, GptOssConfig, {"num_local_experts": 4, "num_experts_per_tok": 2}),
}


def guard(folder: Path, architecture: str, replies: tuple[str, str], template: str = "") -> Path:
    """A model that says one of two replies and stops; which one, and how surely, depends on its prompt.

    Each reply is one token. Gemma 2, whose two tables of tokens are one, does not stop. Heads are of 32, for
    vLLM on a CPU.
    """
    made = tokenizer(folder)
    made.chat_template = template or None
    made.add_tokens([AddedToken(reply, normalized=False, special=False) for reply in replies])
    made.save_pretrained(folder)
    kind, config, own = GUARDS[architecture]
    sizes = {**SIZES, "max_position_embeddings": 8192, "hidden_size": 64, "head_dim": 32, "tie_word_embeddings": False}
    torch.manual_seed(0)
    model = kind(config(vocab_size=len(made), pad_token_id=2, **{**sizes, **own}))
    _teach(model, [int(made.convert_tokens_to_ids(reply)) for reply in replies])
    model.eval().save_pretrained(folder)
    return folder


@torch.no_grad()
def _teach(model: Any, replies: list[int]) -> None:
    """Two directions that no layer writes to: the first means a reply was said, the second any other token."""
    for name, parameter in model.named_parameters():
        if "o_proj" in name or "down_proj" in name:
            rows = parameter if parameter.dim() < 3 and name.endswith(".weight") else parameter.transpose(0, -1)
            parameter /= 10
            rows[:2] = 0
    given, said = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    # Gemma scales its embeddings up.
    given[:, 0], given[:, 1] = 0, 6 / (given.shape[1] ** 0.5 if "gemma" in model.config.model_type else 1)
    if given is not said:
        given[replies] = 0
        given[replies, 0] = 100
        said.zero_()
        said[model.config.eos_token_id, 0] = 100
    leaning = torch.randn(said.shape[1]) / 4
    leaning[:2] = 0
    for reply, sign in zip(replies, (1, -1), strict=True):
        said[reply] = sign * leaning
        said[reply, 1] = 20
