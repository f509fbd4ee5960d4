"""The Triton kernels compile for Hopper (H100, H200), which needs no GPU.

The interpreter of the other tests takes code that the compiler refuses.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

SCRIPT = """
import json
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from scratchconv.kernels.gpu import batch_norm, csr_products, fused_update

ACTIVATIONS = {"dY", "X", "x", "outputs", "output", "normalised", "gradient", "of_input"}
INTEGERS = {"indices", "offsets", "order", "positions", "counts"}
SCALARS = {"samples", "units", "inputs", "dY_unit", "X_input", "dY_row", "X_row", "x_row"}
SCALARS |= {"gradient_row"}

def compiled(kernel, constants, warps, **options):
    # Samples side by side, as the sparse training engine has them.
    constants |= {name: 1 for name in ("dY_sample", "X_sample") if name in kernel.arg_names}
    def kind(name):
        if name in constants:
            return "constexpr"
        if name in ("momentum", "eps"):
            return "fp32"
        if name in SCALARS:
            return "i32"
        pointed = "bf16" if name in ACTIVATIONS or name == "copy" else "fp32"
        return "*i32" if name in INTEGERS else f"*{pointed}"
    signature = {name: kind(name) for name in kernel.arg_names}
    aligned = {
        (place,): [["tt.divisibility", 16]]
        for place, name in enumerate(signature) if signature[name] not in ("constexpr", "fp32")
    }
    source = ASTSource(kernel, signature, constants, aligned)
    options |= {"num_warps": warps, "enable_fp_fusion": False}
    made = triton.compile(source, target=GPUTarget("cuda", 90, 32), options=options)
    ptx = made.asm["ptx"]
    return {"wgmma": "wgmma.mma_async" in ptx, "wide": ".v4" in ptx, "shared": made.metadata.shared}

flags = {"HAS_COPY": True, "HAS_COUNTS": True, "PRECISION": "ieee"}
tile = fused_update._configurations()[0]
found = {"fused": compiled(fused_update._fused_update, {**flags, **tile.kwargs}, tile.num_warps)}
sizes = {"NONZEROS": 8, "BLOCK_SAMPLES": 512}
flags = {"HAS_POSITIONS": True, "HAS_BIAS": True, "RELU": True}
found["product"] = compiled(csr_products._product, {**flags, **sizes}, 4)
found["update"] = compiled(csr_products._update_nonzeros, {"HAS_COUNTS": True, **sizes}, 4)
found["forward"] = compiled(batch_norm._forward, {"HAS_RUNNING": True, "BLOCK_SAMPLES": 512}, 2)
found["backward"] = compiled(batch_norm._backward, {"BLOCK_SAMPLES": 512}, 2)
print(json.dumps(found))
"""


def test_every_kernel_compiles_for_hopper(tmp_path):
    pytest.importorskip("triton", minversion="3.4", reason="needs triton: the extra 'gpu'")
    environment = {**os.environ, "TRITON_CACHE_DIR": str(tmp_path)}
    environment.pop("TRITON_INTERPRET", None)
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, env=environment, timeout=120
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert len(found) == 5
    assert found["fused"]["wgmma"], "the product must use warp-group instructions"
    # Two programs on a multiprocessor, which has 227 KiB for them.
    assert 2 * found["fused"]["shared"] <= 227 * 1024
    assert all(kernel["wide"] for kernel in found.values()), "loads must be of 16 bytes"
