"""A test kit: the logic of the stand-in for Ontraport, in the process of your tests, without a network.

    from ontraport_connect.testing import fake_ontraport

    with fake_ontraport() as ontraport:
        account = ontraport.linked_account(user)

With pytest, ``pytest_plugins = ["ontraport_connect.testing.fixtures"]`` in the outermost ``conftest.py`` gives a fixture ``ontraport``.
"""

from .kit import FakeOntraport, fake_ontraport

__all__ = ["FakeOntraport", "fake_ontraport"]
