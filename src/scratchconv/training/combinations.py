"""Which settings of a run go together, and what is said of those that do not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scratchconv import optim, pruning
from scratchconv.errors import InvalidArgument

if TYPE_CHECKING:
    from scratchconv.training.config import RunConfig


def check(config: RunConfig) -> None:
    """Raise `InvalidArgument` for settings, each possible by itself, that exclude each other."""
    _check_method(config)
    _check_samples(config)
    _check_pruning(config)
    _check_connections(config)


def _check_method(config: RunConfig) -> None:
    if config.engine in ("dense", "sparse") and config.method != "beta-lasso":
        raise InvalidArgument(
            f"--engine {config.engine} trains by beta-lasso only, not by {config.method}:"
            " leave --engine away"
        )
    if config.regrowth != 1 and (
        config.method != "beta-lasso" or config.engine in ("dense", "torch")
    ):
        raise InvalidArgument(
            f"--regrowth {config.regrowth} is of compressed layers, which --method beta-lasso with"
            " --engine auto or sparse makes: leave it away"
        )
    if config.alpha is None and config.params is None:
        raise InvalidArgument(
            "the size of the network is missing: give --alpha (say 8) or --params (say 25.6e6)"
        )
    if _regularised(config) and config.lam == 0 and not config.lam_first:
        raise InvalidArgument(
            f"--method {config.method} without --lam or --lam-first is plain sgd: give --lam (say"
            " 1e-4), or --method sgd"
        )
    if config.lam_scale == "steps" and config.lam_epochs is None:
        raise InvalidArgument(
            "--lam-scale steps needs --lam-epochs: the number of epochs λ was chosen for"
        )
    if config.lam_epochs is not None and config.lam_scale == "none":
        raise InvalidArgument("--lam-epochs has no effect without --lam-scale steps")


def _check_samples(config: RunConfig) -> None:
    if config.data != "tree" and (config.tree_noise or config.tree_noise_shared):
        raise InvalidArgument(f"--tree-noise is of --data tree, not of {config.data}")
    if config.tree_noise_shared and config.tree_noise == 0:
        raise InvalidArgument("--tree-noise-shared has no effect without --tree-noise")
    if config.data_seed and config.data != "tree" and config.train_size is None:
        raise InvalidArgument("--data-seed has no effect without --train-size or --data tree")
    if config.data == "tree" and config.normalise != "channels":
        raise InvalidArgument(
            f"--normalise {config.normalise} is for images, and tree has none: leave it away"
        )


def _check_pruning(config: RunConfig) -> None:
    if not 0 < config.density <= 1:
        raise InvalidArgument(f"--density {config.density}: must be above 0 and at most 1")
    if config.pruning == "none":
        if config.density != 1 or config.density_by != "paper":
            raise InvalidArgument(
                "--density and --density-by need --pruning: choose from"
                f" {', '.join(sorted(pruning.METHODS))}"
            )
    elif config.method != "sgd":
        raise InvalidArgument(
            f"--pruning {config.pruning} is a rival of --method {config.method}: add --method sgd"
        )


def _check_connections(config: RunConfig) -> None:
    if config.connections_from is None:
        if (config.connections, config.connections_kind) != ("first", "learned"):
            raise InvalidArgument(
                "--connections and --connections-kind need --connections-from: the run directory"
                " they are taken from"
            )
        return
    if _regularised(config):
        raise InvalidArgument(
            f"--connections-from keeps its connections, where {config.method} would choose its"
            " own: add --method sgd or adam"
        )
    if config.pruning != "none":
        raise InvalidArgument(
            f"--connections-from and --pruning {config.pruning} both decide what is connected:"
            " leave one of them away"
        )
    if (config.connections, config.connections_kind) == ("all", "local"):
        raise InvalidArgument(
            "--connections-kind local is of windows of the image, which the first layer alone"
            " sees: add --connections first"
        )


def _regularised(config: RunConfig) -> bool:
    return "lam" in optim.METHODS[config.method].options
