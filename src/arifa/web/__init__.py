"""The hub's side of HTTP: the limits at the door, the intake of notifications, the API, the portal."""
