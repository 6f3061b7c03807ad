from django.db import migrations

from ontraport_connect.models import ExactCharField


class Migration(migrations.Migration):
    dependencies = [
        ("ontraport_connect", "0006_nothing_revoked_while_linking"),
    ]

    operations = [
        migrations.AddField(
            model_name="ontraportrevocation",
            name="person",
            field=ExactCharField(blank=True, db_default="", default="", max_length=200),
        ),
    ]
