"""Where a result was made is recorded on every system."""

import json
import os
import subprocess
from importlib import metadata

import pytest
import torch

import scratchconv
from scratchconv.training import environment

CPU = torch.device("cpu")


def test_it_is_complete_and_can_be_written():
    found = environment.describe_environment(CPU)
    assert json.loads(json.dumps(found)) == found
    assert found["version"] == scratchconv.__version__
    assert found["hardware"]["threads"] == torch.get_num_threads()
    assert found["hardware"]["cores"] == os.cpu_count()
    assert found["versions"]["torch"].split("+")[0] == torch.__version__.split("+")[0]


def test_a_system_that_does_not_tell_its_memory(monkeypatch):
    monkeypatch.delattr(os, "sysconf", raising=False)
    assert environment.describe_environment(CPU)["hardware"]["memory_gib"] is None


def test_a_library_without_metadata(monkeypatch):
    def missing(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", missing)
    assert environment.describe_environment(CPU)["versions"]["numba"] is None


@pytest.mark.parametrize("error", [FileNotFoundError("git"), subprocess.TimeoutExpired("git", 10)])
def test_without_git_there_is_no_commit(error, monkeypatch):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(subprocess, "run", fail)
    assert environment.describe_environment(CPU)["commit"] is None


def test_rounding_names_the_gpu_on_a_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"GPU {device.index}")
    on_gpu = environment.rounding(torch.device("cuda:1"))
    assert (on_gpu["processor"], on_gpu["threads"]) == ("GPU 1", None)
    assert environment.rounding(CPU)["threads"] == torch.get_num_threads()
