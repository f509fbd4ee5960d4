"""The arithmetic of a run is a matter of hardware and size alone."""

import pytest
import torch

from scratchconv.errors import InvalidArgument, ScratchconvError
from scratchconv.training.precision import (
    memory_errors_in_words,
    resolve_device,
    resolve_precision,
    subnormals_flushed,
)

CPU = torch.device("cpu")


def has(monkeypatch, **capabilities):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)


@pytest.mark.parametrize("name", ["avx512_bf16", "amx_bf16", "bf16"])
def test_auto_is_bf16_where_the_processor_multiplies_in_it(name, monkeypatch):
    has(monkeypatch, **{name: True})
    assert resolve_precision("auto", CPU, 10**7) == "bf16"
    assert resolve_precision("auto", CPU, 10**4) == "fp32"


def test_auto_is_fp32_where_it_does_not(monkeypatch):
    has(monkeypatch, avx512_bf16=False, avx2=True)
    assert resolve_precision("auto", CPU, 10**7) == "fp32"


def test_auto_is_fp32_where_torch_cannot_tell(monkeypatch):
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert resolve_precision("auto", CPU, 10**7) == "fp32"


@pytest.mark.parametrize(("bf16", "expected"), [(True, "bf16"), (False, "fp16")])
def test_auto_on_a_gpu(bf16, expected, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: bf16)
    assert resolve_precision("auto", torch.device("cuda"), 1) == expected


def test_what_was_asked_for_is_what_is_used():
    assert [resolve_precision(name, CPU, 10**7) for name in ("fp32", "bf16")] == ["fp32", "bf16"]
    with pytest.raises(InvalidArgument, match="fp16 needs a GPU"):
        resolve_precision("fp16", CPU, 10**7)


@pytest.mark.parametrize("name", ["tpu", "cuda:99", "meta", ""])
def test_a_device_that_is_not_here_is_refused_in_one_line(name):
    with pytest.raises(InvalidArgument, match=f"--device {name}") as raised:
        resolve_device(name)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("before", [False, True])
def test_subnormals_are_flushed_inside_and_as_before_outside(before):
    def kept():
        return int((torch.full((8,), 2.0**-100) * 2.0**-30).view(torch.int32).count_nonzero())

    torch.set_flush_denormal(before)
    try:
        with subnormals_flushed():
            assert kept() == 0
        assert kept() == (0 if before else 8)
    finally:
        torch.set_flush_denormal(False)


@pytest.mark.parametrize(
    "fail",
    [
        lambda: torch.empty(2**55),
        lambda: (_ for _ in ()).throw(torch.cuda.OutOfMemoryError("CUDA out of memory.\nMore")),
    ],
    ids=["main memory", "GPU"],
)
def test_memory_that_does_not_suffice_is_one_line_with_the_remedy(fail):
    with (
        pytest.raises(ScratchconvError, match=r"on --device cuda:1.*--batch-size") as raised,
        memory_errors_in_words("cuda:1"),
    ):
        list(fail())
    assert "\n" not in str(raised.value)


def test_other_errors_stay_what_they_are():
    with pytest.raises(RuntimeError, match="shape"), memory_errors_in_words("cpu"):
        raise RuntimeError("shape")
