"""Which profile a process that listens to cameras takes."""

from __future__ import annotations

import os
import socket

import pytest

from rl_token_ros.nodes import camera_transport, discovery

pytestmark = pytest.mark.skipif(discovery.profile_variable() is None, reason="another middleware than Fast DDS")


@pytest.fixture
def chosen(monkeypatch):
    """The profile that is chosen where a socket may hold so many bytes, and shared memory has room or not."""
    for name in (*discovery.VARIABLES.values(), discovery.TRANSPORTS):
        monkeypatch.delenv(name, raising=False)

    def choose(buffer: int) -> str:
        monkeypatch.setattr(camera_transport, "receive_buffer", lambda asked: min(asked, buffer))
        camera_transport.use_profile()
        return os.environ[discovery.profile_variable()]

    return choose


def test_over_udp_where_a_socket_holds_several_pictures(chosen):
    assert chosen(1 << 30) == str(camera_transport.CAMERAS)
    assert not camera_transport.remedy()


def test_through_shared_memory_where_it_does_not(chosen):
    assert chosen(212_992) == str(discovery.LARGE_MESSAGES)  # of Linux, by default
    assert "rmem_max" in camera_transport.remedy()


@pytest.mark.parametrize("users", ["/home/user/my.xml", str(discovery.LARGE_MESSAGES)])
def test_a_users_own_profile_stays(chosen, monkeypatch, users):
    monkeypatch.setenv(discovery.profile_variable(), users)
    assert chosen(1 << 30) == users
    assert "without a profile" in camera_transport.remedy()


def test_a_users_own_transports_stay(chosen, monkeypatch):
    monkeypatch.setenv(discovery.TRANSPORTS, "UDPv4")
    assert chosen(1 << 30) == str(discovery.SHORT_LEASE)


def test_what_a_socket_may_hold_is_what_the_kernel_gives():
    assert camera_transport.receive_buffer(8192) == 8192
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 30)
        assert camera_transport.receive_buffer(1 << 30) == probe.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // 2
