"""Locks between processes; here between two descriptors, which the system keeps apart too."""

import errno
import fcntl

import pytest

from crcfp_jax.common.errors import UserError
from crcfp_jax.common.lock import Lock


def test_one_holder_at_a_time(tmp_path):
    path = tmp_path / "locks" / "a"
    with Lock(path) as first, Lock(path) as second:
        assert first.take() and not second.take()
        first.close()
        assert second.take() and second.works


def test_a_lock_that_its_holder_removed_is_taken_anew(tmp_path):
    path = tmp_path / "a"
    with Lock(path) as first, Lock(path) as late:
        assert first.take()
        first.remove()
        assert not path.exists()
        first.close()
        assert late.take() and path.exists()  # the file that a third one will find
        with Lock(path) as third:
            assert not third.take()


def test_removed_and_made_again_by_another(tmp_path):
    path = tmp_path / "a"
    with Lock(path) as late:
        with Lock(path) as first:
            assert first.take()
            first.remove()
        with Lock(path) as third:
            assert third.take() and not late.take()
        assert late.take()


def test_a_file_system_without_locks_keeps_nothing_apart(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with Lock(tmp_path / "a") as lock:
        assert lock.take() and not lock.works


def test_a_link_is_not_opened(tmp_path):
    (tmp_path / "mine").write_text("mine")
    (tmp_path / "a").symlink_to(tmp_path / "mine")
    with pytest.raises(UserError, match="symbolic links"):
        Lock(tmp_path / "a")
    (tmp_path / "b").symlink_to(tmp_path / "new")
    with pytest.raises(UserError):
        Lock(tmp_path / "b")
    assert not (tmp_path / "new").exists()
