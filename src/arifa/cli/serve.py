"""`arifa serve`: run the hub."""

from __future__ import annotations

from arifa.cli.arguments import Networks
from arifa.cli.context import Given


def serve(
    *,
    host: str | None = None,
    port: int | None = None,
    admin_port: int | None = None,
    allow_private: bool = False,
    allow_port: tuple[int, ...] = (),
    egress_proxy: str | None = None,
    workers: int | None = None,
    one_process: bool = False,
    trusted_proxy: Networks = (),
    watch: str | None = None,
    processor: str | None = None,
    context: Given,
) -> int:
    """Run the hub: the banks' intake, the portal, the deliveries.

    Args:
        host: the address to listen on; 127.0.0.1 unless set.
        port: for banks and people; 8080 unless set, 0 for any that is free.
        admin_port: for health and metrics; 8081 unless set, 0 for any that is free.
        allow_private: let deliveries go to loopback and private addresses, and to any port.
        allow_port: a port besides 443 that deliveries may go to; may come several times.
        egress_proxy: http://HOST:PORT of a proxy that https deliveries go through.
        workers: how many processes.
        one_process: write the books in the serving process, and not in one of their own.
        trusted_proxy: CIDR of a proxy whose x-forwarded-for is believed; may come several times.
        watch: a folder where a core banking system puts down files of events.
        processor: who settles approved transactions; the built-in `instant` unless set.
    """
    from arifa.web.server import serve as serve_hub

    settings = context.with_flags(
        {
            "host": host,
            "port": port,
            "admin_port": admin_port,
            "allow_private": allow_private or None,
            "allow_ports": allow_port or None,
            "egress_proxy": egress_proxy,
            "workers": workers,
            "one_process": one_process or None,
            "trusted_proxies": trusted_proxy or None,
            "watch_folder": watch,
            "processor": processor,
        }
    ).settings
    return serve_hub(
        store_folder=settings.data,
        database_url=settings.database,
        key=settings.key,
        host=settings.host,
        port=settings.port,
        admin_port=settings.admin_port,
        allow_private=settings.allow_private,
        allow_ports=settings.allow_ports,
        egress_proxy=settings.egress_proxy,
        workers=settings.workers,
        has_clerk=not settings.one_process,
        trusted_proxies=settings.trusted_proxies,
        watch_folder=settings.watch_folder,
        processor=settings.processor,
        mail=settings.mail,
    )
