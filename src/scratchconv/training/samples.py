"""The samples of a run: which there are, which it trains on, and how the network sees them."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from scratchconv import data
from scratchconv.data.splitting import subset
from scratchconv.errors import InvalidArgument
from scratchconv.training.config import RunConfig

_TREE_SIZE = 4096  # the largest of Zhang 2021, §2.3


def load_samples(config: RunConfig) -> data.Dataset:
    """The dataset of `config`, whose `mean` and `std` are what its inputs are normalised by.

    Raises `DataError` where files are missing or damaged.
    """
    if config.data == "tree":
        return data.load(
            "tree",
            train_size=_TREE_SIZE if config.train_size is None else config.train_size,
            noise=config.tree_noise,
            shared_noise=config.tree_noise_shared,
            seed=config.data_seed,
        )
    dataset = data.load(config.data, config.data_dir)
    if config.normalise == "half":
        half = (0.5,) * dataset.image[0]
        return replace(dataset, mean=half, std=half)
    return dataset


def split_samples(config: RunConfig, dataset: data.Dataset) -> dict[str, data.Split]:
    """Its parts `train`, `validation` and `test`; raises `InvalidArgument` for impossible sizes."""
    held_out = int(config.validation) if config.validation >= 1 else config.validation
    train, validation, test = data.split(dataset, held_out, config.split_seed)
    limits = f"--validation {config.validation:g} leaves of {config.data}"
    if config.train_size is not None and config.data != "tree":
        if config.train_size > len(train):
            raise InvalidArgument(
                f"--train-size {config.train_size} is more than the {len(train)} training samples"
                f" that {limits}"
            )
        train = subset(
            train, config.train_size, classes=len(dataset.classes), seed=config.data_seed
        )
        limits = f"--train-size {config.train_size} takes of {config.data}"
    if len(train) == 0 or (config.last_batch == "drop" and len(train) < config.batch_size):
        raise InvalidArgument(
            f"--batch-size {config.batch_size} is more than the {len(train)} training samples that"
            f" {limits}: choose a smaller one, or --last-batch keep"
        )
    return {"train": train, "validation": validation, "test": test}


def training_batches(
    config: RunConfig,
    dataset: data.Dataset,
    train: data.Split,
    permutation: Tensor | None,
    device: torch.device,
) -> data.Batches:
    """The batches that a run is trained on."""
    usual = config.augment == "auto"
    augmentation = data.default_augmentation(config.data) if usual else data.Augmentation()
    return data.Batches(
        train,
        config.batch_size,
        mean=dataset.mean,
        std=dataset.std,
        augmentation=replace(augmentation, cutout=config.cutout),
        permutation=permutation,
        seed=config.seed,
        device=device,
        drop_last=config.last_batch == "drop",
    )


def check_batch_norm(config: RunConfig, model: nn.Module, samples: int) -> None:
    """Raise `InvalidArgument` where BatchNorm would see a batch of one: it has no variance."""
    rest = samples % config.batch_size if config.last_batch == "keep" else 0
    if config.batch_size > 1 and rest != 1:
        return
    if any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in model.modules()):
        last = "" if config.batch_size == 1 else f" leaves a last batch of one of {samples} samples"
        raise InvalidArgument(
            f"--batch-size {config.batch_size}{last}: the BatchNorm of {config.model} needs two"
            " samples or more in every batch; choose another size"
            + (", or --last-batch drop" if last else "")
        )
