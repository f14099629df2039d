"""Records fusion_bench's TSVM of small matrices: python tests/record_tsvm_vectors.py (with fusion-bench installed).

The vectors let every checkout compare itself with the authors' published formulas without their many dependencies.
"""

import json
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

FILE = Path(__file__).parent / "golden" / "merge_fusion_bench.json"
SHAPES = ((1, 6, 8), (2, 8, 13), (3, 12, 9), (3, 10, 10), (4, 11, 7))
"""Models, rows and columns; ranks that the models divide, and ranks that they don't."""


def main() -> None:
    """Write the file."""
    from fusion_bench.method.task_singular_vector.utils.TSVM_utils import compute_and_sum_svd_mem_reduction

    cases = []
    for seed, shape in enumerate(SHAPES):
        source = np.random.default_rng(seed)
        changes = (source.standard_normal(shape) * 1e-3).astype(np.float32)
        held = [{"layer": torch.from_numpy(change).double()} for change in changes]
        merged = compute_and_sum_svd_mem_reduction(held, accelerator=torch.device("cpu"))["layer"]
        cases.append({"changes": changes.tolist(), "merged": merged.tolist()})
    FILE.write_text(json.dumps({"source": f"fusion_bench {version('fusion-bench')}", "cases": cases}) + "\n")


if __name__ == "__main__":
    main()
