"""Delivery: each notification reaches each endpoint that wants it, or is visibly dead.

schedule    when the next attempt is made (pure)
outbound    the only HTTP client, and its guard of addresses
attempt     one try: render, sign, send, read the answer, name the cause
worker      claim, attempt, record, again
"""
