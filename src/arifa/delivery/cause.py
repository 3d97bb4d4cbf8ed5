"""Why an attempt ended as it did: one short word each, and a sentence with a remedy for people.

Two faults share a word only where the remedy is the same. An address inside the house has one word
and one sentence, whatever there is behind it: it is not called, so nobody learns whether it is open.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class Cause(StrEnum):
    """The word that an attempt keeps; `delivery list` shows the last one."""

    DELIVERED = "delivered"
    REFUSED = "refused"
    REDIRECTED = "redirected"
    THROTTLED = "throttled"
    GONE = "gone"
    CLIENT_ERROR = "client_error"
    SERVER_ERROR = "server_error"
    TIMEOUT = "timeout"
    SLOW_ANSWER = "slow_answer"
    CUT_SHORT = "cut_short"
    TOO_MUCH = "too_much"
    NOT_HTTP = "not_http"
    RESET = "reset"
    UNREACHABLE = "unreachable"
    CONNECT_TIMEOUT = "connect_timeout"
    DNS = "dns"
    DNS_UNANSWERED = "dns_unanswered"
    TLS = "tls"
    TLS_VERSION = "tls_version"
    TLS_HANDSHAKE = "tls_handshake"
    PROXY = "proxy"
    NO_STREAM = "no_stream"
    LOGIN = "login"
    BROKER_SILENT = "broker_silent"
    TOO_LARGE = "too_large"
    NOT_NATS = "not_nats"
    ADDRESS = "address"
    URL = "url"
    INEXPRESSIBLE = "inexpressible"
    MISSING = "missing"
    MISCONFIGURED = "misconfigured"
    ENDPOINT_REMOVED = "endpoint_removed"
    INTERNAL = "internal"


SENTENCE: Final = {
    Cause.DELIVERED: "the endpoint has it",
    Cause.REFUSED: "the endpoint answered, but its answer does not say that it has the "
    "notification; look at what it answers",
    Cause.REDIRECTED: "the endpoint redirects, and no redirect is followed; give the final URL",
    Cause.THROTTLED: "the endpoint asks to be sent less",
    Cause.GONE: "the endpoint says that it is gone for good; remove it, or give its new URL",
    Cause.CLIENT_ERROR: "the endpoint will not have the request; look at its log for why",
    Cause.SERVER_ERROR: "the endpoint failed; look at its log for why",
    Cause.TIMEOUT: "the endpoint did not answer in time; let it answer first and work afterwards",
    Cause.SLOW_ANSWER: "the endpoint began its answer and did not end it in time; let it send a "
    "short answer at once, with a content-length that is true",
    Cause.CUT_SHORT: "the endpoint broke off in the middle of its answer; look at its log for a "
    "crash, and that its content-length is true",
    Cause.TOO_MUCH: "the endpoint's answer is without measure: headers of more than 16 KiB, or "
    "much around a body; let it send a short one",
    Cause.NOT_HTTP: "what answers there does not speak correct HTTP/1.1; look at what listens on "
    "that port",
    Cause.RESET: "the endpoint closed the connection before it had answered; look at its log for a "
    "crash, and at the proxy before it",
    Cause.UNREACHABLE: "nothing accepts connections there; see that it runs, and its firewall",
    Cause.CONNECT_TIMEOUT: "nobody answered when we connected; see that the host is up, and that "
    "its firewall lets us in",
    Cause.DNS: "the host name cannot be found; look for a typing error, and at the name's records",
    Cause.DNS_UNANSWERED: "nobody could say in time where the host name leads; look at the name's "
    "servers, and at the resolver that the hub asks",
    Cause.TLS: "the endpoint's certificate is not accepted; look at its dates, its host name, and "
    "that the intermediate ones are sent",
    Cause.TLS_VERSION: "the endpoint has no TLS that is safe; let it speak TLS 1.2 or 1.3",
    Cause.TLS_HANDSHAKE: "the TLS connection did not come about; see that what listens on that "
    "port speaks TLS, asks for no client certificate, and knows the host name",
    Cause.PROXY: "the egress proxy did not lead there; the operator sees why in its log",
    Cause.NO_STREAM: "the broker has no stream that keeps what is published to this subject; make "
    "one, or correct the subject in the endpoint's URL",
    Cause.LOGIN: "the broker does not let us in, or not to this subject; look at the endpoint's "
    "user and password, and at what the broker permits that user",
    Cause.BROKER_SILENT: "the broker did not answer in time; look at how it and its disk are "
    "doing, and that a NATS broker listens on that port",
    Cause.TOO_LARGE: "the message is larger than the broker takes; raise its max_payload",
    Cause.NOT_NATS: "what answers there is no NATS broker with JetStream; look at what listens on "
    "that port, and who answers on that subject",
    Cause.ADDRESS: "the host is not at a public address, and only those are called; for "
    "development, serve with --allow-private",
    Cause.URL: "the endpoint's URL cannot be called",
    Cause.INEXPRESSIBLE: "the endpoint's dialect has no words for this; narrow the endpoint's "
    "filter, or give it another dialect",
    Cause.MISSING: "the notification is no longer in the store",
    Cause.MISCONFIGURED: "the endpoint's dialect or credentials cannot be used",
    Cause.ENDPOINT_REMOVED: "the endpoint was removed before this was delivered",
    Cause.INTERNAL: "an error of Arifa's own; please report it",
}


class NoAnswer(Exception):
    """There was no answer: `cause` says why, the text says it to people."""

    def __init__(self, cause: Cause, more: str = "") -> None:
        super().__init__(f"{SENTENCE[cause]} ({more})" if more else SENTENCE[cause])
        self.cause = cause
