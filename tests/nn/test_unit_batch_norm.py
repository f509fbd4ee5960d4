"""UnitBatchNorm2d against BatchNorm of the flattened map."""

from __future__ import annotations

import pytest
import torch

from scratchconv.errors import InvalidArgument
from scratchconv.nn import UnitBatchNorm2d


def test_equals_batch_norm_of_the_flattened_map() -> None:
    norm, flat = UnitBatchNorm2d(2, 3, 5), torch.nn.BatchNorm1d(30)
    flat.load_state_dict(norm.state_dict())
    inputs = torch.randn(16, 2, 3, 5)
    permuted = inputs.permute(2, 3, 1, 0).contiguous().permute(3, 2, 0, 1)
    torch.testing.assert_close(norm(permuted), flat(inputs.flatten(1)).view(16, 2, 3, 5))
    torch.testing.assert_close(norm.running_var, flat.running_var)
    norm.eval()
    flat.eval()
    torch.testing.assert_close(norm(inputs), flat(inputs.flatten(1)).view(16, 2, 3, 5))


def test_every_unit_has_mean_zero_and_variance_one() -> None:
    output = UnitBatchNorm2d(2, 3, 3)(3 + 7 * torch.randn(64, 2, 3, 3))
    torch.testing.assert_close(output.mean(0), torch.zeros(2, 3, 3), atol=1e-5, rtol=0)
    torch.testing.assert_close(output.var(0, correction=0), torch.ones(2, 3, 3))


def test_a_map_of_another_shape_is_refused() -> None:
    with pytest.raises(InvalidArgument, match=r"expected \(n, 2, 3, 5\)"):
        UnitBatchNorm2d(2, 3, 5)(torch.zeros(4, 2, 5, 3))
