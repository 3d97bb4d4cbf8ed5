"""Delivery: each notification reaches each endpoint that wants it, or is visibly dead.

schedule    when the next attempt is made (pure)
transport   the seam: a scheme says which way out, and what each way gives back
outbound    the only HTTP client: a place, a connection, a request, an answer
message     the bytes of a request (pure)
connection  one connection: a request out, its answer in, within bounds
idle        connections that are kept for the next delivery
dial        sockets; the wall that they pass; the egress proxy
target      the URLs that HTTP endpoints may have (pure)
names       names looked up, and what they lead to checked as a whole
addresses   which addresses may be called (pure)
bounds      how much an answer may be
diagnosis   from an error to a cause
cause       why an attempt ended as it did: words and sentences
attempt     one try: render, sign, send, read the answer, name the cause
worker      claim, attempt, record, again
"""
