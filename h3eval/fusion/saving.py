"""A trained model written and read back: the folder gets it when it says what the model in memory says."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from h3eval.checkpoints import architecture, equality
from h3eval.checkpoints.cutting import cut_folder, write_cut
from h3eval.checkpoints.loading import loaded, quiet
from h3eval.fusion import memory
from h3eval.fusion.folders import moved_in

ROOM = 1.3


@contextmanager
def waiting(out: Path) -> Iterator[Path]:
    """A folder to write to, whose files are moved into `out` at the end; after an error nothing is left."""
    folder = out / "unfinished"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        yield folder
        moved_in(folder, out)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def check_saved(model: Any, folder: Path, kind: Any = AutoModelForCausalLM) -> list[dict[str, Any]]:
    """Compare a folder with the model in memory that was saved there, on the CPU and in both types; on its first two
    and last layers where two of it don't fit into memory. Raise Differs, with the number."""
    state = {name: tensor.detach().cpu() for name, tensor in model.state_dict().items()}
    need = 2 * ROOM * 4 * sum(parameter.numel() for parameter in model.parameters())
    with tempfile.TemporaryDirectory(prefix=".check-", dir=folder.parent) as spare:
        if need <= memory.available(torch.device("cpu")):
            return [_compared(state, model.config, folder, kind, dtype) for dtype in equality.DTYPES]
        config = architecture.full(model.config)
        written = cut_folder(folder, config, Path(spare) / "written")
        trained = write_cut(state, state.__getitem__, config, Path(spare) / "trained")
        cut = loaded(trained, torch.float32, kind)
        return [_compared(cut.state_dict(), cut.config, written, kind, dtype) for dtype in equality.DTYPES]


@torch.no_grad()
def _compared(state: dict[str, Any], config: Any, folder: Path, kind: Any, dtype: torch.dtype) -> dict[str, Any]:
    twin = kind.from_config(config, dtype=dtype)
    twin.load_state_dict(state)
    written = loaded(folder, dtype, kind)
    ids = equality.prompts(config)
    made, wanted = (equality.logits(each, ids) for each in (written, twin))
    return equality.compared(made, wanted, dtype, "the trained model's")


def check_adapter(model: Any, folder: Path, base: Path) -> dict[str, Any]:
    """Compare a saved adapter on its base with the adapted model in memory, in the type that this computes in. Raise
    Differs, with the number."""
    dtype, device = model.dtype, next(model.parameters()).device
    ids = equality.prompts(model.config)
    wanted = equality.logits(model, ids)
    with quiet():
        made = PeftModel.from_pretrained(loaded(base, dtype), folder).to(device)
    return equality.compared(equality.logits(made, ids), wanted, dtype, "the trained model's")
