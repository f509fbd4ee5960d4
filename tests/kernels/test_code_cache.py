"""Code on disk is run again only where nothing that it was made from has changed since."""

from __future__ import annotations

import ast
import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numba.core.compiler import CompileResult

from scratchconv.kernels import beta_lasso, code_cache
from scratchconv.kernels.code_cache import CodeCache, CodeFiles, sources_hash

KERNEL = """
from scratchconv.kernels.compilation import compiled_serial

@compiled_serial
def scaled(array):
    for i in range(array.size):
        array[i] *= {factor}
"""

KEY = (("float32",), ("x86_64",), ("bytecode", "closure"))


class Scaled:
    """A kernel of its own file, defined anew at every call, as in another process."""

    def __init__(self, folder: Path) -> None:
        self.source = folder / "scaling.py"
        self.write(factor=2)

    def write(self, factor: int) -> None:
        self.source.write_text(KERNEL.format(factor=factor))

    def __call__(self, *, expected: float = 2, dtype: Any = np.float32) -> str:
        """Whether the code of the kernel was "loaded" or "compiled"."""
        spec = importlib.util.spec_from_file_location("scaling", self.source)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        array = np.ones(3, dtype)
        module.scaled(array)
        np.testing.assert_array_equal(array, expected)
        return "loaded" if module.scaled.stats.cache_hits else "compiled"

    def files(self) -> list[Path]:
        """All that the cache has written."""
        folder = self.source.with_name("__pycache__")
        return sorted(path for path in folder.iterdir() if path.suffix != ".pyc")


@pytest.fixture
def scaled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scaled:
    monkeypatch.setattr("numba.core.config.CACHE_DIR", "")
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # Python sees a change by size and second
    return Scaled(tmp_path)


def test_unchanged_code_is_loaded_for_the_types_it_was_compiled_for(scaled: Scaled) -> None:
    assert scaled() == "compiled"
    assert scaled() == "loaded"
    assert scaled(dtype=np.float64) == "compiled"
    assert [scaled(), scaled(dtype=np.float64)] == ["loaded", "loaded"]
    assert len(scaled.files()) == 2


def test_a_change_in_its_file_compiles_a_kernel_anew(scaled: Scaled) -> None:
    scaled()
    scaled.write(factor=3)
    assert scaled(expected=3) == "compiled"
    assert scaled(expected=3) == "loaded"


def test_a_change_in_another_file_compiles_a_kernel_anew(
    scaled: Scaled, monkeypatch: pytest.MonkeyPatch
) -> None:
    scaled()
    monkeypatch.setattr(code_cache, "sources_hash", lambda folder: "other sources")
    assert scaled() == "compiled"
    assert scaled() == "loaded"
    assert len(scaled.files()) == 1  # what is old is overwritten


def test_files_do_not_pile_up_where_a_kernel_moves_and_changes(scaled: Scaled) -> None:
    scaled()
    scaled.source.write_text("\n" + KERNEL.replace("*= {factor}", "+= 1"))
    assert scaled() == "compiled"
    assert len(scaled.files()) == 1


def test_kernels_of_one_name_do_not_take_each_others_code(scaled: Scaled) -> None:
    # Their bytecode is the same, too: the constant lies elsewhere.
    twice, thrice = KERNEL.format(factor=2), KERNEL.format(factor=3)
    called = "\nimport numpy\nscaled(numpy.ones(3, numpy.float32))\n"
    scaled.source.write_text(twice + called + thrice)
    assert scaled(expected=3) == "compiled"


def test_a_damaged_file_is_compiled_anew_and_mended(scaled: Scaled) -> None:
    scaled()
    (file,) = scaled.files()
    whole = file.read_bytes()
    for damaged in (b"", whole[:10], whole[:-1], bytes(len(whole))):
        file.write_bytes(damaged)
        assert scaled() == "compiled"
        assert scaled() == "loaded"


def test_no_damage_is_overlooked(tmp_path: Path) -> None:
    files = CodeFiles(tmp_path, "kernel", ())
    files.save(KEY, "code")
    whole = files.path(KEY).read_bytes()
    for place in range(len(whole)):
        flipped = bytearray(whole)
        flipped[place] ^= 1
        files.path(KEY).write_bytes(flipped)
        assert files.load(KEY) is None


