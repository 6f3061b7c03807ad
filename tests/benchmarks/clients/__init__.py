"""One module for each measured OAuth client: the exchange of a code as its documentation shows it, and its callback.

Each is a program that is started anew for every answer, so that neither memory nor a crash of one affects another. Each authenticates in
the body, as Ontraport wants it, and gets ``TIMEOUT`` in the way that it documents.
"""
