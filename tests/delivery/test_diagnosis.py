"""From an error to a cause: the same error means another thing, depending on how far it came."""

from __future__ import annotations

import pytest

from arifa.delivery.cause import Cause
from arifa.delivery.connection import Ended
from arifa.delivery.diagnosis import Phase, Way, broken, late


@pytest.mark.parametrize(
    ("phase", "is_tls", "cause"),
    [
        (Phase.CONNECTING, False, Cause.RESET),
        (Phase.CONNECTING, True, Cause.TLS_HANDSHAKE),
        (Phase.HANDSHAKE, True, Cause.TLS_HANDSHAKE),
        (Phase.WAITING, True, Cause.RESET),
        (Phase.ANSWERING, True, Cause.CUT_SHORT),
    ],
)
def test_a_reset(phase, is_tls, cause):
    """It is TLS that did not come about until that stands, also where it is seen very early."""
    assert broken(ConnectionResetError(), Way(phase, is_tls=is_tls)).cause is cause
    ended = Ended()
    ended.__cause__ = ConnectionResetError()
    assert broken(ended, Way(phase, is_tls=is_tls)).cause is cause


@pytest.mark.parametrize("phase", [Phase.LOOKING_UP, Phase.CONNECTING, Phase.TUNNELLING])
def test_what_breaks_before_the_tunnel_stands(phase):
    """It is between us and the proxy, and its cause says nothing of the endpoint."""
    assert broken(ConnectionResetError(), Way(phase, is_proxied=True)).cause is Cause.PROXY


def test_every_phase_has_its_own_word():
    """Whoever is late is told where, and after how long."""
    for phase in Phase:
        assert "(15 s)" in str(late(Way(phase), 15.0))
    proxied = late(Way(Phase.HANDSHAKE, is_proxied=True), 15.0)
    assert proxied.cause is Cause.TLS_HANDSHAKE
