"""Downloads from a server on this machine: resumed, verified, and safe to unpack."""

from __future__ import annotations

import errno
import hashlib
import io
import tarfile
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest
from original_files import write_cifar10

from scratchconv import data
from scratchconv.data.published_files import DataFile, Download, Published
from scratchconv.errors import DataError


@pytest.fixture
def server():
    """Serves `files` (path -> bytes); notes requests; `cut` breaks off, `ranges` knows Range."""
    state = SimpleNamespace(files={}, requests=[], cut=None, ranges=True)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            wanted = self.headers.get("Range")
            state.requests.append((self.path, wanted))
            content = state.files.get(self.path)
            if content is None:
                self.send_error(404)
                return
            start = int(wanted[6:-1]) if wanted and state.ranges else 0
            if start > len(content):
                self.send_error(416)
                return
            self.send_response(206 if start else 200)
            if start:
                self.send_header(
                    "Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}"
                )
            body = content[start:]
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body if state.cut is None else body[: state.cut])

        def log_message(self, *_):
            pass

    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=running.serve_forever, daemon=True).start()
    state.url = f"http://127.0.0.1:{running.server_port}"
    yield state
    running.shutdown()
    running.server_close()


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


def one_file(server, content: bytes = b"x" * 300_000, mirrors=("/a",)):
    file = DataFile("numbers.bin", len(content), md5(content))
    urls = tuple(server.url + mirror for mirror in mirrors)
    download = Download(urls, file.path, file.size, file.md5)
    source = Published(("numbers", "."), (file,), (download,), 1, 1, (1, 1, 1), ("0",))
    return {"numbers": source}, content


def test_a_file_is_downloaded_checked_and_then_left_alone(tmp_path, server):
    registry, content = one_file(server)
    server.files["/a"] = content
    seen = []
    folder = data.fetch("numbers", tmp_path, lambda *step: seen.append(step), registry=registry)
    assert folder == tmp_path / "numbers"
    assert (folder / "numbers.bin").read_bytes() == content
    assert seen[-1] == ("numbers.bin", len(content), len(content))
    assert [state.status for state in data.verify("numbers", tmp_path, registry=registry)] == ["ok"]
    data.fetch("numbers", tmp_path, registry=registry)
    assert len(server.requests) == 1
    assert not list(folder.glob("*.part"))


@pytest.mark.parametrize("ranges", [True, False])
def test_a_download_cut_short_goes_on(tmp_path, server, ranges):
    registry, content = one_file(server, bytes(range(256)) * 2000)
    server.files["/a"] = content
    server.cut = 200_000
    with pytest.raises(DataError, match=r"numbers.bin could not be downloaded.*try again"):
        data.fetch("numbers", tmp_path, registry=registry)
    assert not (tmp_path / "numbers" / "numbers.bin").exists()
    part = tmp_path / "numbers" / "numbers.bin.part"
    have = part.stat().st_size
    assert 0 < have <= 200_000
    server.cut, server.ranges = None, ranges
    data.fetch("numbers", tmp_path, registry=registry)
    assert (tmp_path / "numbers" / "numbers.bin").read_bytes() == content
    assert server.requests[-1] == ("/a", f"bytes={have}-")
    assert not part.exists()


def test_a_part_the_server_cannot_continue_is_dropped(tmp_path, server):
    registry, content = one_file(server)
    server.files["/a"] = content[:10]
    (tmp_path / "numbers").mkdir()
    part = tmp_path / "numbers" / "numbers.bin.part"
    part.write_bytes(content[:1000])
    with pytest.raises(DataError, match="416"):
        data.fetch("numbers", tmp_path, registry=registry)
    assert not part.exists()
    server.files["/a"] = content
    data.fetch("numbers", tmp_path, registry=registry)
    assert (tmp_path / "numbers" / "numbers.bin").read_bytes() == content


def test_a_wrong_file_is_refused_and_not_resumed_from(tmp_path, server):
    registry, content = one_file(server)
    server.files["/a"] = b"y" * len(content)
    with pytest.raises(DataError, match=r"numbers.bin could not be downloaded"):
        data.fetch("numbers", tmp_path, registry=registry)
    assert [p.name for p in (tmp_path / "numbers").iterdir()] == []
    server.files["/a"] = content
    data.fetch("numbers", tmp_path, registry=registry)
    assert (tmp_path / "numbers" / "numbers.bin").read_bytes() == content


@pytest.mark.parametrize("wrong", [b"x" * 299_999, b"x" * 300_001, b""])
def test_a_file_of_the_wrong_size_is_refused(tmp_path, server, wrong):
    registry, _ = one_file(server)
    server.files["/a"] = wrong
    with pytest.raises(DataError, match="of 300000"):
        data.fetch("numbers", tmp_path, registry=registry)
    assert not (tmp_path / "numbers" / "numbers.bin").exists()


def test_the_next_mirror_is_tried(tmp_path, server):
    registry, content = one_file(server, mirrors=("/gone", "/wrong", "/b"))
    server.files.update({"/wrong": b"y" * len(content), "/b": content})
    data.fetch("numbers", tmp_path, registry=registry)
    assert [path for path, _ in server.requests] == ["/gone", "/wrong", "/b"]


