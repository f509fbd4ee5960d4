"""Strides on images smaller than the stride."""

import pytest
import torch

from scratchconv import models
from scratchconv.models.strides import strides_within


def test_a_side_of_one_pixel_has_stride_one():
    assert strides_within((8, 8), 2) == (2, 2)
    assert strides_within((1, 8), 2) == (1, 2)
    assert strides_within((8, 1), 2) == (2, 1)


@pytest.mark.parametrize("name", ["d-conv", "resnet18"])
def test_gradients_in_bf16_are_whole_where_the_image_has_shrunk_to_a_pixel(name):
    """oneDNN left them partly unset: garbage up to 1e36, and other weights in every run."""
    model = models.build(name, image=(1, 8, 8), alpha=4, seed=0)
    torch.manual_seed(0)
    inputs, targets = torch.randn(64, 1, 8, 8), torch.randint(10, (64,))
    gradients = []
    for autocast in (True, True, False):
        model.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
            loss = torch.nn.functional.cross_entropy(model(inputs).float(), targets)
        loss.backward()
        gradients.append([p.grad.clone() for p in model.parameters() if p.ndim == 4])
    for once, again, full in zip(*gradients, strict=True):
        assert torch.equal(once, again)
        assert once.norm() <= 3 * full.norm()
