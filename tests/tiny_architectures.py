"""Tiny random language models of as many architectures as transformers holds, saved as transformers saves them."""

import json
import random
from pathlib import Path
from typing import Any

import torch
from transformers import CONFIG_MAPPING, AutoModelForCausalLM

VOCAB = 96
COMMON: dict[str, Any] = {
    "vocab_size": VOCAB, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 64, "initializer_range": 0.3,
    "pad_token_id": 2, "bos_token_id": 0, "eos_token_id": 1,
}  # fmt: skip
EXPERTS = {"num_experts": 4, "num_local_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24}
OLD = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64, "n_ctx": 64, "n_inner": 48, "rotary_dim": 8}
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "llama": {}, "mistral": {"sliding_window": 16}, "qwen2": {}, "qwen3": {}, "gemma": {}, "gemma2": {},
    "gemma3_text": {"sliding_window": 16}, "phi": {}, "phi3": {}, "olmo": {}, "olmo2": {}, "olmo3": {}, "granite": {},
    "falcon": {"num_kv_heads": 2}, "gpt_neox": {"rotary_pct": 0.5}, "gpt_neo": {"attention_types": [[["global"], 2]],
    "num_layers": 2, "num_heads": 4}, "gpt2": {}, "gptj": {}, "codegen": {}, "gpt_bigcode": {},
    "opt": {"ffn_dim": 48, "word_embed_proj_dim": 32}, "bloom": {"n_layer": 2, "n_head": 4},
    "mpt": {"d_model": 32, "n_layers": 2, "n_heads": 4, "max_seq_len": 64}, "stablelm": {}, "starcoder2": {},
    "cohere": {}, "cohere2": {}, "persimmon": {}, "nemotron": {}, "smollm3": {}, "glm": {}, "glm4": {},
    "ernie4_5": {}, "exaone4": {"sliding_window": 16, "sliding_window_pattern": 2}, "helium": {},
    "hunyuan_v1_dense": {}, "seed_oss": {}, "arcee": {}, "apertus": {}, "biogpt": {},
    "xglm": {"d_model": 32, "num_layers": 2, "attention_heads": 4, "ffn_dim": 48},
    "mixtral": EXPERTS, "qwen2_moe": {**EXPERTS, "shared_expert_intermediate_size": 24}, "qwen3_moe": EXPERTS,
    "olmoe": EXPERTS, "granitemoe": EXPERTS, "phimoe": EXPERTS, "minimax": {**EXPERTS, "block_size": 8},
    "gpt_oss": EXPERTS, "ernie4_5_moe": {**EXPERTS, "moe_num_experts": 4, "moe_k": 2, "moe_layer_start_index": 0},
    "dots1": {**EXPERTS, "n_routed_experts": 4, "n_shared_experts": 1, "n_group": 1, "topk_group": 1},
    "deepseek_v3": {
        "n_routed_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24, "n_group": 1, "topk_group": 1,
        "q_lora_rank": 8, "kv_lora_rank": 8, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "v_head_dim": 8,
        "first_k_dense_replace": 1, "n_shared_experts": 1, "num_key_value_heads": 4,
    },
    "dbrx": {"d_model": 32, "n_heads": 4, "n_layers": 2, "max_seq_len": 64,
             "ffn_config": {"ffn_hidden_size": 24, "moe_num_experts": 4, "moe_top_k": 2},
             "attn_config": {"kv_n_heads": 2, "clip_qkv": 8, "rope_theta": 10000.0}},
    "mamba": {"state_size": 4, "time_step_rank": 4}, "mamba2": {"state_size": 4, "num_heads": 8, "head_dim": 8,
    "expand": 2, "n_groups": 1, "chunk_size": 8},
    "falcon_mamba": {"state_size": 4, "time_step_rank": 4},
    "jamba": {**EXPERTS, "mamba_d_state": 4, "mamba_dt_rank": 4, "attn_layer_period": 2, "attn_layer_offset": 1,
              "expert_layer_period": 2, "expert_layer_offset": 1, "use_mamba_kernels": False},
    "bamba": {"mamba_d_state": 4, "mamba_n_heads": 8, "mamba_d_head": 8, "mamba_n_groups": 1, "attn_layer_indices": [1],
              "mamba_chunk_size": 8},
    "falcon_h1": {"mamba_d_state": 4, "mamba_n_heads": 4, "mamba_d_head": 8, "mamba_d_ssm": 32, "mamba_n_groups": 1,
                  "mamba_chunk_size": 8},
    "lfm2": {"layer_types": ["conv", "full_attention"], "block_ff_dim": 48, "block_multiple_of": 8},
    "recurrent_gemma": {"lru_width": 32, "attention_window_size": 16, "block_types": ["recurrent", "attention"]},
    "rwkv": {"attention_hidden_size": 32, "context_length": 64},
}  # fmt: skip
QUICK = ("llama", "mistral", "gemma2", "gemma3_text", "gpt2", "gpt_neox", "qwen3_moe", "phi3")
KEPT = {"model_type", "architectures", "vocab_size"}
"""What is never left out: without the type there is no architecture; other vocabularies are made large by a default."""


def made(kind: str, folder: Path, seed: int = 0, **more: Any) -> Path:
    """A model of one architecture, with weights large enough for answers to differ from text to text."""
    own = ARCHITECTURES[kind]
    config = CONFIG_MAPPING[kind]
    known = {*config().to_dict(), *config.attribute_map, *({"head_dim"} - {*dir(config)})}
    values = {key: value for key, value in {**COMMON, **OLD}.items() if key in known}
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config(**{**values, **own, **more}))
    with torch.no_grad():
        for parameter in model.parameters():
            # Norms and biases, too, so that a lost one shows.
            parameter += 0.02 * torch.randn_like(parameter)
    model.eval().save_pretrained(folder)
    return folder


def left_out(folder: Path, seed: int, most: int = 3) -> list[str]:
    """Leave one to `most` keys out of config.json by chance; which ones."""
    file = folder / "config.json"
    config = json.loads(file.read_text(encoding="utf-8"))
    source = random.Random(seed)
    keys = source.sample(sorted(config.keys() - KEPT), source.randint(1, most))
    for key in keys:
        del config[key]
    file.write_text(json.dumps(config), encoding="utf-8")
    return keys
