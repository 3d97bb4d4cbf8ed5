"""How much an answer may be: counted where its bytes come in, before anything is made of them.

The deadline bounds time, and these bound work and memory: nobody can keep the loop busy until the
deadline with headers, with answers of 1xx before the answer, or with what lies between chunks.
"""

from __future__ import annotations

from typing import Final

BODY_MAX: Final = 65_536
"""Bytes of a body that are read; the rest is not waited for."""
HEADERS_MAX: Final = 64
HEAD_MAX: Final = 16_384
"""Bytes of status line and headers together, of the answers of 1xx too."""
INTERIM_MAX: Final = 8
"""Answers of 1xx before the answer."""
AROUND_MAX: Final = 4_096
"""Bytes around a body: the sizes and extensions of its chunks, its trailers. A chunk of one byte
costs as much as a large one, so there must not be many of them."""
PIECE: Final = 1_024
"""Bytes that are parsed before it is looked again: many small things fit into one reading."""
