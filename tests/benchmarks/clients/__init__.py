"""One module per OAuth client that is measured: the exchange of a code as its documentation has it, and its callback.

Each is a program of its own, started anew for every answer, so that neither memory nor a crash of one touches another. Each
authenticates in the body, as Ontraport wants it, and is given ``TIMEOUT`` in the way that it documents.
"""
