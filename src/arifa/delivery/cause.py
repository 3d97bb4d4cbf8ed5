"""Why an attempt ended as it did: one short word each, and a sentence with a remedy for people."""

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
    UNREACHABLE = "unreachable"
    RESET = "reset"
    DNS = "dns"
    TLS = "tls"
    ADDRESS = "address"
    NOT_HTTP = "not_http"
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
    Cause.UNREACHABLE: "nothing accepts connections there; see that it runs, and its firewall",
    Cause.RESET: "the endpoint closed the connection before it had answered",
    Cause.DNS: "the host name cannot be found; look for a typing error, and at the name's records",
    Cause.TLS: "the TLS connection failed; look at the endpoint's certificate: its dates, its host "
    "name, and that it sends the intermediate ones",
    Cause.ADDRESS: "the host is not at a public address, and only those are called; for "
    "development, serve with --allow-private",
    Cause.NOT_HTTP: "what answers there does not speak correct HTTP/1.1, or sends headers without "
    "measure",
    Cause.URL: "the endpoint's URL cannot be called",
    Cause.INEXPRESSIBLE: "the endpoint's dialect has no words for this; narrow the endpoint's "
    "filter, or give it another dialect",
    Cause.MISSING: "the notification is no longer in the store",
    Cause.MISCONFIGURED: "the endpoint's dialect or credentials cannot be used",
    Cause.ENDPOINT_REMOVED: "the endpoint was removed before this was delivered",
    Cause.INTERNAL: "an error of Arifa's own; please report it",
}