def test_a_file_of_the_users_is_replaced_only_if_asked(tmp_path, server):
    registry, content = one_file(server)
    server.files["/a"] = content
    (tmp_path / "numbers").mkdir()
    mine = tmp_path / "numbers" / "numbers.bin"
    mine.write_bytes(b"mine")
    with pytest.raises(
        DataError, match=r"numbers.bin is not the published file \(4 bytes.*overwrite"
    ):
        data.fetch("numbers", tmp_path, registry=registry)
    assert mine.read_bytes() == b"mine"
    assert server.requests == []
    assert data.verify("numbers", tmp_path, registry=registry)[0].status == "damaged"
    data.fetch("numbers", tmp_path, registry=registry, overwrite=True)
    assert mine.read_bytes() == content


def test_a_file_beside_them_that_has_one_of_their_names_is_left_alone(tmp_path, server):
    registry, content = one_file(server)
    server.files["/a"] = content
    mine = tmp_path / "numbers.bin"
    mine.write_bytes(b"mine")
    folder = data.fetch("numbers", tmp_path, registry=registry, overwrite=True)
    assert folder == tmp_path / "numbers"
    assert mine.read_bytes() == b"mine"
    assert (folder / "numbers.bin").read_bytes() == content


def test_one_damaged_file_beside_whole_ones_is_named(tmp_path, server):
    registry, content = one_file(server)
    whole = registry["numbers"].files[0]
    registry["numbers"] = replace(registry["numbers"], files=(whole, replace(whole, path="more")))
    (tmp_path / "numbers.bin").write_bytes(content)
    (tmp_path / "more").write_bytes(content[:-1])
    with pytest.raises(DataError, match=r"more is not the published file .* --overwrite"):
        data.fetch("numbers", tmp_path, registry=registry)


def test_files_of_a_dataset_with_the_same_names_are_not_taken_for_this_one(tmp_path, server):
    registry, content = one_file(server)
    other = replace(
        registry["numbers"].files[0], size=len(content) + 1, md5=md5(b"o" * (len(content) + 1))
    )
    registry["letters"] = replace(registry["numbers"], folders=("letters", "."), files=(other,))
    (tmp_path / "numbers.bin").write_bytes(content)
    assert data.verify("numbers", tmp_path, registry=registry)[0].status == "ok"
    (state,) = data.verify("letters", tmp_path, registry=registry)
    assert (state.status, state.path) == ("missing", tmp_path / "letters" / "numbers.bin")


