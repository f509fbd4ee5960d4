"""The attack against closed forms for a linear classifier, and what it leaves alone."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from scratchconv import models
from scratchconv.analysis.fgsm import AttackedAccuracy, adversarial_examples, attacked_accuracy
from scratchconv.data import Split, pixel_permutation
from scratchconv.errors import InvalidArgument

IMAGE = (2, 4, 5)
NORMALISED = {"mean": (0.4, 0.6), "std": (0.2, 0.3)}


def images(count: int, low: float = 0.0, high: float = 1.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return low + (high - low) * torch.rand(count, *IMAGE, generator=generator)


def classes(count: int, among: int = 2) -> torch.Tensor:
    return torch.randint(among, (count,), generator=torch.Generator().manual_seed(2))


def linear_classifier() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(IMAGE), 2))


def towards_other_class(model: nn.Sequential, targets: torch.Tensor) -> torch.Tensor:
    """The gradient of the loss has the sign of w_other − w_true; std does not change it."""
    weight = model[1].weight.detach().view(2, *IMAGE)
    return (weight[1 - targets] - weight[targets]).sign()


def test_a_linear_classifier_is_attacked_along_the_difference_of_its_weights():
    model, pixels, targets = linear_classifier(), images(30), classes(30)
    attacked = adversarial_examples(model, pixels, targets, 0.07, **NORMALISED)
    expected = (pixels + 0.07 * towards_other_class(model, targets)).clamp(0, 1)
    torch.testing.assert_close(attacked, expected, rtol=0, atol=1e-7)
    assert attacked.min() == 0  # some were cut off
    assert attacked.max() == 1


@pytest.mark.parametrize("epsilon", [0.0, 0.01, 0.1])
def test_accuracy_under_attack_of_a_linear_classifier(epsilon):
    """Right after the attack are those whose margin is more than ε Σ|w_other − w_true| / std."""
    model, targets = linear_classifier(), classes(400)
    pixels = images(400, 0.2, 0.8)  # nothing is cut off
    deviation = torch.tensor(NORMALISED["std"]).view(2, 1, 1)
    inputs = (pixels - torch.tensor(NORMALISED["mean"]).view(2, 1, 1)) / deviation
    scores = model(inputs).detach()
    margin = (scores[:, 0] - scores[:, 1]) * (1.0 - 2 * targets)
    weight = model[1].weight.detach().view(2, *IMAGE)
    reach = epsilon * ((weight[0] - weight[1]).abs() / deviation).sum()
    found = attacked_accuracy(model, Split(pixels, targets), epsilon, **NORMALISED, batch_size=64)
    assert found == AttackedAccuracy(
        epsilon=epsilon,
        samples=400,
        clean=(margin > 0).sum().item() / 400,
        adversarial=(margin > reach).sum().item() / 400,
    )
    assert 0.2 < found.clean < 0.8
    if epsilon == 0:
        assert found.change == 0
    else:
        assert found.adversarial < found.clean - 0.02


def small_network() -> models.Network:
    return models.build("s-local", image=IMAGE, classes=3, alpha=1, dropout=0.4, seed=0)


def test_no_pixel_changes_by_more_than_epsilon_and_the_loss_grows():
    model, pixels, targets = small_network(), images(40), classes(40, 3)
    attacked = adversarial_examples(model, pixels, targets, 0.02, **NORMALISED)
    assert attacked.dtype == torch.float32
    assert not attacked.requires_grad
    assert (attacked - pixels).abs().max() <= 0.02 + 1e-7
    assert attacked.min() >= 0
    assert attacked.max() <= 1

    def loss(seen: torch.Tensor) -> float:
        inputs = (seen - 0.4) / 0.2
        return nn.functional.cross_entropy(model.eval()(inputs), targets).item()

    same = {"mean": (0.4, 0.4), "std": (0.2, 0.2)}
    assert loss(adversarial_examples(model, pixels, targets, 0.02, **same)) > loss(pixels)


def test_bytes_are_pixels_of_255_levels():
    model, targets = small_network(), classes(9, 3)
    grey = (images(9) * 255).round().to(torch.uint8)
    attacked = adversarial_examples(model, grey, targets, 0.1, **NORMALISED)
    assert torch.equal(
        attacked, adversarial_examples(model, grey.float() / 255, targets, 0.1, **NORMALISED)
    )
    split = Split(grey, targets)
    found = attacked_accuracy(model, split, 8 / 255, **NORMALISED)
    assert found == attacked_accuracy(
        model, Split(grey.float() / 255, targets), 8 / 255, **NORMALISED
    )


def test_a_pixel_that_does_not_matter_stays():
    model = linear_classifier()
    with torch.no_grad():
        model[1].weight.view(2, *IMAGE)[:, 1, 2:] = 0
    pixels, targets = images(6, 0.2, 0.8), classes(6)
    attacked = adversarial_examples(model, pixels, targets, 0.1, **NORMALISED)
    assert torch.equal(attacked[:, 1, 2:], pixels[:, 1, 2:])
    assert (attacked[:, 0] != pixels[:, 0]).all()


def test_images_of_a_network_trained_on_shuffled_pixels_come_out_unshuffled():
    permutation = pixel_permutation(IMAGE, seed=3)
    model, shuffled = linear_classifier(), linear_classifier()
    with torch.no_grad():
        # Input position k of the second shows true pixel permutation[k].
        weight = model[1].weight.view(2, IMAGE[0], -1)[:, :, permutation]
        shuffled[1].weight.copy_(weight.flatten(1))
    pixels, targets = images(12), classes(12)
    plain = adversarial_examples(model, pixels, targets, 0.05, **NORMALISED)
    found = adversarial_examples(
        shuffled, pixels, targets, 0.05, **NORMALISED, permutation=permutation
    )
    torch.testing.assert_close(found, plain)
    split = Split(pixels, targets)
    assert attacked_accuracy(
        shuffled, split, 0.05, **NORMALISED, permutation=permutation
    ) == attacked_accuracy(model, split, 0.05, **NORMALISED)


def test_the_same_again_whatever_the_batch_size_and_under_no_grad():
    model, split = small_network(), Split(images(50), classes(50, 3))
    first = attacked_accuracy(model, split, 0.05, **NORMALISED)
    torch.manual_seed(99)
    with torch.no_grad():
        assert attacked_accuracy(model, split, 0.05, **NORMALISED, batch_size=7) == first
    pixels, targets = split.inputs, split.targets
    twice = [adversarial_examples(model, pixels, targets, 0.05, **NORMALISED) for _ in range(2)]
    assert torch.equal(*twice)


def test_in_inference_mode_and_in_other_precisions():
    model, split = small_network(), Split(images(20), classes(20, 3))
    first = attacked_accuracy(model, split, 0.05, **NORMALISED)
    with torch.inference_mode():
        made = Split(images(20), classes(20, 3))
        assert attacked_accuracy(model, made, 0.05, **NORMALISED) == first
    assert attacked_accuracy(model.double(), split, 0.05, **NORMALISED) == first
    attacked = adversarial_examples(
        model.bfloat16(), split.inputs, split.targets, 0.05, **NORMALISED
    )
    assert attacked.dtype == torch.float32


def test_the_network_is_left_as_it_was():
    model = small_network()
    dropout = model.get_submodule("fc1_dropout").eval()  # a mode that differs from the rest
    model.get_parameter("conv1.weight").requires_grad_(False)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    wanted = {name: p.requires_grad for name, p in model.named_parameters()}
    adversarial_examples(model, images(5), classes(5, 3), 0.1, **NORMALISED)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert {name: p.requires_grad for name, p in model.named_parameters()} == wanted
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not dropout.training
    assert all(module.training for module in model.modules() if module is not dropout)


def test_the_network_is_left_as_it_was_after_an_error():
    model = small_network()
    with pytest.raises(InvalidArgument, match="images have 1 channels, but mean and std 2"):
        adversarial_examples(model, images(5)[:, :1], classes(5, 3), 0.1, **NORMALISED)
    assert model.training
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_change_is_relative_as_in_the_published_table():
    published = AttackedAccuracy(0.1, 10_000, clean=0.9549, adversarial=0.7777)
    assert round(100 * published.change, 2) == -18.56
    assert math.isnan(AttackedAccuracy(0.1, 10, clean=0.0, adversarial=0.0).change)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"epsilon": -0.1}, r"epsilon is -0\.1: it is in units of pixels in \[0, 1\]"),
        ({"epsilon": 8}, "8/255 for eight grey levels"),
        ({"epsilon": math.nan}, "epsilon is nan"),
        ({"images": images(4) * 255}, "hold more than pixels"),
        ({"images": images(4) * math.nan}, "hold more than pixels"),
        ({"images": images(4)[0]}, r"give \(n, c, h, w\)"),
        ({"targets": classes(4).float()}, "targets are torch.float32"),
        ({"targets": classes(3)}, r"of shape \(3,\) for 4 images"),
        ({"targets": torch.tensor([0, 1, -100, 0])}, "target -100 is no class"),
        ({"targets": torch.tensor([0, 1, 0, 77])}, "target 77 is no class"),
        ({"std": (0.2, 0.0)}, "std above 0"),
        ({"std": (0.2,)}, "one number a channel"),
        ({"mean": (0.2, math.nan)}, "must be finite"),
        (
            {"permutation": torch.zeros(math.prod(IMAGE[1:])).long()},
            "not a permutation",
        ),
        ({"permutation": range(3)}, "not a permutation"),
    ],
)
def test_arguments_that_cannot_be_used(changed, message):
    arguments = {"images": images(4), "targets": classes(4), "epsilon": 0.1, **NORMALISED}
    with pytest.raises(InvalidArgument, match=message):
        adversarial_examples(linear_classifier(), **{**arguments, **changed})


def test_a_split_without_samples_is_refused():
    with pytest.raises(InvalidArgument, match="the split has 0 samples"):
        attacked_accuracy(linear_classifier(), Split(images(0), classes(0)), 0.1, **NORMALISED)


@pytest.mark.parametrize("precision", [torch.float16, torch.bfloat16])
def test_an_image_that_the_model_is_sure_of_is_attacked_in_half_precision_too(precision):
    model, pixels, targets = linear_classifier(), images(30), classes(30)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(100)  # margins up to hundreds, of which the loss is 0 in any precision
    wholly = adversarial_examples(model, pixels, targets, 0.07, **NORMALISED)
    half = adversarial_examples(model.to(precision), pixels, targets, 0.07, **NORMALISED)
    assert (half == wholly).float().mean() > 0.99
    assert (half != pixels).float().mean() > 0.9


def test_scores_that_are_no_numbers_are_no_accuracy():
    model = linear_classifier()
    with torch.no_grad():
        model[1].weight.fill_(math.nan)
    with pytest.raises(InvalidArgument, match="scores of 4 of 4 images are infinite or not a"):
        attacked_accuracy(model, Split(images(4), classes(4)), 0.1, **NORMALISED)
