import errno
from pathlib import Path

import pytest

from hexaquant.core.atomic import atomic_path, write_bytes, write_text
from hexaquant.core.errors import EnvironmentLacksError, InputError


def test_the_file_appears_whole_in_a_new_folder(tmp_path: Path) -> None:
    write_text(tmp_path / "new" / "a.txt", "ä")
    assert (tmp_path / "new" / "a.txt").read_bytes() == "ä\n".encode()
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["a.txt"]


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, ValueError])
def test_an_interruption_leaves_the_old_file_and_no_temporary(tmp_path: Path, interruption: type) -> None:
    write_text(tmp_path / "a", "old")
    with pytest.raises(interruption), atomic_path(tmp_path / "a") as temporary:
        temporary.write_text("half")
        raise interruption
    assert (tmp_path / "a").read_text() == "old\n"
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_a_full_disk_is_an_environment_error_and_leaves_nothing(tmp_path: Path) -> None:
    with (
        pytest.raises(EnvironmentLacksError, match=r"disk is full, .*a was not written") as caught,
        atomic_path(tmp_path / "a") as temporary,
    ):
        temporary.symlink_to("/dev/full")
        temporary.write_bytes(b"x" * 10000)
    assert caught.value.exit_code == 4
    assert isinstance(caught.value.__cause__, OSError) and caught.value.__cause__.errno == errno.ENOSPC
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_a_file_is_an_input_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="cannot write") as caught:
        write_bytes(tmp_path / "file" / "a", b"x")
    assert caught.value.exit_code == 2
