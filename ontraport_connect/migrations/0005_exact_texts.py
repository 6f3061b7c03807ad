"""Texts that are compared exactly, and one link per owner and Ontraport account: what MySQL and MariaDB need help with.

Other databases compare exactly anyway, and know unique constraints with conditions: nothing is executed there.
"""

from __future__ import annotations

from typing import Any

from django.db import migrations

from ontraport_connect.models import ExactCharField, exact_collation

ONCE = {
    "once_per_user": ("user_id", "tenant = '' AND ontraport_id <> ''"),
    "once_per_tenant": ("tenant", "tenant <> '' AND ontraport_id <> ''"),
}
"""In place of each constraint with a condition: a column that is NULL where the condition does not hold, and the owner beside which its
value is unique. Django does not know these columns; nothing is stored for them but their indexes.
"""


class AlterFieldOnMySQL(migrations.AlterField):
    def database_forwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        if schema_editor.connection.vendor == "mysql":
            super().database_forwards(app_label, schema_editor, from_state, to_state)

    def database_backwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        self.database_forwards(app_label, schema_editor, from_state, to_state)


def add_unique_columns(apps: Any, schema_editor: Any) -> None:
    if schema_editor.connection.vendor != "mysql":
        return
    table = schema_editor.quote_name(apps.get_model("ontraport_connect", "OntraportAccount")._meta.db_table)
    collation = exact_collation(schema_editor.connection)
    for name, (owner, condition) in ONCE.items():
        schema_editor.execute(
            f"ALTER TABLE {table} ADD COLUMN {name} varchar(40) COLLATE {collation}"
            f" GENERATED ALWAYS AS (CASE WHEN {condition} THEN ontraport_id END) VIRTUAL,"
            f" ADD UNIQUE INDEX ontraport_{name} ({name}, method, {owner})"
        )


def remove_unique_columns(apps: Any, schema_editor: Any) -> None:
    if schema_editor.connection.vendor != "mysql":
        return
    table = schema_editor.quote_name(apps.get_model("ontraport_connect", "OntraportAccount")._meta.db_table)
    for name in ONCE:
        schema_editor.execute(f"ALTER TABLE {table} DROP INDEX ontraport_{name}, DROP COLUMN {name}")


class Migration(migrations.Migration):
    dependencies = [
        ("ontraport_connect", "0004_attempts"),
    ]

    operations = [
        AlterFieldOnMySQL(
            "ontraportaccount",
            "client_id",
            ExactCharField(blank=True, default="", max_length=500, verbose_name="client ID"),
        ),
        AlterFieldOnMySQL(
            "ontraportaccount",
            "issuer",
            ExactCharField(blank=True, default="", editable=False, max_length=500, verbose_name="issuer"),
        ),
        AlterFieldOnMySQL(
            "ontraportaccount", "lease_owner", ExactCharField(blank=True, default="", editable=False, max_length=32)
        ),
        AlterFieldOnMySQL(
            "ontraportaccount",
            "ontraport_id",
            ExactCharField(blank=True, default="", max_length=40, verbose_name="Ontraport account"),
        ),
        AlterFieldOnMySQL(
            "ontraportaccount", "tenant", ExactCharField(blank=True, default="", max_length=200, verbose_name="tenant")
        ),
        AlterFieldOnMySQL("ontraportbudget", "key", ExactCharField(max_length=64, primary_key=True, serialize=False)),
        AlterFieldOnMySQL(
            "ontraportevent",
            "ontraport_id",
            ExactCharField(blank=True, default="", max_length=40, verbose_name="Ontraport account"),
        ),
        AlterFieldOnMySQL(
            "ontraportevent", "tenant", ExactCharField(blank=True, default="", max_length=200, verbose_name="tenant")
        ),
        AlterFieldOnMySQL("ontraportrevocation", "client_id", ExactCharField(blank=True, default="", max_length=500)),
        AlterFieldOnMySQL("ontraportrevocation", "issuer", ExactCharField(blank=True, default="", max_length=500)),
        AlterFieldOnMySQL("ontraportrevocation", "ontraport_id", ExactCharField(blank=True, default="", max_length=40)),
        AlterFieldOnMySQL("ontraportrevocation", "owner", ExactCharField(blank=True, default="", max_length=220)),
        AlterFieldOnMySQL("ontraportservice", "hold_client", ExactCharField(blank=True, default="", max_length=64)),
        AlterFieldOnMySQL("ontraportservice", "installation", ExactCharField(blank=True, default="", max_length=64)),
        AlterFieldOnMySQL(
            "ontraportspenttoken", "digest", ExactCharField(max_length=64, primary_key=True, serialize=False)
        ),
        AlterFieldOnMySQL("ontraportspenttoken", "owner", ExactCharField(max_length=32)),
        migrations.RunPython(add_unique_columns, remove_unique_columns, atomic=False),
    ]
