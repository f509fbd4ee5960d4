"""The fused β-LASSO kernels against their plain twins, bit for bit."""

from __future__ import annotations

import os
import subprocess
import sys

import numba
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numba.core import caching

from scratchconv.kernels import beta_lasso
from scratchconv.kernels.compilation import compiled, torch_threads

# Values that meet the threshold 0.5 exactly for the options used below, and every special one.
SPECIAL = [0.0, -0.0, 0.5, -0.5, 1.0, -1.0, np.inf, -np.inf, np.nan, 1e-45, -1e-45, 3e38, -3e38]
values = st.sampled_from(SPECIAL) | st.floats(width=32)
options = st.tuples(
    st.sampled_from([0.0, 0.1, 0.5, 1.0]),
    st.sampled_from([0.0, 1e-4, 0.01, 1.0]),
    st.sampled_from([0.0, 5e-3, 0.5]),
)


@st.composite
def arrays(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    size = draw(st.integers(0, 67))
    array = hnp.arrays(np.float32, size, elements=values)
    return draw(array), draw(array)


def bits_equal(one: np.ndarray, other: np.ndarray) -> bool:
    """Equal bit for bit, but for the payload of NaNs, which no arithmetic promises."""
    nan = np.isnan(one)
    same_bits = one.view(np.uint32)[~nan] == other.view(np.uint32)[~nan]
    return bool(np.array_equal(nan, np.isnan(other)) and same_bits.all())


@settings(deadline=None, max_examples=150)
@given(arrays(), options)
def test_float32_kernel_is_its_twin(
    pair: tuple[np.ndarray, np.ndarray], option: tuple[float, float, float]
) -> None:
    theta, gradient = pair
    lr, lam, threshold = (np.float32(value) for value in option)
    expected = theta.copy()
    with np.errstate(all="ignore"):
        beta_lasso.update_float32_plain(expected, gradient, lr, lam, threshold)
    found = theta.copy()
    beta_lasso.update_float32(found, gradient, lr, lam, threshold)
    assert bits_equal(found, expected)


@settings(deadline=None, max_examples=150)
@given(arrays(), options)
def test_bfloat16_kernel_is_its_twin(
    pair: tuple[np.ndarray, np.ndarray], option: tuple[float, float, float]
) -> None:
    theta, gradient = (
        torch.from_numpy(array).bfloat16().view(torch.uint16).numpy() for array in pair
    )
    lr, lam, threshold = (np.float32(value) for value in option)
    expected = theta.copy()
    with np.errstate(all="ignore"):
        beta_lasso.update_bfloat16_plain(expected, gradient, lr, lam, threshold)
    found = theta.copy()
    beta_lasso.update_bfloat16(found, gradient, lr, lam, threshold)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("size", [1, 32767, 32768, 32769, 100_003])
@pytest.mark.parametrize("threads", [1, 2])
def test_large_arrays_on_any_number_of_threads(size: int, threads: int) -> None:
    rng = np.random.default_rng(size)
    theta = rng.normal(0, 0.01, size).astype(np.float32)
    gradient = rng.normal(0, 0.01, size).astype(np.float32)
    scalars = np.float32(0.1), np.float32(1e-4), np.float32(5e-3)
    expected = theta.copy()
    beta_lasso.update_float32_plain(expected, gradient, *scalars)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        with torch_threads(size):
            beta_lasso.update_float32(theta, gradient, *scalars)
    finally:
        torch.set_num_threads(before)
    assert bits_equal(theta, expected)


def test_bfloat16_rounds_as_torch_does() -> None:
    generator = torch.Generator().manual_seed(0)
    wide = torch.randn(20_000, generator=generator) * torch.logspace(-30, 30, 20_000)
    theta, gradient = wide.bfloat16(), wide.flip(0).bfloat16()
    expected = (theta.float() - gradient.float() * 0.5).bfloat16()
    scalars = np.float32(0.5), np.float32(0), np.float32(0)
    beta_lasso.update_bfloat16(
        theta.view(torch.uint16).numpy(), gradient.view(torch.uint16).numpy(), *scalars
    )
    assert torch.equal(theta, expected)


def test_thread_count_follows_torch_and_is_restored() -> None:
    before, torch_before = numba.get_num_threads(), torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        with torch_threads(10**7):
            assert numba.get_num_threads() == 1
    finally:
        torch.set_num_threads(torch_before)
    with torch_threads(10):
        assert numba.get_num_threads() == 1
    with torch_threads(0):
        assert numba.get_num_threads() == 1
    assert numba.get_num_threads() == before


SCRIPT = """
import threading
import numpy as np
import numba
numba.config.THREADING_LAYER = {layer!r}
from scratchconv.kernels import beta_lasso
from scratchconv.kernels.compilation import torch_threads

scalars = np.float32(0.1), np.float32(0), np.float32(0)
arrays = [np.zeros(100_000, np.float32) for _ in range(4)]
def work(theta):
    for _ in range(10):
        with torch_threads(theta.size):
            beta_lasso.update_float32(theta, np.ones_like(theta), *scalars)
workers = [threading.Thread(target=work, args=(theta,)) for theta in arrays]
for worker in workers: worker.start()
for worker in workers: worker.join()
assert all(abs(theta + 1).max() < 1e-4 for theta in arrays)
print(numba.threading_layer())
"""


def test_threads_may_step_at_once_where_numba_is_not_thread_safe() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(layer="workqueue")],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.startswith("workqueue")


def test_compiles_where_no_cache_can_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caching.CacheImpl, "_locator_classes", [])

    def double(array: np.ndarray) -> None:
        for i in numba.prange(array.size):
            array[i] *= 2

    array = np.arange(5.0)
    compiled(double)(array)
    np.testing.assert_array_equal(array, 2 * np.arange(5.0))


@pytest.mark.parametrize("threads", ["1", "2"])
def test_kernels_leave_torch_its_number_of_threads(threads):
    program = (
        "import numpy as np\n"
        "import torch\n"
        "from scratchconv.kernels import beta_lasso\n"
        "from scratchconv.kernels.compilation import torch_threads\n"
        "before = torch.get_num_threads()\n"
        "theta = torch.ones(100_000).numpy()\n"
        "with torch_threads(theta.size):\n"
        "    beta_lasso.update_float32(theta, theta.copy(), *map(np.float32, (0.1, 0.1, 1.0)))\n"
        "assert before == torch.get_num_threads(), (before, torch.get_num_threads())\n"
    )
    environment = {**os.environ, "OMP_NUM_THREADS": threads}
    subprocess.run([sys.executable, "-c", program], check=True, env=environment)