def test_a_full_disk_is_no_reason_to_fetch_an_archive_again(tmp_path, server, monkeypatch):
    registry, _ = cifar_like(server, tmp_path)

    def full(source, target):
        target.write(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    home = tmp_path / "home"
    with monkeypatch.context() as patch:
        patch.setattr("scratchconv.data.download.shutil.copyfileobj", full)
        with pytest.raises(DataError, match=r"the disk is full: .* \(the archive is kept\)"):
            data.fetch("cifar10", home, registry=registry)
    assert list((home / "cifar-10-batches-py").iterdir()) == []
    before = len(server.requests)
    data.fetch("cifar10", home, registry=registry)
    assert len(server.requests) == before


def archive_of(members: dict[str, bytes], links: dict[str, str] | None = None) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, target in (links or {}).items():
            link = tarfile.TarInfo(name)
            link.type, link.linkname = tarfile.SYMTYPE, target
            tar.addfile(link)
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def cifar_like(server, tmp_path, archive_members=None, links=None):
    """A registry for a small cifar10 served as one archive; returns it and the files' contents."""
    write_cifar10(tmp_path / "original", each=2)
    contents = {path.name: path.read_bytes() for path in (tmp_path / "original").iterdir()}
    members = {f"cifar-10-batches-py/{name}": content for name, content in contents.items()}
    archive = archive_of(members if archive_members is None else archive_members, links)
    server.files["/cifar.tar.gz"] = archive
    names = [f"data_batch_{number}" for number in range(1, 6)] + ["test_batch"]
    files = tuple(DataFile(name, len(contents[name]), md5(contents[name])) for name in names)
    download = Download(
        (server.url + "/cifar.tar.gz",), "cifar.tar.gz", len(archive), md5(archive), unpack=True
    )
    source = Published(
        ("cifar-10-batches-py", "."), files, (download,), 10, 2, (3, 32, 32), tuple("0123456789")
    )
    return {"cifar10": source}, contents


def test_an_archive_is_unpacked_and_loads(tmp_path, server):
    registry, contents = cifar_like(server, tmp_path)
    home = tmp_path / "home"
    folder = data.fetch("cifar10", home, registry=registry)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == contents
    assert len(data.load("cifar10", home, complete=False).train) == 10
    (folder / "data_batch_2").unlink()
    data.fetch("cifar10", home, registry=registry)  # from the archive that is already there
    assert (folder / "data_batch_2").exists()
    assert len(server.requests) == 1


def test_nothing_is_unpacked_outside_the_folder_or_through_links(tmp_path, server):
    registry, contents = cifar_like(server, tmp_path)
    outside = tmp_path / "outside"
    outside.mkdir()
    members = {f"../../outside/{name}": content for name, content in contents.items()}
    members["../../outside/evil"] = b"evil"
    members["/tmp/scratchconv-evil/test_batch"] = b"evil"
    links = {"cifar-10-batches-py": str(outside), "cifar-10-batches-py/data_batch_1": "/etc/passwd"}
    registry, _ = cifar_like(server, tmp_path, members, links)
    home = tmp_path / "home"
    folder = data.fetch("cifar10", home, registry=registry)
    assert list(outside.iterdir()) == []
    assert sorted(path.name for path in folder.iterdir()) == sorted(contents)
    assert not any(path.is_symlink() for path in folder.iterdir())
    assert (folder / "data_batch_1").read_bytes() == contents["data_batch_1"]


@pytest.mark.parametrize("change", ["missing", "other content", "a link", "no archive"])
def test_an_archive_without_the_published_files_is_named(tmp_path, server, change):
    _, contents = cifar_like(server, tmp_path)
    links = None
    if change == "missing":
        del contents["test_batch"]
    elif change == "other content":
        contents["test_batch"] = b"z" * len(contents["test_batch"])
    elif change == "a link":
        del contents["test_batch"]
        links = {"test_batch": "/etc/passwd"}
    registry, _ = cifar_like(server, tmp_path, contents, links)
    if change == "no archive":
        text = b"not a tar archive"
        server.files["/cifar.tar.gz"] = text
        source = registry["cifar10"]
        download = Download(source.downloads[0].urls, "cifar.tar.gz", len(text), md5(text), True)
        registry = {
            "cifar10": Published(
                source.folders, source.files, (download,), 10, 2, source.image, source.classes
            )
        }
    home = tmp_path / "home"
    with pytest.raises(DataError, match=r"cifar.tar.gz.*(test_batch|cannot be unpacked)"):
        data.fetch("cifar10", home, registry=registry)
    assert not (home / "cifar-10-batches-py" / "test_batch").exists()
    assert not list(home.rglob("*.part"))


def test_verify_names_missing_and_damaged_files(tmp_path, server):
    registry, contents = cifar_like(server, tmp_path)
    folder = data.fetch("cifar10", tmp_path / "home", registry=registry)
    (folder / "data_batch_1").unlink()
    damaged = bytearray(contents["data_batch_2"])
    damaged[-100] ^= 1
    (folder / "data_batch_2").write_bytes(damaged)
    states = data.verify("cifar10", tmp_path / "home", registry=registry)
    assert [state.status for state in states] == ["missing", "damaged", *["ok"] * 4]
    assert states[0].size is None
    assert states[0].md5 is None
    assert states[1].size == states[1].expected_size
    assert states[1].md5 == md5(bytes(damaged))


def test_a_decompressed_file_is_taken_but_called_unverified(tmp_path, server):
    registry, content = one_file(server)
    source = registry["numbers"]
    zipped = DataFile("numbers.bin.gz", 5, "0" * 32)
    registry = {
        "numbers": Published(source.folders, (zipped,), (), 1, 1, source.image, source.classes)
    }
    (tmp_path / "numbers.bin").write_bytes(content)
    (state,) = data.verify("numbers", tmp_path, registry=registry)
    assert state.status == "unverified"
    assert state.path == tmp_path / "numbers.bin"
    data.fetch("numbers", tmp_path, registry=registry)
    assert server.requests == []


def test_the_published_registry_is_well_formed():
    from scratchconv.data.published_files import PUBLISHED

    for source in PUBLISHED.values():
        for entry in (*source.files, *source.unread, *source.downloads):
            assert len(bytes.fromhex(entry.md5)) == 16
            assert entry.size > 0
            assert not entry.path.startswith(("/", ".."))
        assert source.train_size > source.test_size > 0


def test_whole_files_in_a_folder_that_cannot_be_written_are_fine(tmp_path, server):
    registry, content = one_file(server)
    (tmp_path / "numbers.bin").write_bytes(content)
    tmp_path.chmod(0o500)
    try:
        assert data.fetch("numbers", tmp_path, registry=registry) == tmp_path / "."
        assert [path.name for path in tmp_path.iterdir()] == ["numbers.bin"]
    finally:
        tmp_path.chmod(0o700)


def test_a_folder_that_cannot_be_made_is_named(tmp_path, server):
    registry, _ = one_file(server)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DataError, match=r"file.*cannot be made"):
        data.fetch("numbers", tmp_path / "file", registry=registry)


def test_a_folder_that_cannot_be_written_to_is_named(tmp_path, server):
    registry, _ = one_file(server)
    (tmp_path / ".numbers.lock").mkdir()  # permissions would not stop the superuser
    with pytest.raises(DataError, match=r"numbers cannot be .*written to"):
        data.fetch("numbers", tmp_path, registry=registry)
