"""Tests of the back office, with Ontraport in the same process: `DEBUG=True python manage.py test example_project`."""

from typing import Any

from django.contrib.auth import get_user_model
from django.test import TestCase

from ontraport_connect.testing import FakeOntraport, fake_ontraport


class BackofficeTestCase(TestCase):
    maya: Any
    ontraport: FakeOntraport

    @classmethod
    def setUpTestData(cls) -> None:
        cls.maya = get_user_model().objects.create_user("maya")

    def setUp(self) -> None:
        self.ontraport = self.enterContext(fake_ontraport())
        self.client.force_login(self.maya)


class ContactsTests(BackofficeTestCase):
    def test_contacts_of_the_linked_account_are_listed(self) -> None:
        self.ontraport.linked_account(self.maya)
        self.ontraport.contacts.add(firstname="Nia", lastname="Parry", company="Parry & Sons")
        self.assertContains(self.client.get("/contacts/"), "Parry &amp; Sons")

    def test_who_is_not_linked_is_led_to_the_button(self) -> None:
        self.assertRedirects(self.client.get("/contacts/"), "/ontraport/connect/?next=%2Fcontacts%2F")

    def test_a_token_that_has_ended_is_not_noticed(self) -> None:
        self.ontraport.linked_account(self.maya)
        self.ontraport.expire()
        self.assertContains(self.client.get("/contacts/"), "21 contacts")

    def test_a_grant_that_was_taken_back_leads_to_reconnect(self) -> None:
        account = self.ontraport.linked_account(self.maya)
        self.ontraport.expire()
        self.ontraport.revoke()
        response = self.client.get("/contacts/")
        self.assertRedirects(response, f"/ontraport/connect/?next=%2Fcontacts%2F&account={account.uid}")

    def test_when_ontraport_is_busy_the_page_says_so(self) -> None:
        self.ontraport.linked_account(self.maya)
        self.ontraport.fail(429)
        self.assertContains(self.client.get("/contacts/"), "Ontraport", status_code=503)

    def test_a_person_links_their_account(self) -> None:
        self.assertRedirects(self.ontraport.link(self.client), "/")
        self.assertContains(self.client.get("/contacts/"), "21 contacts")
