"""Bugs in how secrets are encrypted, and kept from sight."""

from .bug import Bug

BUGS = [
    Bug(
        "a ciphertext is good in any row",
        "encryption/fields",
        'f"{self.model._meta.label_lower}.{self.column}:{uid}"',
        'f"{self.model._meta.label_lower}.{self.column}"',
        "encryption/test_fields.py::test_of_100_rows_with_2_columns_each_no_ciphertext_is_accepted_in_another_place",
    ),
    Bug(
        "a ciphertext is good in any column",
        "encryption/fields",
        'f"{self.model._meta.label_lower}.{self.column}:{uid}"',
        'f"{self.model._meta.label_lower}:{uid}"',
        "encryption/test_fields.py::test_of_100_rows_with_2_columns_each_no_ciphertext_is_accepted_in_another_place",
    ),
    Bug(
        "what cannot be decrypted is returned as it is",
        "encryption/keys",
        "    if text is None:\n        raise SecretUnreadable(",
        '    if text is None:\n        return sealed.decode("latin-1")\n        raise SecretUnreadable(',
        "encryption/test_fields.py::test_nothing_cut_off_or_added_is_accepted",
    ),
    Bug(
        "a short key encrypts",
        "encryption/keys",
        "and len(own[0]) >= MINIMUM_KEY_LENGTH else None",
        "else None",
        "encryption/test_fields.py::test_an_unfit_key_encrypts_nothing_and_no_frame_of_the_error_shows_it_or_the_secret",
    ),
    Bug(
        "old keys are forgotten",
        "encryption/keys",
        "    for key in encryption_keys():",
        "    for key in encryption_keys()[:1]:",
        "encryption/test_fields.py::test_all_keys_decrypt_and_the_first_encrypts",
    ),
    Bug(
        "plain text goes into the column",
        "encryption/fields",
        "        if not isinstance(value, Sealed):\n",
        "        if False:\n",
        "encryption/test_writes.py::test_update_writes_no_plain_text",
    ),
    Bug(
        "a secret shows itself",
        "encryption/secret",
        "    def __repr__(self) -> str:\n        return MASK",
        "    def __repr__(self) -> str:\n        return self.reveal()",
        "encryption/test_secret.py::test_it_shows_nothing",
    ),
    Bug(
        "forms and serializers know secrets",
        "encryption/fields",
        'kwargs.setdefault("editable", False)',
        'kwargs.setdefault("editable", True)',
        "encryption/test_fields.py::test_forms_and_model_dicts_know_nothing_of_secrets",
    ),
    Bug(
        "a dump has plain text",
        "encryption/fields",
        "return DUMP_PREFIX + base64.b64encode(self.pre_save(obj, add=False)).decode()",
        "return str(getattr(obj, self.attname).reveal())",
        "encryption/test_fields.py::test_dumpdata_and_loaddata",
    ),
    Bug(
        "a secret in plain text is pickled",
        "encryption/secret",
        '        raise TypeError("A secret cannot be pickled; save the account and pass its uid instead.")',
        "        return Secret, (self._read(),)",
        "encryption/test_fields.py::test_an_account_can_be_pickled_with_what_is_stored_and_not_with_plain_text",
    ),
    Bug(
        "a template reveals",
        "encryption/secret",
        "    reveal.alters_data = True",
        "    reveal.alters_data = False",
        "encryption/test_secret.py::test_it_shows_nothing",
    ),
    Bug(
        "an expression brings plain text into the column",
        "encryption/fields",
        '        if hasattr(value, "as_sql") and not self._is_ciphertext(value):\n',
        "        if False:\n",
        "encryption/test_writes.py::test_update_writes_no_expression_that_is_no_ciphertext",
    ),
    Bug(
        "what stands in place of a secret becomes the secret",
        "encryption/keys",
        "    if is_placeholder(secret",
        "    if False and is_placeholder(secret",
        "encryption/test_writes.py::test_what_is_shown_in_place_of_a_secret_never_becomes_one",
    ),
]
