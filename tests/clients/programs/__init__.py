"""Programs that are told what to do, a line of JSON at a time, each with a client that is installed from PyPI or npm."""