def test_a_folder_in_the_place_of_a_file_does_not_stop_a_kernel(scaled: Scaled) -> None:
    scaled()
    (file,) = scaled.files()
    file.unlink()
    file.mkdir()
    assert scaled() == "compiled"
    assert scaled.files() == [file]


def test_code_that_cannot_be_loaded_is_compiled(
    scaled: Scaled, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("LLVM cannot read this")

    scaled()
    monkeypatch.setattr(CompileResult, "_rebuild", fail)
    assert scaled() == "compiled"


def test_a_full_disk_does_not_stop_a_kernel(
    scaled: Scaled, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(code_cache, "write_whole", fail)
    assert [scaled(), scaled()] == ["compiled", "compiled"]


def test_sources_that_cannot_be_read_do_not_stop_a_kernel(
    scaled: Scaled, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: Path) -> str:
        raise FileNotFoundError("in a zip file")

    scaled()
    monkeypatch.setattr(code_cache, "sources_hash", fail)
    assert scaled() == "compiled"


def test_processes_of_old_and_new_sources_do_not_take_each_others_code(tmp_path: Path) -> None:
    old, new = (CodeFiles(tmp_path, "kernel", (sources,)) for sources in ("old", "new"))
    for mine, other in [(old, new), (new, old), (old, new)]:
        mine.save(KEY, "mine")
        assert mine.load(KEY) == "mine"
        assert other.load(KEY) is None


@pytest.mark.parametrize("part", range(len(KEY)))
def test_code_is_not_taken_for_that_of_another_key(tmp_path: Path, part: int) -> None:
    files = CodeFiles(tmp_path, "kernel", ())
    other = (*KEY[:part], ("other",), *KEY[part + 1 :])
    files.save(KEY, "code")
    assert files.load(other) is None
    if files.path(other) != files.path(KEY):
        files.path(KEY).rename(files.path(other))
    assert files.load(other) is None


def test_flush_deletes_the_files_of_one_kernel(tmp_path: Path) -> None:
    files, others = CodeFiles(tmp_path, "kernel", ()), CodeFiles(tmp_path, "kernels", ())
    files.save(KEY, "code")
    others.save(KEY, "code")
    files.flush()
    assert files.load(KEY) is None
    assert others.load(KEY) == "code"


def test_hash_of_the_sources_follows_every_file_below(tmp_path: Path) -> None:
    def rehashed() -> str:
        sources_hash.cache_clear()
        return sources_hash(tmp_path)

    with pytest.raises(FileNotFoundError):
        rehashed()
    (tmp_path / "gpu").mkdir()
    hashes = []
    for name, text in [("a.py", "1"), ("a.py", "2"), ("gpu/b.py", "1"), ("c.py", "")]:
        (tmp_path / name).write_text(text)
        hashes.append(rehashed())
        assert rehashed() == hashes[-1]
    (tmp_path / "c.py").rename(tmp_path / "d.py")
    hashes.append(rehashed())
    assert len(set(hashes)) == len(hashes)
    (tmp_path / "notes.txt").write_text("no source")
    assert rehashed() == hashes[-1]


def test_kernels_inline_nothing_from_outside_their_folder() -> None:
    # The hash over the folder says that code is old. What is imported from elsewhere must not
    # become a part of a kernel: errors and the writing of files do not.
    folder = Path(code_cache.__file__).parent
    outside = {
        node.module
        for path in folder.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("scratchconv")
        if not f"{node.module}.".startswith("scratchconv.kernels.")
    }
    assert outside <= {"scratchconv.errors", "scratchconv.whole_file"}


def test_another_process_loads_what_this_one_compiled() -> None:
    assert isinstance(beta_lasso.update_float32._cache, CodeCache)  # type: ignore[attr-defined]
    program = (
        "import numpy as np\n"
        "from scratchconv.kernels.beta_lasso import update_float32\n"
        "array = np.ones(10, np.float32)\n"
        "update_float32(array, array.copy(), *map(np.float32, (0.1, 0.1, 1.0)))\n"
    )
    exec(program, {})
    program += "assert update_float32.stats.cache_hits and not update_float32.stats.cache_misses"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", program], check=True, env=environment)
