"""Images on a larger canvas."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from scratchconv.data import Split
from scratchconv.data.canvas import on_canvas
from scratchconv.errors import InvalidArgument


@given(
    st.tuples(*[st.integers(1, 5)] * 2),
    st.tuples(*[st.integers(0, 4)] * 2),
    st.sampled_from([(1, 1), (1, 3), (3, 3)]),
)
def test_the_image_lies_in_the_middle_and_all_else_is_black(size, room, channels):
    inputs = torch.randint(1, 256, (2, channels[0], *size), dtype=torch.uint8)
    split = Split(inputs, torch.tensor([4, 2]))
    height, width = size[0] + room[0], size[1] + room[1]
    placed = on_canvas(split, (channels[1], height, width))
    assert placed.inputs.shape == (2, channels[1], height, width)
    assert placed.inputs.dtype == torch.uint8
    assert placed.targets.tolist() == [4, 2]
    rows, columns = placed.inputs.nonzero()[:, 2:].unbind(1)
    assert (int(rows.min()), int(columns.min())) == (room[0] // 2, room[1] // 2)
    top, left = room[0] // 2, room[1] // 2
    window = placed.inputs[:, :, top : top + size[0], left : left + size[1]]
    assert torch.equal(window, inputs.expand_as(window))
    assert int(placed.inputs.sum()) == int(window.sum())


@pytest.mark.parametrize("image", [(3, 27, 32), (3, 32, 27), (2, 32, 32)])
def test_a_canvas_that_does_not_take_the_images_is_refused(image):
    inputs = torch.zeros(1, 3 if image[0] == 2 else 1, 28, 28, dtype=torch.uint8)
    with pytest.raises(InvalidArgument, match=r"do not fit on a canvas of"):
        on_canvas(Split(inputs, torch.tensor([0])), image)
