"""Wheels of another machine, from a real pip and an index that is a folder; nothing here needs a network."""

from __future__ import annotations

import dataclasses
import zipfile

import pytest

from devices.solver.errors import WheelError
from devices.solver.platforms import BoardPlatform
from devices.solver.solve import solve
from devices.solver.wheels import download_argv, fetch, sha256_of

BOARD = BoardPlatform("aarch64", (3, 11, 2), (2, 36))


def make_wheel(folder, name, version, tag, content="x = 1\n"):
    """Write a wheel that pip accepts."""
    path = folder / f"{name}-{version}-{tag}.whl"
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{name}/__init__.py", content)
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        archive.writestr(f"{info}/WHEEL", f"Wheel-Version: 1.0\nRoot-Is-Purelib: false\nTag: {tag}\n")
        archive.writestr(
            f"{info}/RECORD", f"{name}/__init__.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n"
        )
    return path


@pytest.fixture
def index(tmp_path, monkeypatch):
    """An index of one package for several boards, as pip's only one; the cache is empty."""
    folder = tmp_path / "index"
    folder.mkdir()
    make_wheel(folder, "demo", "1.0", "cp311-cp311-manylinux_2_17_aarch64", "old = 1\n")
    make_wheel(folder, "demo", "1.0", "cp311-cp311-manylinux_2_34_aarch64", "new = 1\n")
    make_wheel(folder, "demo", "1.0", "cp311-cp311-manylinux_2_99_aarch64", "too_new = 1\n")
    make_wheel(folder, "demo", "1.0", "cp312-cp312-manylinux_2_17_aarch64")
    make_wheel(folder, "demo", "2.0", "cp311-cp311-manylinux_2_17_aarch64")
    make_wheel(folder, "pure", "3.0", "py3-none-any")
    for name in ("PIP_EXTRA_INDEX_URL", "PIP_INDEX_URL", "PIP_CONSTRAINT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("EDGE_CACHE_DIR", str(tmp_path / "cache"))
    return folder


def solution(*requirements, board=BOARD):
    """Return a solution that wants these packages."""
    return dataclasses.replace(solve(board), requirements=requirements)


def no_network(index):
    """Take the index away."""
    index.rename(index.with_name("gone"))


def test_the_newest_wheel_that_the_glibc_allows_in_the_pinned_version(index):
    told = []
    house = fetch(solution("demo==1.0", "pure==3.0"), on_wheel=lambda *now: told.append(now))
    assert [each.path.name for each in house.wheels] == [
        "demo-1.0-cp311-cp311-manylinux_2_34_aarch64.whl", "pure-3.0-py3-none-any.whl",
    ]  # fmt: skip
    assert told == [("demo==1.0", 1, 2), ("pure==3.0", 2, 2)]
    for wheel in house.wheels:
        assert wheel.sha256 == sha256_of(wheel.path) == sha256_of(index / wheel.path.name)
    assert house.bytes == sum(each.path.stat().st_size for each in house.wheels) > 0
    assert house.unpacked_bytes > 0


def test_an_older_board_gets_an_older_wheel_of_the_same_version(index):
    older = solution("demo==1.0", board=BoardPlatform("aarch64", (3, 11, 2), (2, 31)))
    assert fetch(older).wheels[0].path.name == "demo-1.0-cp311-cp311-manylinux_2_17_aarch64.whl"


def test_a_warm_cache_needs_no_network(index):
    first = fetch(solution("demo==1.0"))
    no_network(index)
    assert fetch(solution("demo==1.0")) == first


def test_no_network_and_no_cache_is_said(index):
    no_network(index)
    with pytest.raises(WheelError, match=r"demo==1\.0 could not be downloaded and is not in") as caught:
        fetch(solution("demo==1.0"))
    assert "connect this machine to the network once" in caught.value.hint


def test_a_damaged_wheel_is_fetched_anew_and_without_network_refused(index):
    first = fetch(solution("demo==1.0")).wheels[0]
    first.path.write_bytes(b"damaged")
    assert fetch(solution("demo==1.0")).wheels[0] == first
    assert sha256_of(first.path) == first.sha256
    first.path.write_bytes(b"damaged")
    no_network(index)
    with pytest.raises(WheelError, match="could not be downloaded"):
        fetch(solution("demo==1.0"))


def test_an_index_that_serves_other_bytes_is_refused(index):
    first = fetch(solution("demo==1.0")).wheels[0]
    first.path.unlink()
    make_wheel(index, "demo", "1.0", "cp311-cp311-manylinux_2_34_aarch64", "other = 1\n")
    with pytest.raises(WheelError, match=f"at first download {first.sha256}") as caught:
        fetch(solution("demo==1.0"))
    assert "delete" in caught.value.hint
    assert not first.path.exists()


def test_a_version_that_is_not_there_is_said(index):
    with pytest.raises(WheelError, match=r"demo==1\.5"):
        fetch(solution("demo==1.5"))


def test_a_deadline_that_has_passed(index):
    with pytest.raises(WheelError, match="before the deadline"):
        fetch(solution("demo==1.0"), deadline_s=0)


def test_a_cache_that_cannot_be_written(index, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("EDGE_CACHE_DIR", str(tmp_path / "file"))
    with pytest.raises(WheelError, match="could not be stored") as caught:
        fetch(solution("demo==1.0"))
    assert "EDGE_CACHE_DIR" in caught.value.hint


def test_nothing_half_downloaded_is_left(index, tmp_path):
    with pytest.raises(WheelError):
        fetch(solution("demo==1.5"))
    assert not list((tmp_path / "cache" / "wheels").iterdir())


def test_the_command_downloads_only_wheels_and_no_dependencies(tmp_path):
    argv = download_argv(solution("demo==1.0"), "demo==1.0", tmp_path)
    assert {"--no-deps", "--only-binary=:all:", "--no-input"} <= set(argv)
    assert argv.count("--platform") == len(solve(BOARD).platform_tags)
